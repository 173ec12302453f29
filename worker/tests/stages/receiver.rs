//! A server where endpoints are: it keeps what it hears, answers as it is told, and holds answers back until it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::{net::TcpListener, sync::watch};

use crate::bench::until;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether a receiver that has this secret takes it, by the reference library.
    pub(crate) fn verifies(&self, secret: &str) -> bool {
        let webhook = Webhook::new(secret).unwrap();
        webhook.verify(&self.body, &self.headers).is_ok()
    }
}

/// The server, which ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Receiver {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    heard: Mutex<Vec<Heard>>,
    statuses: Mutex<BTreeMap<String, u16>>,
    /// The paths whose answers are held back.
    holding: watch::Sender<BTreeSet<String>>,
}

impl Receiver {
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            heard: Mutex::default(),
            statuses: Mutex::default(),
            holding: watch::Sender::default(),
        });
        let router = Router::new().fallback(hear);
        let router = router.with_state(Arc::clone(&shared));
        drop(tokio::spawn(axum::serve(listener, router).into_future()));
        Self { url, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// From now on requests to `path` are answered with `status`.
    pub(crate) fn answer(&self, path: &str, status: u16) {
        let mut statuses = self.shared.statuses.lock().unwrap();
        statuses.insert(path.to_owned(), status);
    }

    /// From now on requests to `path` are not answered.
    pub(crate) fn hold(&self, path: &str) {
        let hold = |holding: &mut BTreeSet<String>| {
            holding.insert(path.to_owned());
        };
        self.shared.holding.send_modify(hold);
    }

    /// Answers what was held back, and all that comes.
    pub(crate) fn release(&self, path: &str) {
        let release = |holding: &mut BTreeSet<String>| {
            holding.remove(path);
        };
        self.shared.holding.send_modify(release);
    }

    /// All requests to `path`.
    pub(crate) fn heard(&self, path: &str) -> Vec<Heard> {
        let heard = self.shared.heard.lock().unwrap();
        let to_it = heard.iter().filter(|heard| heard.path == path);
        to_it.cloned().collect()
    }

    /// Waits until as many requests have come to `path`.
    pub(crate) async fn hears(&self, path: &str, count: usize) -> Vec<Heard> {
        until(async || {
            let heard = self.heard(path);
            (heard.len() >= count).then_some(heard)
        })
        .await
    }
}

async fn hear(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let path = uri.path().to_owned();
    shared.heard.lock().unwrap().push(Heard {
        path: path.clone(),
        headers,
        body,
    });
    let mut holding = shared.holding.subscribe();
    let released = holding.wait_for(|holding| !holding.contains(&path)).await;
    drop(released);
    let statuses = shared.statuses.lock().unwrap();
    StatusCode::from_u16(statuses.get(&path).copied().unwrap_or(200)).unwrap()
}
