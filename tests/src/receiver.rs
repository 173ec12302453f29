//! A server that stands where a target's system is: it records what it is told, and answers as a test wants.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use serde_json::Value;

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

#[derive(Debug, Default)]
struct Shared {
    heard: Vec<Heard>,
    /// The status per path, 200 where there is none.
    statuses: HashMap<String, u16>,
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
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server, which ends with the test"
    )]
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared: Arc<Mutex<Shared>> = Arc::default();
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
) -> (StatusCode, String) {
    let path = uri.path().to_owned();
    let (status, delay) = {
        let mut shared = shared.lock().expect("no panic");
        let answer = shared.statuses.get(&path).copied().unwrap_or(200);
        let delay = shared.delays.get(&path).copied().unwrap_or_default();
        shared.heard.push(Heard {
            method: method.clone(),
            path: path.clone(),
            headers,
            body,
            at: Instant::now(),
        });
        (StatusCode::from_u16(answer).expect("a status"), delay)
    };
    tokio::time::sleep(delay).await;
    // The one vendor here that is asked before it is told.
    let body = match (method, path.as_str()) {
        (Method::GET, "/api/v2/tickets.json") => {
            r#"{"tickets":[],"count":0,"next_page":null}"#.to_owned()
        }
        (Method::POST, "/api/v2/tickets.json") if status.is_success() => {
            return (
                StatusCode::CREATED,
                r#"{"ticket":{"id":1,"status":"new"}}"#.to_owned(),
            );
        }
        _ => "ok".to_owned(),
    };
    (status, body)
}
