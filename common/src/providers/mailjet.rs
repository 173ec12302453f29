//! Mailjet: one event or an array of them, without a signature and without ids. It takes any answer but 200 as a failure.

use super::{Guide, Malformed, Parsed, Provider, Sample, Suit, json, sample::samples};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
};

/// A bounce says beside its name whether it is for good. What is blocked was not sent because of an older fact.
const EVENTS: &[json::Row] = &[
    ("unsub", Kind::Unsubscribed, None),
    ("spam", Kind::Complained, None),
    ("bounce", Kind::Bounced, Some(BounceClass::Soft)),
    ("blocked", Kind::Bounced, Some(BounceClass::Block)),
    ("sent", Kind::Delivered, None),
    ("open", Kind::Opened, None),
    ("click", Kind::Clicked, None),
    ("typofix", Kind::Other, None),
];

const KEPT: &[&str] = &[
    "mj_list_id",
    "mj_contact_id",
    "customcampaign",
    "CustomID",
    "Payload",
    "error_related_to",
    "hard_bounce",
    "blocked",
    "source",
    "url",
];

/// What tells one event from another beside its recipient.
const IDENTITY: &[&str] = &[
    "event",
    "time",
    "MessageID",
    "Message_GUID",
    "mj_campaign_id",
    "mj_list_id",
    "url",
];

#[derive(Debug)]
pub(super) struct Mailjet;

impl Provider for Mailjet {
    fn name(&self) -> &'static str {
        "mailjet"
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
            title: "Mailjet",
            suits: &[Suit::BasicInUrl],
            steps: &[
                "Account settings > Event notifications (triggers): enter the URL for Unsub, Spam, Bounce and Blocked, and tick Group events.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "mailjet": "unsub", "spam", "bounce", "bounce-soft", "blocked", "sent", "open", "click", "batch",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("event").unwrap_or_default();
    let (kind, class) = match json::meaning(EVENTS, &name) {
        Some((Kind::Bounced, Some(BounceClass::Soft))) => (Kind::Bounced, Some(bounce(fields))),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, fields.email("email"))?;
    let occurred_at = fields.time("time");
    let sent = IDENTITY.iter().map(|key| fields.text(key));
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: fields.label("mj_list_id").filter(|list| list != "0"),
        occurred_at,
        reason: fields.label("error").or_else(|| fields.label("comment")),
        origin: json::usual_origin(kind),
        message_id: fields
            .label("Message_GUID")
            .or_else(|| fields.label("MessageID")),
        campaign_id: fields
            .label("mj_campaign_id")
            .filter(|campaign| campaign != "0"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

/// `blocked` tells that Mailjet will not send to the address again, though the bounce may not be for good.
fn bounce(fields: &json::Fields) -> BounceClass {
    let says = |key: &str| matches!(fields.text(key).as_deref(), Some("true" | "1"));
    if says("hard_bounce") {
        BounceClass::Hard
    } else if says("blocked") {
        BounceClass::Undetermined
    } else {
        BounceClass::Soft
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changed, changes, event, parse, sample, what};

    fn body(name: &str) -> &'static str {
        sample(&Mailjet, name).body()
    }

    #[test]
    fn a_bounce_is_hard_if_it_says_so_and_suppresses_where_mailjet_has_stopped_sending() {
        let told = |body: &str| what(&event(&Mailjet, body));
        assert_eq!(told(body("bounce")), "bounced hard bounce@mailjet.com");
        let soft = changed(
            body("bounce"),
            "\"hard_bounce\":true",
            "\"hard_bounce\":false",
        );
        assert_eq!(told(&soft), "bounced undetermined bounce@mailjet.com");
        assert_eq!(told(body("bounce-soft")), "bounced soft bounce@mailjet.com");
    }

    #[test]
    fn an_unsubscribe_is_of_its_list_and_without_one_of_all() {
        assert_eq!(
            changes(&event(&Mailjet, body("unsub"))),
            "1 consent suppressed"
        );
        for none in ["\"\"", "0", "\"0\"", "null"] {
            let body = changed(
                body("unsub"),
                "\"mj_list_id\":1",
                &format!("\"mj_list_id\":{none}"),
            );
            assert_eq!(
                changes(&event(&Mailjet, &body)),
                "global consent suppressed"
            );
        }
    }

    #[test]
    fn a_large_message_id_is_kept_to_the_last_digit_and_tells_events_apart() {
        let one = changed(body("open"), "19421777836302490", "19421777836302491");
        let first = event(&Mailjet, body("open"));
        assert_ne!(event(&Mailjet, &one).id, first.id);
        let bare = changed(body("open"), "\"Message_GUID\"", "\"x\"");
        assert_eq!(
            event(&Mailjet, &bare).message_id.unwrap(),
            "19421777836302490"
        );
    }

    #[test]
    fn a_batch_is_read_element_by_element() {
        let results = parse(&Mailjet, body("batch")).unwrap();
        assert_eq!(what(results[0].as_ref().unwrap()), "opened api@mailjet.com");
        assert!(results[1].is_err());
        assert_eq!(
            what(results[2].as_ref().unwrap()),
            "unsubscribed api@mailjet.com"
        );
    }
}
