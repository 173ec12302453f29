//! Leases: who may attempt a delivery now, and what came of it.
//!
//! A message in a target's queue is only a reminder: the ledger decides. A delivery is attempted by whoever holds its
//! lease, so two copies of one message (after a crash, after a retry by hand) make one attempt, not two. A worker that
//! dies in the middle leaves its lease behind, which ends after the attempt's deadline.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Ledger, Result, in_order, micros, parsed, rows, timestamp};
use crate::{
    clock,
    delivery::{Attempt, State},
};

/// Whether a delivery may be attempted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Yes, until the lease ends. `attempt` is the number in the present schedule, from 1, `ever` the one of all.
    Granted { attempt: u32, ever: i64 },
    /// Not yet: it is due then.
    Wait { until: Timestamp },
    /// Somebody else has it in hand, or died with it in hand, until then.
    Taken { until: Timestamp },
    /// Delivered, dead or parked: this message is a leftover.
    Finished,
    /// The ledger has no such delivery.
    Unknown,
}

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct Finished {
    pub delivery: Uuid,
    pub state: State,
    pub next_attempt_at: Option<Timestamp>,
    pub attempt: Attempt,
}

impl Ledger {
    /// Asks leave to attempt these deliveries now, each leased to `owner` for `lease` where it is granted.
    pub async fn take(
        &self,
        deliveries: &[Uuid],
        owner: Uuid,
        lease: Duration,
    ) -> Result<Vec<Leave>> {
        let now = clock::now();
        let until = micros(now.saturating_add(lease).unwrap_or(now));
        let mut ids: Vec<_> = deliveries.iter().map(|id| json!({ "id": id })).collect();
        in_order(&mut ids);
        let ids = rows(&ids);
        let text = "
            UPDATE deliveries SET lease_owner = $2, lease_until = $3, moved_at = $4
            FROM {rows}
            WHERE deliveries.id = rows.value->>'id' AND state IN ('pending', 'retrying')
                AND (next_attempt_at IS NULL OR next_attempt_at <= $4)
                AND (lease_until IS NULL OR lease_until <= $4)
            RETURNING deliveries.id, attempts, attempts_ever";
        let granted = self
            .query(text)
            .bind(ids.clone())
            .bind(owner.to_string())
            .bind(until)
            .bind(micros(now));
        let mut leaves = HashMap::with_capacity(deliveries.len());
        for row in granted.fetch_all(&self.pool).await? {
            let attempt = u32::try_from(row.try_get::<i64, _>(1)?)
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            let granted = Leave::Granted {
                attempt,
                ever: row.try_get::<i64, _>(2)? + 1,
            };
            leaves.insert(parsed(&row.try_get::<String, _>(0)?)?, granted);
        }
        if leaves.len() < deliveries.len() {
            for (id, refused) in self.refusals(ids, now).await? {
                leaves.entry(id).or_insert(refused);
            }
        }
        // The same delivery twice among these: leave is given once.
        let mut granted = |id: &Uuid| {
            let answer = leaves.get(id).copied().unwrap_or(Leave::Unknown);
            if let Leave::Granted { .. } = answer {
                leaves.insert(
                    *id,
                    Leave::Taken {
                        until: timestamp(until).unwrap_or(now),
                    },
                );
            }
            answer
        };
        Ok(deliveries.iter().map(&mut granted).collect())
    }

    /// Why these deliveries are not to be attempted at `now`, of those that the ledger knows.
    pub(super) async fn refusals(
        &self,
        ids: String,
        now: Timestamp,
    ) -> Result<HashMap<Uuid, Leave>> {
        let text = "
            SELECT deliveries.id, state, next_attempt_at, lease_until
            FROM {rows} JOIN deliveries ON deliveries.id = rows.value->>'id'";
        let found = self.query(text).bind(ids).fetch_all(&self.pool).await?;
        let refused = |row: &AnyRow| {
            let id = parsed(&row.try_get::<String, _>(0)?)?;
            Ok((id, refusal(row, now)?))
        };
        found.iter().map(refused).collect()
    }

