//! SparkPost: an array of events, each below `msys` and the name of its class, without a signature of its own.
//!
//! A ping is an element with nothing below `msys`. The class of a bounce is a number, of which one is an unsubscribe.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use super::{Guide, Malformed, Parsed, Provider, Sample, Suit, json, sample::samples};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Kind},
    queue::Priority,
};

/// A bounce has its class beside it. What SparkPost itself refuses echoes an older fact.
const EVENTS: &[json::Row] = &[
    ("list_unsubscribe", Kind::Unsubscribed, None),
    ("link_unsubscribe", Kind::Unsubscribed, None),
    ("spam_complaint", Kind::Complained, None),
    ("bounce", Kind::Bounced, Some(BounceClass::Undetermined)),
    (
        "out_of_band",
        Kind::Bounced,
        Some(BounceClass::Undetermined),
    ),
    ("delay", Kind::Bounced, Some(BounceClass::Soft)),
    ("policy_rejection", Kind::Bounced, Some(BounceClass::Block)),
    (
        "generation_rejection",
        Kind::Bounced,
        Some(BounceClass::Block),
    ),
    ("generation_failure", Kind::Other, None),
    ("delivery", Kind::Delivered, None),
    ("open", Kind::Opened, None),
    ("initial_open", Kind::Opened, None),
    ("amp_open", Kind::Opened, None),
    ("amp_initial_open", Kind::Opened, None),
    ("click", Kind::Clicked, None),
    ("amp_click", Kind::Clicked, None),
    ("injection", Kind::Other, None),
    ("sms_status", Kind::Other, None),
];

/// `bounce_class`. One that is not here is undetermined.
const BOUNCES: &[json::Row] = &[
    ("10", Kind::Bounced, Some(BounceClass::Hard)), // invalid recipient
    ("30", Kind::Bounced, Some(BounceClass::Hard)), // no such recipient
    ("20", Kind::Bounced, Some(BounceClass::Soft)),
    ("21", Kind::Bounced, Some(BounceClass::Soft)), // failure of names
    ("22", Kind::Bounced, Some(BounceClass::Soft)), // mailbox full
    ("23", Kind::Bounced, Some(BounceClass::Soft)), // too large
    ("24", Kind::Bounced, Some(BounceClass::Soft)), // timeout
    ("40", Kind::Bounced, Some(BounceClass::Soft)),
    ("70", Kind::Bounced, Some(BounceClass::Soft)), // transient
    ("25", Kind::Bounced, Some(BounceClass::Block)), // refused by an administrator
    ("50", Kind::Bounced, Some(BounceClass::Block)), // mail block, and its kinds
    ("51", Kind::Bounced, Some(BounceClass::Block)),
    ("52", Kind::Bounced, Some(BounceClass::Block)),
    ("53", Kind::Bounced, Some(BounceClass::Block)),
    ("54", Kind::Bounced, Some(BounceClass::Block)),
    ("60", Kind::Other, None), // an automatic reply
    ("80", Kind::Other, None), // a subscription by mail proves nothing
    ("90", Kind::Unsubscribed, None),
    ("100", Kind::Other, None), // a challenge
];

const CLASSES: [&str; 5] = [
    "message_event",
    "track_event",
    "gen_event",
    "unsubscribe_event",
    "relay_event",
];

const KEPT: &[&str] = &[
    "bounce_class",
    "error_code",
    "rcpt_meta",
    "rcpt_tags",
    "subaccount_id",
    "transmission_id",
    "template_id",
    "target_link_url",
    "fbtype",
];

#[derive(Debug)]
pub(super) struct SparkPost;

/// What tells how urgent an event is, whatever class it is of.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    msys: BTreeMap<Cow<'a, str>, Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, rename = "type")]
    name: Cow<'a, str>,
}

