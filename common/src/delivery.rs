//! A delivery: one event for one target, its life, and what an attempt at it came to.
//!
//! ```text
//!             +-> parked (target disabled) --enabled--+
//!             |                                       v
//! recorded -> pending --attempt--> delivered       pending
//!                |                     ^
//!                +--> retrying --------+
//!                |       |
//!                +-------+--> dead --retry by a person--> pending
//! ```

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    event::{Event, derived_id},
    names::names,
};

names! {
    /// Where a delivery stands.
    State {
        /// Recorded and in the target's queue, no attempt made yet.
        Pending = "pending",
        /// An attempt failed; the next one is due at `next_attempt_at`.
        Retrying = "retrying",
        /// Its target is disabled: kept in the ledger, in no queue, until the target is enabled.
        Parked = "parked",
        Delivered = "delivered",
        /// Out of attempts, or refused for good: waits for a person.
        Dead = "dead",
    }
}

/// One event for one target, as it travels in the target's queue. Never changes on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: Uuid,
    pub target: String,
    pub event: Event,
}

impl Delivery {
    /// The delivery of `event` to `target`.
    pub fn new(event: Event, target: &str) -> Self {
        Self {
            id: Self::id_of(event.id, target),
            target: target.to_owned(),
            event,
        }
    }

    /// Its message.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("an event's fields have text keys")
            .into()
    }

    /// Reads its message.
    pub fn decode(message: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(message)
    }

    /// Derived from both, so it is the same however often it is computed: the idempotency key that targets see.
    pub fn id_of(event: Uuid, target: &str) -> Uuid {
        derived_id("delivery", target, [event.to_string().as_str()])
    }
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Done without telling the target of it, which is not to hear of it any more.
    Withheld,
    /// The target failed; try again after the schedule's delay, or the longer one that it asked for.
    Retry {
        after: Option<Duration>,
        why: String,
    },
    /// Refused for good: no further attempt would be answered otherwise.
    Dead {
        why: String,
    },
}

/// What a target says of one attempt, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// The beginning of the answer (at most 2 KiB), or a line that says what was done.
    pub excerpt: Option<String>,
}

impl Answer {
    pub fn done(excerpt: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Done,
            status: None,
            excerpt: Some(excerpt.into()),
        }
    }

    pub fn withheld(why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Withheld,
            ..Self::done(why)
        }
    }

    pub fn retry(why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Retry {
                after: None,
                why: why.into(),
            },
            status: None,
            excerpt: None,
        }
    }

    pub fn dead(why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Dead { why: why.into() },
            status: None,
            excerpt: None,
        }
    }
}

/// What came of a test of a target, of which no delivery is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TargetTest)]
pub struct Tested {
    /// Whether it took it.
    pub delivered: bool,
    pub status: Option<u16>,
    pub duration_ms: u64,
    pub error: Option<String>,
    /// The beginning of the answer, or what was done.
    pub answer: Option<String>,
}

impl Tested {
    /// What the target's answer says.
    pub fn of(answer: Answer, took: Duration) -> Self {
        let error = match answer.outcome {
            Outcome::Done | Outcome::Withheld => None,
            Outcome::Retry { why, .. } | Outcome::Dead { why } => Some(why),
        };
        Self {
            delivered: error.is_none(),
            status: answer.status,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error,
            answer: answer.excerpt,
        }
    }
}

/// One attempt, as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Attempt {
    pub number: i64,
    pub started_at: Timestamp,
    pub duration_ms: i64,
    /// `done`, `withheld`, `retry` or `dead`.
    pub outcome: String,
    pub status: Option<i64>,
    pub error: Option<String>,
    pub answer: Option<String>,
}
