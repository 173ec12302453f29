//! Deliveries that cannot be attempted now, through no fault of theirs: put off, parked, or dead with their endpoint.
//! None of it spends an attempt, and none of it touches what is in somebody's hands. The answers are what
//! [`Ledger::take`] would say of each from now on.

use std::time::Duration;

use serde_json::json;
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Leave, Ledger, Result, in_order, micros, parsed, period, rows};
use crate::{clock, delivery::State, endpoint};

/// What the deliveries to a deleted endpoint say.
const DELETED: &str = "the endpoint was deleted";

/// A deleted endpoint's row stays for so long, for what a worker that did not know of it yet may still have recorded.
const KEPT: Duration = Duration::from_hours(24);

/// What may be put aside: unfinished, and in nobody's hands. Found by its id and not by its state, as leave is.
const IDLE: &str =
    "state || '' IN ('pending', 'retrying') AND (lease_until IS NULL OR lease_until <= {now})";

/// What waits for a target in one state and may be put aside, first what has not moved for longest. That none of it is
/// delivered is said for SQLite, which then uses the index.
pub(super) const WAITING: &str = "
    SELECT id FROM deliveries
    WHERE target = $1 AND state <> 'delivered' AND state = $2 AND (lease_until IS NULL OR lease_until <= {now})
    ORDER BY moved_at LIMIT $3";

/// Parks what may be put aside; once its target is enabled it begins with a full schedule.
fn park() -> String {
    format!(
        "UPDATE deliveries SET state = 'parked', attempts = 0, next_attempt_at = NULL, lease_owner = NULL,
            lease_until = NULL, moved_at = {{now}}
        FROM {{rows}} WHERE deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} AND {IDLE}"
    )
}

impl Ledger {
    /// Puts deliveries off for so long. Whoever publishes their messages to wait may take as long as it likes: they
    /// count as moved now.
    pub async fn postpone(&self, deliveries: &[(Uuid, Duration)]) -> Result<Vec<Leave>> {
        let text = format!(
            "UPDATE deliveries SET next_attempt_at = {{now}} + CAST(rows.value->>'pause' AS BIGINT), moved_at = {{now}}
            FROM {{rows}}
            WHERE deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} AND {IDLE}
                AND (next_attempt_at IS NULL OR next_attempt_at < {{now}} + CAST(rows.value->>'pause' AS BIGINT))"
        );
        let values = deliveries
            .iter()
            .map(|(id, pause)| json!({ "id": id, "pause": period(*pause) }));
        let ids: Vec<_> = deliveries.iter().map(|(id, _)| *id).collect();
        self.set_aside(&text, values.collect(), &ids).await
    }

    /// Parks deliveries whose target is disabled; once it is enabled they begin with a full schedule.
    pub async fn park(&self, deliveries: &[Uuid]) -> Result<Vec<Leave>> {
        let values = deliveries.iter().map(|id| json!({ "id": id }));
        self.set_aside(&park(), values.collect(), deliveries).await
    }

    /// Parks what waits for a target, wherever its messages are: at most `limit` of what is pending, and of what is retried.
    /// Says how many it found.
    pub async fn park_all(&self, target: &str, limit: i64) -> Result<usize> {
        let mut count = 0;
        for state in [State::Pending, State::Retrying] {
            let query = self.query(WAITING).bind(target.to_owned());
            let query = query.bind(state.as_str()).bind(limit);
            let found = query.fetch_all(&self.pool).await?;
            let id = |row: &AnyRow| Ok(json!({ "id": row.try_get::<String, _>(0)? }));
            let mut values = found.iter().map(id).collect::<Result<Vec<_>>>()?;
            in_order(&mut values);
            let parked = self.query(&park()).bind(rows(&values));
            parked.execute(&self.writer).await?;
            count += values.len();
        }
        Ok(count)
    }

    /// Marks deliveries dead whose endpoint was deleted.
    pub async fn bury_deleted(&self, deliveries: &[Uuid]) -> Result<Vec<Leave>> {
        let text = format!(
            "UPDATE deliveries SET state = 'dead', last_error = '{DELETED}', next_attempt_at = NULL, lease_owner = NULL,
                lease_until = NULL, moved_at = {{now}}
            FROM {{rows}} WHERE deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} AND {IDLE}"
        );
        let values = deliveries.iter().map(|id| json!({ "id": id }));
        self.set_aside(&text, values.collect(), deliveries).await
    }

    async fn set_aside(
        &self,
        text: &str,
        mut values: Vec<serde_json::Value>,
        ids: &[Uuid],
    ) -> Result<Vec<Leave>> {
        if values.is_empty() {
            return Ok(vec![]);
        }
        in_order(&mut values);
        let query = self.query(text).bind(rows(&values));
        query.execute(&self.writer).await?;
        let found = self.refusals(rows(&values)).await?;
        let standing = |id: &Uuid| found.get(id).copied().unwrap_or(Leave::Unknown);
        Ok(ids.iter().map(standing).collect())
    }

    /// Marks unfinished deliveries of deleted endpoints dead, wherever their messages are, at most `limit` of each, and
    /// says how many those were. An endpoint that has none left is forgotten in the end.
    pub async fn bury_all_deleted(&self, limit: i64) -> Result<u64> {
        let deleted = self
            .query("SELECT id, deleted_at FROM endpoints WHERE deleted_at IS NOT NULL")
            .fetch_all(&self.pool)
            .await?;
        let now = clock::now();
        let forget = micros(now.saturating_sub(KEPT).unwrap_or(now));
        // The outcome of an attempt that is under way decides no more, unless it delivers.
        let text = "
            UPDATE deliveries SET state = 'dead', last_error = $1, next_attempt_at = NULL, lease_owner = NULL,
                moved_at = {now}
            WHERE id IN (
                SELECT id FROM deliveries
                WHERE target = $2 AND state <> 'delivered' AND state IN ('pending', 'retrying', 'parked') LIMIT $3
            )";
        let mut buried = 0;
        for row in deleted {
            let id: String = row.try_get(0)?;
            let query = self.query(text).bind(DELETED);
            let target = endpoint::target(parsed(&id)?);
            let query = query.bind(target).bind(limit);
            let dead = query.execute(&self.writer).await?.rows_affected();
            if dead == 0 && row.try_get::<i64, _>(1)? < forget {
                self.query("DELETE FROM endpoints WHERE id = $1 AND deleted_at IS NOT NULL")
                    .bind(id)
                    .execute(&self.writer)
                    .await?;
            }
            buried += dead;
        }
        Ok(buried)
    }
}
