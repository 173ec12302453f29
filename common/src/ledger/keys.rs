//! Keys to the api: made, listed, revoked, and found by the hash of what a request brings.
//!
//! A change and its record in the audit trail are one transaction. If the process dies before it commits nothing was
//! made or revoked; if it dies after, a new key is one that nobody knows: it is in the list, to be revoked. To revoke
//! twice changes nothing more. A key that was revoked or has expired opens nothing from that moment on, since each use
//! is looked up.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Act, Ledger, Page, Result, micros, page::Cursor, parsed, timestamp};
use crate::{
    clock,
    key::{self, Key, State, Wanted},
};

const COLUMNS: &str = "id, name, role, hint, rate, created_at, created_by, expires_at, revoked_at";

/// Opens something at the time `$2`.
const IS_LIVE: &str = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";

impl Ledger {
    /// Makes a key, which is told this once; None if a live one has the name.
    pub async fn create_key(
        &self,
        wanted: &Wanted,
        actor: &str,
    ) -> Result<Option<(Key, SecretString)>> {
        let (secret, now) = (key::generate(), micros(clock::now()));
        let mut transaction = self.begin().await?;
        // The name of one that has expired is free.
        let release = "
            UPDATE keys SET revoked_at = expires_at
            WHERE name = $1 AND revoked_at IS NULL AND expires_at <= $2";
        self.query(release)
            .bind(wanted.name.clone())
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        let insert = format!(
            "INSERT INTO keys (id, name, role, hash, hint, rate, created_at, created_by, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING RETURNING {COLUMNS}"
        );
        let row = self
            .query(&insert)
            .bind(Uuid::now_v7().to_string())
            .bind(wanted.name.clone())
            .bind(wanted.role.as_str())
            .bind(key::hash(secret.expose_secret().as_bytes()))
            .bind(key::hint(&secret))
            .bind(wanted.rate.map(|rate| rate.to_string()))
            .bind(now)
            .bind(actor.to_owned())
            .bind(wanted.expires_at.map(micros))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let made = read(&row)?;
        let act = act(actor, "key.create", &made);
        self.chain(&mut transaction, &[act]).await?;
        transaction.commit().await?;
        Ok(Some((made, secret)))
    }

    /// Revokes a key, from now on; None if there is none. One that was revoked already stays as it is.
    pub async fn revoke_key(&self, id: Uuid, actor: &str) -> Result<Option<Key>> {
        let text = format!(
            "UPDATE keys SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1 RETURNING {COLUMNS}"
        );
        let mut transaction = self.begin().await?;
        let row = self
            .query(&text)
            .bind(id.to_string())
            .bind(micros(clock::now()));
        let Some(row) = row.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let revoked = read(&row)?;
        let act = act(actor, "key.revoke", &revoked);
        self.chain(&mut transaction, &[act]).await?;
        transaction.commit().await?;
        Ok(Some(revoked))
    }

    /// Lists keys, newest first, those that open nothing any more, too.
    pub async fn keys(&self, limit: usize, cursor: Option<&str>) -> Result<Page<Key>> {
        let after = Cursor::read(cursor, None)?;
        let text = format!(
            "SELECT {COLUMNS} FROM keys WHERE (created_at, id) < ($1, $2)
            ORDER BY created_at DESC, id DESC LIMIT $3"
        );
        let query = self.query(&text).bind(after.at).bind(after.id);
        let query = query.bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.pool).await?;
        Page::of(&found, limit, read, |key| (key.created_at, key.id))
    }

    /// The key that has this name and was not revoked.
    pub async fn key_named(&self, name: &str) -> Result<Option<Key>> {
        let text = format!("SELECT {COLUMNS} FROM keys WHERE name = $1 AND revoked_at IS NULL");
        let row = self.query(&text).bind(name.to_owned());
        let row = row.fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// The live key with this [hash](key::hash).
    pub async fn key_by_hash(&self, hash: &str) -> Result<Option<Key>> {
        let text = format!("SELECT {COLUMNS} FROM keys WHERE hash = $1 AND {IS_LIVE}");
        let row = self.query(&text).bind(hash.to_owned());
        let row = row
            .bind(micros(clock::now()))
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The hashes of at most `most` live keys.
    pub async fn key_hashes(&self, most: usize) -> Result<Vec<String>> {
        let text = format!("SELECT hash FROM keys WHERE {IS_LIVE} LIMIT $1");
        let query = self.query(&text);
        let query = query.bind(i64::try_from(most).unwrap_or(i64::MAX));
        let found = query.bind(micros(clock::now())).fetch_all(&self.pool);
        let found = found.await?;
        found.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

fn act(actor: &str, action: &'static str, key: &Key) -> Act {
    let details = [
        ("name", Value::from(key.name.as_str())),
        ("role", key.role.as_str().into()),
        ("rate", key.rate.map(|rate| rate.to_string()).into()),
        ("expires_at", key.expires_at.map(|at| at.to_string()).into()),
    ];
    let details = details.into_iter();
    Act {
        actor: actor.to_owned(),
        action,
        subject: Some(key.id.to_string()),
        details: details
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>(),
        ..Act::default()
    }
}

fn read(row: &AnyRow) -> Result<Key> {
    let text = |column| row.try_get::<String, _>(column);
    let time = |column| {
        row.try_get::<Option<i64>, _>(column)?
            .map(timestamp)
            .transpose()
    };
    let rate: Option<String> = row.try_get("rate")?;
    let (expires_at, revoked_at) = (time("expires_at")?, time("revoked_at")?);
    Ok(Key {
        id: parsed(&text("id")?)?,
        name: text("name")?,
        role: parsed(&text("role")?)?,
        hint: text("hint")?,
        rate: rate.as_deref().map(parsed).transpose()?,
        state: state(expires_at, revoked_at, clock::now()),
        created_at: timestamp(row.try_get("created_at")?)?,
        created_by: text("created_by")?,
        expires_at,
        revoked_at,
    })
}

/// What came first counts: one that had expired when it was revoked had expired.
fn state(expires_at: Option<Timestamp>, revoked_at: Option<Timestamp>, now: Timestamp) -> State {
    let ended = revoked_at.unwrap_or(now);
    match expires_at {
        Some(expires_at) if expires_at <= ended => State::Expired,
        _ if revoked_at.is_some() => State::Revoked,
        _ => State::Active,
    }
}
