//! Klaviyo's system webhooks: events in an array under `data`, each with a topic and the event as Klaviyo's api gives it,
//! signed by an HMAC of the body and the time of sending. The free-form webhooks of its flows are for `generic`.

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
    event::{BounceClass, Draft, Identity, Kind},
    queue::Priority,
};

/// The topics, without `event:klaviyo.`. What was dropped was not sent because of an older fact.
const TOPICS: &[json::Row] = &[
    (
        "unsubscribed_from_email_marketing",
        Kind::Unsubscribed,
        None,
    ),
    ("unsubscribed_from_sms_marketing", Kind::Unsubscribed, None),
    ("subscribed_to_email_marketing", Kind::Resubscribed, None),
    ("subscribed_to_sms_marketing", Kind::Resubscribed, None),
    (
        "manually_suppressed_from_email_marketing",
        Kind::Suppressed,
        None,
    ),
    // Lifts what somebody had suppressed by hand, and neither an unsubscribe nor a bounce: who is lifted here would be, too.
    (
        "manually_unsuppressed_from_email_marketing",
        Kind::Other,
        None,
    ),
    ("marked_email_as_spam", Kind::Complained, None),
    (
        "bounced_email",
        Kind::Bounced,
        Some(BounceClass::Undetermined),
    ),
    ("dropped_email", Kind::Bounced, Some(BounceClass::Block)),
    (
        "failed_to_deliver_sms",
        Kind::Bounced,
        Some(BounceClass::Soft),
    ),
    (
        "failed_to_deliver_automated_response_sms",
        Kind::Bounced,
        Some(BounceClass::Soft),
    ),
    ("received_email", Kind::Delivered, None),
    ("opened_email", Kind::Opened, None),
    ("clicked_email", Kind::Clicked, None),
    ("clicked_sms", Kind::Clicked, None),
    ("sent_sms", Kind::Other, None),
    ("received_sms", Kind::Other, None),
    ("received_automated_response_sms", Kind::Other, None),
    ("updated_email_preferences", Kind::Other, None),
];

/// Where the profile may stand, and then the event's own properties.
const PROFILES: [&str; 3] = [
    "payload.included.0.attributes",
    "payload.data.attributes.profile.data.attributes",
    "payload.data.attributes.event_properties",
];
const EMAILS: [&str; 3] = ["email", "$email", "Recipient Email Address"];
const PHONES: [&str; 3] = ["phone_number", "$phone_number", "To Number"];

/// Where the event stands in the answers of Klaviyo's api.
const EVENT: &str = "payload.data.attributes";

/// Hex.
const MAC: Mac = Mac::Sha256Hex;

#[derive(Debug)]
pub(super) struct Klaviyo;

/// What tells how urgent the events are.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    data: Vec<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
}

/// Whose webhook it says it is.
#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow)]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    klaviyo_webhook_id: Option<Cow<'a, str>>,
}

impl Provider for Klaviyo {
    fn name(&self) -> &'static str {
        "klaviyo"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    /// Klaviyo asks that the webhook's id in the body, which is signed, is the one in the header, which is not.
    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let header = |name| request.header.get(name).ok_or(Rejected);
        let timestamp = header("klaviyo-timestamp")?;
        let given = header("klaviyo-signature")?;
        MAC.check(given, keys, &[request.body, timestamp.as_bytes()])?;
        let signed: Option<Signed<'_>> = serde_json::from_slice(request.body).ok();
        let id = signed.and_then(|signed| signed.meta?.klaviyo_webhook_id);
        let stated = request.header.get("klaviyo-webhook-id");
        match (id, stated) {
            (Some(id), Some(stated)) if id != stated => Err(Rejected),
            _ => Ok(()),
        }
    }

    fn prove(&self, sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
        let timestamp = now.as_second().to_string();
        let mac = MAC.made(keys, &[sample.body().as_bytes(), timestamp.as_bytes()])?;
        let mut proof = Proof::by_header("klaviyo-signature", mac, sample);
        proof.headers.push(("klaviyo-timestamp".into(), timestamp));
        Some(proof)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &Look<'_>| {
            let low = |named: &Named<'_>| json::low(TOPICS, short(&named.topic));
            !look.data.is_empty() && look.data.iter().all(low)
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read_list(&envelope.body, "data", |fields| {
            vec![draft(fields, envelope)]
        })
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Klaviyo",
            suits: &[Suit::SignatureByOurs],
            steps: &[
                "Create a system webhook by POST /api/webhooks, with the URL as endpoint_url and the secret as secret_key. Klaviyo has them for Advanced KDP and app partners; the webhook of a flow is for the provider generic.",
                "Choose, of the topics that GET /api/webhook-topics lists, those of consent to email and SMS marketing, of bounced, dropped, and marked as spam.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "klaviyo": "unsubscribed-email", "unsubscribed-sms", "subscribed-email", "manually-suppressed", "spam",
            "bounced", "dropped", "received", "opened", "clicked", "batch",
        )
    }
}

