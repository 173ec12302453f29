//! Postmark: records of seven types, single, without a signature. The message stream is the scope.
//!
//! A subscription change is an entry into a stream's suppression list or a removal from it: its `SuppressSending` says
//! which, its reason and origin say why. The other records are told of by their type, bounces by the type within.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Guide, Malformed, Parsed, Provider, Refusals, Sample, Suit, json, sample::samples};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Kind, Origin},
    queue::Priority,
};

/// `RecordType`, but for the two that say more: `SubscriptionChange` and `Bounce`.
const RECORDS: &[json::Row] = &[
    ("SpamComplaint", Kind::Complained, None),
    ("Delivery", Kind::Delivered, None),
    ("Open", Kind::Opened, None),
    ("Click", Kind::Clicked, None),
];

/// `Type` of a bounce. `Subscribe` is Postmark's guess from a reply, which anybody may have written: no proof of an
/// opt-in, and it takes nobody off Postmark's own list, so it is recorded without effect.
const BOUNCES: &[json::Row] = &[
    ("HardBounce", Kind::Bounced, Some(BounceClass::Hard)),
    ("BadEmailAddress", Kind::Bounced, Some(BounceClass::Hard)),
    ("SoftBounce", Kind::Bounced, Some(BounceClass::Soft)),
    ("Transient", Kind::Bounced, Some(BounceClass::Soft)),
    ("DnsError", Kind::Bounced, Some(BounceClass::Soft)),
    ("OpenRelayTest", Kind::Bounced, Some(BounceClass::Soft)),
    ("Blocked", Kind::Bounced, Some(BounceClass::Block)),
    ("DMARCPolicy", Kind::Bounced, Some(BounceClass::Block)),
    ("VirusNotification", Kind::Bounced, Some(BounceClass::Block)),
    ("SpamComplaint", Kind::Complained, None),
    ("SpamNotification", Kind::Complained, None),
    ("Unsubscribe", Kind::Unsubscribed, None),
    ("ManualSuppression", Kind::Unsubscribed, None),
    ("ManuallyDeactivated", Kind::Suppressed, None),
    ("Subscribe", Kind::Other, None),
    ("AutoResponder", Kind::Other, None),
    ("AddressChange", Kind::Other, None),
    ("ChallengeVerification", Kind::Other, None),
    ("Unconfirmed", Kind::Other, None),
    ("SMTPApiError", Kind::Other, None),
    ("InboundError", Kind::Other, None),
    ("TemplateRenderingFailed", Kind::Other, None),
];

/// The fields that go into the metadata as they are, `Metadata` among them.
const KEPT: &[&str] = &[
    "ServerID",
    "ServerId",
    "Tag",
    "Metadata",
    "Details",
    "Inactive",
    "SuppressionReason",
    "FirstOpen",
    "OriginalLink",
    "UserAgent",
];

/// When it happened, by type of record.
const TIMES: &[&str] = &["ChangedAt", "BouncedAt", "DeliveredAt", "ReceivedAt"];

/// What tells one record from another beside its recipient and its time. Only bounces have an id, `ID`.
const IDENTITY: &[&str] = &[
    "RecordType",
    "ServerID",
    "ServerId",
    "MessageStream",
    "SuppressSending",
    "MessageID",
    "ID",
    "Type",
    "OriginalLink",
];

const UNTIMED: &str = "ChangedAt must be a time such as 2020-02-01T10:53:34.416071Z: without one the reactivation could \
                       undo a newer opt-out";

#[derive(Debug)]
pub(super) struct Postmark;

/// What tells how urgent an event is.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow, rename = "RecordType")]
    name: Cow<'a, str>,
}

