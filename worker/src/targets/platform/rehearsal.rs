//! For tests: a platform that keeps lists and holds callers to what its documentation says, and what every kind has to do
//! with one.
//!
//! Addresses that begin with `bad` are taken by no platform; one that begins with `busy` meets its rate limit.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{body::Body, http::Response};
use common::{
    clock,
    contact::Contact,
    delivery::{Answer, Delivery, Outcome},
    event::Kind as EventKind,
};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::targets::{
    Kind, Probe, Target,
    standin::{self, Received, Standin, delivery_of, verdict},
};

/// Who is suppressed: list and address.
pub(crate) type Listed = BTreeSet<(String, String)>;

/// A platform as it is documented.
pub(crate) struct Vendor {
    pub(crate) kind: Kind,
    /// Settings beside `url`, `token` and `scopes`.
    pub(crate) settings: &'static str,
    /// Two of its lists; the same twice where it has one.
    pub(crate) lists: [&'static str; 2],
    /// By which header it says when its rate limit is over.
    pub(crate) limit: Limit,
    /// What it answers; the path comes in its parts, decoded.
    pub(crate) answer: fn(&Received, &[&str], &mut Listed) -> Response<Body>,
}

pub(crate) enum Limit {
    Seconds(&'static str),
    /// Seconds since 1970.
    Unix(&'static str),
}

/// A platform that runs.
pub(crate) struct Running {
    pub(crate) target: Box<dyn Target>,
    server: Standin,
    listed: Arc<Mutex<Listed>>,
}

impl Received {
    /// The parts of the path, decoded.
    fn parts(&self) -> Vec<String> {
        let path = self.path.split('?').next().unwrap();
        path.trim_start_matches('/')
            .split('/')
            .map(decoded)
            .collect()
    }

    /// A parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| decoded(value))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// An answer in JSON.
pub(crate) fn json(status: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.to_string().into())
        .unwrap()
}

/// Puts on a list or takes off, whichever is asked for.
pub(crate) fn set(listed: &mut Listed, list: &str, address: &str, suppress: bool) -> bool {
    let entry = (list.to_owned(), address.to_owned());
    if suppress {
        listed.insert(entry)
    } else {
        listed.remove(&entry)
    }
}

/// An event of a kind about an address or a number.
pub(crate) fn told(kind: EventKind, contact: &str, scope: &str) -> Delivery {
    let mut delivery = delivery_of(kind, Contact::parse(contact).ok(), 1);
    scope.clone_into(&mut delivery.event.scope);
    delivery
}

pub(crate) fn suppress(contact: &str, scope: &str) -> Delivery {
    told(EventKind::Unsubscribed, contact, scope)
}

pub(crate) fn lift(contact: &str, scope: &str) -> Delivery {
    told(EventKind::Resubscribed, contact, scope)
}

impl Vendor {
    /// The platform, and the target that these scopes make.
    pub(crate) async fn start(&self, scopes: &str) -> Running {
        self.start_as("env:TOKEN", scopes).await
    }

    async fn start_as(&self, token: &str, scopes: &str) -> Running {
        let listed = Arc::<Mutex<Listed>>::default();
        let (kept, answer) = (Arc::clone(&listed), self.answer);
        let (name, over) = match self.limit {
            Limit::Seconds(name) => (name, "7".to_owned()),
            Limit::Unix(name) => (name, (clock::now().as_second() + 7).to_string()),
        };
        let server = Standin::start(move |request, _| {
            let busy = |text: &str| text.contains("busy");
            if busy(&request.path) || busy(&String::from_utf8_lossy(&request.body)) {
                let builder = Response::builder().status(429).header(name, &over);
                return builder.body("{}".into()).unwrap();
            }
            let parts = request.parts();
            let parts: Vec<_> = parts.iter().map(String::as_str).collect();
            answer(request, &parts, &mut kept.lock().unwrap())
        })
        .await;
        let settings = format!(
            "url = '{}'\ntoken = '{token}'\n{}\nscopes = {scopes}",
            server.url, self.settings
        );
        let target = standin::target(self.kind, &settings);
        Running {
            target,
            server,
            listed,
        }
    }

    /// With `news` as the first list and `offers` as the second.
    pub(crate) async fn usual(&self) -> Running {
        let [first, second] = self.lists;
        self.start(&format!("{{ news = '{first}', offers = '{second}' }}"))
            .await
    }

    pub(crate) async fn a_contact_is_suppressed_and_lifted_however_often_that_is_told(&self) {
        let running = self.usual().await;
        for kind in [
            EventKind::Unsubscribed,
            EventKind::Complained,
            EventKind::Bounced,
            EventKind::Suppressed,
        ] {
            let event = told(kind, "jane+x@example.com", "news");
            let lift = lift("jane+x@example.com", "global");
            for (delivery, listed) in [
                (&event, true),
                (&event, true),
                (&lift, false),
                (&lift, false),
            ] {
                let answer = running.tell(delivery).await;
                assert_eq!(verdict(&answer), "done", "{kind}: {answer:?}");
                assert_eq!(
                    running.lists("jane+x@example.com").contains(self.lists[0]),
                    listed,
                    "{kind}"
                );
            }
        }
    }

    pub(crate) async fn a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it(&self) {
        let running = self.usual().await;
        let deliveries = ["busy@example.com", "jane@example.com"]
            .map(|address| [suppress(address, "news"), suppress(address, "offers")])
            .concat();
        let answers = running.target.deliver(&deliveries).await;
        let Outcome::Retry { after, .. } = &answers[0].outcome else {
            panic!("{answers:?}")
        };
        let after = after.unwrap().as_secs();
        assert!((1..=7).contains(&after), "{after}");
        assert!(verdict(&answers[2]).starts_with("retry: "), "{answers:?}");
        assert_eq!(running.server.received().len(), 1);
    }

    pub(crate) async fn a_token_that_is_refused_is_tried_again_and_says_so(&self) {
        let scopes = format!("{{ '*' = '{}' }}", self.lists[0]);
        let running = self.start_as("wrong", &scopes).await;
        let answer = running.tell(&suppress("jane@example.com", "news")).await;
        let verdict = verdict(&answer);
        assert!(
            verdict.starts_with("retry: answered 40") && verdict.contains("the token is wrong"),
            "{answer:?}"
        );
        assert!(running.listed().is_empty());
    }

    pub(crate) async fn a_credential_is_asked_about_by_a_read_and_a_refusal_is_told(&self) {
        let right = self.usual().await;
        let probe = right.target.probe().await;
        assert!(matches!(probe, Probe::Accepted(_)), "{probe:?}");
        let scopes = format!("{{ '*' = '{}' }}", self.lists[0]);
        let wrong = self.start_as("wrong", &scopes).await;
        let probe = wrong.target.probe().await;
        let refused = |said: &str| said.starts_with("answered 40");
        assert!(
            matches!(&probe, Probe::Refused(said) if refused(said)),
            "{probe:?}"
        );
        for request in [right.received(), wrong.received()].concat() {
            assert_eq!((request.method.as_str(), request.body.len()), ("GET", 0));
        }
    }

    pub(crate) async fn a_list_is_read_page_by_page_and_no_other_with_it(&self) {
        let running = self.usual().await;
        let [first, second] = self.lists;
        let many: BTreeSet<_> = (0..2500)
            .map(|at| format!("p{at:04}@example.com"))
            .collect();
        for address in &many {
            set(&mut running.listed(), first, address, true);
        }
        if first != second {
            set(&mut running.listed(), second, "jane@example.com", true);
            assert_eq!(running.read(second).await, names(&["jane@example.com"]));
        }
        assert_eq!(running.read(first).await, many);
    }

    pub(crate) async fn one_contact_that_is_refused_costs_no_other(&self) {
        let running = self.usual().await;
        let addresses = ["jane@example.com", "bad@example.com", "joe@example.com"];
        let deliveries = addresses.map(|address| suppress(address, "news"));
        let answers = running.target.deliver(&deliveries).await;
        let verdicts: Vec<_> = answers.iter().map(verdict).collect();
        assert_eq!(
            (verdicts[0].as_str(), verdicts[2].as_str()),
            ("done", "done")
        );
        assert!(verdicts[1].starts_with("dead: "), "{verdicts:?}");
        assert!(!verdicts[1].contains('@'), "{verdicts:?}");
        let listed: Vec<_> = addresses.map(|address| running.lists(address).len()).into();
        assert_eq!(listed, [1, 0, 1]);
    }

    pub(crate) async fn a_scope_is_its_list_and_what_is_global_is_every_list(&self) {
        let running = self.usual().await;
        let [first, second] = self.lists;
        let tell = async |address: &str, scope: &str, expected: &str| {
            let answer = running.tell(&suppress(address, scope)).await;
            assert_eq!(verdict(&answer), expected, "{answer:?}");
            answer.excerpt.unwrap_or_default()
        };
        tell("jane@example.com", "offers", "done").await;
        assert_eq!(running.lists("jane@example.com"), names(&[second]));
        tell("joe@example.com", "global", "done").await;
        assert_eq!(running.lists("joe@example.com"), names(&[first, second]));
        let asked = running.server.received().len();
        let said = tell("ann@example.com", "elsewhere", "withheld").await;
        assert!(
            said.contains("\"elsewhere\" is not in [targets.scopes]"),
            "{said}"
        );
        assert_eq!(running.server.received().len(), asked);
    }
}

impl Running {
    pub(crate) async fn tell(&self, delivery: &Delivery) -> Answer {
        standin::deliver(&*self.target, delivery).await
    }

    pub(crate) fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.server.received()
    }

    /// Whom a list suppresses, read to its end; each once.
    pub(crate) async fn read(&self, list: &str) -> BTreeSet<String> {
        let book = self.target.book().expect("its lists can be read");
        let (mut all, mut after) = (BTreeSet::new(), None);
        loop {
            let page = book.page(list, after.as_deref()).await.unwrap();
            assert_eq!(page.unread, 0);
            for entry in page.entries {
                assert!(all.insert(entry.contact.address));
            }
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// The lists that a contact is suppressed in.
    pub(crate) fn lists(&self, address: &str) -> BTreeSet<String> {
        let listed = self.listed();
        let of_address = listed.iter().filter(|(_, other)| other == address);
        of_address.map(|(list, _)| list.clone()).collect()
    }
}

fn names(lists: &[&str]) -> BTreeSet<String> {
    lists.iter().map(|list| (*list).to_owned()).collect()
}

/// What every kind has to do, as tests of its module.
macro_rules! rehearsals {
    ($vendor:expr, $($name:ident),+) => {
        $(#[tokio::test]
        async fn $name() {
            $vendor.$name().await;
        })+
    };
    ($vendor:expr) => {
        rehearsals!(
            $vendor,
            a_contact_is_suppressed_and_lifted_however_often_that_is_told,
            a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it,
            a_token_that_is_refused_is_tried_again_and_says_so,
            a_credential_is_asked_about_by_a_read_and_a_refusal_is_told,
            one_contact_that_is_refused_costs_no_other,
            a_scope_is_its_list_and_what_is_global_is_every_list
        );
    };
}
pub(crate) use rehearsals;
