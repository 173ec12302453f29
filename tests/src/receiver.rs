//! A server that stands where a target's system is: it records what it is told, and answers as a test wants.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One request that came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("what targets send is JSON")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// How a target treats whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// It takes the request and never answers.
    Hang,
    /// 200, and then a byte a second without end.
    Drip,
    /// 429 and `Retry-After: 2`.
    TooMany,
    /// 500.
    Fail,
    /// 200, and the connection is closed in the middle of the body.
    Break,
    /// 200, and a body as fast as it is read, without end.
    Endless,
    /// 302 to `/internal` of this same receiver, which lies on a loopback address.
    Redirect,
}

/// What became of one delivery at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// How often it was answered 2xx, whatever became of the body.
    pub accepted: u32,
    /// How often it came again after a whole answer of 200.
    pub repeated: u32,
    well: bool,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests are not kept whole: there will be too many of them.
    brief: bool,
    heard: Vec<Heard>,
    /// Per path and `webhook-id`.
    told: HashMap<String, HashMap<String, Told>>,
    conducts: HashMap<String, Conduct>,
    /// The status per path, 200 where there is none.
    statuses: HashMap<String, u16>,
    /// Who is told at once of what is accepted per path.
    listeners: HashMap<String, UnboundedSender<Heard>>,
    /// How long an answer takes per path.
    delays: HashMap<String, Duration>,
}

/// The server. It ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::with(Shared::default()).await
    }

    /// One that keeps of each request only its path and its `webhook-id`.
    pub async fn brief() -> Self {
        Self::with(Shared {
            brief: true,
            ..Shared::default()
        })
        .await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server, which ends with the test"
    )]
    async fn with(shared: Shared) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(shared));
        let app = Router::new().fallback(hear).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on requests to `path` are answered with `status`.
    pub fn answer(&self, path: &str, status: u16) {
        self.shared
            .lock()
            .expect("no panic")
            .statuses
            .insert(path.to_owned(), status);
    }

    /// From now on answers to requests to `path` take this long.
    pub fn delay(&self, path: &str, delay: Duration) {
        self.shared
            .lock()
            .expect("no panic")
            .delays
            .insert(path.to_owned(), delay);
    }

    /// From now on requests to `path` are treated so; None for well.
    pub fn conduct(&self, path: &str, conduct: Option<Conduct>) {
        let mut shared = self.shared.lock().expect("no panic");
        match conduct {
            Some(conduct) => shared.conducts.insert(path.to_owned(), conduct),
            None => shared.conducts.remove(path),
        };
    }

    /// What became of each delivery at `path`, by its `webhook-id`.
    pub fn told(&self, path: &str) -> HashMap<String, Told> {
        let shared = self.shared.lock().expect("no panic");
        shared.told.get(path).cloned().unwrap_or_default()
    }

    /// What is accepted at `path` from now on, before it is answered.
    pub fn listen(&self, path: &str) -> UnboundedReceiver<Heard> {
        let (listener, heard) = unbounded_channel();
        let mut shared = self.shared.lock().expect("no panic");
        shared.listeners.insert(path.to_owned(), listener);
        heard
    }

    /// How many different deliveries were answered 2xx at `path`.
    pub fn count(&self, path: &str) -> usize {
        let shared = self.shared.lock().expect("no panic");
        let told = shared.told.get(path).into_iter().flat_map(HashMap::values);
        told.filter(|told| told.accepted > 0).count()
    }

    /// All requests to `path`.
    pub fn heard(&self, path: &str) -> Vec<Heard> {
        let shared = self.shared.lock().expect("no panic");
        shared
            .heard
            .iter()
            .filter(|heard| heard.path == path)
            .cloned()
            .collect()
    }
}

async fn hear(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let (status, delay, conduct) = {
        let mut shared = shared.lock().expect("no panic");
        let answer = shared.statuses.get(&path).copied().unwrap_or(200);
        let status = StatusCode::from_u16(answer).expect("a status");
        let delay = shared.delays.get(&path).copied().unwrap_or_default();
        let conduct = shared.conducts.get(&path).copied();
        let heard = Heard {
            method: method.clone(),
            path: path.clone(),
            headers,
            body,
            at: Instant::now(),
        };
        shared.note(&heard, status, conduct);
        if !shared.brief {
            shared.heard.push(heard);
        }
        (status, delay, conduct)
    };
    tokio::time::sleep(delay).await;
    if let Some(conduct) = conduct {
        return conduct.answer().await;
    }
    // The one vendor here that is asked before it is told.
    let body = match (method, path.as_str()) {
        (Method::GET, "/api/v2/tickets.json") => {
            r#"{"tickets":[],"count":0,"next_page":null}"#.to_owned()
        }
        (Method::POST, "/api/v2/tickets.json") if status.is_success() => {
            return (StatusCode::CREATED, r#"{"ticket":{"id":1,"status":"new"}}"#).into_response();
        }
        _ => "ok".to_owned(),
    };
    (status, body).into_response()
}

impl Shared {
    /// Counts a request, as it is about to be answered.
    fn note(&mut self, heard: &Heard, status: StatusCode, conduct: Option<Conduct>) {
        let id = heard.header("webhook-id").to_owned();
        let path = self.told.entry(heard.path.clone()).or_default();
        let told = path.entry(id).or_default();
        told.repeated += u32::from(told.well);
        let accepts = conduct.map_or(status.is_success(), Conduct::accepts);
        told.accepted += u32::from(accepts);
        told.well |= accepts && conduct.is_none();
        let listener = self.listeners.get(&heard.path).filter(|_| accepts);
        // Who does not listen any more hears nothing.
        listener.map(|listener| listener.send(heard.clone()).ok());
    }
}

impl Conduct {
    /// Whether it answers 200 before it misbehaves.
    fn accepts(self) -> bool {
        matches!(self, Self::Drip | Self::Break | Self::Endless)
    }

    async fn answer(self) -> Response {
        const CHUNK: Bytes = Bytes::from_static(&[b'x'; 16 << 10]);
        match self {
            Self::Hang => std::future::pending().await,
            Self::Drip => {
                let bytes = stream::repeat(Bytes::from_static(b"x")).then(async |byte| {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok::<_, io::Error>(byte)
                });
                Body::from_stream(bytes).into_response()
            }
            Self::TooMany => {
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]).into_response()
            }
            Self::Fail => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Self::Break => {
                let bytes = stream::iter([Ok(CHUNK), Err(io::Error::other("closed"))]);
                ([("content-length", "1000000")], Body::from_stream(bytes)).into_response()
            }
            Self::Endless => {
                let bytes = stream::repeat_with(|| Ok::<_, io::Error>(CHUNK));
                Body::from_stream(bytes).into_response()
            }
            Self::Redirect => (StatusCode::FOUND, [("location", "/internal")]).into_response(),
        }
    }
}