impl Provider for SparkPost {
    fn name(&self) -> &'static str {
        "sparkpost"
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |Look { msys }: &Look<'_>| {
            !msys.is_empty() && msys.values().all(|event| json::low(EVENTS, &event.name))
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read_list(&envelope.body, "", |fields| told(fields, envelope))
    }

    /// By the link or the header of a mail: <https://support.sparkpost.com/docs/user-guide/using-unsubscribe-reports>.
    fn says_recipient(&self, event: &Event) -> bool {
        json::is_choice(event)
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "SparkPost",
            suits: &[Suit::Basic],
            steps: &[
                "Configuration > Webhooks: create one with the URL, and with Basic Auth where there is a user name.",
                "Tick Bounce, Out of Band, Spam Complaint, List Unsubscribe and Link Unsubscribe.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "sparkpost": "list-unsubscribe", "link-unsubscribe", "spam-complaint", "bounce", "bounce-soft",
            "bounce-block", "bounce-unsubscribe", "out-of-band", "delay", "policy-rejection", "delivery", "open", "click",
            "injection", "ping", "batch",
        )
    }
}

/// What stands below the class, whichever it is.
fn told(fields: &json::Fields, envelope: &Envelope) -> json::Told {
    if !fields.has("msys") {
        return vec![Err(Malformed("an element has no msys".to_owned()))];
    }
    let below = CLASSES.iter().map(|class| format!("msys.{class}"));
    let events = below.flat_map(|path| fields.list(&path));
    let told: json::Told = events.map(|event| draft(&event, envelope)).collect();
    if told.is_empty() && !fields.object("msys").is_empty() {
        return vec![Err(Malformed(
            "msys holds no class that is known".to_owned(),
        ))];
    }
    told
}

fn draft(event: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = event.label("type").unwrap_or_default();
    let (kind, class) = match json::meaning(EVENTS, &name) {
        Some((Kind::Bounced, Some(BounceClass::Undetermined))) => bounce(event),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, recipient(event))?;
    let occurred_at = event.time("timestamp");
    let sent = ["type", "timestamp", "message_id", "target_link_url"];
    let sent = sent.map(|key| event.text(key));
    let identity = json::identity(
        event.label("event_id"),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: event.label("raw_reason").or_else(|| event.label("reason")),
        origin: json::usual_origin(kind),
        message_id: event.label("message_id"),
        campaign_id: event.label("campaign_id"),
        metadata: event.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

fn bounce(event: &json::Fields) -> (Kind, Option<BounceClass>) {
    let class = event.text("bounce_class").unwrap_or_default();
    json::meaning(BOUNCES, &class).unwrap_or((Kind::Bounced, Some(BounceClass::Undetermined)))
}

/// `rcpt_to` is in lower case, the other as it was given.
fn recipient(event: &json::Fields) -> Result<Contact, Malformed> {
    let raw = event.has("raw_rcpt_to");
    event.email(if raw { "raw_rcpt_to" } else { "rcpt_to" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{event, parse, sample, what};

    fn body(name: &str) -> &'static str {
        sample(&SparkPost, name).body()
    }

    #[test]
    fn a_bounce_is_told_by_its_class_and_90_is_an_unsubscribe() {
        for (number, kind, class) in BOUNCES {
            let bounced = body("bounce").replace("\"10\"", &format!("\"{number}\""));
            let event = event(&SparkPost, &bounced);
            assert_eq!(
                (event.kind, event.bounce_class),
                (*kind, *class),
                "{number}"
            );
            let unquoted = bounced.replace(&format!("\"{number}\""), number);
            assert_eq!(
                crate::providers::sample::reading::event(&SparkPost, &unquoted).kind,
                *kind
            );
        }
        let unknown = body("bounce").replace("\"10\"", "\"1\"");
        assert_eq!(
            what(&event(&SparkPost, &unknown)),
            "bounced undetermined Recipient@example.com".to_lowercase()
        );
    }

    #[test]
    fn a_ping_tells_nothing_and_other_elements_are_read_by_themselves() {
        assert!(parse(&SparkPost, body("ping")).unwrap().is_empty());
        let results = parse(&SparkPost, body("batch")).unwrap();
        assert_eq!(
            what(results[0].as_ref().unwrap()),
            "opened recipient@example.com"
        );
        assert_eq!(results[1].as_ref().unwrap_err().0, "an element has no msys");
        assert_eq!(
            what(results[2].as_ref().unwrap()),
            "unsubscribed recipient@example.com"
        );
        let unknown = r#"[{"msys":{"moon_event":{"type":"list_unsubscribe"}}}]"#;
        assert!(parse(&SparkPost, unknown).unwrap()[0].is_err());
    }
}
