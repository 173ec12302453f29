//! Unisender Go: events of several projects in one request, or one event alone, signed by an MD5 over the body in which the
//! account's key stands where the signature is.

use std::borrow::Cow;

use jiff::Timestamp;
use md5::{Digest, Md5};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit, json,
    sample::samples, signature::any,
};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
    signature::{equal, hex},
};

/// The values of `status`. A bounce for good has its cause beside it.
const EVENTS: &[json::Row] = &[
    ("unsubscribed", Kind::Unsubscribed, None),
    ("subscribed", Kind::Resubscribed, None),
    ("spam", Kind::Complained, None),
    ("hard_bounced", Kind::Bounced, Some(BounceClass::Hard)),
    ("soft_bounced", Kind::Bounced, Some(BounceClass::Soft)),
    ("delivered", Kind::Delivered, None),
    ("opened", Kind::Opened, None),
    ("clicked", Kind::Clicked, None),
    ("sent", Kind::Other, None),
];

/// `delivery_info.delivery_status` of a bounce for good that is none of the address. One that is in neither list leaves
/// open which it is.
const BLOCKED: &[&str] = &[
    "err_spam_rejected",
    "err_spam_skipped",
    "err_spam_removed",
    "err_blacklisted",
    "err_too_large",
    "err_unsubscribed",
    "err_skip_letter",
    "err_destination_misconfigured",
];
const GONE: &[&str] = &[
    "err_user_unknown",
    "err_user_inactive",
    "err_domain_inactive",
    "err_mailbox_discarded",
    "err_unreachable",
];

const KEPT: &[&str] = &["metadata", "url", "delivery_info.delivery_status"];

/// What tells one event from another beside its recipient. `ID` is another in each attempt.
const IDENTITY: &[&str] = &["job_id", "status", "event_time", "url"];

#[derive(Debug)]
pub(super) struct UnisenderGo;

/// What tells how urgent the events are.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    events_by_user: Vec<Project<'a>>,
}

#[derive(Deserialize)]
struct Project<'a> {
    #[serde(borrow)]
    events: Vec<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    event_data: Status<'a>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    events_by_user: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow)]
    auth: &'a RawValue,
}

impl Provider for UnisenderGo {
    fn name(&self) -> &'static str {
        "unisender_go"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let (before, given, after) = around(request.body).ok_or(Rejected)?;
        any(&keys.secrets, |key| {
            equal(given, hash([before, key, after]).as_bytes())
        })
    }

    fn prove(&self, sample: &Sample, keys: &Keys, _now: Timestamp) -> Option<Proof> {
        let key = keys.secrets.first()?.expose_secret();
        let (before, _, after) = around(sample.body().as_bytes())?;
        let hash = hash([before, key.as_bytes(), after]);
        let body = [before, hash.as_bytes(), after].concat();
        Some(Proof {
            headers: vec![],
            body: String::from_utf8(body).ok()?,
        })
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &Look<'_>| {
            let events = look
                .events_by_user
                .iter()
                .flat_map(|project| &project.events);
            let mut statuses = events.map(|event| &event.event_data.status).peekable();
            statuses.peek().is_some() && statuses.all(|status| json::low(EVENTS, status))
        })
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        let told = |fields: &json::Fields| match fields.list("event_data").as_slice() {
            [data] => vec![draft(fields, data, envelope)],
            _ => vec![draft(fields, fields, envelope)],
        };
        let whole: Option<Whole<'_>> =
            serde_json::from_slice(json::without_bom(&envelope.body)).ok();
        match whole {
            // One event alone has its fields beside the signature.
            Some(Whole {
                events_by_user: None,
            }) => json::read_one(envelope, told),
            _ => json::read_list(&envelope.body, "events_by_user.events", told),
        }
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Unisender Go",
            suits: &[Suit::Signature],
            steps: &[
                "Start ingress with this source first: Unisender Go asks the URL before it saves it.",
                "Settings > Webhooks: add one with the URL, as JSON.",
                "Tick unsubscribed, subscribed, spam, hard_bounced and soft_bounced.",
                "The secret is the account's API key, by which it signs.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "unisender_go": "unsubscribed", "subscribed", "spam", "hard-bounced", "hard-bounced-spam", "soft-bounced",
            "delivered", "opened", "clicked", "single", "batch",
        )
    }
}

