//! NotifiedBy: one kind of event, an unsubscribe, with three fields and no signature.
//!
//! An event by any other name is recorded without effect, as NotifiedBy's own sample handler does.

use super::{Guide, Parsed, Provider, Sample, Suit, json, sample::samples};
use crate::{
    envelope::Envelope,
    event::{Draft, Kind},
    providers::Malformed,
    queue::Priority,
};

const EVENTS: &[json::Row] = &[("unsubscribed", Kind::Unsubscribed, None)];

#[derive(Debug)]
pub(super) struct NotifiedBy;

impl Provider for NotifiedBy {
    fn name(&self) -> &'static str {
        "notifiedby"
    }

    /// It sends nothing but unsubscribes.
    fn priority(&self, _body: &[u8]) -> Priority {
        Priority::Urgent
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read(envelope, |fields| draft(fields, envelope))
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "NotifiedBy",
            suits: &[Suit::Query, Suit::BasicInUrl],
            steps: &[
                "Enter the URL as the webhook endpoint in NotifiedBy's dashboard. It sends nothing but unsubscribes, so there is nothing to tick.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!("notifiedby": "unsubscribed", "other")
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("event").unwrap_or_default();
    let (kind, class) = json::meaning(EVENTS, &name).unwrap_or((Kind::Other, None));
    let contact = json::needed(kind, class, fields.email("email"))?;
    let occurred_at = fields.time("timestamp");
    let sent = ["event", "timestamp"].map(|key| fields.text(key));
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        contact,
        occurred_at,
        origin: json::usual_origin(kind),
        ..Draft::new(kind, name, identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Origin,
        providers::sample::reading::{changes, envelope, event, malformed, parse, sample},
    };

    // rows: NB-2, NB-3, NB-4, NB-5, NB-6, NB-12
    #[test]
    fn the_sample_of_the_page_suppresses_the_address_everywhere() {
        let event = event(&NotifiedBy, sample(&NotifiedBy, "unsubscribed").body());
        assert_eq!(
            (event.kind, event.origin),
            (Kind::Unsubscribed, Origin::Recipient)
        );
        assert_eq!(event.contact.as_ref().unwrap().address, "user@example.com");
        assert_eq!(event.occurred_at.to_string(), "2024-07-02T18:04:00Z");
        assert!(!event.time_assumed);
        assert_eq!(changes(&event), "global consent suppressed");
    }

    // rows: NB-6
    #[test]
    fn the_three_fields_are_enough_and_others_change_nothing() {
        let more = "{\"event\":\"unsubscribed\",\"email\":\"user@example.com\",\"timestamp\":\"2024-07-02T18:04:00Z\",\"plan\":{\"a\":[1]}}";
        let sent = sample(&NotifiedBy, "unsubscribed").body();
        assert_eq!(event(&NotifiedBy, more).id, event(&NotifiedBy, sent).id);
    }

    // rows: NB-7, NB-8, NB-19
    #[test]
    fn another_or_a_missing_event_is_recorded_without_effect_even_without_an_address() {
        for body in [
            "{}",
            "{\"event\":null}",
            "{\"event\":{}}",
            "{\"event\":\"resubscribed\",\"email\":\"user@example.com\"}",
            "{\"event\":\"ping\",\"email\":7}",
        ] {
            let event = event(&NotifiedBy, body);
            assert_eq!(event.kind, Kind::Other, "{body}");
            assert!(event.changes().is_empty(), "{body}");
        }
        assert_eq!(
            event(&NotifiedBy, "{\"event\":\"ping\"}").provider_event,
            "ping"
        );
    }

    // rows: NB-9
    #[test]
    fn an_unsubscribe_without_a_readable_address_is_malformed_and_says_why_without_quoting_it() {
        for (email, expected) in [
            (
                "",
                "email must be a text with one email address, and is missing",
            ),
            (
                ",\"email\":[\"a@b.example\",\"c@d.example\"]",
                "email must be a text with one email address, and is an array",
            ),
            (
                ",\"email\":\"\"",
                "email must be an email address: the address is empty",
            ),
            (
                ",\"email\":\"secret person\"",
                "email must be an email address: an email address has one @",
            ),
        ] {
            let why = malformed(
                &NotifiedBy,
                &format!("{{\"event\":\"unsubscribed\"{email}}}"),
            );
            assert!(
                why.starts_with(expected) && !why.contains("secret"),
                "{why}"
            );
        }
    }

    // rows: NB-10, NB-17
    #[test]
    fn a_repeat_is_the_same_event_however_the_address_is_written_and_a_later_one_is_not() {
        let sent = sample(&NotifiedBy, "unsubscribed").body();
        let first = event(&NotifiedBy, sent).id;
        assert_eq!(
            event(
                &NotifiedBy,
                &sent.replace("user@example.com", " USER@Example.com")
            )
            .id,
            first
        );
        assert_ne!(
            event(&NotifiedBy, &sent.replace("18:04:00", "18:04:01")).id,
            first
        );
        assert_ne!(
            event(&NotifiedBy, &sent.replace("user@", "other@")).id,
            first
        );
    }

    // rows: NB-5, NB-17
    #[test]
    fn without_a_readable_time_an_unsubscribe_of_another_day_is_another_event() {
        let of = |body: &str, day: &str| {
            let mut envelope = envelope(body);
            envelope.received_at = format!("{day}T12:00:00Z").parse().unwrap();
            NotifiedBy
                .parse(&envelope)
                .unwrap()
                .remove(0)
                .unwrap()
                .identity
        };
        for time in [
            "",
            ",\"timestamp\":null",
            ",\"timestamp\":\"soon\"",
            ",\"timestamp\":0",
        ] {
            let body =
                format!("{{\"event\":\"unsubscribed\",\"email\":\"user@example.com\"{time}}}");
            assert_eq!(of(&body, "2026-04-02"), of(&body, "2026-04-02"), "{time}");
            assert_ne!(of(&body, "2026-04-02"), of(&body, "2027-04-02"), "{time}");
        }
        let timed = sample(&NotifiedBy, "unsubscribed").body();
        assert_eq!(of(timed, "2026-04-02"), of(timed, "2027-04-02"));
    }

    // rows: NB-16, NB-18
    #[test]
    fn json_is_read_whatever_the_content_type_and_anything_else_is_refused_whole() {
        let mut envelope = envelope(&format!(
            "\u{feff} {}",
            sample(&NotifiedBy, "unsubscribed").body()
        ));
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
        ] {
            envelope.content_type = content_type.map(str::to_owned);
            assert_eq!(
                NotifiedBy.parse(&envelope).unwrap()[0]
                    .as_ref()
                    .unwrap()
                    .kind,
                Kind::Unsubscribed
            );
        }
        for (body, expected) in [
            ("", "the body is empty, and should be JSON"),
            (
                "event=unsubscribed",
                "the body is not JSON: the error is at line 1, column 1",
            ),
            (
                "{\"event\":",
                "the body is not JSON: the error is at line 1, column 9",
            ),
            (
                "\"secret@example.com\"",
                "the body is JSON, but neither an object nor an array of objects",
            ),
        ] {
            assert_eq!(parse(&NotifiedBy, body).unwrap_err().to_string(), expected);
        }
    }

    // rows: NB-2
    #[test]
    fn nesting_as_deep_as_a_body_can_be_is_an_error_and_no_overflow() {
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            let bomb = format!("{}{}{}", open.repeat(150_000), 1, close.repeat(150_000));
            let results = parse(&NotifiedBy, &bomb);
            assert!(results.is_err() || results.unwrap()[0].is_err());
        }
    }
}
