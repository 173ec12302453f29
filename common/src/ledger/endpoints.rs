//! Endpoints: what users registered, what they are signed for with, and how they fare.
//!
//! A change and its record in the audit trail are one transaction, and each change raises the version by which workers
//! see that what they know is no longer what is. Deleting leaves a row behind, without URL and secrets, until the
//! endpoint's last delivery is dead: how many those are is no affair of whoever deletes it.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::{Any, Row, Transaction, any::AnyRow};
use uuid::Uuid;

use super::{Act, Error, Ledger, Page, Result, micros, page::Cursor, parsed, timestamp};
use crate::{
    clock,
    config::Filter,
    endpoint::{Endpoint, Sendable, Wanted},
    webhook::Key,
};

const COLUMNS: &str = "id, url, events, description, enabled, disabled_reason, created_at, updated_at, failing_since, last_success_at, last_failure_at, last_error";

/// Secrets that are signed with at a time: the newest, and those of the rotations before it. Several, since whoever
/// lost the answer to a rotation rotates again, and the receiver then still knows none but the oldest.
const MAX_SECRETS: usize = 5;

/// A secret as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    secret: String,
    until: Option<i64>,
}

impl Ledger {
    /// Registers an endpoint; it is enabled unless the wish is another.
    pub async fn create_endpoint(
        &self,
        id: Uuid,
        wanted: &Wanted,
        secret: &SecretString,
        act: &Act,
    ) -> Result<Endpoint> {
        let text = format!(
            "INSERT INTO endpoints (id, url, events, description, enabled, disabled_reason, secrets, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) RETURNING {COLUMNS}"
        );
        let enabled = wanted.enabled.unwrap_or(true);
        let mut transaction = self.begin().await?;
        let row = self
            .query(&text)
            .bind(id.to_string())
            .bind(wanted.url.to_string())
            .bind(json(&wanted.events))
            .bind(wanted.description.clone())
            .bind(i64::from(enabled))
            .bind((!enabled).then(|| BY_HAND.to_owned()))
            .bind(json(&[Stored {
                secret: secret.expose_secret().to_owned(),
                until: None,
            }]))
            .bind(micros(clock::now()))
            .fetch_one(&mut *transaction)
            .await?;
        let endpoint = endpoint(&row)?;
        self.changed(transaction, act).await?;
        Ok(endpoint)
    }

