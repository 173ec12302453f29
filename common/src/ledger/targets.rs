//! What people ask of the targets of the configuration while everything runs: to be left alone, to be told again, to be
//! tested.
//!
//! A change and its record in the audit trail are one transaction, which raises the version that each worker compares
//! before it routes a batch and every second beside: so all of them heed it, and none does before it is recorded. What
//! waits for a target that was disabled is parked by the workers. If the process dies that asks for a change, it was made
//! or was not; asked again it changes nothing more.
//!
//! A test is made at most once. If the process that asked dies, it is made all the same, or forgotten; if the worker dies
//! that makes it, nobody knows what came of it, and it is not made again.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row;
use uuid::Uuid;

use super::{Act, Error, Ledger, Result, micros, parsed, period, timestamp};
use crate::{clock, delivery::Tested};

/// A test that no worker has begun in so long is not made any more: who asked for it has gone.
pub const TEST_WAITS: Duration = Duration::from_secs(10);

/// A test is forgotten after this.
const TEST_KEPT: Duration = Duration::from_hours(24);

/// Who disabled a target, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disabled {
    pub by: String,
    pub at: Timestamp,
    pub reason: Option<String>,
}

/// How far a test has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestState {
    /// No worker has begun it.
    Asked,
    /// It is being made, or its worker died.
    Taken,
    Made(Tested),
}

impl Ledger {
    /// Disables a target of the configuration; false if somebody did already, who stays the one who did.
    pub async fn disable_target(
        &self,
        target: &str,
        reason: Option<&str>,
        act: &Act,
    ) -> Result<bool> {
        let text = "
            INSERT INTO disabled_targets (target, disabled_by, disabled_at, reason) VALUES ($1, $2, $3, $4)
            ON CONFLICT (target) DO NOTHING";
        let mut transaction = self.begin().await?;
        let query = self.query(text).bind(target.to_owned());
        let query = query.bind(act.actor.clone()).bind(micros(clock::now()));
        let query = query.bind(reason.map(str::to_owned));
        if query.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.changed(transaction, act).await?;
        Ok(true)
    }

    /// Takes back that somebody disabled a target; false if nobody has.
    pub async fn enable_target(&self, target: &str, act: &Act) -> Result<bool> {
        let text = "DELETE FROM disabled_targets WHERE target = $1";
        let mut transaction = self.begin().await?;
        let query = self.query(text).bind(target.to_owned());
        if query.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.changed(transaction, act).await?;
        Ok(true)
    }

    /// The targets that somebody has disabled, whether the configuration still knows them or not.
    pub async fn disabled_targets(&self) -> Result<BTreeMap<String, Disabled>> {
        let text = "SELECT target, disabled_by, disabled_at, reason FROM disabled_targets";
        let found = self.query(text).fetch_all(&self.pool).await?;
        let mut disabled = BTreeMap::new();
        for row in found {
            let one = Disabled {
                by: row.try_get(1)?,
                at: timestamp(row.try_get(2)?)?,
                reason: row.try_get(3)?,
            };
            disabled.insert(row.try_get(0)?, one);
        }
        Ok(disabled)
    }

    /// Asks for a test of a target, with its record in the trail. Those that are a day old are forgotten on the way.
    pub async fn ask_target_test(&self, id: Uuid, target: &str, act: &Act) -> Result<()> {
        let mut transaction = self.begin().await?;
        self.query("DELETE FROM target_tests WHERE asked_at < {now} - $1")
            .bind(period(TEST_KEPT))
            .execute(&mut *transaction)
            .await?;
        self.query("INSERT INTO target_tests (id, target, asked_at) VALUES ($1, $2, {now})")
            .bind(id.to_string())
            .bind(target.to_owned())
            .execute(&mut *transaction)
            .await?;
        self.chain(&mut transaction, std::slice::from_ref(act))
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The tests that were asked for of late and that no worker has begun: by id, with the target.
    pub async fn asked_target_tests(&self) -> Result<Vec<(Uuid, String)>> {
        let text =
            "SELECT id, target FROM target_tests WHERE taken_at IS NULL AND asked_at > {now} - $1";
        let found = self.query(text).bind(period(TEST_WAITS));
        let found = found.fetch_all(&self.pool).await?;
        found
            .iter()
            .map(|row| Ok((parsed(&row.try_get::<String, _>(0)?)?, row.try_get(1)?)))
            .collect()
    }

    /// Takes a test to make it; false if another worker has, or whoever asked waits no more.
    pub async fn take_target_test(&self, id: Uuid) -> Result<bool> {
        let text = "
            UPDATE target_tests SET taken_at = {now}
            WHERE id = $1 AND taken_at IS NULL AND asked_at > {now} - $2";
        let taken = self.query(text).bind(id.to_string());
        let taken = taken.bind(period(TEST_WAITS));
        Ok(taken.execute(&self.writer).await?.rows_affected() > 0)
    }

    /// Says what came of a test.
    pub async fn target_tested(&self, id: Uuid, tested: &Tested) -> Result<()> {
        let outcome = serde_json::to_string(tested).expect("it has text keys");
        self.query("UPDATE target_tests SET outcome = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(outcome)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// How far a test has come; one that is forgotten was never begun as far as anybody knows.
    pub async fn target_test(&self, id: Uuid) -> Result<TestState> {
        let text = "SELECT taken_at, outcome FROM target_tests WHERE id = $1";
        let row = self.query(text).bind(id.to_string());
        let Some(row) = row.fetch_optional(&self.pool).await? else {
            return Ok(TestState::Asked);
        };
        let taken: Option<i64> = row.try_get(0)?;
        let outcome: Option<String> = row.try_get(1)?;
        Ok(match (taken, outcome) {
            (_, Some(outcome)) => {
                let read = serde_json::from_str(&outcome);
                TestState::Made(read.map_err(|error| Error::Corrupt(error.to_string()))?)
            }
            (Some(_), None) => TestState::Taken,
            (None, None) => TestState::Asked,
        })
    }
}
