//! Standard Webhooks: any sender that signs by the standard and writes `type`, `timestamp` and `data`; another Optout among
//! them, whose targets and endpoints are sent the same.
//!
//! The standard fixes no event names. The last part of a dotted one is looked up: `contact.unsubscribed` is an
//! unsubscribe. A sender with other names or fields is described by `generic`.

use jiff::Timestamp;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    sample::samples, standard,
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Kind, Origin},
    queue::Priority,
};

const EVENTS: &[json::Row] = &[
    ("unsubscribed", Kind::Unsubscribed, None),
    ("unsubscribe", Kind::Unsubscribed, None),
    ("opted_out", Kind::Unsubscribed, None),
    ("resubscribed", Kind::Resubscribed, None),
    ("complained", Kind::Complained, None),
    ("complaint", Kind::Complained, None),
    ("spam_complaint", Kind::Complained, None),
    ("bounced", Kind::Bounced, Some(BounceClass::Undetermined)),
    ("bounce", Kind::Bounced, Some(BounceClass::Undetermined)),
    ("hard_bounced", Kind::Bounced, Some(BounceClass::Hard)),
    ("hard_bounce", Kind::Bounced, Some(BounceClass::Hard)),
    ("soft_bounced", Kind::Bounced, Some(BounceClass::Soft)),
    ("soft_bounce", Kind::Bounced, Some(BounceClass::Soft)),
    ("suppressed", Kind::Suppressed, None),
    ("delivered", Kind::Delivered, None),
    ("opened", Kind::Opened, None),
    ("clicked", Kind::Clicked, None),
];

/// Where the address may stand; an Optout's is `recipient`.
const EMAILS: &[&str] = &["data.email", "data.recipient", "email", "recipient"];
const PHONES: &[&str] = &["data.phone", "data.phone_number", "phone"];

#[derive(Debug)]
pub(super) struct StandardWebhooks;

impl Provider for StandardWebhooks {
    fn name(&self) -> &'static str {
        "standard_webhooks"
    }

    fn headers(&self) -> &'static [&'static str] {
        standard::IDS
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::SecretOrPublicKey]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        standard::verify(request, keys)
    }

    fn prove(&self, sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
        standard::prove(standard::WEBHOOK, sample, keys, now)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &json::ByType<'_>| {
            json::low(EVENTS, json::last(&look.name))
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read_one(envelope, |fields| vec![draft(fields, envelope)])
    }

    /// Only where it is said.
    fn says_recipient(&self, event: &Event) -> bool {
        json::is_choice(event) && event.origin == Origin::Recipient
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "the sender",
            suits: &[Suit::SignatureByOurs],
            steps: &[
                "Register the URL at the sender; at another Optout by POST /api/emails/webhook-endpoints/.",
                "Enter the secret there; where the sender makes its own, give that as --set secret=..., or its public key as --set public_key=...",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "standard_webhooks": "unsubscribed", "resubscribed", "complained", "bounced", "sms-unsubscribed",
            "optout-bounced", "clicked", "other",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("type").unwrap_or_default();
    let (kind, class) = json::meaning(EVENTS, json::last(&name)).unwrap_or((Kind::Other, None));
    let first = |keys: [&str; 2]| keys.into_iter().find_map(|key| fields.label(key));
    let stated = first(["data.bounce_class", "bounce_class"]).and_then(|class| class.parse().ok());
    let class = class.map(|class| stated.unwrap_or(class));
    let contact = json::needed(kind, class, contact(fields))?;
    let occurred_at = json::timed(kind, fields.time("timestamp"), "timestamp")?;
    let sent = ["type", "timestamp", "id", "data.id"].map(|key| fields.text(key));
    let identity = json::identity(
        standard::id(envelope),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    let origin = first(["data.origin", "origin"]).and_then(|origin| origin.parse().ok());
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: first(["data.scope", "scope"]),
        occurred_at,
        reason: first(["data.reason", "reason"]),
        origin: origin.unwrap_or_else(|| match kind {
            Kind::Unsubscribed | Kind::Resubscribed => Origin::Unknown,
            _ => json::usual_origin(kind),
        }),
        message_id: first(["data.message_id", "sent_email_id"]),
        campaign_id: first(["data.campaign_id", "campaign_id"]),
        metadata: fields.object("data"),
        ..Draft::new(kind, name, identity)
    })
}

fn contact(fields: &json::Fields) -> Result<Contact, Malformed> {
    let there = |keys: &[&'static str]| keys.iter().copied().find(|key| fields.has(key));
    if let Some(key) = there(PHONES).filter(|_| there(EMAILS).is_none()) {
        return fields.phone(key);
    }
    match there(EMAILS) {
        // What another Optout tells of may be a phone number.
        Some(key) if fields.text(key).is_some_and(|text| text.starts_with('+')) => {
            fields.phone(key)
        }
        found => fields.email(found.unwrap_or("data.email")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changes, event, malformed, sample, what};

    fn body(name: &str) -> &'static str {
        sample(&StandardWebhooks, name).body()
    }

    #[test]
    fn the_last_part_of_the_name_tells_what_happened() {
        let told = |name: &str| what(&event(&StandardWebhooks, body(name)));
        assert_eq!(told("unsubscribed"), "unsubscribed jane@example.com");
        assert_eq!(told("sms-unsubscribed"), "unsubscribed +15551234567");
        assert_eq!(told("bounced"), "bounced undetermined jane@example.com");
        let renamed = body("unsubscribed").replace("contact.unsubscribed", "Contact.Unsubscribe");
        assert_eq!(
            what(&event(&StandardWebhooks, &renamed)),
            "unsubscribed jane@example.com"
        );
        assert_eq!(told("other"), "other");
        let both = r#"{"type":"contact.unsubscribed","data":{"recipient":"jane@example.com","phone":"+15551234567"}}"#;
        assert_eq!(
            what(&event(&StandardWebhooks, both)),
            "unsubscribed jane@example.com"
        );
    }

    #[test]
    fn what_another_optout_tells_keeps_its_class_scope_and_origin() {
        let event = event(&StandardWebhooks, body("optout-bounced"));
        assert_eq!(what(&event), "bounced hard jane@example.com");
        assert_eq!(event.origin, Origin::Provider);
        assert_eq!(changes(&event), "global deliverability suppressed");
        let class = body("optout-bounced").replace("\"hard\"", "\"soft\"");
        assert_eq!(changes(&of(&class)), "");
    }

    fn of(body: &str) -> crate::event::Event {
        event(&StandardWebhooks, body)
    }

    #[test]
    fn a_reactivation_without_a_time_is_refused_and_an_opt_out_is_not() {
        let untimed = body("resubscribed").replace("2026-04-02T14:30:00Z", "soon");
        assert!(malformed(&StandardWebhooks, &untimed).starts_with("timestamp must be a time"));
        let opt_out = untimed.replace("resubscribed", "unsubscribed");
        assert!(of(&opt_out).time_assumed);
    }
}