    /// Lists endpoints, newest first.
    pub async fn endpoints(&self, limit: usize, cursor: Option<&str>) -> Result<Page<Endpoint>> {
        let after = Cursor::read(cursor, None)?;
        let text = format!(
            "SELECT {COLUMNS} FROM endpoints WHERE deleted_at IS NULL AND (created_at, id) < ($1, $2)
            ORDER BY created_at DESC, id DESC LIMIT $3"
        );
        let query = self.query(&text).bind(after.at).bind(after.id);
        let query = query.bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.pool).await?;
        Page::of(&found, limit, endpoint, |endpoint| {
            (endpoint.created_at, endpoint.id)
        })
    }

    /// One endpoint.
    pub async fn endpoint(&self, id: Uuid) -> Result<Option<Endpoint>> {
        let text = format!("SELECT {COLUMNS} FROM endpoints WHERE id = $1 AND deleted_at IS NULL");
        let row = self.query(&text).bind(id.to_string());
        let row = row.fetch_optional(&self.pool).await?;
        row.as_ref().map(endpoint).transpose()
    }

    /// Changes an endpoint; None if there is none. One that is enabled again, or is another URL now, has not failed yet.
    pub async fn update_endpoint(
        &self,
        id: Uuid,
        wanted: &Wanted,
        act: &Act,
    ) -> Result<Option<Endpoint>> {
        let text = format!(
            "UPDATE endpoints SET
                failing_since = CASE WHEN url <> $2 OR (enabled = 0 AND $5 = 1) THEN NULL ELSE failing_since END,
                disabled_reason = CASE WHEN $5 = 1 THEN NULL WHEN $5 = 0 AND enabled = 1 THEN $6 ELSE disabled_reason END,
                enabled = COALESCE($5, enabled), url = $2, events = $3, description = $4, updated_at = $7
            WHERE id = $1 AND deleted_at IS NULL RETURNING {COLUMNS}"
        );
        let query = self.query(&text);
        let query = query
            .bind(id.to_string())
            .bind(wanted.url.to_string())
            .bind(json(&wanted.events))
            .bind(wanted.description.clone())
            .bind(wanted.enabled.map(i64::from))
            .bind(BY_HAND)
            .bind(micros(clock::now()));
        let mut transaction = self.begin().await?;
        let Some(row) = query.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let endpoint = endpoint(&row)?;
        self.changed(transaction, act).await?;
        Ok(Some(endpoint))
    }

    /// Enables or disables an endpoint, and changes nothing else of it; None if there is none.
    pub async fn switch_endpoint(
        &self,
        id: Uuid,
        enabled: bool,
        act: &Act,
    ) -> Result<Option<Endpoint>> {
        let text = format!(
            "UPDATE endpoints SET
                failing_since = CASE WHEN enabled = 0 AND $2 = 1 THEN NULL ELSE failing_since END,
                disabled_reason = CASE WHEN $2 = 1 THEN NULL WHEN enabled = 1 THEN $3 ELSE disabled_reason END,
                enabled = $2, updated_at = $4
            WHERE id = $1 AND deleted_at IS NULL RETURNING {COLUMNS}"
        );
        let query = self.query(&text).bind(id.to_string());
        let query = query.bind(i64::from(enabled)).bind(BY_HAND);
        let query = query.bind(micros(clock::now()));
        let mut transaction = self.begin().await?;
        let Some(row) = query.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let endpoint = endpoint(&row)?;
        self.changed(transaction, act).await?;
        Ok(Some(endpoint))
    }

    /// Gives an endpoint a new secret; None if there is none. The one before it is signed with as well for `overlap`.
    pub async fn rotate_endpoint(
        &self,
        id: Uuid,
        secret: &SecretString,
        overlap: Duration,
        act: &Act,
    ) -> Result<Option<Endpoint>> {
        let now = clock::now();
        let mut transaction = self.begin().await?;
        // A write first: of two rotations at once the second one sees the secret of the first.
        let text = format!(
            "UPDATE endpoints SET updated_at = $2 WHERE id = $1 AND deleted_at IS NULL RETURNING {COLUMNS}, secrets"
        );
        let row = self.query(&text).bind(id.to_string()).bind(micros(now));
        let Some(row) = row.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let mut secrets = vec![Stored {
            secret: secret.expose_secret().to_owned(),
            until: None,
        }];
        let until = micros(now.saturating_add(overlap).unwrap_or(now));
        for before in stored(&row)? {
            let until = before.until.unwrap_or(until);
            secrets.push(Stored {
                until: Some(until),
                ..before
            });
        }
        secrets.retain(|secret| secret.until.is_none_or(|until| until > micros(now)));
        secrets.truncate(MAX_SECRETS);
        self.query("UPDATE endpoints SET secrets = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(json(&secrets))
            .execute(&mut *transaction)
            .await?;
        self.changed(transaction, act).await?;
        Ok(Some(endpoint(&row)?))
    }

    /// Deletes an endpoint; false if there is none. Its unfinished deliveries are made dead by the worker.
    pub async fn delete_endpoint(&self, id: Uuid, act: &Act) -> Result<bool> {
        let text = "
            UPDATE endpoints SET deleted_at = $2, enabled = 0, url = '', secrets = '[]'
            WHERE id = $1 AND deleted_at IS NULL";
        let mut transaction = self.begin().await?;
        let deleted = self
            .query(text)
            .bind(id.to_string())
            .bind(micros(clock::now()));
        if deleted.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.changed(transaction, act).await?;
        Ok(true)
    }

    /// Disables an endpoint that has failed since then still; false if it has not, or is disabled already.
    pub async fn disable_endpoint(
        &self,
        id: Uuid,
        failing_since: Timestamp,
        reason: &str,
        act: &Act,
    ) -> Result<bool> {
        let text = "
            UPDATE endpoints SET enabled = 0, disabled_reason = $3, updated_at = $4
            WHERE id = $1 AND enabled = 1 AND failing_since = $2 AND deleted_at IS NULL";
        let mut transaction = self.begin().await?;
        let disabled = self
            .query(text)
            .bind(id.to_string())
            .bind(micros(failing_since))
            .bind(reason.to_owned())
            .bind(micros(clock::now()));
        if disabled.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.changed(transaction, act).await?;
        Ok(true)
    }

    /// Grows with every change to the endpoints, and to which targets are disabled. Read before them, it is at most too small for what is read.
    pub async fn endpoints_version(&self) -> Result<i64> {
        let row = self.query("SELECT version FROM endpoints_version");
        Ok(row.fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// All endpoints, as they are sent to; or the one.
    pub async fn sendable_endpoints(&self, only: Option<Uuid>) -> Result<Vec<Sendable>> {
        let text = "
            SELECT id, url, events, enabled, secrets FROM endpoints
            WHERE deleted_at IS NULL AND ($1 IS NULL OR id = $1)";
        let found = self.query(text).bind(only.map(|id| id.to_string()));
        let found = found.fetch_all(&self.pool).await?;
        found.iter().map(sendable).collect()
    }

    /// The endpoints that are enabled.
    pub async fn enabled_endpoints(&self) -> Result<Vec<Uuid>> {
        let text = "SELECT id FROM endpoints WHERE enabled = 1 AND deleted_at IS NULL";
        let found = self.query(text).fetch_all(&self.pool).await?;
        found
            .iter()
            .map(|row| parsed(&row.try_get::<String, _>(0)?))
            .collect()
    }

    /// Ends a change to an endpoint or a target: raises the version and says who did it.
    pub(super) async fn changed(
        &self,
        mut transaction: Transaction<'_, Any>,
        act: &Act,
    ) -> Result<()> {
        self.query("UPDATE endpoints_version SET version = version + 1")
            .execute(&mut *transaction)
            .await?;
        self.chain(&mut transaction, std::slice::from_ref(act))
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// Why an endpoint is disabled that a person disabled.
const BY_HAND: &str = "disabled over the api";

fn endpoint(row: &AnyRow) -> Result<Endpoint> {
    let time = |column| {
        row.try_get::<Option<i64>, _>(column)?
            .map(timestamp)
            .transpose()
    };
    Ok(Endpoint {
        id: parsed(&row.try_get::<String, _>("id")?)?,
        url: row.try_get("url")?,
        events: events(row)?,
        description: row.try_get("description")?,
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        disabled_reason: row.try_get("disabled_reason")?,
        created_at: timestamp(row.try_get("created_at")?)?,
        updated_at: timestamp(row.try_get("updated_at")?)?,
        failing_since: time("failing_since")?,
        last_success_at: time("last_success_at")?,
        last_failure_at: time("last_failure_at")?,
        last_error: row.try_get("last_error")?,
        held_back: None,
        breaker: None,
    })
}

fn sendable(row: &AnyRow) -> Result<Sendable> {
    let keys = stored(row)?.into_iter().map(|stored| {
        let until = stored.until.map(timestamp).transpose()?;
        let key = Key::of(&stored.secret.into()).ok_or_else(|| corrupt("secret"))?;
        Ok(key.until(until))
    });
    Ok(Sendable {
        id: parsed(&row.try_get::<String, _>("id")?)?,
        url: row.try_get("url")?,
        events: events(row)?,
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        keys: keys.collect::<Result<_>>()?,
    })
}

fn events(row: &AnyRow) -> Result<Filter> {
    let names: Vec<String> = serde_json::from_str(&row.try_get::<String, _>("events")?)
        .map_err(|_| corrupt("list of events"))?;
    Filter::of(&names).map_err(|_| corrupt("list of events"))
}

fn stored(row: &AnyRow) -> Result<Vec<Stored>> {
    serde_json::from_str(&row.try_get::<String, _>("secrets")?).map_err(|_| corrupt("secret"))
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt(format!("an endpoint's {what}"))
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("these have text keys")
}
