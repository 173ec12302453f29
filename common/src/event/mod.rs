//! An event: the normalised form of one thing that happened, and what it changes in the ledger.
//!
//! A provider's parser makes a [`Draft`]; [`Draft::into_event`] gives it its identity and its time. The identity is a
//! hash, so the same thing received twice is the same event, whichever worker reads it and however often.

mod draft;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{contact::Contact, names::names};

pub(crate) use draft::has_effect;
pub use draft::{CLOCK_SKEW, Draft, Identity, Undetermined};

names! {
    /// What happened.
    Kind {
        Unsubscribed = "unsubscribed",
        Resubscribed = "resubscribed",
        Complained = "complained",
        Bounced = "bounced",
        /// Suppressed by hand: by the customer, an administrator, or over the api.
        Suppressed = "suppressed",
        Delivered = "delivered",
        Opened = "opened",
        Clicked = "clicked",
        /// Anything else, the provider's own name kept: recorded, without effect.
        Other = "other",
    }
}

names! {
    BounceClass { Hard = "hard", Soft = "soft", Block = "block", Undetermined = "undetermined" }
}

names! {
    /// Who caused it.
    Origin { Recipient = "recipient", Customer = "customer", Admin = "admin", Provider = "provider", Unknown = "unknown" }
}

names! {
    /// What an event does to the registers it touches, decided when it is recorded and kept with it.
    Effect { Suppress = "suppress", Clear = "clear", None = "none" }
}

names! {
    /// The cause that a register speaks for. A reactivation of one lane says nothing of another.
    Lane { Consent = "consent", Complaint = "complaint", Deliverability = "deliverability", Manual = "manual" }
}

/// The scope that covers everything on a channel.
pub const GLOBAL: &str = "global";

/// A register that a person sets by hand, whosever it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Register {
    pub source: String,
    pub lane: Lane,
}

/// One thing that happened, normalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventRecord)]
pub struct Event {
    /// Derived from the source and the event's identity: the unique key by which duplicates are known.
    pub id: Uuid,
    pub envelope_id: Uuid,
    pub source: String,
    pub provider: String,
    pub kind: Kind,
    pub bounce_class: Option<BounceClass>,
    /// None where the provider names nobody, which only an event without effect may do.
    #[serde(flatten)]
    #[schema(ignore)] // what shows an event says all of it, also for one about nobody
    pub contact: Option<Contact>,
    pub scope: String,
    /// When it happened, as the provider states it, or else the time of receipt.
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    /// True where `occurred_at` is the time of receipt, since none was stated or the stated one lay in the future.
    pub time_assumed: bool,
    pub reason: Option<String>,
    pub origin: Origin,
    pub effect: Effect,
    /// The one register that it sets, where a person named it; else its kind says which of its source's own it sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)] // left out, never null
    pub register: Option<Register>,
    /// The event of which this one is an echo: its source only reports back what was told there, so it has no effect and
    /// nobody is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)] // left out, never null
    pub echo_of: Option<Uuid>,
    /// The provider's own name for the event, verbatim.
    pub provider_event: String,
    pub provider_event_id: Option<String>,
    pub message_id: Option<String>,
    pub campaign_id: Option<String>,
    #[serde(default)]
    #[schema(required)]
    pub metadata: Map<String, Value>,
}

/// One register that an event sets: its place, beside channel and contact, and its new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    pub source: &'a str,
    pub scope: &'a str,
    pub lane: Lane,
    pub suppressed: bool,
}

impl Event {
    /// The registers that this event sets.
    ///
    /// A complaint and a bounce concern the address, so they are `global` whatever stream told of them. A
    /// reactivation clears its source's own consent and manual lanes in its scope and its deliverability lane, never
    /// the complaint lane. What a person sets by hand is the one register that they named.
    pub fn changes(&self) -> Vec<Change<'_>> {
        if let Some(register) = &self.register {
            return vec![Change {
                source: &register.source,
                scope: &self.scope,
                lane: register.lane,
                suppressed: self.effect == Effect::Suppress,
            }];
        }
        let change = |scope, lane, suppressed| Change {
            source: &self.source,
            scope,
            lane,
            suppressed,
        };
        match (self.effect, self.kind) {
            (Effect::None, _) => vec![],
            (Effect::Clear, _) => vec![
                change(&self.scope, Lane::Consent, false),
                change(&self.scope, Lane::Manual, false),
                change(GLOBAL, Lane::Deliverability, false),
            ],
            (Effect::Suppress, Kind::Complained) => vec![change(GLOBAL, Lane::Complaint, true)],
            (Effect::Suppress, Kind::Bounced) => vec![change(GLOBAL, Lane::Deliverability, true)],
            (Effect::Suppress, Kind::Suppressed) => vec![change(&self.scope, Lane::Manual, true)],
            (Effect::Suppress, _) => vec![change(&self.scope, Lane::Consent, true)],
        }
    }

    /// The scope that it concerns: its own, or everything where it says something of the address.
    pub fn reach(&self) -> &str {
        match (self.effect, self.kind) {
            (Effect::Suppress, Kind::Complained | Kind::Bounced) if self.register.is_none() => {
                GLOBAL
            }
            _ => &self.scope,
        }
    }

    /// A hash of what the event says, without what receipt adds: two receipts of one event agree in it, and one id
    /// used for two different events does not.
    pub fn fingerprint(&self) -> i64 {
        let contact = self
            .contact
            .as_ref()
            .map(|contact| contact.address.as_str());
        let occurred_at = if self.time_assumed {
            String::new()
        } else {
            self.occurred_at.to_string()
        };
        let said = (
            self.kind,
            self.bounce_class,
            contact,
            &self.scope,
            occurred_at,
            &self.reason,
            self.origin,
            &self.metadata,
        );
        let text = serde_json::to_vec(&said).expect("an event's fields have text keys");
        let digest = Sha256::digest(text);
        i64::from_be_bytes(
            digest[..8]
                .try_into()
                .expect("a SHA-256 digest has 32 bytes"),
        )
    }
}

