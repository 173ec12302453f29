//! What recipients ask for themselves, by a link of a mail (RFC 8058): an envelope of a source that is always there, which
//! goes the way of every webhook.
//!
//! Ingress opens the link and writes down what it says beside the body, so the worker needs no key: an opt-out that was
//! accepted is read whatever becomes of the keys, and whoever sees its evidence has no link that works.
//!
//! Each request is an event of its own. By time alone nobody can tell a repeat from an opt-out after a re-subscription, and to
//! take the second for the first would lose it. So who presses twice opts out twice: the register has the same value as
//! before, the later time, and targets hear of it again, by another key.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    envelope::Envelope,
    event::{Draft, GLOBAL, Identity, Kind, Origin},
    link::{Link, ONE_CLICK},
    providers::{Malformed, Parsed, Provider, Sample, form::Form},
    queue::Priority,
};

/// The name of the source, which no configured one can have, and of its provider.
pub const SOURCE: &str = "one-click";

/// Where an envelope has what its link says, as JSON.
const LINK: &str = "x-optout-link";

/// The fields of the page's form: that it is one, what to be unsubscribed from, and from which scopes.
pub const PAGE: (&str, &str) = ("form", "page");
pub const FROM: &str = "unsubscribe";
pub const SCOPE: &str = "scope";

/// It cannot be configured: only links make its envelopes.
#[derive(Debug)]
pub struct OneClick;

/// What was posted to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Press {
    /// By a mail program, for its reader: from what the link is of.
    OneClick,
    /// By the page, from what was chosen; nothing may have been.
    Page(BTreeSet<Choice>),
}

/// What the page lets people choose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    Everything,
    /// What the link is of.
    Link,
    Scope(String),
}

impl Press {
    /// Reads a body: a form of one line or in parts. None if it asks for nothing that is known here.
    pub fn read(body: &[u8], content_type: Option<&str>) -> Option<Self> {
        // RFC 8058's own example in parts names a boundary that its lines do not have (8.3, errata 5117 and 8927), and is
        // copied: what says so in parts says so.
        if is_in_parts(content_type) && says_one_click(body) {
            return Some(Self::OneClick);
        }
        let form = Form::read(body, content_type).ok()?;
        let has = |(name, value): (&str, &str)| {
            let mut values = form.all(name);
            values.any(|given| given.trim().eq_ignore_ascii_case(value))
        };
        if has(ONE_CLICK) {
            return Some(Self::OneClick);
        }
        if !has(PAGE) {
            return None;
        }
        let from = form.all(FROM).map(|from| match from {
            "everything" => Some(Choice::Everything),
            "link" => Some(Choice::Link),
            _ => None,
        });
        let scopes = form.all(SCOPE);
        let scopes = scopes.map(|scope| Some(Choice::Scope(scope.to_owned())));
        Some(Self::Page(from.chain(scopes).collect::<Option<_>>()?))
    }

    /// What an event of it is called.
    fn name(&self) -> &'static str {
        match self {
            Self::OneClick => ONE_CLICK.1,
            Self::Page(_) => PAGE.1,
        }
    }

    /// The scopes that it is about.
    fn scopes<'a>(&'a self, link: &'a Link) -> BTreeSet<&'a str> {
        let of = |choice: &'a Choice| match choice {
            Choice::Everything => GLOBAL,
            Choice::Link => link.scope.as_str(),
            Choice::Scope(scope) => scope.as_str(),
        };
        match self {
            Self::OneClick => BTreeSet::from([&*link.scope]),
            Self::Page(choices) => choices.iter().map(of).collect(),
        }
    }
}

fn is_in_parts(content_type: Option<&str>) -> bool {
    let kind = content_type.unwrap_or_default().trim_start();
    let start = kind.get(.."multipart/".len());
    start.is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

fn says_one_click(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let (field, value) = ONE_CLICK;
    [field, value]
        .iter()
        .all(|word| text.contains(&word.to_ascii_lowercase()))
}

/// The envelope of a request to a link that says this.
pub fn envelope(
    link: &Link,
    received_at: Timestamp,
    content_type: Option<String>,
    user_agent: Option<String>,
    body: Bytes,
) -> Envelope {
    let says = serde_json::to_string(link).expect("a link has text keys");
    let agent = user_agent.map(|agent| ("user-agent".to_owned(), agent));
    Envelope {
        id: Uuid::now_v7(),
        source: SOURCE.to_owned(),
        received_at,
        content_type,
        headers: agent.into_iter().chain([(LINK.to_owned(), says)]).collect(),
        body,
    }
}

impl Provider for OneClick {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn priority(&self, _body: &[u8]) -> Priority {
        Priority::Urgent
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        let link: Link = envelope
            .header(LINK)
            .and_then(|says| serde_json::from_str(says).ok())
            .ok_or_else(|| Malformed("the request lacks what its link says".to_owned()))?;
        let press = Press::read(&envelope.body, envelope.content_type.as_deref())
            .ok_or_else(|| Malformed("the body asks for nothing that is known here".to_owned()))?;
        let scopes = press.scopes(&link).into_iter();
        let drafts = scopes.map(|scope| Ok(draft(scope, &link, &press, envelope)));
        Ok(drafts.collect())
    }

    fn samples(&self) -> &'static [Sample] {
        &[]
    }
}

