//! How a replay is done: batch by batch, by whoever holds its lease.
//!
//! A batch takes three steps, each known by what the ledger holds, so that whoever goes on begins with the right one:
//! 1. [`Ledger::restart_batch`], one transaction: the next deliveries begin again, they are counted, and the job notes
//!    them as its batch;
//! 2. they are published ([`Ledger::batch`]);
//! 3. [`Ledger::batch_published`]: the job has no batch any more.
//!
//! What is true if the process dies: before 1 is committed, nothing has happened; after 1 and after 2, the job still has
//! its batch, and the next holder publishes it, at worst a second time, which makes no second attempt. Nothing is
//! counted twice, since the transaction that counts also moves the cursor, and only from where it was read. A job is done
//! when a batch comes up empty, so nothing is unpublished then. Should the queue lose a message all the same, the worker's
//! sweep finds the delivery.

use std::time::Duration;

use serde_json::json;
use sqlx::{Any, Row, Transaction, any::AnyRow};
use uuid::Uuid;

use super::{COLUMNS, Progress, Replay, condition, replay_of, states, to, to_value};
use crate::{
    clock,
    delivery::{Delivery, State},
    ledger::{
        Error, Ledger, Result,
        deliveries::{in_state, union},
        events, in_order, micros,
        page::Cursor,
        period,
        redrive::{self, RESTART},
        rows,
    },
};

/// A running replay in the hands of a process.
#[derive(Debug, Clone)]
pub struct Job {
    pub replay: Replay,
    /// The targets that it is for: those that were enabled when it was started.
    pub targets: Vec<String>,
    owner: Uuid,
    cursor: Cursor,
    /// Where the batch begins that is perhaps not published yet.
    batch: Option<Cursor>,
}

impl Job {
    /// Whether a batch was restarted that is perhaps not published yet.
    pub fn has_batch(&self) -> bool {
        self.batch.is_some()
    }
}

