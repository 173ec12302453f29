//! Customer.io's reporting webhooks: one event a request, signed by an HMAC of the version, the time and the body.
//!
//! It waits four seconds, and holds back everything behind a webhook that fails, for a week. A metric of a push or another
//! channel says nothing of the email address that stands beside it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    sample::samples, signature::Mac,
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Identity, Kind, Origin},
    queue::Priority,
};

/// The metrics. What was dropped was not sent because of an older fact.
const METRICS: &[json::Row] = &[
    ("unsubscribed", Kind::Unsubscribed, None),
    ("subscribed", Kind::Resubscribed, None),
    ("spammed", Kind::Complained, None),
    ("bounced", Kind::Bounced, Some(BounceClass::Hard)),
    ("deferred", Kind::Bounced, Some(BounceClass::Soft)),
    ("failed", Kind::Bounced, Some(BounceClass::Block)),
    ("undeliverable", Kind::Bounced, Some(BounceClass::Block)),
    ("dropped", Kind::Bounced, Some(BounceClass::Block)),
    ("suppressed", Kind::Bounced, Some(BounceClass::Block)),
    ("delivered", Kind::Delivered, None),
    ("opened", Kind::Opened, None),
    ("human_opened", Kind::Opened, None),
    ("clicked", Kind::Clicked, None),
    ("human_clicked", Kind::Clicked, None),
    ("drafted", Kind::Other, None),
    ("attempted", Kind::Other, None),
    ("sent", Kind::Other, None),
    ("converted", Kind::Other, None),
];

/// What a person chose of the account's topics; below `data.content.topics`, whether they want each.
const PREFERENCES: &str = "cio_subscription_preferences_changed";

const KEPT: &[&str] = &[
    "data.customer_id",
    "data.identifiers",
    "data.action_id",
    "data.broadcast_id",
    "data.newsletter_id",
    "data.transactional_message_id",
    "data.href",
];

const EMAILS: [&str; 3] = [
    "data.recipient",
    "data.email_address",
    "data.identifiers.email",
];

/// Hex.
const MAC: Mac = Mac::Sha256Hex;

#[derive(Debug)]
pub(super) struct CustomerIo;

/// What tells how urgent an event is.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    metric: Cow<'a, str>,
}

impl Provider for CustomerIo {
    fn name(&self) -> &'static str {
        "customerio"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let header = |name| request.header.get(name).ok_or(Rejected);
        let timestamp = header("x-cio-timestamp")?;
        let given = header("x-cio-signature")?;
        MAC.check(given, keys, &signed(timestamp, request.body))
    }

    fn prove(&self, sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
        let timestamp = now.as_second().to_string();
        let mac = MAC.made(keys, &signed(&timestamp, sample.body().as_bytes()))?;
        let mut proof = Proof::by_header("x-cio-signature", mac, sample);
        proof.headers.push(("x-cio-timestamp".into(), timestamp));
        Some(proof)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &Look<'_>| json::low(METRICS, &look.metric))
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read_list(&envelope.body, "", |fields| told(fields, envelope))
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Customer.io",
            suits: &[Suit::Signature],
            steps: &[
                "Data & Integrations > Integrations > Reporting Webhooks > Add Reporting Webhook: enter the URL as webhook endpoint.",
                "Choose, of customers, subscribed, unsubscribed and subscription preferences changed; of email and SMS, bounced, dropped and marked as spam.",
                "Save, and copy the signing key from the webhook's menu in the list.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "customerio": "unsubscribed", "subscribed", "preferences", "spammed", "bounced", "dropped", "delivered",
            "opened", "clicked", "sms-bounced", "push-bounced",
        )
    }
}

fn signed<'a>(timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 4] {
    [b"v0:", timestamp.as_bytes(), b":", body]
}

/// A change of preferences tells one thing of each topic.
fn told(fields: &json::Fields, envelope: &Envelope) -> json::Told {
    let name = fields.label("metric").unwrap_or_default();
    if name != PREFERENCES {
        return vec![draft(fields, envelope, &name)];
    }
    let topics = topics(fields);
    if topics.is_empty() {
        let why = format!(
            "{PREFERENCES} has no topics that are true or false, or a name of more than {LONGEST} bytes"
        );
        return vec![Err(Malformed(why))];
    }
    let chosen = |(topic, wanted): (String, bool)| {
        let kind = if wanted {
            Kind::Resubscribed
        } else {
            Kind::Unsubscribed
        };
        let mut draft = common(fields, envelope, &name, (kind, None))?;
        match &mut draft.identity {
            Identity::Own(id) => *id = format!("{id}/{topic}"),
            Identity::Derived(fields) => fields.push(topic.clone()),
        }
        draft.scope = Some(topic);
        Ok(draft)
    };
    topics.into_iter().map(chosen).collect()
}

