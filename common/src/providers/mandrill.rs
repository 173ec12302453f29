//! Mandrill: a form whose one field is a JSON array of events, signed over the URL as it is registered there and the
//! field. Beside what happens to messages it tells of changes of its own rejection list, which may have no time:
//! then a removal from it lifts nothing, and waits in quarantine for a person.
//!
//! Before it has shown its key it posts no events, signed with a key that everybody knows.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit,
    form::Form, json, sample::samples, signature::Mac,
};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Kind, Origin},
    queue::Priority,
};

/// What Mandrill rejected was not sent because of its list: it echoes an older fact.
const EVENTS: &[json::Row] = &[
    ("unsub", Kind::Unsubscribed, None),
    ("spam", Kind::Complained, None),
    ("hard_bounce", Kind::Bounced, Some(BounceClass::Hard)),
    ("soft_bounce", Kind::Bounced, Some(BounceClass::Soft)),
    ("deferral", Kind::Bounced, Some(BounceClass::Soft)),
    ("reject", Kind::Bounced, Some(BounceClass::Block)),
    ("delivered", Kind::Delivered, None),
    ("open", Kind::Opened, None),
    ("click", Kind::Clicked, None),
    ("send", Kind::Other, None),
    ("inbound", Kind::Other, None),
];

/// Why an address was put on the list. A soft bounce is on it for a while only.
const LISTED: &[json::Row] = &[
    ("hard-bounce", Kind::Bounced, Some(BounceClass::Hard)),
    ("soft-bounce", Kind::Bounced, Some(BounceClass::Soft)),
    ("spam", Kind::Complained, None),
    ("unsub", Kind::Unsubscribed, None),
    ("custom", Kind::Suppressed, None),
];

const KEPT: &[&str] = &[
    "msg.tags",
    "msg.metadata",
    "msg.state",
    "msg.bounce_description",
    "msg.subaccount",
    "url",
    "action",
    "reject.detail",
    "reject.subaccount",
];

/// What tells one event from another beside its recipient. `_id` is the message's.
const IDENTITY: &[&str] = &[
    "_id",
    "event",
    "type",
    "action",
    "ts",
    "url",
    "reject.reason",
    "reject.created_at",
];

const FIELD: &str = "mandrill_events";
const HEADER: &str = "x-mandrill-signature";
const MAC: Mac = Mac::Sha1Base64;

/// By which the events that are none are signed, before there is a key.
const PROBE_KEY: &[u8] = b"test-webhook";

#[derive(Debug)]
pub(super) struct Mandrill;

/// What tells how urgent an event is. One of the list has a `type`.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

impl Provider for Mandrill {
    fn name(&self) -> &'static str {
        "mandrill"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret, Need::Url]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let given = request.header.get(HEADER).ok_or(Rejected)?;
        let url = keys.url.as_deref().ok_or(Rejected)?;
        let form = Form::encoded(request.body);
        let message = form.signed(url);
        if form.is_only(FIELD, "[]") && MAC.is(given, PROBE_KEY, &[&message]) {
            return Ok(());
        }
        MAC.check(given, keys, &[&message])
    }

    fn prove(&self, sample: &Sample, keys: &Keys, _now: Timestamp) -> Option<Proof> {
        let form = Form::encoded(sample.body().as_bytes());
        let mac = MAC.made(keys, &[&form.signed(keys.url.as_deref()?)])?;
        Some(Proof::by_header(HEADER, mac, sample))
    }

    fn priority(&self, body: &[u8]) -> Priority {
        let form = Form::glance(body);
        let events = form.first(FIELD).unwrap_or_default();
        json::priority(events.as_bytes(), |look: &Look<'_>| {
            look.kind.is_none() && json::low(EVENTS, &look.event)
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        // As it was when it was verified, whatever its content type says.
        let form = Form::encoded(&envelope.body);
        let events = form.first(FIELD);
        let events = events.ok_or_else(|| Malformed(format!("the form has no {FIELD}")))?;
        json::read_list(events.as_bytes(), "", |fields| {
            let draft = if fields.has("type") {
                listed(fields, envelope)
            } else {
                happened(fields, envelope)
            };
            vec![draft]
        })
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Mandrill",
            suits: &[Suit::Signature],
            steps: &[
                "Start ingress with this source first: Mandrill asks the URL before it saves it, and shows its key only then. Until then the secret may be anything.",
                "Settings > Webhooks: add one whose Post To URL is the URL, letter by letter, since it is part of what is signed.",
                "Tick Message is soft-bounced, bounced, marked as spam, recipient unsubscribes and rejected, and the changes of the rejection lists.",
                "Put the key that it shows in the place of the secret.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "mandrill": "unsub", "spam", "hard-bounce", "soft-bounce", "reject", "open", "click", "send",
            "blacklist-add", "blacklist-remove", "whitelist-add", "batch", "probe",
        )
    }
}

