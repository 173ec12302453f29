//! Resend: events of messages and of contacts, signed by Standard Webhooks with headers that begin with `svix-`.
//!
//! A contact that is updated to `unsubscribed` is its only opt-out. The opposite may be anybody's doing, and comes with
//! every other change of a contact, so it lifts nothing. An event of a message with several recipients does not say which
//! of them it is about: where it would suppress, it is kept for a person to look at.

use jiff::Timestamp;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    sample::samples, standard,
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Kind, has_effect},
    queue::Priority,
};

/// `contact.updated` is an unsubscribe if it says so; a bounce has its class beside it. What Resend did not send because
/// of its own list (`email.suppressed`) echoes an older fact.
const EVENTS: &[json::Row] = &[
    ("contact.updated", Kind::Unsubscribed, None),
    ("email.complained", Kind::Complained, None),
    ("email.bounced", Kind::Bounced, Some(BounceClass::Hard)),
    ("email.suppressed", Kind::Bounced, Some(BounceClass::Block)),
    (
        "email.delivery_delayed",
        Kind::Bounced,
        Some(BounceClass::Soft),
    ),
    ("email.failed", Kind::Other, None),
    ("email.delivered", Kind::Delivered, None),
    ("email.opened", Kind::Opened, None),
    ("email.clicked", Kind::Clicked, None),
    ("email.sent", Kind::Other, None),
    ("email.scheduled", Kind::Other, None),
    ("email.received", Kind::Other, None),
    ("contact.created", Kind::Other, None),
    ("contact.deleted", Kind::Other, None),
];

/// The `type` of a bounce.
const BOUNCES: &[(&str, BounceClass)] = &[
    ("Permanent", BounceClass::Hard),
    ("Transient", BounceClass::Soft),
    ("Undetermined", BounceClass::Undetermined),
];

const KEPT: &[&str] = &[
    "data.tags",
    "data.click.link",
    "data.bounce.subType",
    "data.audience_id",
];

#[derive(Debug)]
pub(super) struct Resend;

impl Provider for Resend {
    fn name(&self) -> &'static str {
        "resend"
    }

    fn headers(&self) -> &'static [&'static str] {
        standard::IDS
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        standard::verify(request, keys)
    }

    fn prove(&self, sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
        standard::prove(standard::SVIX, sample, keys, now)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &json::ByType<'_>| {
            json::low(EVENTS, &look.name)
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read_one(envelope, |fields| vec![draft(fields, envelope)])
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Resend",
            suits: &[Suit::Signature],
            steps: &[
                "Webhooks > Add Webhook: enter the URL.",
                "Choose contact.updated, email.bounced, email.complained and email.suppressed; email.delivered, email.opened and email.clicked to have these recorded.",
                "Copy the signing secret (whsec_...) from the webhook's page.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "resend": "contact-unsubscribed", "contact-updated", "complained", "bounced", "bounced-transient",
            "suppressed", "delivery-delayed", "delivered", "opened", "clicked", "sent",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("type").unwrap_or_default();
    let (kind, class) = match json::meaning(EVENTS, &name) {
        Some((Kind::Unsubscribed, _)) if fields.flag("data.unsubscribed") != Ok(true) => {
            (Kind::Other, None)
        }
        Some((Kind::Bounced, Some(BounceClass::Hard))) => (Kind::Bounced, Some(bounce(fields))),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, contact(fields, has_effect(kind, class)))?;
    // The message's own `created_at`, below `data`, is when it was written.
    let occurred_at = fields.time("created_at");
    let sent = ["type", "created_at", "data.email_id", "data.id"].map(|key| fields.text(key));
    let identity = json::identity(
        standard::id(envelope),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: fields.label("data.bounce.message"),
        origin: json::usual_origin(kind),
        message_id: fields.label("data.email_id"),
        campaign_id: fields.label("data.broadcast_id"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

/// Resend calls only what is refused for good a bounce, where it says nothing more.
fn bounce(fields: &json::Fields) -> BounceClass {
    let Some(stated) = fields.text("data.bounce.type") else {
        return BounceClass::Hard;
    };
    let found = BOUNCES
        .iter()
        .find(|row| row.0.eq_ignore_ascii_case(&stated));
    found.map_or(BounceClass::Undetermined, |row| row.1)
}

fn contact(fields: &json::Fields, certain: bool) -> Result<Contact, Malformed> {
    if fields.has("data.email") {
        return fields.email("data.email");
    }
    let others = ["data.to.1", "data.cc.0", "data.bcc.0"];
    if certain && others.iter().any(|other| fields.has(other)) {
        return Err(Malformed(
            "the message has several recipients, and the event does not say which of them it is about"
                .to_owned(),
        ));
    }
    fields.email(if fields.has("data.to.0") {
        "data.to.0"
    } else {
        "data.to"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changes, event, malformed, sample, what, with};
    use serde_json::json;

    fn body(name: &str) -> &'static str {
        sample(&Resend, name).body()
    }

    fn told(body: &str) -> String {
        what(&event(&Resend, body))
    }

    #[test]
    fn only_a_contact_that_is_updated_to_unsubscribed_opts_out_and_nothing_lifts() {
        let event = event(&Resend, body("contact-unsubscribed"));
        assert_eq!(changes(&event), "global consent suppressed");
        assert_eq!(
            told(body("contact-updated")),
            "other steve.wozniak@example.com"
        );
        let unclear = body("contact-unsubscribed").replace("true", "\"true\"");
        assert_eq!(told(&unclear), "other steve.wozniak@example.com");
    }

    #[test]
    fn a_bounce_is_hard_unless_its_type_says_otherwise() {
        let of = |kind: serde_json::Value| {
            let body: serde_json::Value = serde_json::from_str(body("bounced")).unwrap();
            let mut data = body["data"].clone();
            data["bounce"]["type"] = kind;
            told(&with(&body.to_string(), "data", data))
        };
        assert_eq!(of(json!("Permanent")), "bounced hard delivered@example.com");
        assert_eq!(of(json!("Transient")), "bounced soft delivered@example.com");
        assert_eq!(
            of(json!("Moon")),
            "bounced undetermined delivered@example.com"
        );
        assert_eq!(of(json!(null)), "bounced hard delivered@example.com");
    }

    #[test]
    fn what_would_suppress_one_of_several_recipients_is_kept_for_a_person() {
        let two = body("bounced").replace(
            "\"delivered@example.com\"",
            "\"delivered@example.com\",\"b@c.example\"",
        );
        assert!(malformed(&Resend, &two).starts_with("the message has several recipients"));
        let open = body("opened").replace(
            "\"delivered@example.com\"",
            "\"delivered@example.com\",\"b@c.example\"",
        );
        assert_eq!(told(&open), "opened delivered@example.com");
    }
}
