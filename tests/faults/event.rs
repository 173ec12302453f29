//! The events that are sent: the `n`th follows from `n` alone, so what the ledger must hold in the end does, too.

use std::collections::HashMap;

use common::event::Kind;
use jiff::Timestamp;

/// One event as a provider sends it.
pub(crate) struct Event {
    pub(crate) source: &'static str,
    pub(crate) kind: Kind,
    pub(crate) contact: String,
    pub(crate) occurred_at: Timestamp,
    pub(crate) body: String,
}

/// What tells an event from every other in the ledger. The times of what the api is asked for are its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) source: String,
    pub(crate) kind: String,
    pub(crate) contact: String,
    pub(crate) occurred_at: Option<i64>,
}

/// Numbers in a row, made into numbers without order (splitmix64).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Event {
    /// The `n`th. Half of them are changes of Postmark's list, several per contact and in no order of time, so that the
    /// last writer is seldom the last to arrive.
    pub(crate) fn nth(n: u64) -> Self {
        let scattered = scatter(n);
        let seconds = i64::try_from(scattered % 100_000_000).unwrap();
        let occurred_at = Timestamp::from_second(1_600_000_000 + seconds).unwrap();
        let alone = format!("n{n}@example.com");
        match n % 10 {
            0..5 => {
                let contact = format!("p{}-{}@example.com", n / 100, (scattered >> 32) % 15);
                let suppress = (scattered >> 48).is_multiple_of(2);
                let kind = if suppress {
                    Kind::Unsubscribed
                } else {
                    Kind::Resubscribed
                };
                let why = if suppress {
                    "\"ManualSuppression\""
                } else {
                    "null"
                };
                let body = format!(
                    r#"{{"RecordType":"SubscriptionChange","MessageID":"{n}","ServerID":23,"MessageStream":"outbound","ChangedAt":"{occurred_at}","Recipient":"{contact}","Origin":"Recipient","SuppressSending":{suppress},"SuppressionReason":{why}}}"#
                );
                Self {
                    source: "postmark",
                    kind,
                    contact,
                    occurred_at,
                    body,
                }
            }
            5 => {
                let body = format!(
                    r#"{{"event":"unsubscribed","email":"{alone}","timestamp":"{occurred_at}"}}"#
                );
                Self {
                    source: "notifiedby",
                    kind: Kind::Unsubscribed,
                    contact: alone,
                    occurred_at,
                    body,
                }
            }
            rest => {
                let kind = match rest {
                    6 => Kind::Unsubscribed,
                    7 => Kind::Bounced,
                    8 => Kind::Opened,
                    _ => Kind::Delivered,
                };
                let body = format!(
                    r#"{{"id":"evt-{n}","type":"{kind}","recipient":"{alone}","timestamp":"{occurred_at}"}}"#
                );
                Self {
                    source: "sentinmail",
                    kind,
                    contact: alone,
                    occurred_at,
                    body,
                }
            }
        }
    }

    /// One in ten is sent twice.
    pub(crate) fn is_sent_twice(n: u64) -> bool {
        (scatter(n) >> 16).is_multiple_of(10)
    }

    pub(crate) fn key(&self) -> Key {
        Key {
            source: self.source.to_owned(),
            kind: self.kind.to_string(),
            contact: self.contact.clone(),
            occurred_at: Some(self.occurred_at.as_microsecond()),
        }
    }
}

/// The `n`th contact that is suppressed by hand, over the api.
pub(crate) fn by_hand(n: u64) -> (String, Key) {
    let contact = format!("hand{n}@example.com");
    let key = Key {
        source: "api".to_owned(),
        kind: Kind::Suppressed.to_string(),
        contact: contact.clone(),
        occurred_at: None,
    };
    (contact, key)
}

/// Whether each contact is suppressed once the first `count` events are in: the latest word on it decides, of two at
/// the same time the opt-out. A fold of its own, to hold the ledger's against.
pub(crate) fn fold(count: u64) -> HashMap<String, bool> {
    let mut latest: HashMap<String, (Timestamp, bool)> = HashMap::new();
    for event in (0..count).map(Event::nth) {
        let suppresses = match event.kind {
            Kind::Unsubscribed | Kind::Bounced => true,
            Kind::Resubscribed => false,
            _ => continue,
        };
        let word = (event.occurred_at, suppresses);
        let standing = latest.entry(event.contact).or_insert(word);
        *standing = (*standing).max(word);
    }
    let words = latest.into_iter();
    words
        .map(|(contact, (_, suppressed))| (contact, suppressed))
        .collect()
}