/// What happened to a message.
fn happened(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("event").unwrap_or_default();
    let (kind, class) = json::meaning(EVENTS, &name).unwrap_or((Kind::Other, None));
    let contact = json::needed(kind, class, fields.email("msg.email"))?;
    let occurred_at = fields.time("ts");
    let sent = IDENTITY.iter().map(|key| fields.text(key));
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    let reason = ["msg.diag", "msg.bounce_description"];
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: reason.iter().find_map(|key| fields.label(key)),
        origin: json::usual_origin(kind),
        message_id: fields.label("_id").or_else(|| fields.label("msg._id")),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

/// What changed on a list. The one of whom to send to in spite of all lifts nothing.
fn listed(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let list = fields.label("type").unwrap_or_default();
    let action = fields.label("action").unwrap_or_default();
    let reason = fields.label("reject.reason");
    let (kind, class) = match (list.as_str(), action.as_str()) {
        ("blacklist", "add" | "change") => {
            let why = reason.as_deref().unwrap_or_default();
            json::meaning(LISTED, why).unwrap_or((Kind::Suppressed, None))
        }
        ("blacklist", "remove") => (Kind::Resubscribed, None),
        _ => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, fields.email("reject.email"))?;
    let made = || fields.utc("reject.created_at").filter(|_| action == "add");
    let occurred_at = json::timed(kind, fields.time("ts").or_else(made), "ts")?;
    let sent = IDENTITY.iter().map(|key| fields.text(key));
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason,
        origin: match kind {
            Kind::Resubscribed => Origin::Customer,
            _ => json::usual_origin(kind),
        },
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, format!("{list} {action}"), identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{
        changed, changes, event, headers, malformed, parse, sample, what,
    };

    const URL: &str = "https://user:pass@hooks.example.com/webhooks/mandrill?x=y";

    fn body(name: &str) -> &'static str {
        sample(&Mandrill, name).body()
    }

    #[test]
    fn every_event_of_a_message_is_told_by_its_name() {
        for (name, kind, class) in EVENTS {
            let body = changed(
                body("unsub"),
                "%22event%22%3A%22unsub",
                &format!("%22event%22%3A%22{name}"),
            );
            let event = event(&Mandrill, &body);
            assert_eq!((event.kind, event.bounce_class), (*kind, *class), "{name}");
        }
    }

    #[test]
    fn a_change_of_the_rejection_list_is_told_by_its_reason() {
        for (reason, kind, class) in LISTED {
            let body = changed(body("blacklist-add"), "hard-bounce", reason);
            let event = event(&Mandrill, &body);
            assert_eq!(
                (event.kind, event.bounce_class),
                (*kind, *class),
                "{reason}"
            );
        }
        // Sent again late, one without a time would undo a newer opt-out.
        let removed = body("blacklist-remove");
        assert!(malformed(&Mandrill, removed).starts_with("ts must be a time"));
        let timed = changed(
            removed,
            "%22action%22",
            "%22ts%22%3A1461095250%2C%22action%22",
        );
        let removed = event(&Mandrill, &timed);
        assert!(!removed.time_assumed && changes(&removed).starts_with("global consent clear"));
        assert_eq!(
            what(&event(&Mandrill, body("whitelist-add"))),
            "other example.email@example.com"
        );
    }

    #[test]
    fn a_batch_is_read_element_by_element_and_none_by_none() {
        let results = parse(&Mandrill, body("batch")).unwrap();
        assert_eq!(
            what(results[0].as_ref().unwrap()),
            "opened recipient@example.com"
        );
        assert!(results[1].is_err());
        assert_eq!(
            what(results[2].as_ref().unwrap()),
            "unsubscribed recipient@example.com"
        );
        assert!(parse(&Mandrill, body("probe")).unwrap().is_empty());
        assert!(parse(&Mandrill, "x=y").is_err());
    }

    #[test]
    fn events_that_hide_behind_a_probe_are_neither_proven_nor_read() {
        let hidden = "mandrill_events=[]&y=--b\r\nContent-Disposition: form-data; name=\"mandrill_events\"\r\n\r\n\
            [{\"event\":\"unsub\",\"msg\":{\"email\":\"jane@example.com\"}}]\r\n--b--";
        let form = Form::encoded(hidden.as_bytes());
        let mac = MAC.of(PROBE_KEY, &[&form.signed(URL)]);
        let keys = Keys {
            secrets: vec!["the real one".into()],
            url: Some(URL.to_owned()),
            ..Keys::default()
        };
        let (header, now) = (headers([(HEADER, mac.as_str())]), Timestamp::UNIX_EPOCH);
        let request = Request::new(&header, hidden.as_bytes(), now);
        assert!(Mandrill.verify(&request, &keys).is_err());
        let mut envelope = sample(&Mandrill, "probe").envelope(uuid::Uuid::nil(), "shop", &[]);
        envelope.body = hidden.into();
        envelope.content_type = Some("multipart/form-data; boundary=b".to_owned());
        assert!(Mandrill.parse(&envelope).unwrap().is_empty());
    }

    #[test]
    fn the_probe_s_well_known_key_is_good_for_no_events_alone() {
        let keys = |secret: &str| Keys {
            secrets: vec![secret.into()],
            url: Some(URL.to_owned()),
            ..Keys::default()
        };
        for (name, right) in [("probe", true), ("unsub", false)] {
            let (sample, now) = (sample(&Mandrill, name), Timestamp::UNIX_EPOCH);
            let proof = Mandrill.prove(&sample, &keys("test-webhook"), now).unwrap();
            let header = headers([(HEADER, proof.headers[0].1.as_str())]);
            let (header, body) = (&header, sample.body().as_bytes());
            let verified = Mandrill.verify(&Request::new(header, body, now), &keys("the real one"));
            assert_eq!(verified.is_ok(), right, "{name}");
        }
    }
}
