//! Deliveries: who may attempt one now, what came of it, and how they are listed, tried again and found when stuck.
//!
//! A message in a target's queue is only a reminder: this table decides. A delivery is attempted by whoever holds its
//! lease, so two copies of one message (after a crash, after a retry by hand) make one attempt, not two. A worker that
//! dies in the middle leaves its lease behind, which ends after the attempt's deadline.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Ledger, Page, Result, micros, page::Cursor, parsed, rows, timestamp};
use crate::{
    clock,
    delivery::{Attempt, Delivery, State},
    event::Kind,
};

/// Whether a delivery may be attempted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Yes, until the lease ends. `attempt` is the number in the present schedule, from 1, `ever` the one of all.
    Granted { attempt: u32, ever: i64 },
    /// Not yet: it is due then, or somebody else has it in hand until then.
    Wait { until: Timestamp },
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

/// A delivery as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryRow {
    pub id: Uuid,
    pub event_id: Uuid,
    pub target: String,
    pub kind: Kind,
    pub state: State,
    /// How many were made, ever.
    #[serde(rename = "attempts_made")]
    pub attempts: i64,
    pub next_attempt_at: Option<Timestamp>,
    pub last_status: Option<i64>,
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

/// Which deliveries are listed; what is None does not filter.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub target: Option<String>,
    pub state: Option<State>,
    pub kind: Option<Kind>,
    pub event: Option<Uuid>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

const COLUMNS: &str = "deliveries.id, event_id, target, deliveries.kind, state, attempts_ever, next_attempt_at, last_status, last_error, created_at, delivered_at";

