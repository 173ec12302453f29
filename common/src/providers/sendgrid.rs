//! SendGrid: an array of events, signed by ECDSA over a time and the raw body. Nothing says whether a request that is sent
//! again is signed again, so the time is not looked at: a repeat is known by the event's id.
//!
//! The sender's own arguments stand beside SendGrid's fields.

use jiff::Timestamp;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    public_key::{self, ECDSA_P256_SHA256_ASN1},
    sample::samples,
};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Kind},
    queue::Priority,
};

/// A bounce has its type beside it. What was dropped was not sent because of SendGrid's own lists: it echoes an older
/// fact.
const EVENTS: &[json::Row] = &[
    ("unsubscribe", Kind::Unsubscribed, None),
    ("group_unsubscribe", Kind::Unsubscribed, None),
    ("group_resubscribe", Kind::Resubscribed, None),
    ("spamreport", Kind::Complained, None),
    ("bounce", Kind::Bounced, Some(BounceClass::Hard)),
    ("blocked", Kind::Bounced, Some(BounceClass::Block)),
    ("dropped", Kind::Bounced, Some(BounceClass::Block)),
    ("deferred", Kind::Bounced, Some(BounceClass::Soft)),
    ("delivered", Kind::Delivered, None),
    ("open", Kind::Opened, None),
    ("click", Kind::Clicked, None),
    ("processed", Kind::Other, None),
    ("account_status_change", Kind::Other, None),
];

const KEPT: &[&str] = &[
    "category",
    "type",
    "status",
    "attempt",
    "url",
    "asm_group_id",
    "bounce_classification",
];

/// The events that are of one group of the account's.
const OF_GROUP: [&str; 2] = ["group_unsubscribe", "group_resubscribe"];

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

#[derive(Debug)]
pub(super) struct SendGrid;

impl Provider for SendGrid {
    fn name(&self) -> &'static str {
        "sendgrid"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::PublicKey]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let header = |name| request.header.get(name).ok_or(Rejected);
        let message = [header(TIMESTAMP)?.as_bytes(), request.body].concat();
        let given = header(SIGNATURE)?;
        public_key::check(&ECDSA_P256_SHA256_ASN1, &keys.public_keys, &message, given)
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

    /// By a link or on the page of preferences:
    /// <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event#engagement-events>.
    fn says_recipient(&self, event: &Event) -> bool {
        json::is_choice(event)
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "SendGrid",
            suits: &[Suit::Signature],
            steps: &[
                "Settings > Mail Settings > Event Webhooks: create one with the URL.",
                "Tick Unsubscribed, Group Unsubscribes, Group Resubscribes, Spam Reports, Bounced and Dropped.",
                "Enable the Signed Event Webhook, save, and copy the verification key.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "sendgrid": "unsubscribe", "group-unsubscribe", "group-resubscribe", "spamreport", "bounce", "blocked",
            "dropped", "dropped-recorded", "deferred", "delivered", "open", "click", "processed", "batch",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("event").unwrap_or_default();
    let (kind, class) = match json::meaning(EVENTS, &name) {
        Some((Kind::Bounced, Some(BounceClass::Hard))) => (Kind::Bounced, Some(bounce(fields))),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, fields.email("email"))?;
    let occurred_at = json::timed(kind, fields.time("timestamp"), "timestamp")?;
    let sent = ["event", "timestamp", "sg_message_id", "smtp-id", "url"];
    let identity = json::identity(
        fields.label("sg_event_id"),
        sent.map(|key| fields.text(key)),
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    let group = fields
        .label("asm_group_id")
        .filter(|_| OF_GROUP.contains(&name.as_str()));
    // An opt-out of an unknown group is of all; who may be sent to again has to be certain.
    if kind == Kind::Resubscribed && group.is_none() {
        return Err(Malformed(
            "asm_group_id must say which group it is, and is missing".to_owned(),
        ));
    }
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: group,
        occurred_at,
        reason: fields.label("reason").or_else(|| fields.label("response")),
        origin: json::usual_origin(kind),
        message_id: fields.label("sg_message_id"),
        campaign_id: fields
            .label("marketing_campaign_id")
            .or_else(|| fields.label("singlesend_id")),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

fn bounce(fields: &json::Fields) -> BounceClass {
    match fields.text("type").as_deref() {
        Some("blocked") => BounceClass::Block,
        _ => BounceClass::Hard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{
        changed, changes, event, headers, malformed, parse, sample, what,
    };

    fn body(name: &str) -> &'static str {
        sample(&SendGrid, name).body()
    }

    #[test]
    fn the_request_of_sendgrid_s_own_library_is_right_to_its_last_byte() {
        let sample = sample(&SendGrid, "dropped-recorded");
        let keys = Keys {
            public_keys: vec![sample.public_key().unwrap().into()],
            ..Keys::default()
        };
        let header = headers(sample.headers());
        let verifies = |body: &str| {
            let (header, body, now) = (&header, body.as_bytes(), Timestamp::UNIX_EPOCH);
            SendGrid
                .verify(&Request::new(header, body, now), &keys)
                .is_ok()
        };
        assert!(verifies(sample.body()));
        let without = sample.body().strip_suffix("\r\n").unwrap();
        assert!(!verifies(without), "its last line end is signed, too");
    }

    #[test]
    fn an_unsubscribe_is_of_all_and_one_of_a_group_of_that() {
        assert_eq!(
            changes(&event(&SendGrid, body("unsubscribe"))),
            "global consent suppressed"
        );
        let group = event(&SendGrid, body("group-unsubscribe"));
        assert_eq!(changes(&group), "10 consent suppressed");
        let back = event(&SendGrid, body("group-resubscribe"));
        assert!(changes(&back).starts_with("10 consent clear"));
        let grouped = changed(
            body("unsubscribe"),
            "\"category\"",
            "\"asm_group_id\":10,\"category\"",
        );
        assert_eq!(
            changes(&event(&SendGrid, &grouped)),
            "global consent suppressed"
        );
        let none = changed(body("group-unsubscribe"), "asm_group_id", "x");
        assert_eq!(
            changes(&event(&SendGrid, &none)),
            "global consent suppressed"
        );
        let none = changed(body("group-resubscribe"), "asm_group_id", "x");
        assert!(malformed(&SendGrid, &none).starts_with("asm_group_id must say"));
    }

    #[test]
    fn what_was_blocked_or_dropped_suppresses_nobody() {
        assert_eq!(
            what(&event(&SendGrid, body("bounce"))),
            "bounced hard example@test.com"
        );
        for name in ["blocked", "dropped", "dropped-recorded"] {
            assert_eq!(changes(&event(&SendGrid, body(name))), "", "{name}");
        }
    }

    #[test]
    fn a_batch_is_read_element_by_element() {
        let results = parse(&SendGrid, body("batch")).unwrap();
        assert_eq!(
            what(results[0].as_ref().unwrap()),
            "opened example@test.com"
        );
        assert!(results[1].is_err());
        assert_eq!(
            what(results[2].as_ref().unwrap()),
            "unsubscribed example@test.com"
        );
    }
}
