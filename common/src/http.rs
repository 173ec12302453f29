//! The HTTP server that ingress, api and the operations listener share, and how it says that something is wrong.
//!
//! axum's own `serve` has no deadline for headers and no bound on connections; both are what a slow or hostile client
//! is held off with. What browsers are told to do with an answer, so that it does no harm there, is said of every answer
//! here, and nowhere else.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::{Map, Value};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::ServiceExt;
use tracing::{debug, info, warn};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::AdditionalProperties},
};

use crate::lifecycle::Lifecycle;

/// What every answer says unless its handler says otherwise: it is about people and about this moment, is what its content
/// type says, is shown in no frame and to no other website, and leads nowhere that is told where from.
const HARDENED: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// What a listener allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a client may take over its headers, also on a kept-alive connection between two requests' first bytes.
    pub header_timeout: Duration,
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_connections: 1024,
        }
    }
}

/// Binds a listener; the error names the address.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Serves `app` until the lifecycle stops, then lets the requests in hand finish.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "listening");
    }
    let app = hardened(app);
    let connections = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        // At the bound nothing is accepted: the kernel's backlog holds the rest back.
        let permit = Arc::clone(&connections).acquire_owned();
        let accepted = tokio::select! {
            accepted = async { (permit.await, listener.accept().await) } => accepted,
            () = lifecycle.stopping() => return Ok(()),
        };
        let (permit, stream) = match accepted {
            (Ok(permit), Ok((stream, _))) => (permit, stream),
            (_, Err(error)) => {
                // Out of file handles, mostly: waiting lets connections end.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            (Err(_), _) => return Ok(()),
        };
        let app = app.clone();
        let connection_lifecycle = lifecycle.clone();
        lifecycle.spawn_work(async move {
            serve_connection(stream, app, limits, &connection_lifecycle).await;
            drop(permit);
        });
    }
}

/// The app as it is served: no answer of it lacks what browsers are to be told.
pub fn hardened(app: Router) -> Router {
    app.layer(map_response(async |mut response: Response| {
        // Once, rather than as they come: with the date and the length there are some ten.
        response.headers_mut().reserve(HARDENED.len() + 4);
        for (name, value) in HARDENED {
            response.headers_mut().entry(name).or_insert(value);
        }
        response
    }))
}

async fn serve_connection(stream: TcpStream, app: Router, limits: Limits, lifecycle: &Lifecycle) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let service = TowerToHyperService::new(
        app.map_request(|request: Request<Incoming>| request.map(Body::new)),
    );
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = lifecycle.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// An RFC 9457 problem: what every error answer of ingress and api is, where a seed document does not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    /// What is wrong with this very request, and what would be right.
    pub detail: String,
    pub retry_after: Option<Duration>,
    /// Members beside those of the RFC, for programs.
    pub extra: Map<String, Value>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            retry_after: None,
            extra: Map::new(),
        }
    }

    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(member.to_owned(), value.into());
        self
    }
}

impl ToSchema for Problem {}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let member = |kind: Type, says: &str| {
            ObjectBuilder::new()
                .schema_type(kind)
                .description(Some(says))
        };
        let members = [
            ("type", Type::String, "`about:blank`: the title says it."),
            ("title", Type::String, "The status in words."),
            ("status", Type::Integer, "The status of the answer."),
            (
                "detail",
                Type::String,
                "What is wrong with this request, and what would be right.",
            ),
        ];
        let object = members
            .into_iter()
            .fold(ObjectBuilder::new(), |object, (name, kind, says)| {
                object.property(name, member(kind, says)).required(name)
            });
        object
            .description(Some("An RFC 9457 problem; some have more members."))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = self.extra;
        body.insert("type".to_owned(), Value::from("about:blank"));
        body.insert("title".to_owned(), Value::from(title));
        body.insert("status".to_owned(), Value::from(self.status.as_u16()));
        body.insert("detail".to_owned(), Value::from(self.detail));
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(pause) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                header::HeaderValue::from(pause.as_secs().max(1)),
            );
        }
        response
    }
}