/// The body before the signature's text, that text, and what comes after it.
fn around(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let signed: Signed<'_> = serde_json::from_slice(body).ok()?;
    let text = signed.auth.get().strip_prefix('"')?.strip_suffix('"')?;
    // Borrowed out of the body, so its place there is the distance of the two.
    let start = (text.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let (before, rest) = body.split_at_checked(start)?;
    let (given, after) = rest.split_at_checked(text.len())?;
    Some((before, given, after))
}

fn hash(parts: [&[u8]; 3]) -> String {
    let hash = parts.iter().fold(Md5::new(), Md5::chain_update);
    hex(&hash.finalize())
}

fn draft(
    fields: &json::Fields,
    data: &json::Fields,
    envelope: &Envelope,
) -> Result<Draft, Malformed> {
    let status = data.label("status");
    let name = status
        .or_else(|| fields.label("event_name"))
        .unwrap_or_default();
    let (kind, class) = match json::meaning(EVENTS, &name) {
        Some((Kind::Bounced, Some(BounceClass::Hard))) => (Kind::Bounced, Some(bounce(data))),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, data.email("email"))?;
    let occurred_at = json::timed(kind, data.utc("event_time"), "event_time")?;
    let sent = IDENTITY.iter().map(|key| data.text(key));
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: data.label("delivery_info.destination_response"),
        origin: json::usual_origin(kind),
        message_id: data.label("job_id"),
        campaign_id: data.label("metadata.campaign_id"),
        metadata: data.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

fn bounce(data: &json::Fields) -> BounceClass {
    match data.text("delivery_info.delivery_status").as_deref() {
        None => BounceClass::Hard,
        Some(status) if GONE.contains(&status) => BounceClass::Hard,
        Some(status) if BLOCKED.contains(&status) => BounceClass::Block,
        Some(_) => BounceClass::Undetermined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{
        changed, event, headers, malformed, parse, sample, what,
    };

    fn body(name: &str) -> &'static str {
        sample(&UnisenderGo, name).body()
    }

    #[test]
    fn every_status_is_told_by_its_name_and_a_bounce_by_its_cause() {
        for (name, kind, class) in EVENTS {
            let body = changed(
                body("unsubscribed"),
                "\"unsubscribed\"",
                &format!("\"{name}\""),
            );
            let event = event(&UnisenderGo, &body);
            assert_eq!((event.kind, event.bounce_class), (*kind, *class), "{name}");
        }
        let of = |cause: &str| {
            let body = changed(body("hard-bounced"), "err_user_unknown", cause);
            event(&UnisenderGo, &body).bounce_class.unwrap()
        };
        assert_eq!(of("err_mailbox_discarded"), BounceClass::Hard);
        assert_eq!(of("err_blacklisted"), BounceClass::Block);
        assert_eq!(of("err_delivery_failed"), BounceClass::Undetermined);
    }

    #[test]
    fn a_time_is_utc_and_one_event_may_come_alone() {
        let event = event(&UnisenderGo, body("single"));
        assert_eq!(what(&event), "unsubscribed recipient.email@example.com");
        assert_eq!(event.occurred_at.to_string(), "2015-11-30T15:09:42Z");
        let untimed = changed(body("subscribed"), "2015-11-30 15:09:42", "soon");
        assert!(malformed(&UnisenderGo, &untimed).starts_with("event_time must be a time"));
    }

    #[test]
    fn a_batch_of_projects_is_read_element_by_element() {
        let results = parse(&UnisenderGo, body("batch")).unwrap();
        let told: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().map(what))
            .collect();
        assert_eq!(told[0], Ok("opened recipient.email@example.com".to_owned()));
        assert!(told[1].is_err());
        assert_eq!(told[2], Ok("other".to_owned()), "a block of a domain");
        assert_eq!(
            told[3],
            Ok("unsubscribed recipient.email@example.com".to_owned())
        );
    }

    // MD5 of the body with `key` in the signature's place, made by another program.
    #[test]
    fn the_hash_is_of_the_raw_body_wherever_the_signature_stands() {
        let keys = Keys {
            secrets: vec!["other".into(), "key".into()],
            ..Keys::default()
        };
        let verifies = |body: &str| {
            let header = headers([]);
            let (header, body, now) = (&header, body.as_bytes(), Timestamp::UNIX_EPOCH);
            UnisenderGo
                .verify(&Request::new(header, body, now), &keys)
                .is_ok()
        };
        let body = r#"{ "n": "6d8d2b31dc0e58c1c0ad14b9d1d4a1ff", "auth" : "HASH", "x":[1] }"#;
        let right = body.replace("HASH", "637da5866991a8f0e2789338a361a780");
        assert!(verifies(&right));
        for wrong in [
            body.to_owned(),
            right.replace("[1]", "[2]"),
            right.replace("\"auth\" ", "\"auth\""),
            r#"{"auth":7}"#.to_owned(),
            r#"{"auth":"""#.to_owned(),
            "[]".to_owned(),
        ] {
            assert!(!verifies(&wrong), "{wrong}");
        }
    }
}
