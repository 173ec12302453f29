//! Brevo: transactional and marketing events of email, and SMS statuses, single or batched, without a signature.
//!
//! Brevo drops an event that is refused by anything but 429, so it is never answered 503. Its blocklist covers the whole
//! account, so an unsubscribe is global; the lists that it names are kept in the metadata. Being added to a list is no
//! proof of consent and lifts nothing, nor does an answer to an SMS: Brevo's blocklist still has the number then.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    Guide, Malformed, Parsed, Provider, Refusals, Sample, Suit, json,
    sample::samples,
    words::{self, Asked},
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
};

/// In the spelling of payloads; the settings' spellings (`hardBounce`, `listAddition`) are found as well.
const EVENTS: &[json::Row] = &[
    ("unsubscribed", Kind::Unsubscribed, None),
    ("unsubscribe", Kind::Unsubscribed, None),
    ("list_unsubscribe", Kind::Unsubscribed, None),
    ("spam", Kind::Complained, None),
    ("complaint", Kind::Complained, None),
    ("hard_bounce", Kind::Bounced, Some(BounceClass::Hard)),
    ("hard_bounced", Kind::Bounced, Some(BounceClass::Hard)),
    ("invalid_email", Kind::Bounced, Some(BounceClass::Hard)),
    ("invalid", Kind::Bounced, Some(BounceClass::Hard)),
    ("soft_bounce", Kind::Bounced, Some(BounceClass::Soft)),
    ("soft_bounced", Kind::Bounced, Some(BounceClass::Soft)),
    ("deferred", Kind::Bounced, Some(BounceClass::Soft)),
    ("blocked", Kind::Bounced, Some(BounceClass::Block)),
    // Of an SMS that was not sent because of Brevo's own list.
    ("blacklisted", Kind::Bounced, Some(BounceClass::Block)),
    ("rejected", Kind::Bounced, Some(BounceClass::Block)),
    ("skip", Kind::Bounced, Some(BounceClass::Block)),
    ("stop", Kind::Unsubscribed, None),
    ("delivered", Kind::Delivered, None),
    ("opened", Kind::Opened, None),
    ("open", Kind::Opened, None),
    ("first_opening", Kind::Opened, None),
    ("unique_opened", Kind::Opened, None),
    ("proxy_open", Kind::Opened, None),
    ("unique_proxy_open", Kind::Opened, None),
    ("click", Kind::Clicked, None),
    ("clicked", Kind::Clicked, None),
    ("request", Kind::Other, None),
    ("sent", Kind::Other, None),
    ("accepted", Kind::Other, None),
    ("error", Kind::Other, None),
    ("list_addition", Kind::Other, None),
    ("contact_updated", Kind::Other, None),
    ("contact_deleted", Kind::Other, None),
];

/// The fields that go into the metadata as they are.
const KEPT: &[&str] = &[
    "tags",
    "tag",
    "list_id",
    "campaign name",
    "template_id",
    "contact_id",
    "X-Mailin-custom",
    "link",
    "URL",
    "reference",
];

#[derive(Debug)]
pub(super) struct Brevo;

/// What tells how urgent an event is. An SMS has `msg_status` and no `event`.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    msg_status: Option<Cow<'a, str>>,
}

