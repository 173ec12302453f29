//! Leases: who may attempt a delivery now, and what came of it.
//!
//! A message in a target's queue is only a reminder: the ledger decides. A delivery is attempted by whoever holds its
//! lease, so two copies of one message (after a crash, after a retry by hand) make one attempt, not two. A worker that
//! dies in the middle leaves its lease behind, which ends after the attempt's deadline.
//!
//! If the database's clock is set back, rows were moved or leased in what is now the future. The first who is refused such
//! a row sets its times back by as much, so that nothing waits longer than it was to.
//!
//! Leave is asked for more often than anything else is written. It touches no column that an index has, so PostgreSQL
//! writes it within the row's page (`fillfactor` keeps room there) and leaves the indexes alone.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Ledger, Result, in_order, micros, parsed, period, rows};
use crate::{
    clock,
    delivery::{Attempt, State},
};

/// Whether a delivery may be attempted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Yes, until the lease ends. `attempt` is the number in the present schedule, from 1, `ever` the one of all.
    Granted { attempt: u32, ever: i64 },
    /// Not yet: it is due so much later.
    Wait { left: Duration },
    /// Somebody else has it in hand, or died with it in hand, for so long.
    Taken { left: Duration },
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
    /// How long after this is recorded the next attempt is due.
    pub again: Option<Duration>,
    pub attempt: Attempt,
}

/// Gives leave for those that are due and in nobody's hands.
///
/// What is found by its id says of its state by `||`, which no index over the states serves. PostgreSQL went by that one,
/// since it thought it small, and read what had long been delivered: the more it held the longer it took.
pub(super) const TAKE: &str = "
    UPDATE deliveries SET lease_owner = $2, lease_until = {now} + $3, leased_at = {now}
    FROM {rows}
    WHERE deliveries.id = rows.value->>'id' AND deliveries.id {listed} AND state || '' IN ('pending', 'retrying')
        AND (next_attempt_at IS NULL OR next_attempt_at <= {now})
        AND (lease_until IS NULL OR lease_until <= {now})
    RETURNING deliveries.id, attempts, attempts_ever";

impl Ledger {
    /// Asks leave to attempt these deliveries now, each leased to `owner` for `lease` where it is granted.
    pub async fn take(
        &self,
        deliveries: &[Uuid],
        owner: Uuid,
        lease: Duration,
    ) -> Result<Vec<Leave>> {
        let mut ids: Vec<_> = deliveries.iter().map(|id| json!({ "id": id })).collect();
        in_order(&mut ids);
        let ids = rows(&ids);
        let granted = self
            .query(TAKE)
            .bind(ids.clone())
            .bind(owner.to_string())
            .bind(period(lease));
        let mut leaves = HashMap::with_capacity(deliveries.len());
        for row in granted.fetch_all(&self.writer).await? {
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
            for (id, refused) in self.refusals(ids).await? {
                leaves.entry(id).or_insert(refused);
            }
        }
        // The same delivery twice among these: leave is given once.
        let mut granted = |id: &Uuid| {
            let answer = leaves.get(id).copied().unwrap_or(Leave::Unknown);
            if let Leave::Granted { .. } = answer {
                leaves.insert(*id, Leave::Taken { left: lease });
            }
            answer
        };
        Ok(deliveries.iter().map(&mut granted).collect())
    }

    /// Why these deliveries are not to be attempted now, of those that the ledger knows.
    pub(super) async fn refusals(&self, ids: String) -> Result<HashMap<Uuid, Leave>> {
        let text = "
            SELECT deliveries.id, state, next_attempt_at - {now}, lease_until - {now}, moved_at - {now}, leased_at - {now}
            FROM {rows} JOIN deliveries ON deliveries.id = rows.value->>'id' AND deliveries.id {listed}";
        let found = self.query(text).bind(ids.clone());
        let found = found.fetch_all(&self.pool).await?;
        let mut refused = HashMap::with_capacity(found.len());
        let mut is_set_back = false;
        for row in &found {
            let moved_ahead = row.try_get::<i64, _>(4)?.max(0);
            let leased_ahead = row.try_get::<Option<i64>, _>(5)?.unwrap_or(0).max(0);
            is_set_back |= moved_ahead > 0 || leased_ahead > 0;
            let refusal = refusal(row, moved_ahead, leased_ahead)?;
            refused.insert(parsed(&row.try_get::<String, _>(0)?)?, refusal);
        }
        if is_set_back {
            self.set_back(ids).await?;
        }
        Ok(refused)
    }

