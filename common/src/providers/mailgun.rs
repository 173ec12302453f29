//! Mailgun: one event a request, as JSON, or as a form by the webhooks before those. Its
//! [signature](super::mailgun_signature) shows who called and not what they said.

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Refusals, Rejected, Request, Sample,
    Suit,
    form::Form,
    json,
    mailgun_signature::{self, SIGNED, is_json},
    sample::samples,
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Kind},
    queue::Priority,
};

/// A failure has its severity and its reason beside it. `bounced` and `dropped` are of the forms.
const EVENTS: &[json::Row] = &[
    ("unsubscribed", Kind::Unsubscribed, None),
    ("complained", Kind::Complained, None),
    ("failed", Kind::Bounced, Some(BounceClass::Undetermined)),
    ("bounced", Kind::Bounced, Some(BounceClass::Undetermined)),
    ("dropped", Kind::Bounced, Some(BounceClass::Undetermined)),
    ("rejected", Kind::Bounced, Some(BounceClass::Block)),
    ("delivered", Kind::Delivered, None),
    ("opened", Kind::Opened, None),
    ("clicked", Kind::Clicked, None),
    ("accepted", Kind::Other, None),
    ("stored", Kind::Other, None),
    ("list_member_uploaded", Kind::Other, None),
];

const KEPT: &[&str] = &[
    "tags",
    "user-variables",
    "severity",
    "delivery-status.code",
    "url",
    "mailing-list",
    "code",
    "tag",
];

/// What tells one event from another: an id is unique within a day only. `token` is of the forms.
const IDENTITY: &[&str] = &["id", "event", "timestamp", "Message-Id", "url", "token"];

#[derive(Debug)]
pub(super) struct Mailgun;

/// What tells how urgent an event is.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow, rename = "event-data")]
    data: json::ByEvent<'a>,
}

impl Provider for Mailgun {
    fn name(&self) -> &'static str {
        "mailgun"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        mailgun_signature::verify(request, keys)
    }

    fn token(&self, envelope: &Envelope) -> Option<String> {
        mailgun_signature::token(envelope)
    }

    fn prove(&self, sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
        mailgun_signature::prove(sample, keys, now)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        if is_json(body) {
            return json::priority(body, |look: &Look<'_>| json::low(EVENTS, &look.data.event));
        }
        match Form::glance(body).first("event") {
            Some(name) if json::low(EVENTS, name) => Priority::Bulk,
            _ => Priority::Urgent,
        }
    }

    /// 406 ends Mailgun's tries.
    fn refusals(&self) -> Refusals {
        Refusals {
            disabled: 406,
            ..Refusals::default()
        }
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        if is_json(&envelope.body) {
            return json::read_list(&envelope.body, "event-data", |fields| {
                vec![draft(fields, envelope, failure(fields))]
            });
        }
        let form = Form::read(&envelope.body, envelope.content_type.as_deref())?;
        let fields = form.into_fields_by_last(&SIGNED);
        if !fields.has("event") {
            return Err(Malformed("the form has no event".to_owned()));
        }
        Ok(vec![draft(&fields, envelope, failure_of_form(&fields))])
    }

    /// By the link in a mail: <https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-types>.
    fn says_recipient(&self, event: &Event) -> bool {
        json::is_choice(event)
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Mailgun",
            suits: &[Suit::Signature],
            steps: &[
                "Send > Sending > Webhooks, for each domain: add this URL for Unsubscribes, Spam complaints, Permanent failure and Temporary failure.",
                "Copy the HTTP webhook signing key from the account's API security page; it is not the API key.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "mailgun": "unsubscribed", "complained", "failed-permanent", "failed-temporary", "failed-suppressed",
            "rejected", "delivered", "opened", "clicked", "accepted", "form-unsubscribed", "form-complained",
            "form-bounced", "form-dropped", "form-opened", "form-multipart",
        )
    }
}

