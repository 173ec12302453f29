//! Postal: events of messages, signed by the server's private RSA key. It knows no unsubscribes.
//!
//! What came in, as its direction says, is no event of a recipient of ours.

use jiff::Timestamp;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    public_key::{self, RSA_SHA1},
    sample::samples,
};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
};

/// A message that failed for good has its address put on Postal's own list; one that is held is so because of that list
/// or another rule, and echoes an older fact. A bounce that came back later does not say whether it is for good.
const EVENTS: &[json::Row] = &[
    (
        "MessageDeliveryFailed",
        Kind::Bounced,
        Some(BounceClass::Hard),
    ),
    (
        "MessageBounced",
        Kind::Bounced,
        Some(BounceClass::Undetermined),
    ),
    ("MessageDelayed", Kind::Bounced, Some(BounceClass::Soft)),
    ("MessageHeld", Kind::Bounced, Some(BounceClass::Block)),
    ("MessageSent", Kind::Delivered, None),
    ("MessageLoaded", Kind::Opened, None),
    ("MessageLinkClicked", Kind::Clicked, None),
    ("DomainDNSError", Kind::Other, None),
    ("SendLimitApproaching", Kind::Other, None),
    ("SendLimitExceeded", Kind::Other, None),
];

const KEPT: &[&str] = &[
    "payload.message.tag",
    "payload.status",
    "payload.output",
    "payload.url",
];

const HEADER: &str = "x-postal-signature";

#[derive(Debug)]
pub(super) struct Postal;

impl Provider for Postal {
    fn name(&self) -> &'static str {
        "postal"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::PublicKey]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let given = request.header.get(HEADER).ok_or(Rejected)?;
        public_key::check(&RSA_SHA1, &keys.public_keys, request.body, given)
    }

    fn prove(&self, sample: &Sample, keys: &Keys, _now: Timestamp) -> Option<Proof> {
        Proof::recorded(sample, keys)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &json::ByEvent<'_>| {
            json::low(EVENTS, &look.event)
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read(envelope, |fields| draft(fields, envelope))
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Postal",
            suits: &[Suit::Signature],
            steps: &[
                "Your mail server > Webhooks: add one with the URL.",
                "Tick MessageBounced and MessageDeliveryFailed; MessageSent, MessageLoaded and MessageLinkClicked to have these recorded.",
                "The public key is what stands behind p= in what `postal default-dkim-record` prints.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "postal": "failed", "bounced", "delayed", "held", "sent", "loaded", "clicked", "incoming",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("event").unwrap_or_default();
    // A bounce that came back stands beside the message that it is about.
    let original = fields.has("payload.original_message");
    let at = |key: &str| {
        let message = if original {
            "original_message"
        } else {
            "message"
        };
        format!("payload.{message}.{key}")
    };
    let incoming = fields.text(&at("direction")).as_deref() == Some("incoming");
    let (kind, class) = match json::meaning(EVENTS, &name) {
        _ if incoming => (Kind::Other, None),
        Some((Kind::Bounced, _)) if original => (Kind::Bounced, Some(BounceClass::Undetermined)),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, fields.email(&at("to")))?;
    let occurred_at = fields.time("timestamp");
    let sent = ["event", "timestamp", &at("id")].map(|key| fields.text(key));
    let identity = json::identity(
        fields.label("uuid"),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: fields.label("payload.details"),
        origin: json::usual_origin(kind),
        message_id: fields.label(&at("message_id")),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{event, sample, what};

    fn told(body: &str) -> String {
        what(&event(&Postal, body))
    }

    #[test]
    fn every_event_is_told_by_its_name() {
        let body = sample(&Postal, "failed").body();
        for (name, kind, class) in EVENTS {
            let event = event(&Postal, &body.replace("MessageDeliveryFailed", name));
            assert_eq!((event.kind, event.bounce_class), (*kind, *class), "{name}");
        }
    }

    #[test]
    fn a_bounce_that_came_back_is_about_the_recipient_of_the_message() {
        let body = sample(&Postal, "bounced").body();
        assert_eq!(told(body), "bounced undetermined bounce@example.com");
        let delayed = body.replace("MessageBounced", "MessageDelayed");
        assert_eq!(told(&delayed), "bounced undetermined bounce@example.com");
    }

    #[test]
    fn what_came_in_is_no_event_of_a_recipient_and_a_display_name_is_no_obstacle() {
        assert_eq!(
            told(sample(&Postal, "incoming").body()),
            "other incoming@example.com"
        );
        let display = sample(&Postal, "failed").body();
        let display = display.replace("failed@example.com", "Ann <Failed@Example.com>");
        assert_eq!(told(&display), "bounced hard failed@example.com");
    }
}
