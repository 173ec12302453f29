# One image with the four binaries: optout, ingress, worker, api.

# Of every crate its manifest, and empty sources: what the dependencies are built from. It changes when they do.
FROM rust:1.95-bookworm AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/src/bin/*' \
      ! -path './tests/*.rs' -delete \
 && find . -name '*.rs' -exec truncate --size=0 {} + \
 && for main in */src/main.rs; do echo 'fn main() {}' >"$main"; done

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY --from=manifests /src .
RUN cargo build --release --locked -p optout -p ingress -p worker -p api
COPY . .
# The sources are older than what was just built of the empty ones; cargo goes by time.
RUN find . -path ./target -prune -o -type f -exec touch {} + \
 && cargo build --release --locked -p optout -p ingress -p worker -p api

FROM debian:bookworm-slim
# ca-certificates brings openssl along, with which docker-compose.yml makes the edge's first certificate.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/optout --shell /usr/sbin/nologin optout \
 && install -d -o optout -g optout /var/lib/optout /var/lib/optout/spool /certificates
COPY --from=builder /src/target/release/optout /src/target/release/ingress /src/target/release/worker /src/target/release/api /usr/local/bin/
COPY optout.toml /etc/optout/optout.toml
USER 10001:10001
# Embedded stores go to data/ in here.
WORKDIR /var/lib/optout
# The defaults are for a machine of one's own: loopback. In a container, who may connect is decided outside of it.
ENV OPTOUT__INGRESS__BIND=0.0.0.0:8080 \
    OPTOUT__INGRESS__OPS_BIND=0.0.0.0:9080 \
    OPTOUT__API__BIND=0.0.0.0:8081 \
    OPTOUT__API__OPS_BIND=0.0.0.0:9081 \
    OPTOUT__WORKER__OPS_BIND=0.0.0.0:9082
EXPOSE 8080 8081 9080 9081 9082
CMD ["optout", "serve", "--config", "/etc/optout/optout.toml"]
