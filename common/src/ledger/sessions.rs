//! Sessions of the dashboard: a browser that was let in by a key.
//!
//! A session is 256 random bits that the browser holds; the ledger has only their hash, so who reads the ledger can take
//! over no session. Nor does it have the key: a proof of it, made with those bits, tells whether a configured key is
//! still the one that opened the session. A key of the ledger is looked up with the session, at each request. So a key
//! that is revoked, has expired, was changed or taken out of the configuration ends its sessions at once, in every
//! process. Times are the database's, as for leases.
//!
//! If the process dies before a session is stored nobody is signed in; to end one twice changes nothing more.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use uuid::Uuid;

use super::{Act, Ledger, Result, micros, parsed, period};
use crate::{clock, config::Role, key, signature};

/// A session that was not used for so long has ended.
pub const IDLE: Duration = Duration::from_mins(30);

/// However much it is used, a session ends so long after it was opened.
pub const LONGEST: Duration = Duration::from_hours(12);

/// The most sessions of one key: when another is opened, those that were used least recently end.
pub const MOST: i64 = 50;

/// How stale the time of the last use may be: not every page is to cost a write.
const STALE: Duration = Duration::from_mins(1);

/// A session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The name of the key that opened it.
    pub key: String,
    /// The role of a live key of the ledger; None for a configured key, whose role its holder knows.
    pub role: Option<Role>,
    proof: String,
}

impl Session {
    /// Whether it was opened with this key. `token` is what the browser holds.
    pub fn is_of(&self, token: &[u8], key: &[u8]) -> bool {
        signature::equal(proof(token, key).as_bytes(), self.proof.as_bytes())
    }
}

impl Ledger {
    /// Opens a session for a key that was let in, with its record in the audit trail, and gives what the browser is to
    /// hold. Those that have ended are forgotten on the way, and of the key's those above [`MOST`] end.
    pub async fn open_session(
        &self,
        name: &str,
        id: Option<Uuid>,
        key: &SecretString,
    ) -> Result<SecretString> {
        let token = key::token();
        let held = token.expose_secret().as_bytes();
        let mut transaction = self.begin().await?;
        self.query("DELETE FROM sessions WHERE seen_at <= {now} - $1")
            .bind(period(IDLE))
            .execute(&mut *transaction)
            .await?;
        let insert = "
            INSERT INTO sessions (hash, key_name, key_id, proof, created_at, seen_at)
            VALUES ($1, $2, $3, $4, {now}, {now})";
        self.query(insert)
            .bind(key::hash(held))
            .bind(name.to_owned())
            .bind(id.map(|id| id.to_string()))
            .bind(proof(held, key.expose_secret().as_bytes()))
            .execute(&mut *transaction)
            .await?;
        let text = "
            DELETE FROM sessions WHERE key_name = $1 AND hash NOT IN (
                SELECT hash FROM sessions WHERE key_name = $1
                ORDER BY CASE WHEN hash = $2 THEN 0 ELSE 1 END, seen_at DESC, hash LIMIT $3)";
        self.query(text)
            .bind(name.to_owned())
            .bind(key::hash(held))
            .bind(MOST)
            .execute(&mut *transaction)
            .await?;
        let act = Act {
            actor: name.to_owned(),
            action: "dashboard.sign_in",
            ..Act::default()
        };
        self.chain(&mut transaction, &[act]).await?;
        transaction.commit().await?;
        Ok(token)
    }

    /// The session of what a browser holds; None if it has ended, or its key of the ledger opens nothing any more.
    pub async fn session(&self, token: &[u8]) -> Result<Option<Session>> {
        let text = "
            SELECT key_name, key_id, proof, role, {now} - seen_at AS idle
            FROM sessions LEFT JOIN keys
                ON keys.id = key_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
            WHERE sessions.hash = $1 AND seen_at > {now} - $3 AND sessions.created_at > {now} - $4";
        let hash = key::hash(token);
        let row = self
            .query(text)
            .bind(hash.clone())
            .bind(micros(clock::now()))
            .bind(period(IDLE))
            .bind(period(LONGEST))
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let role: Option<String> = row.try_get("role")?;
        let role = role.as_deref().map(parsed::<Role>).transpose()?;
        let of_the_ledger = row.try_get::<Option<String>, _>("key_id")?.is_some();
        if of_the_ledger && role.is_none() {
            return Ok(None);
        }
        if row.try_get::<i64, _>("idle")? >= period(STALE) {
            self.query("UPDATE sessions SET seen_at = {now} WHERE hash = $1")
                .bind(hash)
                .execute(&self.writer)
                .await?;
        }
        Ok(Some(Session {
            key: row.try_get("key_name")?,
            role,
            proof: row.try_get("proof")?,
        }))
    }

    /// Ends a session.
    pub async fn close_session(&self, token: &[u8]) -> Result<()> {
        self.query("DELETE FROM sessions WHERE hash = $1")
            .bind(key::hash(token))
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Tells nothing of the key to whoever lacks the token.
fn proof(token: &[u8], key: &[u8]) -> String {
    signature::hex(&signature::hmac_sha256(token, &[key]))
}
