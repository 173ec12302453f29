//! Names that mean ill: what they stand for changes from one question to the next (DNS rebinding).
//!
//! 127.0.0.2, which these tests list, stands in for a public address; what else a name turns to is inside. The same
//! port is listened at there, too, by [`Inside`], which nobody is to connect to.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use reqwest::{
    Method, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
};
use url::Url;

use super::{address::Guard, *};

/// What a name may turn to. The port of the first is listened at.
const INSIDE: [&str; 8] = [
    "127.0.0.1",
    "169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "::1",
    "::",
    "0.0.0.0",
];

/// Gives one answer after the other, and the last one for ever.
struct Fickle {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Fickle {
    /// Each answer is addresses with spaces between.
    fn new(answers: &[&str]) -> Arc<Self> {
        let read = |answer: &&str| {
            let addresses = answer.split(' ').map(|address| address.parse().unwrap());
            addresses.collect()
        };
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(read).collect()),
            asked: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for Fickle {
    fn resolve(&self, _: Name) -> Resolving {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let now = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        };
        let sockets = now.into_iter().map(|address| SocketAddr::new(address, 0));
        Box::pin(async move { Ok(Box::new(sockets) as Addrs) })
    }
}

/// Whoever listens at 127.0.0.1 behind our back.
struct Inside(TcpListener);

impl Inside {
    /// A connection would wait in the listener's backlog.
    fn is_untouched(&self) -> bool {
        self.0.accept().is_err()
    }
}

/// A server outside, and one inside at the same port. The one outside answers every request on every connection with
/// `head`, and ends the connection after it where `closes`.
fn servers(head: &'static str, closes: bool) -> (String, Inside) {
    let (outside, inside) = loop {
        let outside = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
        let port = outside.local_addr().unwrap().port();
        // Whoever has the port there already is none of ours.
        if let Ok(inside) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            break (outside, inside);
        }
    };
    inside.set_nonblocking(true).unwrap();
    let port = outside.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in outside.incoming().flatten() {
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|read| read > 0) {
                if stream.write_all(head.as_bytes()).is_err() || closes {
                    break;
                }
            }
        }
    });
    (format!("http://rebind.example:{port}/"), Inside(inside))
}

const KEEPS: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const ENDS: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
const REDIRECTS: &str = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /again\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

fn outbound(names: &Arc<Fickle>) -> Outbound {
    let listed = vec!["127.0.0.2/32".parse().unwrap()];
    let names = Arc::<Fickle>::clone(names);
    Outbound::over(Guard::new(listed, names), DEFAULT_TIMEOUT).unwrap()
}

async fn get(outbound: &Outbound, url: &str) -> Result<StatusCode, Error> {
    let request = outbound.request(Method::GET, Url::parse(url).unwrap());
    let reply = outbound.exchange(request, outbound.deadline()).await?;
    Ok(reply.status)
}

#[tokio::test]
async fn a_name_that_turns_to_an_address_inside_is_refused_at_its_next_connection() {
    for turned in INSIDE {
        let (url, inside) = servers(ENDS, true);
        let names = Fickle::new(&["127.0.0.2", turned, "127.0.0.2"]);
        let outbound = outbound(&names);
        assert_eq!(get(&outbound, &url).await.unwrap(), StatusCode::NO_CONTENT);
        let error = get(&outbound, &url).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{turned}: {error:?}");
        let told = format!("{error}");
        let why = format!(
            "address {}, which is not sent to",
            turned.parse::<IpAddr>().unwrap()
        );
        assert!(
            told.starts_with("rebind.example has the ") && told.contains(&why),
            "{told}"
        );
        assert!(inside.is_untouched(), "{turned}");
        // It is asked anew, so a name that is mended is sent to again.
        assert_eq!(get(&outbound, &url).await.unwrap(), StatusCode::NO_CONTENT);
        assert_eq!(names.asked(), 3, "once for each connection");
    }
}

#[tokio::test]
async fn what_is_connected_to_is_what_was_checked_and_not_what_a_second_question_would_give() {
    for turned in INSIDE {
        let (url, inside) = servers(KEEPS, false);
        let names = Fickle::new(&["127.0.0.2", turned]);
        let outbound = outbound(&names);
        // The second goes by the connection that is there, to the address that was checked.
        for _ in 0..2 {
            assert_eq!(get(&outbound, &url).await.unwrap(), StatusCode::NO_CONTENT);
        }
        assert_eq!(names.asked(), 1, "{turned}");
        assert!(inside.is_untouched(), "{turned}");
    }
}

#[tokio::test]
async fn a_connection_that_was_kept_and_then_ended_is_opened_anew_only_after_a_check() {
    for turned in INSIDE {
        // It says nothing of ending the connection, and does.
        let (url, inside) = servers(KEEPS, true);
        let names = Fickle::new(&["127.0.0.2", turned]);
        let outbound = outbound(&names);
        assert_eq!(get(&outbound, &url).await.unwrap(), StatusCode::NO_CONTENT);
        // Until the end of the connection has been noticed a request may still be written to it, and fails.
        let refused = loop {
            match get(&outbound, &url).await.unwrap_err() {
                Error::Exchange(_) => {}
                other => break other,
            }
        };
        assert!(
            matches!(refused, Error::Refused(_)),
            "{turned}: {refused:?}"
        );
        assert!(inside.is_untouched(), "{turned}");
    }
}

#[tokio::test]
async fn of_several_addresses_only_those_outside_are_tried_in_whatever_order_they_come() {
    for turned in INSIDE {
        for answer in [format!("{turned} 127.0.0.2"), format!("127.0.0.2 {turned}")] {
            let (url, inside) = servers(ENDS, true);
            let outbound = outbound(&Fickle::new(&[&answer]));
            assert_eq!(get(&outbound, &url).await.unwrap(), StatusCode::NO_CONTENT);
            assert!(inside.is_untouched(), "{answer}");
        }
    }
    let everything_inside = INSIDE.join(" ");
    let (url, inside) = servers(ENDS, true);
    let outbound = outbound(&Fickle::new(&[&everything_inside]));
    let error = get(&outbound, &url).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert!(inside.is_untouched());
}

#[tokio::test]
async fn a_redirect_to_the_name_that_has_turned_is_not_followed() {
    for turned in INSIDE {
        let (url, inside) = servers(REDIRECTS, true);
        let names = Fickle::new(&["127.0.0.2", turned]);
        let status = get(&outbound(&names), &url).await.unwrap();
        assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(names.asked(), 1, "{turned}");
        assert!(inside.is_untouched(), "{turned}");
    }
}

#[tokio::test]
async fn a_name_that_stands_for_the_loopback_is_refused_without_a_question_where_nothing_is_listed()
{
    let names = Fickle::new(&["127.0.0.2"]);
    let guard = Guard::new(vec![], Arc::<Fickle>::clone(&names));
    let outbound = Outbound::over(guard, DEFAULT_TIMEOUT).unwrap();
    for host in ["localhost", "LOCALHOST.", "metadata.localhost"] {
        let url = format!("http://{host}:1/");
        assert!(outbound.check_url(&Url::parse(&url).unwrap()).is_err());
        let error = get(&outbound, &url).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{host}: {error:?}");
    }
    assert_eq!(names.asked(), 0);
}
