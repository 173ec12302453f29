//! The three services: where each listens, and within what bounds it works.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{Origin, Rate};
use crate::{
    names::names,
    seal::Sealer,
    settings::{ByteSize, Section},
};

/// `[ingress]`: the HTTP door.
#[derive(Debug)]
pub struct Ingress {
    pub bind: SocketAddr,
    pub ops_bind: SocketAddr,
    /// Counted while streaming; above it the answer is 413.
    pub max_body: usize,
    /// How long a request waits for the queue before it is answered 503.
    pub publish_timeout: Duration,
    /// Requests in hand at a time; above it the answer is 503 at once.
    pub max_in_flight: usize,
    /// Bytes of bodies in hand at a time; above it the answer is 503.
    pub max_in_flight_bytes: usize,
    /// How long a client may take over its headers, and again over its body.
    pub read_timeout: Duration,
    pub max_connections: usize,
    /// Where providers reach it, for people who set them up; without it `bind` is told.
    pub public_origin: Option<Origin>,
    pub spool: Option<Spool>,
}

/// `[ingress.spool]`: where envelopes wait while the broker is away.
#[derive(Debug, Clone)]
pub struct Spool {
    /// The SQLite file. Several processes of one machine may share it.
    pub path: PathBuf,
    /// Bytes that the file may hold; above it the answer is 503.
    pub max_size: u64,
}

/// `[api]`: what reads and writes the ledger on request.
#[derive(Debug)]
pub struct Api {
    pub bind: SocketAddr,
    pub ops_bind: SocketAddr,
    pub keys: Vec<ApiKey>,
    /// How often each key may ask that has no rate of its own, per process; none for as often as it likes.
    pub rate: Option<Rate>,
    /// The websites whose pages may ask, by their origins.
    pub cors_origins: Vec<Origin>,
    /// What exports are signed with: 32 bytes in base64. Without one they are not.
    pub signing_key: Option<SecretString>,
    pub talkable: Talkable,
}

/// `[api.talkable]`: how Talkable's question is answered.
#[derive(Debug, Clone)]
pub struct Talkable {
    /// The answer where there is none to give: no address, a malformed question, a ledger that is away.
    pub when_unknown: bool,
    /// The scope that its mails are in; without it the strictest answer is given.
    pub scope: Option<String>,
    /// Answers true, too, where Talkable itself states an `unsubscribed_at` later than `opted_in_at`.
    pub heed_unsubscribed_at: bool,
}

names! {
    /// What a key may do; each role may all that the ones before it may.
    Role { Check = "check", Read = "read", Write = "write", Admin = "admin" }
}

/// One of `api.keys`.
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub name: String,
    pub keys: Vec<SecretString>,
    pub role: Role,
    /// Takes the place of `[api] rate`.
    pub rate: Option<Rate>,
}

/// `[worker]`.
#[derive(Debug)]
pub struct Worker {
    pub ops_bind: SocketAddr,
    /// Messages of envelopes in hand, per inbound queue.
    pub prefetch: u16,
    /// How long every process, not the worker alone, finishes what is in hand after SIGTERM.
    pub shutdown_timeout: Duration,
    /// How often deliveries that ought to move and do not are looked for.
    pub sweep_every: Duration,
}

impl Ingress {
    pub(super) fn read(mut section: Section) -> Self {
        let ingress = Self {
            bind: section.or("bind", local(8080)),
            ops_bind: section.or("ops_bind", local(9080)),
            max_body: section.or("max_body", ByteSize(1 << 20)).0,
            publish_timeout: section.or("publish_timeout", Duration::from_secs(5)),
            max_in_flight: section.or("max_in_flight", 4096),
            max_in_flight_bytes: section.or("max_in_flight_bytes", ByteSize(256 << 20)).0,
            read_timeout: section.or("read_timeout", Duration::from_secs(10)),
            max_connections: section.or("max_connections", 16_384),
            public_origin: section.optional("public_origin"),
            spool: Spool::read(section.section("spool")),
        };
        for (key, value) in [
            ("max_in_flight", ingress.max_in_flight),
            ("max_connections", ingress.max_connections),
        ] {
            if !(1..=1_000_000).contains(&value) {
                section.mistake(key, "is out of range: 1 to 1000000");
            }
        }
        if ingress.max_body == 0 || ingress.max_body > 15 << 20 {
            section.mistake("max_body", "is out of range: 1B to 15MiB, since a body travels in one queue message, of which RabbitMQ takes 16MiB");
        }
        if !(ingress.max_body..=1 << 40).contains(&ingress.max_in_flight_bytes) {
            section.mistake(
                "max_in_flight_bytes",
                "is out of range: max_body to 1024GiB",
            );
        }
        section.finish();
        ingress
    }
}

impl Spool {
    /// None without a path.
    fn read(mut section: Section) -> Option<Self> {
        let path = section.optional::<String>("path");
        let max_size = section.or("max_size", ByteSize(1 << 30)).0;
        if max_size < 1 << 20 {
            section.mistake("max_size", "is out of range: 1MiB or more");
        }
        if path.as_deref() == Some("") {
            section.mistake("path", "is empty: the path of a file is needed");
        }
        section.finish();
        Some(Self {
            path: path?.into(),
            max_size: u64::try_from(max_size).unwrap_or(u64::MAX),
        })
    }
}

impl Api {
    pub(super) fn read(mut section: Section) -> Self {
        let signing_key = section.optional_secret("signing_key");
        if signing_key
            .as_ref()
            .is_some_and(|key| Sealer::new(key).is_none())
        {
            let why =
                "is no key: 32 bytes in base64 are needed, as `openssl rand -base64 32` makes them";
            section.mistake("signing_key", why);
        }
        let api = Self {
            signing_key,
            bind: section.or("bind", local(8081)),
            ops_bind: section.or("ops_bind", local(9081)),
            keys: section
                .sections("keys", false)
                .into_iter()
                .filter_map(ApiKey::read)
                .collect(),
            rate: section.optional("rate"),
            cors_origins: section.or("cors_origins", vec![]),
            talkable: Talkable::read(section.section("talkable")),
        };
        section.finish();
        api
    }
}

impl Talkable {
    fn read(mut section: Section) -> Self {
        let talkable = Self {
            when_unknown: section.or("when_unknown", true),
            scope: section.optional("scope"),
            heed_unsubscribed_at: section.or("heed_unsubscribed_at", false),
        };
        section.finish();
        talkable
    }
}

impl ApiKey {
    fn read(mut section: Section) -> Option<Self> {
        let name = section.required("name");
        let keys = section.secrets("key");
        for key in &keys {
            if key.expose_secret().len() < 8 {
                section.mistake("key", "is too short: a key has at least 8 characters");
            }
        }
        let role = section.required("role");
        let rate = section.optional("rate");
        section.finish();
        Some(Self {
            name: name?,
            keys,
            role: role?,
            rate,
        })
    }
}

impl Worker {
    pub(super) fn read(mut section: Section) -> Self {
        let worker = Self {
            ops_bind: section.or("ops_bind", local(9082)),
            prefetch: section.or("prefetch", 128),
            shutdown_timeout: section.or("shutdown_timeout", Duration::from_secs(25)),
            sweep_every: section.or("sweep_every", Duration::from_mins(1)),
        };
        if worker.prefetch == 0 {
            section.mistake("prefetch", "is 0, but at least 1 is needed");
        }
        section.finish();
        worker
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
