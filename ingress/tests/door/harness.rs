//! Opens a door on a port of its own, and sends it bytes.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request, response::Response};
use common::{
    config::{Config, Loaded},
    http,
    lifecycle::Lifecycle,
};
use ingress::Calls;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower::ServiceExt;

use crate::queue::{Behaviour, TestQueue};

/// A test that takes longer is stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(10);

/// One source without credentials.
pub(crate) const OPEN: &str =
    "[[sources]]\nname = 'open'\nprovider = 'postmark'\nauth = { kind = 'none' }";

pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) queue: Arc<TestQueue>,
    pub(crate) lifecycle: Lifecycle,
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All that it says but the time, by which two answers differ that are alike.
    pub(crate) fn says(&self) -> (u16, Vec<(String, String)>, String) {
        let headers = self.headers.iter().filter(|(name, _)| name != "date");
        (self.status, headers.cloned().collect(), self.body.clone())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn config(text: &str) -> Config {
    let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
    assert_eq!(loaded.mistakes(), []);
    loaded.config
}

/// A door on a queue that stores.
pub(crate) async fn door(text: &str) -> Door {
    open(&config(text), TestQueue::new(Behaviour::Store)).await
}

/// A door on a socket.
pub(crate) async fn open(config: &Config, queue: Arc<TestQueue>) -> Door {
    open_calling(config, queue, nobody()).await
}

/// A door that reaches nobody.
fn nobody() -> Calls {
    Calls::by(Arc::new(|_| Box::pin(async { None })))
}

/// A door on a socket that makes these calls.
pub(crate) async fn open_calling(config: &Config, queue: Arc<TestQueue>, calls: Calls) -> Door {
    let lifecycle = Lifecycle::new();
    let listener = http::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let spool = ingress::Spool::open(config, &lifecycle).await;
    ingress::run(
        listener,
        config,
        queue.clone(),
        spool.as_ref(),
        calls,
        &lifecycle,
    );
    Door {
        address,
        queue,
        lifecycle,
    }
}

/// A door without a socket, for what has to be polled step by step.
pub(crate) fn router(text: &str, queue: &Arc<TestQueue>) -> Router {
    let config = config(text);
    let gatherer =
        ingress::Gatherer::start(queue.clone(), None, &config.ingress, &Lifecycle::new());
    let app = ingress::App::new(&config.ingress, &config.sources, gatherer, nobody());
    ingress::router(app, config.links.as_ref())
}

/// Posts to a door without a socket. Does nothing until it is polled, and then all up to the confirm at once.
pub(crate) async fn post(router: Router, path: &str, body: impl Into<Body>) -> Response {
    let answer = router.oneshot(Request::post(path).body(body.into()).unwrap());
    timeout(STUCK, answer)
        .await
        .expect("an answer should come")
        .unwrap()
}

impl Door {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Posts a body with its length.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: door\r\nconnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {}\r\n\r\n", body.len()).unwrap();
        self.send(&[head.as_bytes(), body].concat()).await
    }

    /// Any method, without a body.
    pub(crate) async fn request(&self, method: &str, path: &str) -> Answer {
        self.send(
            format!("{method} {path} HTTP/1.1\r\nhost: door\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await
    }

    /// Sends bytes and reads the answer.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read(stream).await
    }
}

/// Reads the answer, up to the end of the connection.
pub(crate) async fn read(mut stream: TcpStream) -> Answer {
    let mut answer = vec![];
    timeout(STUCK, stream.read_to_end(&mut answer))
        .await
        .expect("the connection should end")
        .unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}
