//! How a reconciliation is done: list by list, by whoever holds its lease.
//!
//! Whoever takes it gets a new name, and each write is one transaction that first holds the lease under that name. So one
//! who was taken for dead writes nothing more, and two never write of one list.
//!
//! What is true if the process dies: a list that was done is done; one that was under way is read anew by the next holder.
//! What was found to differ before stays noted, and is counted once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{Any, Row, Transaction};
use uuid::Uuid;

use super::{Difference, Gap, Listed};
use crate::{
    clock,
    contact::Contact,
    ledger::{Ledger, Progress, Result, micros, parsed, period, rows, timestamp},
};

/// How long a process that died keeps others from it.
const LEASE: Duration = Duration::from_secs(30);

/// Rows that are taken away together: nobody else writes to SQLite meanwhile.
const STEP: i64 = 2000;

/// A reconciliation in the hands of a worker.
#[derive(Debug, Clone)]
pub struct Reconciling {
    pub id: Uuid,
    /// The target; None for all.
    pub target: Option<String>,
    pub repair: bool,
    /// Whether it is a turn of the schedule, and nobody's wish.
    pub is_scheduled: bool,
    /// When it was asked for, by the database's clock.
    pub asked_at: jiff::Timestamp,
    /// The lists that are done, each with its target, and whether it was compared.
    pub done: BTreeMap<(String, String), bool>,
    owner: Uuid,
}

/// A list, and how much of it has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub target: String,
    pub list: String,
    pub listed: u64,
    pub unread: u64,
}

impl Ledger {
    /// Takes the oldest one that is in nobody's hands, of one of these targets or of all.
    pub async fn take_reconciliation(&self, targets: &[&str]) -> Result<Option<Reconciling>> {
        // A longer lease than any is one of before the clock was set back.
        let free = "state = 'running' AND (lease_until IS NULL OR lease_until <= {now} OR lease_until > {now} + $2)";
        let text = format!(
            "SELECT id FROM reconciliations
            WHERE {free} AND (target IS NULL OR target IN (SELECT rows.value->>'target' FROM {{rows}}))
            ORDER BY created_at, id LIMIT 1"
        );
        let targets: Vec<_> = targets
            .iter()
            .map(|target| json!({ "target": target }))
            .collect();
        let first = self.query(&text).bind(rows(&targets)).bind(period(LEASE));
        let Some(first) = first.fetch_optional(&self.pool).await? else {
            return Ok(None);
        };
        let text = format!(
            "UPDATE reconciliations SET lease_owner = $1, lease_until = {{now}} + $2 WHERE {free} AND id = $3
            RETURNING id, target, repair, turn, created_at"
        );
        let owner = Uuid::now_v7();
        let taken = self.query(&text).bind(owner.to_string());
        let taken = taken
            .bind(period(LEASE))
            .bind(first.try_get::<String, _>(0)?);
        let Some(row) = taken.fetch_optional(&self.writer).await? else {
            return Ok(None);
        };
        let id: String = row.try_get("id")?;
        let done = "SELECT target, list, error FROM reconciled_lists WHERE reconciliation = $1 AND finished_at IS NOT NULL";
        let done = self.query(done).bind(id.clone());
        let done = done.fetch_all(&self.pool).await?;
        let done = done.iter().map(|row| {
            let error: Option<String> = row.try_get(2)?;
            Ok(((row.try_get(0)?, row.try_get(1)?), error.is_none()))
        });
        Ok(Some(Reconciling {
            id: parsed(&id)?,
            target: row.try_get("target")?,
            repair: row.try_get::<i64, _>("repair")? == 1,
            is_scheduled: row.try_get::<Option<i64>, _>("turn")?.is_some(),
            asked_at: timestamp(row.try_get("created_at")?)?,
            done: done.collect::<Result<_>>()?,
            owner,
        }))
    }

    /// Holds it for longer; false if it is in other hands.
    pub async fn hold_reconciliation(&self, held: &Reconciling) -> Result<bool> {
        let Some(transaction) = self.holding(held).await? else {
            return Ok(false);
        };
        transaction.commit().await?;
        Ok(true)
    }

