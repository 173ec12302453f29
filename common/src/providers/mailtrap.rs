//! Mailtrap: events in an array under `events`, signed by an HMAC of the body. An unsubscribe is of one sending stream.

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    sample::samples, signature::Mac,
};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
};

/// What was suspended or rejected was not sent because of Mailtrap's own rules and lists: it echoes an older fact.
const EVENTS: &[json::Row] = &[
    ("unsubscribe", Kind::Unsubscribed, None),
    ("spam", Kind::Complained, None),
    ("bounce", Kind::Bounced, Some(BounceClass::Hard)),
    ("soft bounce", Kind::Bounced, Some(BounceClass::Soft)),
    ("suspension", Kind::Bounced, Some(BounceClass::Block)),
    ("reject", Kind::Bounced, Some(BounceClass::Block)),
    ("delivery", Kind::Delivered, None),
    ("open", Kind::Opened, None),
    ("click", Kind::Clicked, None),
];

const KEPT: &[&str] = &[
    "category",
    "custom_variables",
    "response_code",
    "bounce_category",
    "url",
];

/// Hex.
const MAC: Mac = Mac::Sha256Hex;
const HEADER: &str = "mailtrap-signature";

#[derive(Debug)]
pub(super) struct Mailtrap;

/// What tells how urgent the events are.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    events: Vec<json::ByEvent<'a>>,
}

impl Provider for Mailtrap {
    fn name(&self) -> &'static str {
        "mailtrap"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let given = request.header.get(HEADER).ok_or(Rejected)?;
        MAC.check(given, keys, &[request.body])
    }

    fn prove(&self, sample: &Sample, keys: &Keys, _now: Timestamp) -> Option<Proof> {
        let mac = MAC.made(keys, &[sample.body().as_bytes()])?;
        Some(Proof::by_header(HEADER, mac, sample))
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &Look<'_>| {
            let low = |named: &json::ByEvent<'_>| json::low(EVENTS, &named.event);
            !look.events.is_empty() && look.events.iter().all(low)
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read_list(&envelope.body, "events", |fields| {
            vec![draft(fields, envelope)]
        })
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Mailtrap",
            suits: &[Suit::Signature, Suit::BasicInUrl],
            steps: &[
                "Settings > Webhooks: create one for email sending with the URL and the format JSON, for each stream.",
                "Tick Unsubscribe, Spam complaint, Bounce, Soft bounce, Suspension and Reject.",
                "Copy the signature key that it shows, unless a user and a password stand in the URL.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "mailtrap": "unsubscribe", "spam", "bounce", "soft-bounce", "suspension", "reject", "delivery", "open",
            "click", "batch",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("event").unwrap_or_default();
    let (kind, class) = json::meaning(EVENTS, &name).unwrap_or((Kind::Other, None));
    let contact = json::needed(kind, class, fields.email("email"))?;
    let occurred_at = fields.time("timestamp");
    let sent = ["event", "timestamp", "message_id", "url"].map(|key| fields.text(key));
    let identity = json::identity(
        fields.label("event_id"),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: fields.label("sending_stream"),
        occurred_at,
        reason: fields.label("response").or_else(|| fields.label("reason")),
        origin: json::usual_origin(kind),
        message_id: fields.label("message_id"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changes, event, parse, sample, what};

    #[test]
    fn every_event_is_told_by_its_name() {
        let body = sample(&Mailtrap, "unsubscribe").body();
        for (name, kind, class) in EVENTS {
            let event = event(
                &Mailtrap,
                &body.replace("\"unsubscribe\"", &format!("\"{name}\"")),
            );
            assert_eq!((event.kind, event.bounce_class), (*kind, *class), "{name}");
        }
        assert_eq!(changes(&event(&Mailtrap, body)), "bulk consent suppressed");
    }

    #[test]
    fn a_batch_is_read_element_by_element() {
        let results = parse(&Mailtrap, sample(&Mailtrap, "batch").body()).unwrap();
        assert_eq!(
            what(results[0].as_ref().unwrap()),
            "opened receiver@example.com"
        );
        let why = &results[1].as_ref().unwrap_err().0;
        assert_eq!(
            why,
            "email must be a text with one email address, and is missing"
        );
        assert_eq!(
            what(results[2].as_ref().unwrap()),
            "complained receiver@example.com"
        );
        let why = parse(&Mailtrap, "{}").unwrap().remove(0).unwrap_err();
        assert_eq!(why.0, "the body has no events");
        assert!(parse(&Mailtrap, r#"{"events":[]}"#).unwrap().is_empty());
    }
}