fn draft(scope: &str, link: &Link, press: &Press, envelope: &Envelope) -> Draft {
    let identity = Identity::Derived(vec![envelope.id.to_string(), scope.to_owned()]);
    let issued_at = (
        "link_issued_at".to_owned(),
        link.issued_at.to_string().into(),
    );
    Draft {
        contact: Some(link.contact.clone()),
        scope: Some(scope.to_owned()),
        occurred_at: Some(envelope.received_at),
        origin: Origin::Recipient,
        metadata: [issued_at].into_iter().collect(),
        ..Draft::new(Kind::Unsubscribed, press.name(), identity)
    }
}

#[cfg(test)]
mod tests {
    use hostile::{bytes, withstands};

    use super::*;
    use crate::{contact::Contact, event::Event, providers::sample::reading};

    fn link() -> Link {
        Link {
            contact: Contact::parse("jane@example.com").unwrap(),
            scope: "news".to_owned(),
            issued_at: "2026-04-02T14:30:05Z".parse().unwrap(),
        }
    }

    fn envelope_of(body: &str) -> Envelope {
        let at = "2026-05-02T10:00:00.5Z".parse().unwrap();
        let agent = Some("Mail/1".to_owned());
        envelope(
            &link(),
            at,
            None,
            agent,
            Bytes::copy_from_slice(body.as_bytes()),
        )
    }

    fn events(body: &str) -> Vec<Event> {
        let events = reading::events(&OneClick, &envelope_of(body)).unwrap();
        events.into_iter().map(Result::unwrap).collect()
    }

    const PARTS: &str = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";

    /// Section 8.3, to the letter: its lines begin with the boundary, where they ought to with two dashes before it.
    const OF_THE_RFC: &str = "---FormBoundaryjWmhtjORrn\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n---FormBoundaryjWmhtjORrn--\r\n";

    #[test]
    fn one_click_is_an_opt_out_of_the_recipient_s_own_from_what_the_link_is_of_at_that_time() {
        let [event] = &events("List-Unsubscribe=One-Click")[..] else {
            panic!("one event");
        };
        assert_eq!(reading::what(event), "unsubscribed jane@example.com");
        assert_eq!(reading::changes(event), "news consent suppressed");
        assert_eq!(event.origin, Origin::Recipient);
        assert_eq!(event.provider_event, "One-Click");
        assert_eq!(event.occurred_at, event.received_at);
        assert_eq!(event.occurred_at.to_string(), "2026-05-02T10:00:00.5Z");
        assert!(!event.time_assumed);
        assert_eq!(event.metadata["link_issued_at"], "2026-04-02T14:30:05Z");
    }

    #[test]
    fn one_click_is_read_as_a_line_or_in_parts_and_as_nothing_else() {
        let read = |body: &str, kind: Option<&str>| Press::read(body.as_bytes(), kind);
        let line = Some("application/x-www-form-urlencoded");
        let parts = Some("multipart/form-data; boundary=x");
        for (body, kind) in [
            ("List-Unsubscribe=One-Click", line),
            ("List-Unsubscribe=One-Click\r\n", None),
            ("list-unsubscribe=one-click&more=1", line),
            (PARTS, parts),
            (
                OF_THE_RFC,
                Some("multipart/form-data; boundary=---FormBoundaryjWmhtjORrn"),
            ),
        ] {
            assert_eq!(read(body, kind), Some(Press::OneClick), "{body}");
        }
        for (body, kind) in [
            ("", line),
            ("List-Unsubscribe=", line),
            ("List-Unsubscribe=Two-Clicks", line),
            ("One-Click", line),
            (
                "{\"List-Unsubscribe\":\"One-Click\"}",
                Some("application/json"),
            ),
            (&PARTS[..60], parts),
            ("unsubscribe=everything", line),
            ("form=page&unsubscribe=all+of+it", line),
        ] {
            assert_eq!(read(body, kind), None, "{body}");
        }
    }

    #[test]
    fn of_the_page_each_choice_is_an_event_and_the_same_twice_is_one() {
        let scopes = |body: &str| -> Vec<_> {
            let events = events(body).into_iter();
            events.map(|event| event.scope).collect()
        };
        assert_eq!(scopes("form=page&unsubscribe=link"), ["news"]);
        assert_eq!(scopes("form=page&unsubscribe=everything"), [GLOBAL]);
        let several = "form=page&scope=offers&unsubscribe=link&scope=news&scope=offers";
        assert_eq!(scopes(several), ["news", "offers"]);
        assert_eq!(scopes("form=page"), [""; 0]);
        assert_eq!(events("form=page&scope=a")[0].provider_event, "page");
    }

    #[test]
    fn a_request_handed_out_twice_is_one_event_and_another_request_is_another() {
        let envelope = envelope_of("List-Unsubscribe=One-Click");
        let id = |envelope: &Envelope| {
            let events = reading::events(&OneClick, envelope).unwrap();
            events[0].as_ref().unwrap().id
        };
        assert_eq!(id(&envelope), id(&envelope));
        let second = envelope_of("List-Unsubscribe=One-Click");
        assert_ne!(
            id(&envelope),
            id(&second),
            "it may follow a re-subscription"
        );
    }

    #[test]
    fn no_form_makes_its_reader_panic_or_is_taken_here_and_refused_there() {
        let forms = [
            "List-Unsubscribe=One-Click",
            PARTS,
            "form=page&unsubscribe=link&scope=a+b",
        ];
        withstands("one-click forms", file!(), &bytes(forms), |body| {
            for kind in [None, Some("multipart/form-data; boundary=x")] {
                let envelope = Envelope {
                    body: body.clone().into(),
                    content_type: kind.map(str::to_owned),
                    ..envelope_of("")
                };
                let taken = Press::read(&body, kind).is_some();
                assert_eq!(OneClick.parse(&envelope).is_ok(), taken);
            }
        });
    }
}