fn draft(fields: &json::Fields, envelope: &Envelope, name: &str) -> Result<Draft, Malformed> {
    let meaning = json::meaning(METRICS, name).unwrap_or((Kind::Other, None));
    let channel = fields.text("object_type").unwrap_or_default();
    let known = matches!(channel.as_str(), "" | "email" | "customer" | "sms");
    common(
        fields,
        envelope,
        name,
        if known { meaning } else { (Kind::Other, None) },
    )
}

fn common(
    fields: &json::Fields,
    envelope: &Envelope,
    name: &str,
    (kind, class): (Kind, Option<BounceClass>),
) -> Result<Draft, Malformed> {
    let contact = json::needed(kind, class, contact(fields))?;
    let occurred_at = json::timed(kind, fields.time("timestamp"), "timestamp")?;
    let sent = [
        "metric",
        "timestamp",
        "object_type",
        "data.delivery_id",
        "data.href",
    ];
    let sent = sent.map(|key| fields.text(key));
    let identity = json::identity(
        fields.label("event_id"),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: fields.label("data.failure_message"),
        origin: match kind {
            Kind::Resubscribed if name != PREFERENCES => Origin::Unknown,
            _ => json::usual_origin(kind),
        },
        message_id: fields.label("data.delivery_id"),
        campaign_id: fields.label("data.campaign_id"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

/// A topic is called by no more bytes: the ledger knows its opt-outs by it.
const LONGEST: usize = 512;

/// The topics and whether each is wanted. They may be an object, or the text of one.
fn topics(fields: &json::Fields) -> Vec<(String, bool)> {
    let text = fields.text("data.content");
    let written = text.and_then(|text| json::Fields::of(text.as_bytes(), "content").ok());
    let found = match written {
        Some(content) => content.object("topics"),
        None => fields.object("data.content.topics"),
    };
    let chosen = found
        .into_iter()
        .map(|(topic, wanted)| Some((topic, wanted.as_bool()?)))
        .map(|chosen| chosen.filter(|(topic, _)| (1..=LONGEST).contains(&topic.len())));
    chosen.collect::<Option<_>>().unwrap_or_default()
}

fn contact(fields: &json::Fields) -> Result<Contact, Malformed> {
    if fields.text("object_type").as_deref() == Some("sms") {
        return fields.phone("data.recipient");
    }
    let there = EMAILS.into_iter().find(|key| fields.has(key));
    fields.email(there.unwrap_or(EMAILS[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{
        changed, changes, event, malformed, parse, sample, what,
    };

    fn body(name: &str) -> &'static str {
        sample(&CustomerIo, name).body()
    }

    fn told(body: &str) -> String {
        what(&event(&CustomerIo, body))
    }

    #[test]
    fn every_metric_of_an_email_is_told_by_its_name() {
        for (name, kind, class) in METRICS {
            let body = changed(body("bounced"), "\"bounced\"", &format!("\"{name}\""));
            let event = event(&CustomerIo, &body);
            assert_eq!((event.kind, event.bounce_class), (*kind, *class), "{name}");
        }
    }

    #[test]
    fn what_bounced_on_another_channel_says_nothing_of_the_address() {
        assert_eq!(told(body("sms-bounced")), "bounced hard +15555551234");
        assert_eq!(told(body("push-bounced")), "other test@example.com");
        let event = event(&CustomerIo, body("push-bounced"));
        assert_eq!(event.provider_event, "bounced", "kept as it was sent");
    }

    #[test]
    fn a_change_of_preferences_tells_one_thing_of_each_topic() {
        for content in [None, Some(r#"{"topics":{"topic_1":false,"topic_2":true}}"#)] {
            let written = r#""{\"topics\":{\"topic_1\":false,\"topic_2\":true}}""#;
            let body = content.map(|content| changed(body("preferences"), written, content));
            let body = body.as_deref().unwrap_or(super::tests::body("preferences"));
            let events: Vec<_> = parse(&CustomerIo, body)
                .unwrap()
                .into_iter()
                .map(Result::unwrap)
                .collect();
            assert_eq!(changes(&events[0]), "topic_1 consent suppressed");
            assert!(changes(&events[1]).starts_with("topic_2 consent clear"));
            assert_ne!(events[0].id, events[1].id);
        }
        let long = changed(body("preferences"), "topic_1", &"t".repeat(LONGEST + 1));
        assert!(malformed(&CustomerIo, &long).contains("has no topics"));
        let none = changed(body("preferences"), "false", "0");
        assert!(
            malformed(&CustomerIo, &none)
                .starts_with("cio_subscription_preferences_changed has no topics")
        );
    }

    #[test]
    fn a_subscription_without_a_time_is_refused() {
        let untimed = changed(body("subscribed"), "\"timestamp\"", "\"x\"");
        assert!(malformed(&CustomerIo, &untimed).starts_with("timestamp must be a time"));
    }
}