impl Ledger {
    /// Takes all running replays that are `owner`'s or nobody's, oldest first, each for `lease`.
    pub async fn take_replays(&self, owner: Uuid, lease: Duration) -> Result<Vec<Job>> {
        // A longer lease than any is one of before the clock was set back.
        let free =
            "state = 'running' AND (lease_owner = $1 OR lease_until IS NULL OR lease_until <= {now}
            OR lease_until > {now} + $2)";
        let text = format!("SELECT {COLUMNS} FROM replays WHERE {free} ORDER BY created_at, id");
        let found = self
            .query(&text)
            .bind(owner.to_string())
            .bind(period(lease));
        let found = found.fetch_all(&self.pool).await?;
        let mut jobs = Vec::with_capacity(found.len());
        for row in &found {
            // Only as it was read: it may have been another's in between, and gone on.
            let text = format!(
                "UPDATE replays SET lease_owner = $1, lease_until = {{now}} + $2
                WHERE id = $3 AND {free} AND COALESCE(lease_owner, '') = $4 AND cursor_at = $5 AND cursor_id = $6"
            );
            let before: Option<String> = row.try_get("lease_owner")?;
            let taken = self
                .query(&text)
                .bind(owner.to_string())
                .bind(period(lease))
                .bind(row.try_get::<String, _>("id")?)
                .bind(before.unwrap_or_default())
                .bind(row.try_get::<i64, _>("cursor_at")?)
                .bind(row.try_get::<String, _>("cursor_id")?);
            if taken.execute(&self.writer).await?.rows_affected() > 0 {
                jobs.push(job_of(row, owner)?);
            }
        }
        Ok(jobs)
    }

    /// Ends the leases of a process that stops, so that another goes on at once.
    pub async fn leave_replays(&self, owner: Uuid) -> Result<()> {
        let text =
            "UPDATE replays SET lease_until = NULL WHERE state = 'running' AND lease_owner = $1";
        self.query(text)
            .bind(owner.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Restarts the next deliveries of a job without a batch, those to `targets` alone, and gives the job as it is then:
    /// with a batch, or done. None if it is not as it was any more, since another process has it.
    pub async fn restart_batch(
        &self,
        job: &Job,
        targets: &[String],
        size: i64,
    ) -> Result<Option<Job>> {
        let mut next = job.clone();
        let mut transaction = self.begin().await?;
        // Holds the job until the commit, so that nobody else restarts the same.
        let held = "UPDATE replays SET batch_at = cursor_at, batch_id = cursor_id
            WHERE id = $1 AND lease_owner = $2 AND state = 'running' AND cursor_at = $3 AND cursor_id = $4 AND batch_at IS NULL";
        let held = self
            .query(held)
            .bind(job.replay.id.to_string())
            .bind(job.owner.to_string())
            .bind(job.cursor.at)
            .bind(job.cursor.id.clone());
        if held.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let found = self.matching(&mut transaction, job, targets, size).await?;
        if let Some(last) = found.last() {
            next.batch = Some(job.cursor.clone());
            next.cursor = last.clone();
            let restarted = self
                .restart_all(&mut transaction, &job.replay, &found)
                .await?;
            next.replay.sent += i64::try_from(restarted).unwrap_or(i64::MAX);
            // Not met but where the database's clock is set back: then more has not moved since than was counted.
            next.replay.matched = next.replay.matched.max(next.replay.sent);
        } else {
            next.replay.state = Progress::Done;
            next.replay.finished_at = Some(clock::now());
        }
        self.advance(&mut transaction, &next).await?;
        transaction.commit().await?;
        Ok(Some(next))
    }

    /// The deliveries of the job's batch that nobody has attempted since, to be published.
    pub async fn batch(&self, job: &Job) -> Result<Vec<Delivery>> {
        let Some(batch) = &job.batch else {
            return Ok(vec![]);
        };
        let text = format!(
            "SELECT {}, target FROM deliveries JOIN events ON events.id = event_id
            WHERE {} AND {} AND (created_at, deliveries.id) > ($2, $3) AND (created_at, deliveries.id) <= ($4, $5)
                AND moved_at >= $6",
            events::COLUMNS,
            to(&job.targets),
            in_state(State::Pending),
        );
        let query = self.query(&text).bind(to_value(&job.targets));
        let query = query
            .bind(batch.at)
            .bind(batch.id.clone())
            .bind(job.cursor.at)
            .bind(job.cursor.id.clone())
            .bind(micros(job.replay.created_at));
        let found = query.fetch_all(&self.pool).await?;
        found.iter().map(redrive::delivery_of).collect()
    }

    /// Notes that the job's batch is published. Told twice, or of a job that has gone on, it changes nothing.
    pub async fn batch_published(&self, job: &Job) -> Result<()> {
        let text = "UPDATE replays SET batch_at = NULL, batch_id = NULL
            WHERE id = $1 AND cursor_at = $2 AND cursor_id = $3";
        self.query(text)
            .bind(job.replay.id.to_string())
            .bind(job.cursor.at)
            .bind(job.cursor.id.clone())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Ends a replay that cannot succeed.
    pub async fn fail_replay(&self, job: &Job, why: &str) -> Result<()> {
        let text = "UPDATE replays SET state = 'failed', error = $3, finished_at = $4
            WHERE id = $1 AND lease_owner = $2 AND state = 'running'";
        self.query(text)
            .bind(job.replay.id.to_string())
            .bind(job.owner.to_string())
            .bind(why.to_owned())
            .bind(micros(clock::now()))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Where the next deliveries of a job are, in order.
    async fn matching(
        &self,
        transaction: &mut Transaction<'_, Any>,
        job: &Job,
        targets: &[String],
        size: i64,
    ) -> Result<Vec<Cursor>> {
        let filter = &job.replay.filter;
        let condition = format!(
            "{} AND (created_at, id) > ($2, $3) AND created_at < $4 AND moved_at < $5",
            condition(filter, targets)
        );
        let order = "ORDER BY created_at, id LIMIT $6";
        let text = format!(
            "SELECT created_at, id FROM ({}) AS matching {order}",
            union("created_at, id", &states(filter), &condition, order)
        );
        let query = self.query(&text).bind(to_value(targets));
        let query = query
            .bind(job.cursor.at)
            .bind(job.cursor.id.clone())
            .bind(micros(job.replay.until))
            .bind(micros(job.replay.created_at))
            .bind(size);
        let found = query.fetch_all(&mut **transaction).await?;
        found
            .iter()
            .map(|row| {
                Ok(Cursor {
                    at: row.try_get(0)?,
                    id: row.try_get(1)?,
                })
            })
            .collect()
    }

    /// Restarts those of the deliveries that have not moved in between, and says how many they are.
    async fn restart_all(
        &self,
        transaction: &mut Transaction<'_, Any>,
        replay: &Replay,
        found: &[Cursor],
    ) -> Result<u64> {
        let mut ids: Vec<_> = found.iter().map(|row| json!({ "id": row.id })).collect();
        in_order(&mut ids);
        let text = format!(
            "UPDATE deliveries SET {RESTART}, moved_at = CASE WHEN {{now}} > $2 THEN {{now}} ELSE $2 END
            FROM {{rows}} WHERE deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} AND moved_at < $2"
        );
        let started = micros(replay.created_at);
        let restarted = self
            .query(&text)
            .bind(rows(&ids))
            // From then on it is known as restarted, also after the clock was set back.
            .bind(started)
            .execute(&mut **transaction)
            .await?;
        Ok(restarted.rows_affected())
    }

    /// Writes how far a job has come.
    async fn advance(&self, transaction: &mut Transaction<'_, Any>, job: &Job) -> Result<()> {
        let text = "
            UPDATE replays SET state = $2, sent = $3, matched = $4, finished_at = $5, cursor_at = $6, cursor_id = $7,
                batch_at = $8, batch_id = $9
            WHERE id = $1";
        self.query(text)
            .bind(job.replay.id.to_string())
            .bind(job.replay.state.to_string())
            .bind(job.replay.sent)
            .bind(job.replay.matched)
            .bind(job.replay.finished_at.map(micros))
            .bind(job.cursor.at)
            .bind(job.cursor.id.clone())
            .bind(job.batch.as_ref().map(|batch| batch.at))
            .bind(job.batch.as_ref().map(|batch| batch.id.clone()))
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }
}

fn job_of(row: &AnyRow, owner: Uuid) -> Result<Job> {
    let targets: String = row.try_get("targets")?;
    let targets = serde_json::from_str(&targets).map_err(|_| Error::Corrupt(targets))?;
    let batch: Option<i64> = row.try_get("batch_at")?;
    let batch_id: Option<String> = row.try_get("batch_id")?;
    Ok(Job {
        replay: replay_of(row)?,
        targets,
        owner,
        cursor: Cursor {
            at: row.try_get("cursor_at")?,
            id: row.try_get("cursor_id")?,
        },
        batch: batch.zip(batch_id).map(|(at, id)| Cursor { at, id }),
    })
}
