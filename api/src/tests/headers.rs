//! What every answer tells browsers, as it comes over the wire from the real listener.

use std::net::SocketAddr;

use common::lifecycle::Lifecycle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const KEYS: &str = "[api]
keys = [{ name = 'ops', key = 'admin-key-0123', role = 'admin' }, { name = 'shop', key = 'check-key-0123', role = 'check', rate = '1/1h' }]";

/// What each answer has, and has once.
const SAID: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Begins a header that tells a stranger what serves here, or opens it to somebody.
const UNSAID: [&str; 5] = [
    "server",
    "via",
    "x-powered-by",
    "set-cookie",
    "access-control-",
];

/// An answer's status and headers, with their names in lower case.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// Sends these very bytes, and reads until the end of the connection.
async fn wire(address: SocketAddr, request: &str) -> Head {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    };
    Head {
        status: status.parse().unwrap(),
        headers: lines.map(header).collect(),
    }
}

fn request(method: &str, path: &str, key: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: optout\r\nx-api-key: {key}\r\norigin: https://elsewhere.example\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Method, path, key, body, and the status that it is answered with.
const REQUESTS: [(&str, &str, &str, &str, u16); 20] = [
    ("GET", "/api/v1/events", "admin-key-0123", "", 200),
    (
        "GET",
        "/api/v1/contacts/jane@example.com",
        "admin-key-0123",
        "",
        200,
    ),
    (
        "GET",
        "/api/v1/suppressions/export",
        "admin-key-0123",
        "",
        200,
    ),
    (
        "POST",
        "/api/v1/suppressions",
        "admin-key-0123",
        "{\"email\": \"jane@example.com\"}",
        201,
    ),
    ("GET", "/api/v1/keys", "admin-key-0123", "", 200),
    ("HEAD", "/api/v1/events", "admin-key-0123", "", 200),
    ("GET", "/docs", "", "", 200),
    ("GET", "/openapi.json", "", "", 200),
    ("GET", "/api/v1/events?limit=0", "admin-key-0123", "", 400),
    ("POST", "/api/v1/suppressions", "admin-key-0123", "{", 400),
    (
        "GET",
        "/api/v1/check?email=jane@example.com",
        "no such key",
        "",
        401,
    ),
    ("GET", "/api/v1/events", "no such key", "", 401),
    ("GET", "/api/v1/events", "check-key-0123", "", 403),
    ("GET", "/nothing", "admin-key-0123", "", 404),
    (
        "GET",
        "/api/v1/events/01890a5d-ac96-774b-bcce-b302099a8057",
        "admin-key-0123",
        "",
        404,
    ),
    ("DELETE", "/api/v1/events", "admin-key-0123", "", 405),
    ("OPTIONS", "/api/v1/check", "", "", 405),
    ("PUT", "/docs", "", "", 405),
    ("GET", "/api/v1/check?email=jane", "admin-key-0123", "", 422),
    (
        "GET",
        "/api/v1/check?email=jane@example.com",
        "check-key-0123",
        "",
        429,
    ),
];

#[tokio::test]
async fn every_answer_tells_browsers_to_keep_show_and_guess_nothing_and_says_not_what_serves() {
    on_each(async |door| {
        let config = Loaded::from_text(KEYS, BTreeMap::new()).unwrap().config;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lifecycle, queue) = (Lifecycle::new(), Arc::<Recorder>::clone(&door.queue));
        crate::run(listener, &config, door.ledger.clone(), queue, &lifecycle).unwrap();
        for (method, path, key, body, status) in REQUESTS {
            let what = format!("{method} {path}");
            let head = wire(address, &request(method, path, key, body)).await;
            assert_eq!(head.status, status, "{what}");
            for (name, value) in SAID {
                assert_eq!(head.all(name), [value], "{what}: {name}");
            }
            for name in UNSAID {
                let said = head
                    .headers
                    .iter()
                    .find(|(known, _)| known.starts_with(name));
                assert_eq!(said, None, "{what}");
            }
            let policies = head.all("content-security-policy");
            let [policy] = policies[..] else {
                panic!("{what} has the policies {policies:?}");
            };
            for part in [
                "default-src 'none'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ] {
                assert!(policy.contains(part), "{what} lacks {part}");
            }
            for open in ["unsafe", "*", "http", "'self'", "script-src"] {
                assert!(!policy.contains(open), "{what} is open by {policy}");
            }
        }
        // What hyper answers by itself has no body that could be shown, and says no more than the others.
        let refused = wire(address, "GET / HTTP/1.1\r\nno header\r\n\r\n").await;
        assert_eq!((refused.status, refused.all("server")), (400, vec![]));
        lifecycle.stop();
    })
    .await;
}
