//! SentinMail: five kinds of events, each with an id of its own, no signature, and no word on whether a bounce is for
//! good.

use super::{Guide, Malformed, Parsed, Provider, Sample, Suit, json, sample::samples};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
};

const EVENTS: &[json::Row] = &[
    ("unsubscribed", Kind::Unsubscribed, None),
    ("bounced", Kind::Bounced, Some(BounceClass::Undetermined)),
    ("delivered", Kind::Delivered, None),
    ("opened", Kind::Opened, None),
    ("clicked", Kind::Clicked, None),
];

#[derive(Debug)]
pub(super) struct SentinMail;

impl Provider for SentinMail {
    fn name(&self) -> &'static str {
        "sentinmail"
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &json::ByType<'_>| {
            json::low(EVENTS, &look.name)
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read(envelope, |fields| draft(fields, envelope))
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "SentinMail",
            suits: &[Suit::Query, Suit::BasicInUrl],
            steps: &[
                "Register the URL as a webhook endpoint: POST /api/emails/webhook-endpoints/ with your X-API-Key, the url and the events.",
                "Ask at least for \"unsubscribed\" and \"bounced\".",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!("sentinmail": "unsubscribed", "bounced", "opened", "clicked", "delivered", "batch", "complained")
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("type").unwrap_or_default();
    let (kind, class) = json::meaning(EVENTS, &name).unwrap_or((Kind::Other, None));
    let contact = json::needed(kind, class, fields.email("recipient"))?;
    let occurred_at = fields.time("timestamp");
    let metadata = fields.object("metadata");
    let sent = ["type", "timestamp", "sent_email_id", "campaign_id"].map(|key| fields.text(key));
    // Two clicks of one second differ in nothing but their metadata.
    let other = serde_json::to_string(&metadata).ok();
    let identity = json::identity(
        fields.label("id"),
        sent.into_iter().chain([other]),
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        origin: json::usual_origin(kind),
        message_id: fields.label("sent_email_id"),
        campaign_id: fields.label("campaign_id"),
        metadata,
        ..Draft::new(kind, name, identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Undetermined,
        providers::sample::reading::{changes, envelope, event, malformed, parse, sample},
    };

    fn changed(from: &str, to: &str) -> String {
        let body = sample(&SentinMail, "opened").body();
        assert!(body.contains(from), "{from}");
        body.replace(from, to)
    }

    // rows: SM-7, SM-12, SM-13, SM-14, SM-15, SM-16, SM-17, SM-18
    #[test]
    fn the_sample_of_the_page_is_an_open() {
        let event = event(&SentinMail, sample(&SentinMail, "opened").body());
        assert_eq!(
            (event.kind, event.provider_event.as_str()),
            (Kind::Opened, "opened")
        );
        assert_eq!(event.provider_event_id.as_deref(), Some("evt-uuid-here"));
        assert_eq!(event.contact.as_ref().unwrap().address, "user@example.com");
        assert_eq!(event.message_id.as_deref(), Some("sent-uuid-here"));
        assert_eq!(event.campaign_id.as_deref(), Some("camp-uuid-here"));
        assert_eq!(
            (&event.metadata["user_agent"], &event.metadata["ip"]),
            (&"Mozilla/5.0...".into(), &"203.0.113.42".into())
        );
        assert_eq!(event.occurred_at.to_string(), "2026-04-02T14:30:00Z");
        assert!(event.changes().is_empty());
    }

    // rows: SM-5, SM-6, SM-7, SM-8, SM-9, SM-10, SM-21, SM-28, SM-29
    #[test]
    fn an_unsubscribe_and_a_bounce_suppress_and_nothing_else_does() {
        let of = |name: &str| event(&SentinMail, &changed("\"opened\"", &format!("\"{name}\"")));
        assert_eq!(changes(&of("unsubscribed")), "global consent suppressed");
        assert_eq!(of("bounced").bounce_class, Some(BounceClass::Undetermined));
        assert_eq!(changes(&of("bounced")), "global deliverability suppressed");
        for name in [
            "delivered",
            "opened",
            "clicked",
            "complained",
            "resubscribed",
            "",
        ] {
            assert!(of(name).changes().is_empty(), "{name}");
        }
        assert_eq!(of("complained").kind, Kind::Other);
    }

    // rows: SM-21
    #[test]
    fn a_source_can_say_that_a_bounce_does_not_suppress() {
        let envelope = envelope(&changed("opened", "bounced"));
        let draft = SentinMail.parse(&envelope).unwrap().remove(0).unwrap();
        assert!(
            draft
                .into_event(&envelope, "sentinmail", Undetermined::Ignore)
                .changes()
                .is_empty()
        );
    }

    // rows: SM-19, SM-25
    #[test]
    fn the_id_tells_events_apart_and_without_one_the_fields_do() {
        let first = event(&SentinMail, sample(&SentinMail, "opened").body());
        let same_id = event(&SentinMail, &changed("\"opened\"", "\"clicked\""));
        assert_eq!(same_id.id, first.id);
        assert_ne!(
            same_id.fingerprint(),
            first.fingerprint(),
            "so that the ledger sees that it is another"
        );
        for id in ["null", "\"\"", "\"  \"", "[]"] {
            let without = changed("\"evt-uuid-here\"", id);
            let first = event(&SentinMail, &without);
            assert_eq!(first.provider_event_id, None);
            assert_eq!(first.id, event(&SentinMail, &without).id);
            for (from, to) in [
                ("14:30:00", "14:30:01"),
                ("user@", "other@"),
                ("opened", "clicked"),
                ("Mozilla", "Lynx"),
            ] {
                assert_ne!(
                    event(&SentinMail, &without.replace(from, to)).id,
                    first.id,
                    "{to}"
                );
            }
        }
    }

    // rows: SM-11
    #[test]
    fn only_what_is_surely_low_may_wait() {
        for (body, expected) in [
            (
                "{\"type\":\"opened\",\"metadata\":{\"type\":\"unsubscribed\"}}",
                Priority::Bulk,
            ),
            (
                "[{\"type\":\"opened\"},{\"type\":\"clicked\"}]",
                Priority::Bulk,
            ),
            (
                "[{\"type\":\"opened\"},{\"type\":\"unsubscribed\"}]",
                Priority::Urgent,
            ),
            (
                "{\"type\":\"unsubscribed\",\"recipient\":\"\\\"type\\\":\\\"opened\\\"@x.example\"}",
                Priority::Urgent,
            ),
            (
                "{\"metadata\":{\"type\":\"opened\"},\"type\":\"unsubscr\\u0069bed\"}",
                Priority::Urgent,
            ),
            (
                "{\"type\":\"opened\",\"typ\\u0065\":\"unsubscribed\"}",
                Priority::Urgent,
            ),
            (
                "{\"type\":\"opened\"}{\"type\":\"unsubscribed\"}",
                Priority::Urgent,
            ),
            ("{\"type\":[\"opened\"]}", Priority::Urgent),
            ("{\"type\":\"complained\"}", Priority::Urgent),
            ("{\"type\":\"opened\"", Priority::Urgent),
            ("{}", Priority::Urgent),
            ("[]", Priority::Urgent),
            ("", Priority::Urgent),
        ] {
            assert_eq!(SentinMail.priority(body.as_bytes()), expected, "{body}");
        }
    }

    // rows: SM-26
    #[test]
    fn one_bad_element_of_an_array_costs_no_other() {
        let body = "[{\"type\":\"unsubscribed\"}, 7, {\"type\":\"bounced\",\"recipient\":\"a@b.example\",\"x\":\"\\ud800\"},
                     {\"type\":\"unsubscribed\",\"recipient\":\"a@b.example\"}]";
        let results = parse(&SentinMail, body).unwrap();
        let reasons: Vec<_> = results[..3]
            .iter()
            .map(|result| result.as_ref().unwrap_err().to_string())
            .collect();
        assert_eq!(
            reasons[0],
            "recipient must be a text with one email address, and is missing"
        );
        assert_eq!(
            reasons[1],
            "element 2 of the body is a number, and should be an object"
        );
        assert_eq!(
            reasons[2],
            "element 3 of the body is not JSON: the error is at line 1, column 56"
        );
        assert_eq!(results[3].as_ref().unwrap().kind, Kind::Unsubscribed);
    }

    // rows: SM-13, SM-14, SM-27
    #[test]
    fn type_and_recipient_are_all_that_an_unsubscribe_needs() {
        let event = event(
            &SentinMail,
            "{\"type\":\"unsubscribed\",\"recipient\":\"user@example.com\",\"campaign_id\":{},\"metadata\":[]}",
        );
        assert_eq!((event.kind, event.time_assumed), (Kind::Unsubscribed, true));
        assert!(event.campaign_id.is_none() && event.metadata.is_empty());
        let why = malformed(&SentinMail, "{\"type\":\"bounced\",\"recipient\":{}}");
        assert_eq!(
            why,
            "recipient must be a text with one email address, and is an object"
        );
    }
}