    /// Records what came of attempts that `owner` made, and ends their leases. What was delivered stays delivered.
    ///
    /// An outcome decides only while the lease is `owner`'s: if the delivery was begun again by hand meanwhile, or is in
    /// another's hands, the attempt is noted and nothing else, unless it delivered.
    pub async fn finish(&self, finished: &[Finished], owner: Uuid) -> Result<()> {
        let now = micros(clock::now());
        let mut values: Vec<_> = finished
            .iter()
            .map(|finished| finished_row(finished, now))
            .collect();
        in_order(&mut values);
        let values = rows(&values);
        let mut transaction = self.begin().await?;
        let text = "
            INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, status, error, answer)
            SELECT rows.value->>'id', CAST(rows.value->>'number' AS BIGINT), CAST(rows.value->>'started_at' AS BIGINT),
                CAST(rows.value->>'duration_ms' AS BIGINT), rows.value->>'outcome',
                CAST(rows.value->>'status' AS BIGINT), rows.value->>'error', rows.value->>'answer'
            FROM {rows} WHERE TRUE
            ON CONFLICT (delivery_id, number) DO NOTHING";
        self.query(text)
            .bind(values.clone())
            .execute(&mut *transaction)
            .await?;
        let decides = "lease_owner = $2 OR rows.value->>'state' = 'delivered'";
        let text = format!(
            "UPDATE deliveries SET attempts_ever = CAST(rows.value->>'number' AS BIGINT),
                last_status = CAST(rows.value->>'status' AS BIGINT), last_error = rows.value->>'error',
                moved_at = CAST(rows.value->>'now' AS BIGINT),
                delivered_at = CAST(rows.value->>'delivered_at' AS BIGINT),
                first_delivered_at = COALESCE(first_delivered_at, CAST(rows.value->>'delivered_at' AS BIGINT)),
                state = CASE WHEN {decides} THEN rows.value->>'state' ELSE state END,
                attempts = CASE WHEN {decides} THEN attempts + 1 ELSE attempts END,
                next_attempt_at = CASE WHEN {decides} THEN CAST(rows.value->>'next_attempt_at' AS BIGINT)
                    ELSE next_attempt_at END,
                lease_until = CASE WHEN lease_owner <> $2 THEN lease_until END,
                lease_owner = CASE WHEN lease_owner <> $2 THEN lease_owner END
            FROM {{rows}}
            WHERE deliveries.id = rows.value->>'id' AND state <> 'delivered'
                AND attempts_ever < CAST(rows.value->>'number' AS BIGINT)"
        );
        self.query(&text)
            .bind(values)
            .bind(owner.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Marks a delivery dead whose message kept killing its worker, if it was in anybody's hands: then its attempt is what
    /// killed. False if it was not, and only happened to be there.
    pub async fn bury(&self, delivery: Uuid, why: &str) -> Result<bool> {
        let text = "
            UPDATE deliveries SET state = 'dead', last_error = $2, next_attempt_at = NULL, lease_owner = NULL,
                lease_until = NULL, moved_at = $3
            WHERE id = $1 AND state IN ('pending', 'retrying') AND lease_owner IS NOT NULL";
        let now = micros(clock::now());
        let buried = self
            .query(text)
            .bind(delivery.to_string())
            .bind(why.to_owned())
            .bind(now)
            .execute(&self.pool)
            .await?;
        Ok(buried.rows_affected() > 0)
    }
}

fn refusal(row: &AnyRow, now: Timestamp) -> Result<Leave> {
    let state: State = parsed(&row.try_get::<String, _>(1)?)?;
    Ok(match state {
        State::Delivered | State::Dead | State::Parked => Leave::Finished,
        State::Pending | State::Retrying => {
            let time = |column| {
                row.try_get::<Option<i64>, _>(column)?
                    .map(timestamp)
                    .transpose()
            };
            match (time(2)?, time(3)?) {
                (_, Some(leased)) if leased > now => Leave::Taken { until: leased },
                // Nothing that stood in the way does so any more.
                (due, _) => Leave::Wait {
                    until: due.unwrap_or(now),
                },
            }
        }
    })
}

fn finished_row(finished: &Finished, now: i64) -> serde_json::Value {
    let attempt = &finished.attempt;
    json!({
        "id": finished.delivery, "state": finished.state, "number": attempt.number,
        "started_at": micros(attempt.started_at), "duration_ms": attempt.duration_ms, "outcome": attempt.outcome,
        "status": attempt.status, "error": attempt.error.as_deref().map(storable),
        "answer": attempt.answer.as_deref().map(storable), "next_attempt_at": finished.next_attempt_at.map(micros),
        "now": now, "delivered_at": (finished.state == State::Delivered).then_some(now),
    })
}

/// PostgreSQL's text holds no NUL, and what a target answers may.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