impl Provider for Brevo {
    fn name(&self) -> &'static str {
        "brevo"
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &Look<'_>| {
            let name = look.event.as_ref().or(look.msg_status.as_ref());
            name.is_some_and(|name| json::low(EVENTS, name))
        })
    }

    fn refusals(&self) -> Refusals {
        Refusals {
            unavailable: 429,
            ..Refusals::default()
        }
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read(envelope, |fields| draft(fields, envelope))
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Brevo",
            suits: &[Suit::Bearer, Suit::BasicInUrl, Suit::Header],
            steps: &[
                "Make two webhooks with this URL, since they tell of different events: Transactional > Settings > Webhook, and Campaigns > Settings > Webhooks.",
                "Choose as authentication what stands above; where a form has no field for it, make the webhook by POST /v3/webhooks with `auth`.",
                "Tick Unsubscribed, Complaint (spam), Hard bounce, Soft bounce, Invalid email and Blocked; Delivered, Opened and Clicked to have these recorded.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "brevo": "unsubscribed", "marketing-unsubscribe", "spam", "complaint", "marketing-spam", "hard-bounce",
            "invalid-email", "soft-bounce", "deferred", "blocked", "delivered", "opened", "unique-opened", "proxy-open",
            "click", "marketing-click", "request", "error", "list-addition", "contact-updated", "contact-deleted", "batch",
            "sms-sent", "sms-unsubscribe", "sms-stop", "sms-reply", "sms-delivered", "sms-hard-bounce", "sms-soft-bounce",
            "sms-blacklisted",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields
        .label("event")
        .or_else(|| fields.label("msg_status"))
        .unwrap_or_default();
    let (kind, class) = match json::meaning(EVENTS, &name) {
        Some(meaning) => meaning,
        None if opts_out(fields) => (Kind::Unsubscribed, None),
        None => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, contact(fields))?;
    // `ts`, `date`, `date_event` are in the account's time zone, which the body does not name.
    let occurred_at = fields.time("ts_epoch").or_else(|| fields.time("ts_event"));
    let sent = identity(occurred_at.is_some(), fields);
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: fields.label("reason"),
        origin: json::usual_origin(kind),
        message_id: fields
            .label("message-id")
            .or_else(|| fields.label("messageId")),
        campaign_id: fields.label("camp_id"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

/// Whether it is an answer to an SMS, whose status no table has, and asks for that.
fn opts_out(fields: &json::Fields) -> bool {
    let status = fields.text("msg_status").unwrap_or_default();
    let answered = status.eq_ignore_ascii_case("replied") || status.eq_ignore_ascii_case("reply");
    let mut texts = ["reply", "message", "text"].iter();
    let asks = |text: &str| words::asked(text) == Some(Asked::Stop);
    answered
        && !fields.has("event")
        && texts.any(|key| fields.text(key).is_some_and(|text| asks(&text)))
}

fn contact(fields: &json::Fields) -> Result<Contact, Malformed> {
    if fields.has("email") || !fields.has("to") {
        fields.email("email")
    } else {
        fields.phone("to")
    }
}

/// `id` is the webhook's own and the same in all its events. The local times tell events apart where no other does.
fn identity(has_utc: bool, fields: &json::Fields) -> impl Iterator<Item = Option<String>> {
    const WHAT: &[&str] = &[
        "event",
        "msg_status",
        "message-id",
        "messageId",
        "camp_id",
        "link",
        "URL",
    ];
    let when: &[&str] = if has_utc {
        &["ts_epoch", "ts_event"]
    } else {
        &["ts", "date_event", "date"]
    };
    WHAT.iter().chain(when).map(|key| fields.text(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        contact::Channel,
        providers::sample::reading::{changes, event, malformed, parse, sample},
    };

    fn of(name: &str) -> crate::event::Event {
        event(&Brevo, sample(&Brevo, name).body())
    }

    /// A minimal body of the event called `name`.
    fn named(name: &str) -> String {
        format!("{{\"event\":\"{name}\",\"email\":\"a@b.example\",\"ts_event\":1604933737}}")
    }

    // rows: BR-14
    #[test]
    fn an_unsubscribe_is_global_whichever_of_the_two_webhooks_tells_of_it() {
        for name in ["unsubscribed", "marketing-unsubscribe"] {
            let event = of(name);
            assert_eq!(event.kind, Kind::Unsubscribed);
            assert_eq!(changes(&event), "global consent suppressed");
        }
        assert_eq!(
            of("marketing-unsubscribe").metadata["list_id"],
            serde_json::json!([3, 42])
        );
        assert_eq!(
            of("marketing-unsubscribe").campaign_id.as_deref(),
            Some("42")
        );
    }

    #[test]
    fn events_are_known_in_the_spellings_of_payloads_and_of_the_settings() {
        for (name, kind, class) in [
            ("unsubscribe", Kind::Unsubscribed, None),
            ("Unsubscribed", Kind::Unsubscribed, None),
            ("hardBounce", Kind::Bounced, Some(BounceClass::Hard)),
            ("Hard Bounced", Kind::Bounced, Some(BounceClass::Hard)),
            ("invalid", Kind::Bounced, Some(BounceClass::Hard)),
            ("softBounce", Kind::Bounced, Some(BounceClass::Soft)),
            ("deferred", Kind::Bounced, Some(BounceClass::Soft)),
            ("blocked", Kind::Bounced, Some(BounceClass::Block)),
            ("uniqueOpened", Kind::Opened, None),
            ("unique_proxy_open", Kind::Opened, None),
            ("contactDeleted", Kind::Other, None),
            ("coupon_sent", Kind::Other, None),
        ] {
            let event = event(&Brevo, &named(name));
            assert_eq!((event.kind, event.bounce_class), (kind, class), "{name}");
            assert_eq!(event.provider_event, name, "kept as it was sent");
        }
    }

    // rows: BR-26
    #[test]
    fn only_opt_outs_complaints_and_hard_bounces_suppress_and_nothing_lifts() {
        for (name, kind, class) in EVENTS {
            let expected = match (kind, class) {
                (Kind::Unsubscribed, _) => "global consent suppressed",
                (Kind::Complained, _) => "global complaint suppressed",
                (Kind::Bounced, Some(BounceClass::Hard)) => "global deliverability suppressed",
                _ => "",
            };
            assert_eq!(changes(&event(&Brevo, &named(name))), expected, "{name}");
        }
        assert!(
            of("list-addition").changes().is_empty(),
            "an addition to a list is no proof of consent"
        );
    }

    #[test]
    fn the_time_is_ts_epoch_in_either_unit_or_ts_event_and_never_a_local_one() {
        let time = |fields: &str| {
            let event = event(
                &Brevo,
                &format!("{{\"event\":\"spam\",\"email\":\"a@b.example\",{fields}}}"),
            );
            (!event.time_assumed).then(|| event.occurred_at.to_string())
        };
        let expected = Some("2018-03-06T19:10:23Z".to_owned());
        assert_eq!(
            time("\"ts_epoch\":1520363423000,\"ts_event\":1520331023"),
            expected
        );
        assert_eq!(
            time("\"ts_epoch\":1520363423,\"ts_event\":1520331023"),
            expected
        );
        assert_eq!(time("\"ts_epoch\":\"1520363423000\""), expected);
        assert_eq!(time("\"ts_epoch\":0,\"ts_event\":1520363423"), expected);
        assert_eq!(
            time("\"ts_epoch\":1520363423123"),
            Some("2018-03-06T19:10:23.123Z".to_owned())
        );
        assert_eq!(
            time(
                "\"ts\":1520363423,\"date\":\"2018-03-06 11:10:23\",\"date_event\":\"2018-03-06 11:10:23\""
            ),
            None
        );
        assert_eq!(time("\"ts_epoch\":1e300,\"ts_event\":-5"), None);
    }

    #[test]
    fn the_webhooks_id_is_no_event_id_and_the_other_fields_tell_events_apart() {
        let body = sample(&Brevo, "click").body();
        let first = event(&Brevo, body);
        assert_eq!(first.provider_event_id, None);
        assert_eq!(
            event(&Brevo, &body.replacen('{', "{\"id\":7,", 1)).id,
            first.id
        );
        for (from, to) in [
            ("423000", "424000"),
            ("me\"", "you\""),
            ("recipient@", "other@"),
            ("987654", "987655"),
            ("click\"", "opened\""),
        ] {
            assert_ne!(
                event(&Brevo, &body.replacen(from, to, 1)).id,
                first.id,
                "{to}"
            );
        }
    }

    #[test]
    fn a_batch_is_read_element_by_element() {
        let results = parse(&Brevo, sample(&Brevo, "batch").body()).unwrap();
        assert_eq!(results[0].as_ref().unwrap().id, of("opened").id);
        assert_eq!(results[1].as_ref().unwrap().id, of("unsubscribed").id);
        assert_eq!(
            results[2].as_ref().unwrap_err().0,
            "email must be a text with one email address, and is missing"
        );
    }

    #[test]
    fn an_sms_status_is_about_the_phone_number() {
        let event = of("sms-unsubscribe");
        let contact = event.contact.as_ref().unwrap();
        assert_eq!(
            (
                contact.channel,
                contact.address.as_str(),
                contact.raw.as_str()
            ),
            (Channel::Sms, "+918076001713", "918076001713")
        );
        assert_eq!(changes(&event), "global consent suppressed");
        assert_eq!(changes(&of("sms-stop")), "global consent suppressed");
        assert_eq!(of("sms-reply").kind, Kind::Other);
        assert_eq!(
            changes(&of("sms-hard-bounce")),
            "global deliverability suppressed"
        );
        for name in ["sms-soft-bounce", "sms-blacklisted", "sms-delivered"] {
            assert_eq!(changes(&of(name)), "", "{name}");
        }
        let why = malformed(&Brevo, "{\"msg_status\":\"unsubscribe\",\"to\":\"0123\"}");
        assert!(why.starts_with("to must be a phone number with its country code: a phone number is written in E.164"), "{why}");
    }
}
