//! The ledger at a glance, for who watches it: what came in of late, what waits and for how long, what is in trouble.
//!
//! It is asked again every few seconds, so nothing here reads more with every contact or event that the ledger ever had:
//! each question is about a short time, or about what is unfinished, and stops counting at a bound.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, any::AnyRow};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DeliveryFilter, Ledger, Result, micros, parsed, timestamp};
use crate::{delivery::State, event::Kind};

/// Counting of what is unfinished stops here: more is as bad.
pub const MANY: i64 = 100_000;

const MICROS_A_MINUTE: i64 = 60_000_000;

pub(super) const MINUTES: &str = "
    SELECT received_at / 60000000 AS minute, kind, COUNT(*) FROM events
    WHERE received_at >= $1 GROUP BY received_at / 60000000, kind";

pub(super) const UNFINISHED: &str = "
    SELECT target, state, COUNT(*), MIN(moved_at) FROM (
        SELECT target, state, moved_at FROM deliveries WHERE state <> 'delivered' LIMIT $1
    ) AS unfinished GROUP BY target, state ORDER BY target, state";

// As in the count of what is undelivered: SQLite joins in the order of a CROSS JOIN.
pub(super) const DUE_FIRST: &str = "
    SELECT * FROM (
        SELECT deliveries.id AS delivery, events.id AS event, target, source, events.kind AS kind, state, received_at
        FROM deliveries CROSS JOIN events
        WHERE events.id = event_id AND state <> 'delivered' AND first_delivered_at IS NULL AND effect = 'suppress'
        LIMIT $1
    ) AS waiting ORDER BY received_at, delivery LIMIT $2";

pub(super) const LAST_HEARD: &str =
    "SELECT received_at FROM events WHERE source = $1 ORDER BY received_at DESC, id DESC LIMIT 1";

// The state is given apart: SQLite drops the first condition where the third says it already, and the index with it.
pub(super) const LAST_FAILED: &str = "
    SELECT moved_at, last_error FROM deliveries
    WHERE state <> 'delivered' AND target = $1 AND state = $2 ORDER BY moved_at DESC LIMIT 1";

/// Events of one kind that were received in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Minute {
    pub begin: Timestamp,
    pub kind: Kind,
    pub events: i64,
}

/// Deliveries to one target that are not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    pub target: String,
    pub state: State,
    /// At most [`MANY`] over all targets and states.
    pub count: i64,
    /// When the one that has stood still longest last moved.
    pub since: Timestamp,
}

/// An opt-out that some target does not know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    pub delivery_id: Uuid,
    pub event_id: Uuid,
    pub target: String,
    pub source: String,
    pub kind: Kind,
    pub state: State,
    pub received_at: Timestamp,
}

/// How a target fared last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastTold {
    /// When the newest delivery that was delivered was.
    pub delivered_at: Option<Timestamp>,
    /// When what is in trouble was last attempted, and what came of it.
    pub failed_at: Option<Timestamp>,
    pub error: Option<String>,
}

impl Ledger {
    /// The events since then, by the minute of their receipt and their kind.
    pub async fn minutes(&self, since: Timestamp) -> Result<Vec<Minute>> {
        let found = self
            .query(MINUTES)
            .bind(micros(since))
            .fetch_all(&self.pool);
        let minute = |row: &AnyRow| {
            Ok(Minute {
                begin: timestamp(row.try_get::<i64, _>(0)? * MICROS_A_MINUTE)?,
                kind: parsed(&row.try_get::<String, _>(1)?)?,
                events: row.try_get(2)?,
            })
        };
        found.await?.iter().map(minute).collect()
    }

    /// What is not delivered, by target and state.
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let found = self
            .query(UNFINISHED)
            .bind(MANY)
            .fetch_all(&self.pool)
            .await?;
        let unfinished = |row: &AnyRow| {
            Ok(Unfinished {
                target: row.try_get(0)?,
                state: parsed(&row.try_get::<String, _>(1)?)?,
                count: row.try_get(2)?,
                since: timestamp(row.try_get(3)?)?,
            })
        };
        found.iter().map(unfinished).collect()
    }

    /// The opt-outs that have waited longest for some target, oldest first, of at most [`MANY`] that wait.
    pub async fn due_first(&self, limit: i64) -> Result<Vec<Due>> {
        let query = self.query(DUE_FIRST).bind(MANY).bind(limit);
        let due = |row: &AnyRow| {
            Ok(Due {
                delivery_id: parsed(&row.try_get::<String, _>(0)?)?,
                event_id: parsed(&row.try_get::<String, _>(1)?)?,
                target: row.try_get(2)?,
                source: row.try_get(3)?,
                kind: parsed(&row.try_get::<String, _>(4)?)?,
                state: parsed(&row.try_get::<String, _>(5)?)?,
                received_at: timestamp(row.try_get(6)?)?,
            })
        };
        query.fetch_all(&self.pool).await?.iter().map(due).collect()
    }

    /// When each of these sources was last heard of, if it ever was.
    pub async fn last_heard(&self, sources: &[String]) -> Result<Vec<(String, Timestamp)>> {
        let mut heard = vec![];
        for source in sources {
            let newest = self.query(LAST_HEARD).bind(source.clone());
            if let Some(row) = newest.fetch_optional(&self.pool).await? {
                heard.push((source.clone(), timestamp(row.try_get(0)?)?));
            }
        }
        Ok(heard)
    }

    /// How a target fared last.
    pub async fn last_told(&self, target: &str) -> Result<LastTold> {
        let told = DeliveryFilter {
            target: Some(target.to_owned()),
            state: Some(State::Delivered),
            ..DeliveryFilter::default()
        };
        let newest = self.deliveries(&told, 1, None).await?.items.pop();
        let mut last = LastTold {
            delivered_at: newest.and_then(|delivery| delivery.delivered_at),
            ..LastTold::default()
        };
        for state in [State::Retrying, State::Dead] {
            let row = self.query(LAST_FAILED).bind(target.to_owned());
            let row = row.bind(state.as_str());
            if let Some(row) = row.fetch_optional(&self.pool).await? {
                let at = timestamp(row.try_get(0)?)?;
                if last.failed_at.is_none_or(|before| before < at) {
                    last.failed_at = Some(at);
                    last.error = row.try_get(1)?;
                }
            }
        }
        Ok(last)
    }
}