/// A `UUIDv8` from a hash over `parts`: the same wherever and however often it is computed.
pub fn derived_id<'a>(
    domain: &'a str,
    first: &'a str,
    parts: impl IntoIterator<Item = &'a str>,
) -> Uuid {
    let mut hash = Sha256::new();
    for part in [domain, first].into_iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    Uuid::new_v8(
        digest[..16]
            .try_into()
            .expect("a SHA-256 digest has 32 bytes"),
    )
}

/// Reads a provider's time: RFC 3339 with an offset and up to nine fraction digits.
pub fn rfc3339(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::envelope::Envelope;

    fn envelope() -> Envelope {
        Envelope {
            id: Uuid::nil(),
            source: "shop".to_owned(),
            received_at: "2026-04-02T14:30:00Z".parse().unwrap(),
            content_type: None,
            headers: vec![],
            body: Bytes::new(),
        }
    }

    fn event(kind: Kind, occurred_at: Option<&str>) -> Event {
        let mut draft = Draft::new(kind, "x", Identity::Own("1".to_owned()));
        draft.contact = Some(Contact::email("a@b.example").unwrap());
        draft.scope = Some("news".to_owned());
        draft.occurred_at = occurred_at.and_then(rfc3339);
        draft.into_event(&envelope(), "test", Undetermined::Suppress)
    }

    #[test]
    fn a_time_more_than_ten_minutes_ahead_of_receipt_is_replaced_and_marked() {
        let near = event(Kind::Unsubscribed, Some("2026-04-02T14:39:59Z"));
        assert!(!near.time_assumed);
        let far = event(Kind::Unsubscribed, Some("2026-04-02T14:40:01Z"));
        assert!(far.time_assumed);
        assert_eq!(far.occurred_at, far.received_at);
        assert!(event(Kind::Unsubscribed, None).time_assumed);
    }

    #[test]
    fn times_with_offsets_and_one_to_nine_fraction_digits_are_read() {
        for digits in 1..=9 {
            let text = format!("2016-04-27T16:28:50.{}-04:00", "3".repeat(digits));
            assert!(rfc3339(&text).is_some(), "{text}");
        }
        assert_eq!(
            rfc3339("2018-09-27T22:55:40.610+03:00"),
            rfc3339("2018-09-27T19:55:40.610Z")
        );
    }

    #[test]
    fn a_reactivation_never_touches_the_complaint_lane() {
        let event = event(Kind::Resubscribed, None);
        let changes = event.changes();
        assert_eq!(changes.len(), 3);
        assert!(
            changes
                .iter()
                .all(|change| !change.suppressed && change.lane != Lane::Complaint)
        );
    }

    #[test]
    fn complaints_and_bounces_are_global_and_an_opt_out_keeps_its_scope() {
        assert_eq!(event(Kind::Complained, None).changes()[0].scope, GLOBAL);
        assert_eq!(event(Kind::Bounced, None).changes()[0].scope, GLOBAL);
        assert_eq!(event(Kind::Unsubscribed, None).changes()[0].scope, "news");
    }

    #[test]
    fn the_id_is_the_same_for_a_repeat_and_differs_between_sources() {
        assert_eq!(
            event(Kind::Opened, None).id,
            event(Kind::Unsubscribed, None).id
        );
        assert_ne!(derived_id("own", "a", ["1"]), derived_id("own", "b", ["1"]));
        assert_ne!(
            derived_id("own", "a", ["1", "2"]),
            derived_id("own", "a", ["12"])
        );
    }

    #[test]
    fn an_event_survives_its_json() {
        let mut event = event(Kind::Bounced, None);
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        event.contact = None;
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