/// The columns that [`attempt`] reads, in this order.
const ATTEMPT_COLUMNS: &str = "number, started_at, duration_ms, outcome, status, error, answer";

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
        ids.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
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
            let text = "
                SELECT deliveries.id, state, next_attempt_at, lease_until
                FROM {rows} JOIN deliveries ON deliveries.id = rows.value->>'id'";
            for row in self.query(text).bind(ids).fetch_all(&self.pool).await? {
                let id: Uuid = parsed(&row.try_get::<String, _>(0)?)?;
                let refused = refusal(&row, now)?;
                leaves.entry(id).or_insert(refused);
            }
        }
        // The same delivery twice among these: leave is given once.
        let mut granted = |id: &Uuid| {
            let answer = leaves.get(id).copied().unwrap_or(Leave::Unknown);
            if let Leave::Granted { .. } = answer {
                leaves.insert(
                    *id,
                    Leave::Wait {
                        until: timestamp(until).unwrap_or(now),
                    },
                );
            }
            answer
        };
        Ok(deliveries.iter().map(&mut granted).collect())
    }

    /// Records what came of attempts, and ends their leases. What was delivered stays delivered.
    pub async fn finish(&self, finished: &[Finished]) -> Result<()> {
        let now = micros(clock::now());
        let mut values: Vec<_> = finished
            .iter()
            .map(|finished| finished_row(finished, now))
            .collect();
        values.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
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
        let text = "
            UPDATE deliveries SET state = rows.value->>'state', attempts = attempts + 1,
                attempts_ever = CAST(rows.value->>'number' AS BIGINT),
                next_attempt_at = CAST(rows.value->>'next_attempt_at' AS BIGINT), lease_owner = NULL, lease_until = NULL,
                last_status = CAST(rows.value->>'status' AS BIGINT), last_error = rows.value->>'error',
                moved_at = CAST(rows.value->>'now' AS BIGINT),
                delivered_at = CAST(rows.value->>'delivered_at' AS BIGINT)
            FROM {rows}
            WHERE deliveries.id = rows.value->>'id' AND state <> 'delivered'
                AND attempts_ever < CAST(rows.value->>'number' AS BIGINT)";
        self.query(text)
            .bind(values)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Ends leases without an attempt: the worker stops, or could not begin.
    pub async fn give_back(&self, deliveries: &[Uuid], owner: Uuid) -> Result<()> {
        let ids: Vec<_> = deliveries.iter().map(|id| json!({ "id": id })).collect();
        let text = "
            UPDATE deliveries SET lease_owner = NULL, lease_until = NULL FROM {rows}
            WHERE deliveries.id = rows.value->>'id' AND lease_owner = $2";
        self.query(text)
            .bind(rows(&ids))
            .bind(owner.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Marks a delivery dead without an attempt: its message kept killing its worker.
    pub async fn bury(&self, delivery: Uuid, why: &str) -> Result<()> {
        let text = "
            UPDATE deliveries SET state = 'dead', last_error = $2, lease_owner = NULL, lease_until = NULL, moved_at = $3
            WHERE id = $1 AND state <> 'delivered'";
        let now = micros(clock::now());
        self.query(text)
            .bind(delivery.to_string())
            .bind(why.to_owned())
            .bind(now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Puts a delivery back to the start of its schedule, and returns it for publishing. None if there is none.
    ///
    /// Before the publish, so that the worker that gets it finds it pending; if the publish then fails, the sweep
    /// finds it.
    pub async fn restart(&self, delivery: Uuid) -> Result<Option<Delivery>> {
        let text = "
            UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = NULL, delivered_at = NULL, moved_at = $2
            WHERE id = $1";
        self.query(text)
            .bind(delivery.to_string())
            .bind(micros(clock::now()))
            .execute(&self.pool)
            .await?;
        let text = format!(
            "SELECT {}, target FROM deliveries JOIN events ON events.id = event_id WHERE deliveries.id = $1",
            super::events::COLUMNS
        );
        let row = self
            .query(&text)
            .bind(delivery.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| delivery_of(&row)).transpose()
    }

    /// Finds deliveries to `target` that ought to move and have not since `before`: parked though the target is
    /// enabled, or due without a worker at it (their message was lost, or never published). Each is found once per
    /// sweep, by one of several sweepers.
    pub async fn stuck(
        &self,
        target: &str,
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<Delivery>> {
        let now = micros(clock::now());
        let text = "
            UPDATE deliveries SET moved_at = $3, state = CASE WHEN state = 'parked' THEN 'pending' ELSE state END
            WHERE id IN (
                SELECT id FROM deliveries
                WHERE target = $1 AND (state = 'parked' OR (state IN ('pending', 'retrying') AND moved_at < $2))
                    AND (next_attempt_at IS NULL OR next_attempt_at < $2)
                    AND (lease_until IS NULL OR lease_until < $2)
                ORDER BY moved_at LIMIT $4
            )
            RETURNING id";
        let found = self
            .query(text)
            .bind(target.to_owned())
            .bind(micros(before))
            .bind(now)
            .bind(limit);
        let found = found.fetch_all(&self.pool).await?;
        let ids = found
            .iter()
            .map(|row| Ok(json!({ "id": row.try_get::<String, _>(0)? })))
            .collect::<Result<Vec<_>>>()?;
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let text = format!(
            "SELECT {}, target FROM {{rows}} JOIN deliveries ON deliveries.id = rows.value->>'id' JOIN events ON events.id = event_id",
            super::events::COLUMNS
        );
        let found = self
            .query(&text)
            .bind(rows(&ids))
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(delivery_of).collect()
    }

    /// Lists deliveries, newest first.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<DeliveryRow>> {
        let after = Cursor::read(cursor)?;
        let text = format!(
            "SELECT {COLUMNS} FROM deliveries
            WHERE ($1 IS NULL OR target = $1) AND ($2 IS NULL OR state = $2) AND ($3 IS NULL OR kind = $3) {}
                AND created_at >= $5 AND created_at < $6
                AND (created_at < $7 OR (created_at = $7 AND id < $8))
            ORDER BY created_at DESC, id DESC LIMIT $9",
            // Written out where it is asked for, so that the index on the event is used.
            if filter.event.is_some() { "AND event_id = $4" } else { "AND $4 IS NULL" }
        );
        let query = self.query(&text);
        let query = query
            .bind(filter.target.clone())
            .bind(filter.state.map(|state| state.to_string()))
            .bind(filter.kind.map(|kind| kind.to_string()))
            .bind(filter.event.map(|event| event.to_string()))
            .bind(filter.from.map_or(i64::MIN, micros))
            .bind(filter.to.map_or(i64::MAX, micros))
            .bind(after.at)
            .bind(after.id)
            .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.pool).await?;
        let found = found.iter().map(|row| {
            let row = listed(row)?;
            Ok((
                Cursor {
                    at: micros(row.created_at),
                    id: row.id.to_string(),
                },
                row,
            ))
        });
        Ok(Page::of(found.collect::<Result<_>>()?, limit))
    }

    /// One delivery.
    pub async fn delivery(&self, delivery: Uuid) -> Result<Option<DeliveryRow>> {
        let text = format!("SELECT {COLUMNS} FROM deliveries WHERE id = $1");
        let row = self
            .query(&text)
            .bind(delivery.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| listed(&row)).transpose()
    }

    /// The attempts at a delivery, in order.
    pub async fn attempts(&self, delivery: Uuid) -> Result<Vec<Attempt>> {
        let text = format!(
            "SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE delivery_id = $1 ORDER BY number"
        );
        let found = self
            .query(&text)
            .bind(delivery.to_string())
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(attempt).collect()
    }

    /// The attempts at all deliveries of an event, in order, each with its delivery.
    pub async fn attempts_of_event(&self, event: Uuid) -> Result<Vec<(Uuid, Attempt)>> {
        let text = format!(
            "SELECT {ATTEMPT_COLUMNS}, delivery_id FROM deliveries JOIN attempts ON delivery_id = deliveries.id
            WHERE event_id = $1 ORDER BY delivery_id, number"
        );
        let found = self
            .query(&text)
            .bind(event.to_string())
            .fetch_all(&self.pool)
            .await?;
        found
            .iter()
            .map(|row| {
                Ok((
                    parsed(&row.try_get::<String, _>("delivery_id")?)?,
                    attempt(row)?,
                ))
            })
            .collect()
    }

    /// How many deliveries are dead, by target.
    pub async fn dead(&self) -> Result<Vec<(String, i64)>> {
        let found = self
            .query("SELECT target, COUNT(*) FROM deliveries WHERE state = 'dead' GROUP BY target");
        let found = found.fetch_all(&self.pool).await?;
        found
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }
}

fn refusal(row: &AnyRow, now: Timestamp) -> Result<Leave> {
    let state: State = parsed(&row.try_get::<String, _>(1)?)?;
    Ok(match state {
        State::Delivered | State::Dead | State::Parked => Leave::Finished,
        State::Pending | State::Retrying => {
            let due: Option<i64> = row.try_get(2)?;
            let leased: Option<i64> = row.try_get(3)?;
            Leave::Wait {
                until: timestamp(due.max(leased).unwrap_or_else(|| micros(now)))?,
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
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn delivery_of(row: &AnyRow) -> Result<Delivery> {
    let event = super::events::event_of(row)?;
    let target: String = row.try_get("target")?;
    Ok(Delivery::new(event, &target))
}

fn listed(row: &AnyRow) -> Result<DeliveryRow> {
    let time = |micros: Option<i64>| micros.map(timestamp).transpose();
    Ok(DeliveryRow {
        id: parsed(&row.try_get::<String, _>(0)?)?,
        event_id: parsed(&row.try_get::<String, _>(1)?)?,
        target: row.try_get(2)?,
        kind: parsed(&row.try_get::<String, _>(3)?)?,
        state: parsed(&row.try_get::<String, _>(4)?)?,
        attempts: row.try_get(5)?,
        next_attempt_at: time(row.try_get(6)?)?,
        last_status: row.try_get(7)?,
        last_error: row.try_get(8)?,
        created_at: timestamp(row.try_get(9)?)?,
        delivered_at: time(row.try_get(10)?)?,
    })
}

fn attempt(row: &AnyRow) -> Result<Attempt> {
    Ok(Attempt {
        number: row.try_get(0)?,
        started_at: timestamp(row.try_get(1)?)?,
        duration_ms: row.try_get(2)?,
        outcome: row.try_get(3)?,
        status: row.try_get(4)?,
        error: row.try_get(5)?,
        answer: row.try_get(6)?,
    })
}
