//! Where the workers' breakers stand, for who watches. A report: nothing is decided by it.
//!
//! Each worker says where its own stand when one changes, and again every few seconds. What was not said for
//! [`BELIEVED`] is of a worker that died or lost the ledger, and is not told any more. So if a worker dies before it has
//! said something, or after, what is told is too old for so long at most, by the database's clock.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Ledger, Result, in_order, parsed, period, rows, timestamp};
use crate::names::names;

/// What a worker said is believed for so long.
pub const BELIEVED: Duration = Duration::from_secs(45);

/// The most rows that are read: so many endpoints that are left alone are told of no better by more.
const MOST: i64 = 10_000;

names! {
    /// Where a breaker stands, from the best to the worst.
    Level {
        Closed = "closed",
        /// One call is under way, and decides.
        HalfOpen = "half-open",
        /// Nothing is sent for a while.
        Open = "open",
    }
}

/// Where a target's breaker stands at the worker at which it stands worst.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Breaker {
    pub level: Level,
    /// Since when it has been closed, or has not been: what is tried in between does not begin it anew.
    pub since: Timestamp,
    /// How many workers say the same.
    pub at: i64,
    /// How many have said anything of late.
    pub workers: i64,
}

impl Ledger {
    /// Says where all breakers of a worker stand; of those that are not among them it says nothing any more. Said twice it
    /// says the same. What others said too long ago is forgotten on the way.
    ///
    /// Two statements and no transaction, in which two workers that come back together would wait for each other's rows.
    pub async fn note_breakers(&self, worker: Uuid, levels: &[(String, Level)]) -> Result<()> {
        let row = |(target, level): &(String, Level)| json!({ "id": target, "level": level });
        let mut values: Vec<_> = levels.iter().map(row).collect();
        in_order(&mut values);
        let values = rows(&values);
        let text = "
            INSERT INTO breakers (target, worker, level, since, seen_at)
            SELECT rows.value->>'id', $2, rows.value->>'level', {now}, {now} FROM {rows} WHERE TRUE
            ON CONFLICT (target, worker) DO UPDATE SET
                since = CASE WHEN (breakers.level = 'closed') = (excluded.level = 'closed')
                    THEN breakers.since ELSE excluded.since END,
                level = excluded.level, seen_at = excluded.seen_at";
        let said = self.query(text).bind(values.clone());
        let said = said.bind(worker.to_string());
        said.execute(&self.writer).await?;
        // From the future: the clock was set back.
        let text = "
            DELETE FROM breakers WHERE seen_at < {now} - $3 OR seen_at > {now} + $3
                OR worker = $2 AND target NOT IN (SELECT rows.value->>'id' FROM {rows})";
        let gone = self.query(text).bind(values).bind(worker.to_string());
        let gone = gone.bind(period(BELIEVED));
        gone.execute(&self.writer).await?;
        Ok(())
    }

    /// Where the breakers stand, by target, as far as a worker has said so of late.
    pub async fn breakers(&self) -> Result<BTreeMap<String, Breaker>> {
        let text = "
            SELECT target, level, MIN(since), COUNT(*) FROM (
                SELECT target, level, since FROM breakers
                WHERE seen_at > {now} - $1 AND seen_at < {now} + $1 LIMIT $2
            ) AS said GROUP BY target, level";
        let found = self.query(text).bind(period(BELIEVED)).bind(MOST);
        let mut breakers = BTreeMap::<String, Breaker>::new();
        for row in found.fetch_all(&self.pool).await? {
            let at: i64 = row.try_get(3)?;
            let one = Breaker {
                level: parsed(&row.try_get::<String, _>(1)?)?,
                since: timestamp(row.try_get(2)?)?,
                at,
                workers: at,
            };
            let target: String = row.try_get(0)?;
            let worst = match breakers.remove(&target) {
                None => one,
                Some(other) => {
                    let workers = other.workers + at;
                    let worst = if other.level > one.level { other } else { one };
                    Breaker { workers, ..worst }
                }
            };
            breakers.insert(target, worst);
        }
        Ok(breakers)
    }
}