    /// Follows a clock that was set back: what these deliveries wait for is as far away as it was when they moved, or were
    /// leased.
    async fn set_back(&self, ids: String) -> Result<()> {
        for (at, until) in [
            ("moved_at", "next_attempt_at"),
            ("leased_at", "lease_until"),
        ] {
            let text = format!(
                "UPDATE deliveries SET {until} = {until} - ({at} - {{now}}), {at} = {{now}}
                FROM {{rows}} WHERE deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} AND {at} > {{now}}"
            );
            let query = self.query(&text).bind(ids.clone());
            query.execute(&self.writer).await?;
        }
        Ok(())
    }

    /// Gives leave back for what was not attempted: whoever asks next gets it. If this is never done the leases end.
    pub async fn give_back(&self, deliveries: &[Uuid], owner: Uuid) -> Result<()> {
        let mut ids: Vec<_> = deliveries.iter().map(|id| json!({ "id": id })).collect();
        in_order(&mut ids);
        let text = "
            UPDATE deliveries SET lease_owner = NULL, lease_until = NULL
            FROM {rows} WHERE deliveries.id = rows.value->>'id' AND deliveries.id {listed} AND lease_owner = $2";
        let query = self.query(text).bind(rows(&ids)).bind(owner.to_string());
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// Records what came of attempts that `owner` made, and ends their leases. What was delivered stays delivered.
    ///
    /// An outcome decides only while the lease is `owner`'s: if the delivery was begun again by hand meanwhile, or is in
    /// another's hands, the attempt is noted and nothing else, unless it delivered.
    pub async fn finish(&self, finished: &[Finished], owner: Uuid) -> Result<()> {
        let mut values: Vec<_> = finished.iter().map(finished_row).collect();
        in_order(&mut values);
        let mut transaction = self.begin().await?;
        let text = "
            INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, status, error, answer)
            SELECT rows.value->>'id', CAST(rows.value->>'number' AS BIGINT), CAST(rows.value->>'started_at' AS BIGINT),
                CAST(rows.value->>'duration_ms' AS BIGINT), rows.value->>'outcome',
                CAST(rows.value->>'status' AS BIGINT), rows.value->>'error', rows.value->>'answer'
            FROM {rows} WHERE TRUE
            ON CONFLICT (delivery_id, number) DO NOTHING";
        self.put(&mut transaction, text, &values).await?;
        let decides = "lease_owner = $2 OR rows.value->>'state' = 'delivered'";
        let text = format!(
            "UPDATE deliveries SET attempts_ever = CAST(rows.value->>'number' AS BIGINT),
                last_status = CAST(rows.value->>'status' AS BIGINT), last_error = rows.value->>'error',
                moved_at = {{now}},
                delivered_at = CAST(rows.value->>'delivered_at' AS BIGINT),
                first_delivered_at = COALESCE(first_delivered_at, CAST(rows.value->>'delivered_at' AS BIGINT)),
                state = CASE WHEN {decides} THEN rows.value->>'state' ELSE state END,
                attempts = CASE WHEN {decides} THEN attempts + 1 ELSE attempts END,
                next_attempt_at = CASE WHEN {decides} THEN {{now}} + CAST(rows.value->>'again' AS BIGINT)
                    ELSE next_attempt_at END,
                lease_until = CASE WHEN lease_owner <> $2 THEN lease_until END,
                lease_owner = CASE WHEN lease_owner <> $2 THEN lease_owner END
            FROM {{rows}}
            WHERE deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} AND state || '' <> 'delivered'
                AND attempts_ever < CAST(rows.value->>'number' AS BIGINT)"
        );
        for values in self.parameters(&values) {
            let update = self.query(&text).bind(values).bind(owner.to_string());
            update.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Marks a delivery dead whose message kept killing its worker, if it was in anybody's hands: then its attempt is what
    /// killed. False if it was not, and only happened to be there.
    pub async fn bury(&self, delivery: Uuid, why: &str) -> Result<bool> {
        let text = "
            UPDATE deliveries SET state = 'dead', last_error = $2, next_attempt_at = NULL, lease_owner = NULL,
                lease_until = NULL, moved_at = {now}
            WHERE id = $1 AND state IN ('pending', 'retrying') AND lease_owner IS NOT NULL";
        let buried = self
            .query(text)
            .bind(delivery.to_string())
            .bind(why.to_owned())
            .execute(&self.writer)
            .await?;
        Ok(buried.rows_affected() > 0)
    }
}

/// How far in the future the row was last moved, and leased, is told beside it.
fn refusal(row: &AnyRow, moved_ahead: i64, leased_ahead: i64) -> Result<Leave> {
    let state: State = parsed(&row.try_get::<String, _>(1)?)?;
    Ok(match state {
        State::Delivered | State::Dead | State::Parked => Leave::Finished,
        State::Pending | State::Retrying => {
            let left = |column, ahead| -> Result<Duration> {
                let left = row.try_get::<Option<i64>, _>(column)?.unwrap_or_default() - ahead;
                Ok(Duration::from_micros(
                    u64::try_from(left).unwrap_or_default(),
                ))
            };
            match (left(2, moved_ahead)?, left(3, leased_ahead)?) {
                (_, left) if left > Duration::ZERO => Leave::Taken { left },
                // Zero: nothing that stood in the way does so any more.
                (left, _) => Leave::Wait { left },
            }
        }
    })
}

fn finished_row(finished: &Finished) -> serde_json::Value {
    let attempt = &finished.attempt;
    json!({
        "id": finished.delivery, "state": finished.state, "number": attempt.number,
        "started_at": micros(attempt.started_at), "duration_ms": attempt.duration_ms, "outcome": attempt.outcome,
        "status": attempt.status, "error": attempt.error.as_deref().map(storable),
        "answer": attempt.answer.as_deref().map(storable), "again": finished.again.map(period),
        "delivered_at": (finished.state == State::Delivered).then(|| micros(clock::now())),
    })
}

/// PostgreSQL's text holds no NUL, and what a target answers may.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