impl Provider for Postmark {
    fn name(&self) -> &'static str {
        "postmark"
    }

    fn priority(&self, body: &[u8]) -> Priority {
        json::priority(body, |look: &Look<'_>| json::low(RECORDS, &look.name))
    }

    /// 403 ends Postmark's retries.
    fn refusals(&self) -> Refusals {
        Refusals {
            disabled: 403,
            ..Refusals::default()
        }
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        json::read(envelope, |fields| draft(fields, envelope))
    }

    /// A field says who: <https://postmarkapp.com/developer/webhooks/subscription-change-webhook>.
    fn says_recipient(&self, event: &Event) -> bool {
        event.provider_event == "SubscriptionChange" && event.origin == Origin::Recipient
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Postmark",
            suits: &[Suit::BasicInUrl, Suit::Header, Suit::Basic],
            steps: &[
                "Your server > a message stream > Webhooks: add one with the URL, for each stream.",
                "Tick Subscription Change, Bounce and Spam Complaint; Delivery, Open and Link Click to have these recorded.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "postmark": "subscription-change-unsubscribe", "subscription-change", "subscription-change-curl",
            "subscription-change-complaint", "subscription-change-manual", "subscription-change-reactivation",
            "subscription-change-reactivation-anymail", "spam-complaint", "bounce-hard", "bounce-soft",
            "bounce-blocked", "bounce-unsubscribe", "bounce-unsubscribe-scrubbed", "delivery", "open", "click",
            "inbound",
        )
    }
}

/// What a record says happened, who caused it, and why.
type Told = (Kind, Option<BounceClass>, Origin, Option<String>);

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let record = fields.label("RecordType").unwrap_or_default();
    let (kind, class, origin, reason) = match record.as_str() {
        "SubscriptionChange" => subscription_change(fields)?,
        "Bounce" => bounce(fields),
        _ => other_record(&record, fields),
    };
    let contact = json::needed(kind, class, fields.email(recipient(&record, fields)))?;
    let time = TIMES.iter().find(|key| fields.has(*key));
    let occurred_at = time.and_then(|key| fields.time(key));
    if kind == Kind::Resubscribed && occurred_at.is_none() {
        return Err(Malformed(UNTIMED.to_owned()));
    }
    let sent = IDENTITY.iter().chain(time).map(|key| fields.text(key));
    let own = fields
        .label("ID")
        .filter(|id| record == "Bounce" && id != "0");
    let identity = json::identity(own, sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: fields.label("MessageStream"),
        occurred_at,
        reason,
        origin,
        message_id: fields.label("MessageID"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, record, identity)
    })
}

/// `SuppressSending` decides what happened; a missing reason or a null elsewhere proves nothing.
fn subscription_change(fields: &json::Fields) -> Result<Told, Malformed> {
    let origin = match fields.text("Origin").as_deref() {
        Some("Recipient") => Origin::Recipient,
        Some("Customer") => Origin::Customer,
        Some("Admin") => Origin::Admin,
        _ => Origin::Unknown,
    };
    if !fields.flag("SuppressSending")? {
        return Ok((Kind::Resubscribed, None, origin, None));
    }
    let reason = fields.label("SuppressionReason");
    let (kind, class) = match reason.as_deref() {
        Some("HardBounce") => (Kind::Bounced, Some(BounceClass::Hard)),
        Some("SpamComplaint") => (Kind::Complained, None),
        Some("ManualSuppression") if origin == Origin::Recipient => (Kind::Unsubscribed, None),
        Some("ManualSuppression") => (Kind::Suppressed, None),
        _ => return Ok((Kind::Suppressed, None, origin, Some("other".to_owned()))),
    };
    Ok((kind, class, origin, reason))
}

/// A type that the table lacks has no effect, unless Postmark has stopped sending to the address because of it.
fn bounce(fields: &json::Fields) -> Told {
    let name = fields.label("Type").unwrap_or_default();
    let stopped = fields.flag("Inactive") == Ok(true);
    let (kind, class) = match json::meaning(BOUNCES, &name) {
        Some(meaning) => meaning,
        None if stopped => (Kind::Bounced, Some(BounceClass::Undetermined)),
        None => (Kind::Other, None),
    };
    let origin = match name.as_str() {
        "ManualSuppression" => Origin::Unknown,
        _ => json::usual_origin(kind),
    };
    (kind, class, origin, Some(name))
}

fn other_record(record: &str, fields: &json::Fields) -> Told {
    let (kind, class) = json::meaning(RECORDS, record).unwrap_or((Kind::Other, None));
    (kind, class, json::usual_origin(kind), fields.label("Type"))
}