fn short(topic: &str) -> &str {
    topic.strip_prefix("event:klaviyo.").unwrap_or(topic)
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("topic").unwrap_or_default();
    let (kind, class) = match json::meaning(TOPICS, short(&name)) {
        Some((Kind::Bounced, Some(BounceClass::Undetermined))) => {
            (Kind::Bounced, Some(bounce(fields)))
        }
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, contact(&name, fields))?;
    let times = ["datetime", "timestamp"].map(|key| format!("{EVENT}.{key}"));
    let time = times.iter().find_map(|key| fields.time(key));
    let occurred_at = json::timed(kind, time, &times[0])?;
    let derived = || {
        let sent = ["topic", "payload.data.id", &times[0]].map(|key| fields.text(key));
        json::derived(sent, contact.as_ref(), occurred_at, envelope)
    };
    let own = fields.label("external_id");
    let own = own.map(|id| Identity::Own(format!("{id}/{}", short(&name))));
    let identity = own.unwrap_or_else(derived);
    let property = |key: &str| fields.label(&format!("{EVENT}.event_properties.{key}"));
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: property("Bounce Reason").or_else(|| property("Reason")),
        origin: json::usual_origin(kind),
        message_id: property("$message"),
        campaign_id: property("Campaign Name"),
        metadata: fields.object(&format!("{EVENT}.event_properties")),
        ..Draft::new(kind, name, identity)
    })
}

fn bounce(fields: &json::Fields) -> BounceClass {
    let stated = fields.text(&format!("{EVENT}.event_properties.Bounce Type"));
    match stated.as_deref() {
        Some("Hard") => BounceClass::Hard,
        Some("Soft") => BounceClass::Soft,
        _ => BounceClass::Undetermined,
    }
}

/// A topic of SMS is about the profile's phone number, any other about its email address.
fn contact(topic: &str, fields: &json::Fields) -> Result<Contact, Malformed> {
    let sms = short(topic).contains("sms");
    let keys = if sms { PHONES } else { EMAILS };
    let paths = PROFILES
        .iter()
        .flat_map(|profile| keys.map(|key| format!("{profile}.{key}")));
    let found = paths.into_iter().find(|path| fields.has(path));
    let path = found.unwrap_or_else(|| format!("{}.{}", PROFILES[0], keys[0]));
    if sms {
        fields.phone(&path)
    } else {
        fields.email(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{
        changed, changes, event, headers, malformed, parse, sample, what,
    };

    fn body(name: &str) -> &'static str {
        sample(&Klaviyo, name).body()
    }

    #[test]
    fn a_topic_of_sms_is_about_the_phone_number_and_any_other_about_the_address() {
        let told = |name: &str| what(&event(&Klaviyo, body(name)));
        assert_eq!(
            told("unsubscribed-email"),
            "unsubscribed sarah.mason@example.com"
        );
        assert_eq!(told("unsubscribed-sms"), "unsubscribed +15005550006");
    }

    #[test]
    fn what_is_unsuppressed_by_hand_lifts_no_unsubscribe() {
        let body = changed(
            body("unsubscribed-email"),
            "unsubscribed_from_email_marketing",
            "manually_unsuppressed_from_email_marketing",
        );
        assert_eq!(changes(&event(&Klaviyo, &body)), "");
    }

    #[test]
    fn a_bounce_is_told_by_its_type() {
        let of = |kind: &str| {
            let body = changed(body("bounced"), "\"Hard\"", &format!("\"{kind}\""));
            changes(&event(&Klaviyo, &body))
        };
        assert_eq!(of("Hard"), "global deliverability suppressed");
        assert_eq!(of("Moon"), "global deliverability suppressed");
        assert_eq!(of("Soft"), "");
    }

    #[test]
    fn a_subscription_lifts_only_with_a_time() {
        let cleared = "global consent clear, global manual clear, global deliverability clear";
        let subscribed = body("subscribed-email");
        assert_eq!(changes(&event(&Klaviyo, subscribed)), cleared);
        let untimed = changed(subscribed, "\"datetime\"", "\"x\"");
        let untimed = changed(&untimed, "\"timestamp\":1", "\"y\":1");
        assert!(
            malformed(&Klaviyo, &untimed)
                .starts_with("payload.data.attributes.datetime must be a time")
        );
    }

    #[test]
    fn a_webhook_id_other_than_the_signed_one_is_refused() {
        let keys = Keys {
            secrets: vec!["a-long-enough-secret".into()],
            ..Keys::default()
        };
        let (sample, now) = (sample(&Klaviyo, "spam"), Timestamp::UNIX_EPOCH);
        let proof = Klaviyo.prove(&sample, &keys, now).unwrap();
        for (id, right) in [("01HZ4J6S9T5WEBHOOKID", true), ("other", false)] {
            let given = proof
                .headers
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_str()));
            let header = headers(given.chain([("klaviyo-webhook-id", id)]));
            let body = sample.body().as_bytes();
            let request = Request::new(&header, body, now);
            assert_eq!(Klaviyo.verify(&request, &keys).is_ok(), right, "{id}");
        }
    }

    #[test]
    fn a_batch_is_read_element_by_element() {
        let results = parse(&Klaviyo, body("batch")).unwrap();
        assert_eq!(
            what(results[0].as_ref().unwrap()),
            "opened sarah.mason@example.com"
        );
        assert!(results[1].is_err());
        assert_eq!(
            what(results[2].as_ref().unwrap()),
            "unsubscribed sarah.mason@example.com"
        );
    }
}