fn draft(
    fields: &json::Fields,
    envelope: &Envelope,
    failure: BounceClass,
) -> Result<Draft, Malformed> {
    let name = fields.label("event").unwrap_or_default();
    let (kind, class) = match json::meaning(EVENTS, &name) {
        Some((Kind::Bounced, Some(BounceClass::Undetermined))) => (Kind::Bounced, Some(failure)),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, contact(fields))?;
    let occurred_at = fields.time("timestamp");
    let sent = IDENTITY.iter().map(|key| fields.text(key));
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    let first = |keys: &[&str]| keys.iter().find_map(|key| fields.label(key));
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: first(&["mailing-list.address", "mailing-list"]),
        occurred_at,
        reason: first(&[
            "delivery-status.message",
            "delivery-status.description",
            "error",
            "description",
            "reason",
        ]),
        origin: json::usual_origin(kind),
        message_id: first(&["message.headers.message-id", "Message-Id"]),
        campaign_id: first(&["campaigns.0.id", "campaign-id"]),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

/// What was refused because of Mailgun's own lists echoes an older fact.
fn failure(fields: &json::Fields) -> BounceClass {
    let reason = fields.text("reason").unwrap_or_default();
    match (fields.text("severity").as_deref(), reason.as_str()) {
        (_, reason) if reason.starts_with("suppress-") => BounceClass::Block,
        (Some("temporary"), _) | (_, "old") => BounceClass::Soft,
        (_, "espblock") => BounceClass::Block,
        (_, "bounce") => BounceClass::Hard,
        _ => BounceClass::Undetermined,
    }
}

/// The codes of the forms: of SMTP, with or without dots, and some of Mailgun's own for what it did not try.
fn failure_of_form(fields: &json::Fields) -> BounceClass {
    let code = fields.text("code").unwrap_or_default();
    match (fields.text("reason").as_deref(), code.trim()) {
        (_, "605" | "607") => BounceClass::Block,
        (Some("old"), _) | (_, "499") => BounceClass::Soft,
        (_, code) if code.starts_with('4') => BounceClass::Soft,
        (_, code) if code.starts_with("5.7") => BounceClass::Block,
        (_, code) if code.starts_with('5') => BounceClass::Hard,
        _ => BounceClass::Undetermined,
    }
}

/// What was rejected has no recipient but in the message's head.
fn contact(fields: &json::Fields) -> Result<Contact, Malformed> {
    if fields.has("recipient") || !fields.has("message.headers.to") {
        fields.email("recipient")
    } else {
        fields.email("message.headers.to")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changed, changes, event, headers, sample, what};

    fn body(name: &str) -> &'static str {
        sample(&Mailgun, name).body()
    }

    fn told(body: &str) -> String {
        what(&event(&Mailgun, body))
    }

    #[test]
    fn a_failure_is_told_by_its_severity_and_its_reason() {
        let of = |severity: &str, reason: &str| {
            let body = changed(
                body("failed-permanent"),
                "\"permanent\"",
                &format!("\"{severity}\""),
            );
            let body = changed(
                &body,
                "\"reason\":\"bounce\"",
                &format!("\"reason\":\"{reason}\""),
            );
            event(&Mailgun, &body).bounce_class.unwrap().as_str()
        };
        assert_eq!(of("permanent", "bounce"), "hard");
        assert_eq!(of("permanent", "generic"), "undetermined");
        assert_eq!(of("permanent", "suppress-unsubscribe"), "block");
        assert_eq!(of("permanent", "old"), "soft");
        assert_eq!(of("temporary", "generic"), "soft");
    }

    #[test]
    fn a_bounce_of_a_form_is_told_by_its_code() {
        let of = |code: &str| {
            let body = changed(body("form-bounced"), "code=550", &format!("code={code}"));
            event(&Mailgun, &body).bounce_class.unwrap().as_str()
        };
        assert_eq!(
            [of("550"), of("5.1.1"), of("605"), of("452"), of("")],
            ["hard", "hard", "block", "soft", "undetermined"]
        );
    }

    #[test]
    fn a_field_that_the_sender_set_takes_the_place_of_none_of_mailgun_s() {
        let more = format!(
            "{}&recipient=other@example.com&event=opened",
            body("form-unsubscribed")
        );
        assert_eq!(told(&more), "unsubscribed alice@example.com");
        let dated = format!("timestamp=1300000000&{}", body("form-unsubscribed"));
        let (own, plain) = (
            event(&Mailgun, &dated),
            event(&Mailgun, body("form-unsubscribed")),
        );
        assert_eq!((own.occurred_at, own.id), (plain.occurred_at, plain.id));
        let keys = Keys {
            secrets: vec!["key-3ax6xnjp29jd6fds4gc373sgvjxteol0".into()],
            ..Keys::default()
        };
        let (sample, now) = (sample(&Mailgun, "form-unsubscribed"), Timestamp::UNIX_EPOCH);
        let proven = Mailgun.prove(&sample, &keys, now).unwrap().body;
        let verifies = |body: &str| {
            let (header, body) = (&headers([]), body.as_bytes());
            Mailgun
                .verify(&Request::new(header, body, now), &keys)
                .is_ok()
        };
        assert!(verifies(&format!("token=mine&{proven}")));
        assert!(!verifies(&format!("{proven}&token=mine")));
    }

    #[test]
    fn a_form_in_parts_is_read_and_what_was_rejected_is_about_who_stands_in_the_head() {
        let sample = sample(&Mailgun, "form-multipart");
        let envelope = sample.envelope(uuid::Uuid::nil(), "shop", &[]);
        let draft = Mailgun.parse(&envelope).unwrap().remove(0).unwrap();
        assert_eq!(draft.bounce_class, Some(BounceClass::Hard));
        assert_eq!(told(body("rejected")), "bounced block alice@example.com");
        assert_eq!(changes(&event(&Mailgun, body("rejected"))), "");
    }
}
