//! MailerSend: one activity a request, signed by an HMAC of the body. It waits three seconds and tries again twice.

use jiff::Timestamp;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    sample::samples, signature::Mac,
};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
};

/// The names of `data.type`; `type` has `activity.` before them.
const EVENTS: &[json::Row] = &[
    ("unsubscribed", Kind::Unsubscribed, None),
    ("spam_complaint", Kind::Complained, None),
    ("hard_bounced", Kind::Bounced, Some(BounceClass::Hard)),
    ("soft_bounced", Kind::Bounced, Some(BounceClass::Soft)),
    ("deferred", Kind::Bounced, Some(BounceClass::Soft)),
    ("delivered", Kind::Delivered, None),
    ("opened", Kind::Opened, None),
    ("opened_unique", Kind::Opened, None),
    ("clicked", Kind::Clicked, None),
    ("clicked_unique", Kind::Clicked, None),
    ("survey_opened", Kind::Other, None),
    ("survey_submitted", Kind::Other, None),
    ("sent", Kind::Other, None),
];

const KEPT: &[&str] = &[
    "data.email.tags",
    "data.morph.object",
    "data.morph.url",
    "domain_id",
];

/// Hex, in the header `signature`.
const MAC: Mac = Mac::Sha256Hex;

#[derive(Debug)]
pub(super) struct MailerSend;

impl Provider for MailerSend {
    fn name(&self) -> &'static str {
        "mailersend"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let given = request.header.get("signature").ok_or(Rejected)?;
        MAC.check(given, keys, &[request.body])
    }

    fn prove(&self, sample: &Sample, keys: &Keys, _now: Timestamp) -> Option<Proof> {
        let mac = MAC.made(keys, &[sample.body().as_bytes()])?;
        Some(Proof::by_header("signature", mac, sample))
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &json::ByType<'_>| {
            json::low(EVENTS, short(&look.name))
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read(envelope, |fields| draft(fields, envelope))
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "MailerSend",
            suits: &[Suit::Signature],
            steps: &[
                "Domains > your domain > Webhooks: create one with the URL.",
                "Tick activity.unsubscribed, activity.spam_complaint, activity.hard_bounced and activity.soft_bounced.",
                "Copy the signing secret that it shows.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "mailersend": "unsubscribed", "spam-complaint", "hard-bounced", "soft-bounced", "delivered", "opened",
            "clicked", "sent",
        )
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("activity.").unwrap_or(name)
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("type").or_else(|| fields.label("data.type"));
    let name = name.unwrap_or_default();
    let (kind, class) = json::meaning(EVENTS, short(&name)).unwrap_or((Kind::Other, None));
    let contact = fields.email("data.email.recipient.email");
    let contact = json::needed(kind, class, contact)?;
    let time = ["data.created_at", "created_at"];
    let occurred_at = time.iter().find_map(|key| fields.time(key));
    let sent = ["type", "data.created_at", "data.email.message.id"].map(|key| fields.text(key));
    let identity = json::identity(
        fields.label("data.id"),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    let reason = ["data.morph.readable_reason", "data.morph.reason"];
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: reason.iter().find_map(|key| fields.label(key)),
        origin: json::usual_origin(kind),
        message_id: fields.label("data.email.message.id"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{event, sample, what};

    #[test]
    fn every_activity_is_told_by_its_type_with_or_without_what_stands_before_it() {
        let body = sample(&MailerSend, "unsubscribed").body();
        for (name, kind, class) in EVENTS {
            for before in ["activity.", ""] {
                let body = body.replace("activity.unsubscribed", &format!("{before}{name}"));
                let event = event(&MailerSend, &body);
                assert_eq!((event.kind, event.bounce_class), (*kind, *class), "{name}");
            }
        }
        let event = event(
            &MailerSend,
            &body.replace("activity.unsubscribed", "maintenance.start"),
        );
        assert_eq!(what(&event), "other recipient@example.com");
    }

    #[test]
    fn what_is_null_leaves_the_rest_readable() {
        let body = r#"{"type":"activity.hard_bounced","data":{"id":"1","morph":null,"email":{"tags":null,"recipient":{"email":"a@b.example"}}}}"#;
        let event = event(&MailerSend, body);
        assert_eq!(what(&event), "bounced hard a@b.example");
        assert!(event.time_assumed && event.reason.is_none());
    }
}