/// The field that names the recipient: the one that such records have, or the other if only that is there.
fn recipient(record: &str, fields: &json::Fields) -> &'static str {
    let (usual, other) = match record {
        "Bounce" | "SpamComplaint" => ("Email", "Recipient"),
        _ => ("Recipient", "Email"),
    };
    if fields.has(other) && !fields.has(usual) {
        other
    } else {
        usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{
        changed, changes, event, malformed, sample, what, with,
    };
    use serde_json::{Value, json};

    fn of(name: &str) -> crate::event::Event {
        event(&Postmark, body(name))
    }

    fn body(name: &str) -> &'static str {
        sample(&Postmark, name).body()
    }

    /// The unsubscribe of a recipient, with another value of one field.
    fn changing(key: &str, value: Value) -> String {
        with(body("subscription-change-unsubscribe"), key, value)
    }

    // rows: PM-2, PM-5, PM-6, PM-7, PM-8, PM-9, PM-10, PM-11, PM-12, PM-18, PM-19, PM-20, PM-21, PM-32
    #[test]
    fn both_examples_of_the_page_are_hard_bounces_of_their_streams() {
        let first = of("subscription-change");
        assert_eq!(what(&first), "bounced hard bounced-address@wildbit.com");
        assert_eq!(first.occurred_at.to_string(), "2020-02-01T10:53:34.416071Z");
        assert_eq!(
            (first.scope.as_str(), first.origin),
            ("outbound", Origin::Recipient)
        );
        assert_eq!(first.reason.unwrap(), "HardBounce");
        let message = first.message_id.unwrap();
        assert_eq!(message, "883953f4-6105-42a2-a16a-77a8eac79483");
        let given = json!({ "example": "value", "example_2": "value" });
        let expected = json!({ "Metadata": given, "Tag": "my-tag", "ServerID": 123_456, "SuppressionReason": "HardBounce" });
        assert_eq!(Value::Object(first.metadata), expected);
        let second = of("subscription-change-curl");
        assert_eq!(what(&second), "bounced hard hard-bounce@wildbit.com");
        assert_eq!(second.origin, Origin::Customer, "whatever the reason");
        assert_eq!(second.metadata["ServerID"], 4_509_041);
    }

    // rows: PM-1, PM-2, PM-3, PM-14, PM-15, PM-23
    #[test]
    fn the_reason_and_the_origin_of_a_suppression_tell_what_it_is() {
        let told = |reason: &str, origin: &str| {
            let body = changing("Origin", json!(origin)).replace("ManualSuppression", reason);
            changes(&event(&Postmark, &body))
        };
        for (reason, origin, expected) in [
            ("ManualSuppression", "Recipient", "outbound consent"),
            ("ManualSuppression", "Customer", "outbound manual"),
            ("ManualSuppression", "Admin", "outbound manual"),
            ("ManualSuppression", "Robot", "outbound manual"),
            ("SpamComplaint", "Recipient", "global complaint"),
            ("HardBounce", "Customer", "global deliverability"),
        ] {
            assert_eq!(told(reason, origin), format!("{expected} suppressed"));
        }
    }

    // rows: PM-13, PM-28
    #[test]
    fn a_suppression_with_a_null_or_unknown_reason_suppresses_anyway() {
        for reason in [json!(null), json!("Moon"), json!(7), json!({})] {
            let event = event(&Postmark, &changing("SuppressionReason", reason));
            assert_eq!(event.reason.as_deref(), Some("other"));
            assert_eq!(changes(&event), "outbound manual suppressed");
        }
    }

    // rows: PM-4, PM-13, PM-16, PM-17, PM-19, PM-24, PM-26, PM-29
    #[test]
    fn a_reactivation_clears_its_stream_and_never_a_complaint_with_or_without_nulls() {
        let nulls = body("subscription-change-reactivation");
        let captured = body("subscription-change-reactivation-anymail");
        let with_a_reason = changing("SuppressSending", json!(false));
        let cleared = "outbound consent clear, outbound manual clear, global deliverability clear";
        for body in [nulls, captured, &with_a_reason] {
            let event = event(&Postmark, body);
            assert_eq!(what(&event), "resubscribed john@example.com");
            assert_eq!((changes(&event).as_str(), event.reason), (cleared, None));
        }
    }

    #[test]
    fn a_reactivation_without_a_readable_time_is_refused_and_an_opt_out_is_not() {
        for time in [json!(null), json!("today"), json!("2022-06-05T17:17:32")] {
            let untimed = changing("ChangedAt", time);
            assert!(event(&Postmark, &untimed).time_assumed);
            let why = malformed(&Postmark, &untimed.replace("true", "false"));
            assert!(why.starts_with("ChangedAt must be a time"), "{why}");
        }
    }

    // rows: PM-8, PM-27, PM-31
    #[test]
    fn a_repeat_is_the_same_event_and_another_server_stream_time_or_direction_is_not() {
        let id = |from: &str, to: &str| {
            let body = changed(body("subscription-change-unsubscribe"), from, to);
            event(&Postmark, &body).id
        };
        let first = of("subscription-change-unsubscribe").id;
        assert_eq!(id("john@example.com", " John@Example.COM "), first);
        assert_ne!(id(":23,", ":24,"), first);
        assert_ne!(id("outbound", "news"), first);
        assert_ne!(id("17:32Z", "17:33Z"), first);
        assert_ne!(id("true", "false"), first);
        assert_ne!(id("john", "jane"), first);
        let later = changed(body("open"), "16:21:41", "16:21:42");
        assert_ne!(event(&Postmark, &later).id, of("open").id);
        assert_eq!(of("bounce-hard").provider_event_id.unwrap(), "901542550");
        assert_ne!(of("spam-complaint").id, of("bounce-hard").id);
    }

    // rows: PM-22
    #[test]
    fn what_two_webhooks_tell_sets_the_same_register() {
        for (one, other) in [
            ("bounce-hard", "subscription-change"),
            ("spam-complaint", "subscription-change-complaint"),
            ("bounce-unsubscribe", "subscription-change-unsubscribe"),
        ] {
            assert_eq!(changes(&of(one)), changes(&of(other)));
        }
    }

    #[test]
    fn a_bounce_is_told_by_its_type_and_an_unknown_one_by_whether_postmark_has_stopped_sending() {
        let told = |body: &str| what(&event(&Postmark, body));
        for (name, kind, class) in BOUNCES {
            let event = event(&Postmark, &with(body("bounce-hard"), "Type", json!(name)));
            assert_eq!((event.kind, event.bounce_class), (*kind, *class), "{name}");
        }
        let unknown = with(body("bounce-hard"), "Type", json!("Unknown"));
        assert_eq!(told(&unknown), "bounced undetermined bounce@example.com");
        let active = with(&unknown, "Inactive", json!(false));
        assert_eq!(told(&active), "other bounce@example.com");
    }

    // rows: PM-11, PM-13, PM-33
    #[test]
    fn what_is_missing_or_of_the_wrong_type_is_named_and_no_address_is_quoted() {
        let why = malformed(&Postmark, body("bounce-unsubscribe-scrubbed"));
        assert_eq!(
            why,
            "Email must be a text with one email address, and is missing"
        );
        let why = |key: &str, value: Value| malformed(&Postmark, &changing(key, value));
        let number = "Recipient must be a text with one email address, and is a number";
        assert_eq!(why("Recipient", json!(7)), number);
        assert!(!why("Recipient", json!("Secret Name")).contains("Secret"));
        let text = "SuppressSending must be true or false, and is a text";
        assert_eq!(why("SuppressSending", json!("true")), text);
    }

    #[test]
    fn records_of_no_effect_are_recorded_even_without_an_address() {
        let number = r#"{"RecordType":"SMTP API Error","Recipient":7}"#;
        let unknown = r#"{"RecordType":"Moon","Email":"a@b.example"}"#;
        assert_eq!(what(&of("inbound")), "other");
        assert_eq!(what(&event(&Postmark, number)), "other");
        assert_eq!(what(&event(&Postmark, unknown)), "other a@b.example");
    }
}