    /// Begins a list, or begins it anew; false if it is in other hands. What was found to differ before stays.
    pub async fn begin_list(&self, held: &Reconciling, tally: &Tally) -> Result<bool> {
        if !self.forget_listed(held).await? {
            return Ok(false);
        }
        let Some(mut transaction) = self.holding(held).await? else {
            return Ok(false);
        };
        let text = "
            INSERT INTO reconciled_lists (reconciliation, target, list) VALUES ($1, $2, $3)
            ON CONFLICT (reconciliation, target, list) DO NOTHING";
        self.query(text)
            .bind(held.id.to_string())
            .bind(tally.target.clone())
            .bind(tally.list.clone())
            .execute(&mut *transaction)
            .await?;
        self.note_tally(&mut transaction, held, tally).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Notes whom the list holds; false if it is in other hands. Who is on two pages is noted once.
    pub async fn note_listed(
        &self,
        held: &Reconciling,
        tally: &Tally,
        listed: &[Listed],
    ) -> Result<bool> {
        let Some(mut transaction) = self.holding(held).await? else {
            return Ok(false);
        };
        let values: Vec<_> = listed.iter().map(|one| one.row(held.id)).collect();
        let text = "
            INSERT INTO listed (reconciliation, contact, channel, since, lane, reason)
            SELECT rows.value->>'reconciliation', rows.value->>'contact', rows.value->>'channel',
                CAST(rows.value->>'since' AS BIGINT), rows.value->>'lane', rows.value->>'reason'
            FROM {rows} WHERE TRUE
            ON CONFLICT (reconciliation, contact, channel) DO NOTHING";
        self.put(&mut transaction, text, &values).await?;
        self.note_tally(&mut transaction, held, tally).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Notes differences of a list, and counts them; those of contacts that were erased by what stands in their address's
    /// place. False if it is in other hands. What is noted already stays as it is, and is counted once.
    pub async fn note_differences(
        &self,
        held: &Reconciling,
        tally: &Tally,
        found: &[Difference],
    ) -> Result<bool> {
        let Some(mut transaction) = self.holding(held).await? else {
            return Ok(false);
        };
        let contacts: Vec<_> = found.iter().map(contact_of).collect();
        let erased = self.erased_among(&mut transaction, &contacts).await?;
        for (gap, count) in [
            (Gap::OnlyTheirs, "only_theirs"),
            (Gap::OnlyOurs, "only_ours"),
            (Gap::Differs, "differs"),
        ] {
            for repaired in [false, true] {
                let of_gap = found
                    .iter()
                    .filter(|one| one.difference == gap && one.repaired == repaired);
                let values: Vec<_> = of_gap.map(|one| row(held.id, one, &erased)).collect();
                let inserted = self.insert_differences(&mut transaction, &values).await?;
                let text = format!(
                    "UPDATE reconciled_lists SET {count} = {count} + $4, repaired = repaired + $5
                    WHERE reconciliation = $1 AND target = $2 AND list = $3"
                );
                self.query(&text)
                    .bind(held.id.to_string())
                    .bind(tally.target.clone())
                    .bind(tally.list.clone())
                    .bind(inserted)
                    .bind(if repaired { inserted } else { 0 })
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// How many of them were not there.
    async fn insert_differences(
        &self,
        transaction: &mut Transaction<'_, Any>,
        values: &[Value],
    ) -> Result<i64> {
        let text = "
            INSERT INTO differences (id, reconciliation, found_at, target, list, difference, channel, contact, listed_since,
                listed_lane, listed_reason, scope, source, lane, occurred_at, event_id, delivery, repaired)
            SELECT rows.value->>'id', rows.value->>'reconciliation', CAST(rows.value->>'found_at' AS BIGINT),
                rows.value->>'target', rows.value->>'list', rows.value->>'difference', rows.value->>'channel',
                rows.value->>'contact', CAST(rows.value->>'listed_since' AS BIGINT), rows.value->>'listed_lane',
                rows.value->>'listed_reason', rows.value->>'scope', rows.value->>'source', rows.value->>'lane',
                CAST(rows.value->>'occurred_at' AS BIGINT), rows.value->>'event_id', rows.value->>'delivery',
                CAST(rows.value->>'repaired' AS BIGINT)
            FROM {rows} WHERE TRUE
            ON CONFLICT DO NOTHING";
        let mut inserted = 0;
        for rows in self.parameters(values) {
            let done = self.query(text).bind(rows);
            inserted += done.execute(&mut **transaction).await?.rows_affected();
        }
        Ok(i64::try_from(inserted).unwrap_or(i64::MAX))
    }

    /// Ends a list, compared or given up for that reason; false if it is in other hands.
    pub async fn end_list(
        &self,
        held: &Reconciling,
        tally: &Tally,
        error: Option<&str>,
    ) -> Result<bool> {
        if !self.forget_listed(held).await? {
            return Ok(false);
        }
        let Some(mut transaction) = self.holding(held).await? else {
            return Ok(false);
        };
        self.note_tally(&mut transaction, held, tally).await?;
        let text = "
            UPDATE reconciled_lists SET finished_at = $4, error = $5 WHERE reconciliation = $1 AND target = $2 AND list = $3";
        self.query(text)
            .bind(held.id.to_string())
            .bind(tally.target.clone())
            .bind(tally.list.clone())
            .bind(micros(clock::now()))
            .bind(error.map(str::to_owned))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Ends it: done, or failed for that reason; false if it is in other hands. A list that was begun and not done, since its
    /// target was disabled or it is not configured any more, is told as such.
    pub async fn end_reconciliation(
        &self,
        held: &Reconciling,
        error: Option<&str>,
    ) -> Result<bool> {
        if !self.forget_listed(held).await? {
            return Ok(false);
        }
        let Some(mut transaction) = self.holding(held).await? else {
            return Ok(false);
        };
        let state = match error {
            None => Progress::Done,
            Some(_) => Progress::Failed,
        };
        let text = "
            UPDATE reconciled_lists SET finished_at = $2, error = 'it is read no more: the target is disabled, or has no such list'
            WHERE reconciliation = $1 AND finished_at IS NULL";
        let left = self.query(text).bind(held.id.to_string());
        let left = left.bind(micros(clock::now()));
        left.execute(&mut *transaction).await?;
        let text = "
            UPDATE reconciliations SET state = $2, error = $3, finished_at = $4, lease_until = NULL WHERE id = $1";
        let ended = self.query(text).bind(held.id.to_string());
        let ended = ended.bind(state.to_string()).bind(error.map(str::to_owned));
        let ended = ended.bind(micros(clock::now()));
        ended.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Gives it back, so that another goes on at once.
    pub async fn leave_reconciliation(&self, held: &Reconciling) -> Result<()> {
        let text = "
            UPDATE reconciliations SET lease_until = NULL WHERE id = $1 AND lease_owner = $2 AND state = 'running'";
        let left = self.query(text).bind(held.id.to_string());
        let left = left.bind(held.owner.to_string());
        left.execute(&self.writer).await?;
        Ok(())
    }

    /// A transaction that holds the lease until it commits, and for its time from now. None if it is in other hands.
    pub(super) async fn holding(
        &self,
        held: &Reconciling,
    ) -> Result<Option<Transaction<'static, Any>>> {
        let text = "
            UPDATE reconciliations SET lease_until = {now} + $3 WHERE id = $1 AND lease_owner = $2 AND state = 'running'";
        let mut transaction = self.begin().await?;
        let query = self.query(text).bind(held.id.to_string());
        let query = query.bind(held.owner.to_string()).bind(period(LEASE));
        let holds = query.execute(&mut *transaction).await?.rows_affected() > 0;
        Ok(holds.then_some(transaction))
    }

    async fn note_tally(
        &self,
        transaction: &mut Transaction<'_, Any>,
        held: &Reconciling,
        tally: &Tally,
    ) -> Result<()> {
        let text = "
            UPDATE reconciled_lists SET listed = $4, unread = $5 WHERE reconciliation = $1 AND target = $2 AND list = $3";
        let mut query = self.query(text).bind(held.id.to_string());
        query = query.bind(tally.target.clone()).bind(tally.list.clone());
        for count in [tally.listed, tally.unread] {
            query = query.bind(i64::try_from(count).unwrap_or(i64::MAX));
        }
        query.execute(&mut **transaction).await?;
        Ok(())
    }

    /// Takes away whom a list holds, some at a time, until there is nobody; false if it is in other hands.
    async fn forget_listed(&self, held: &Reconciling) -> Result<bool> {
        // By bounds and not by a join, which PostgreSQL plans by what it last knew of a table that was empty then.
        let bound = "
            SELECT contact, channel FROM listed WHERE reconciliation = $1 ORDER BY contact, channel LIMIT 1 OFFSET $2";
        loop {
            let Some(mut transaction) = self.holding(held).await? else {
                return Ok(false);
            };
            let query = self.query(bound).bind(held.id.to_string()).bind(STEP);
            let bound = query.fetch_optional(&mut *transaction).await?;
            let query = if let Some(row) = &bound {
                let text = "DELETE FROM listed WHERE reconciliation = $1 AND (contact, channel) <= ($2, $3)";
                let query = self.query(text).bind(held.id.to_string());
                let query = query.bind(row.try_get::<String, _>(0)?);
                query.bind(row.try_get::<String, _>(1)?)
            } else {
                let text = "DELETE FROM listed WHERE reconciliation = $1";
                self.query(text).bind(held.id.to_string())
            };
            query.execute(&mut *transaction).await?;
            transaction.commit().await?;
            if bound.is_none() {
                return Ok(true);
            }
        }
    }
}

fn contact_of(of: &Difference) -> Contact {
    Contact {
        channel: of.channel,
        address: of.contact.clone(),
        raw: of.contact.clone(),
    }
}

fn row(reconciliation: Uuid, of: &Difference, erased: &HashMap<String, String>) -> Value {
    let pseudonym = erased.get(&of.contact);
    let contact = pseudonym.unwrap_or(&of.contact);
    let reason = of.listed_reason.as_ref().filter(|_| pseudonym.is_none());
    json!({
        "id": of.id, "reconciliation": reconciliation, "found_at": micros(of.found_at), "target": of.target, "list": of.list,
        "difference": of.difference, "channel": of.channel, "contact": contact,
        "listed_since": of.listed_since.map(micros), "listed_lane": of.listed_lane, "listed_reason": reason,
        "scope": of.scope, "source": of.source, "lane": of.lane, "occurred_at": of.occurred_at.map(micros),
        "event_id": of.event_id, "delivery": of.delivery, "repaired": i64::from(of.repaired),
    })
}
