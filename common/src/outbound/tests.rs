use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use url::Url;

use super::*;
use crate::delivery::{Answer, Outcome};

async fn get(outbound: &Outbound, url: &str) -> Result<Reply, Error> {
    let request = outbound.request(Method::GET, Url::parse(url).unwrap());
    outbound.exchange(request, outbound.deadline()).await
}

/// The way out of tests: their servers are on the loopback.
fn outbound() -> Outbound {
    Outbound::new(vec!["127.0.0.0/8".parse().unwrap()], DEFAULT_TIMEOUT).unwrap()
}

/// A server of one connection that does as it is told after it has read a request.
fn raw(answer: impl FnOnce(&mut std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/s3cret", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).unwrap() > 0);
        answer(&mut stream);
    });
    url
}

/// A listener that nobody is to connect to.
struct Untouched {
    url: String,
    listener: TcpListener,
}

impl Untouched {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { url, listener }
    }

    /// A connection would wait in the listener's backlog.
    fn is_untouched(&self) -> bool {
        self.listener.accept().is_err()
    }
}

fn why(answer: Answer) -> String {
    match answer.outcome {
        Outcome::Retry { why, .. } => why,
        Outcome::Done | Outcome::Withheld | Outcome::Dead { .. } => {
            panic!("{answer:?} is not tried again")
        }
    }
}

#[tokio::test]
async fn a_private_address_is_refused_before_anything_is_sent() {
    let server = Untouched::start();
    let closed = Outbound::new(vec![], DEFAULT_TIMEOUT).unwrap();
    let error = get(&closed, &server.url).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)));
    assert!(
        why(error.into())
            .starts_with("127.0.0.1 has the loopback address 127.0.0.1, which is not sent to")
    );
    assert!(server.is_untouched());
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused() {
    let server = Untouched::start();
    let by_name = server.url.replace("127.0.0.1", "localhost");
    // Where nothing is listed it would not be looked up.
    let closed = Outbound::new(vec!["10.0.0.0/8".parse().unwrap()], DEFAULT_TIMEOUT).unwrap();
    let error = get(&closed, &by_name).await.unwrap_err();
    let why = why(error.into());
    assert!(
        why.starts_with("localhost has the loopback address ")
            && why.contains("outbound.allow_networks"),
        "{why}"
    );
    assert!(server.is_untouched());
    let open = raw(|stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    });
    let by_name = open.replace("127.0.0.1", "localhost");
    assert_eq!(
        get(&outbound(), &by_name).await.unwrap().status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = Untouched::start();
    let head = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}/latest/meta-data\r\ncontent-length: 0\r\n\r\n",
        inside.url
    );
    let url = raw(move |stream| stream.write_all(head.as_bytes()).unwrap());
    let answer = get(&outbound(), &url).await.unwrap().answer();
    assert_eq!((answer.status, answer.excerpt.clone()), (Some(302), None));
    assert!(why(answer).starts_with("answered 302 Found: redirects are not followed"));
    assert!(inside.is_untouched());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_gigabyte_is_cut_and_its_connection_dropped() {
    let (sent, told) = std::sync::mpsc::channel();
    let url = raw(move |stream| {
        let mut total = 0_u64;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"));
        let piece = vec![b'x'; 1 << 16];
        while total < 1 << 30 && stream.write_all(&piece).is_ok() {
            total += 1 << 16;
        }
        sent.send(total).unwrap();
    });
    let reply = get(&outbound(), &url).await.unwrap();
    assert_eq!(reply.body.len(), 64 << 10);
    assert_eq!(reply.answer().excerpt.unwrap().len(), 2 << 10);
    let total = told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(total < 64 << 20, "{total} bytes were taken");
}

#[tokio::test]
async fn a_server_that_drips_is_cut_at_the_deadline() {
    let url = raw(|stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"));
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let started = Instant::now();
    let error = get(&outbound().with_timeout(Duration::from_millis(400)), &url)
        .await
        .unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(why(error.into()), "no complete answer within 400ms");
}

#[tokio::test]
async fn what_is_said_of_a_failure_never_holds_the_url() {
    let cut_short = raw(|stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"));
    });
    let nonsense = raw(|stream| {
        drop(stream.write_all(b"220 mail ready\r\n\r\n"));
    });
    let unknown = "http://no-such-host.invalid/s3cret".to_owned();
    let refused = "http://user:s3cret@127.0.0.1:1/s3cret?s3cret#s3cret".to_owned();
    for url in [cut_short, nonsense, unknown, refused] {
        let why = why(get(&outbound(), &url).await.unwrap_err().into());
        assert!(
            why.starts_with("the request could not be made or its answer not be read: "),
            "{why}"
        );
        assert!(!why.contains("s3cret") && !why.contains("http://"), "{why}");
    }
}

#[tokio::test]
async fn an_https_target_that_speaks_no_tls_is_tried_again() {
    let url = raw(|stream| {
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    });
    why(get(&outbound(), &url.replace("http:", "https:"))
        .await
        .unwrap_err()
        .into());
}

#[test]
fn a_url_is_judged_when_the_configuration_is_read() {
    let outbound = Outbound::new(vec!["10.0.0.0/8".parse().unwrap()], DEFAULT_TIMEOUT).unwrap();
    let check = |url: &str| outbound.check_url(&Url::parse(url).unwrap());
    for fine in [
        "https://example.com/x",
        "http://example.com",
        "https://10.1.2.3/",
        "https://8.8.8.8/",
    ] {
        assert_eq!(check(fine), Ok(()), "{fine}");
    }
    for (wrong, part) in [
        ("https://192.168.1.1/", "private address 192.168.1.1"),
        ("https://0x7f.1/", "loopback"),
        ("https://[fe80::1]/", "link-local"),
        ("ftp://example.com/", "https:// is needed"),
        ("file:///etc/passwd", "https:// is needed"),
    ] {
        assert!(check(wrong).unwrap_err().contains(part), "{wrong}");
    }
}
