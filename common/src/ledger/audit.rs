//! The audit trail: who did what, append-only, in one chain. Each record's hash is over the record and the hash before
//! it, so a record that is changed, taken out or put in breaks the chain from there on; whoever keeps the hash of the
//! last record elsewhere also sees when records are missing at the end.
//!
//! What is personal in a record (the contact, a note) is not in the hash itself: a salted commitment to it is. Erasing
//! it takes it and its salt away and leaves the chain whole.

use jiff::Timestamp;
use rand::random;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Any, Row, Transaction, any::AnyRow};
use utoipa::{IntoParams, ToSchema};

use super::{Dialect, Error, Ledger, Result, micros, timestamp};
use crate::{clock, contact::Contact, signature::hex};

/// Names the advisory lock under which records are chained one after the other.
const CHAIN_LOCK: i64 = 0x4155_4449_5400;

/// Records that are verified together.
const PAGE: i64 = 1000;

/// The hash before the first record.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const COLUMNS: &str =
    "seq, at, actor, action, subject, details, contact, personal, salt, commitment, hash";

/// Something that somebody did, to be recorded.
#[derive(Debug, Clone, Default)]
pub struct Act {
    /// The name of the key, or of the process where it is one of ours.
    pub actor: String,
    /// What was done, such as `suppression.lift`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub subject: Option<String>,
    /// Nothing personal: it can never be erased.
    pub details: Map<String, Value>,
    pub contact: Option<Contact>,
    /// What else may have to be erased: notes, reasons, addresses.
    pub personal: Map<String, Value>,
}

/// Which records are listed; what is None does not filter.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TrailFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub subject: Option<String>,
    #[param(ignore)]
    pub contact: Option<Contact>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// A record of the trail.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Audited {
    /// From 1, without gaps.
    pub seq: i64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub subject: Option<String>,
    #[schema(value_type = Object)]
    pub details: Value,
    /// Normalised; a key once it was erased.
    pub contact: Option<String>,
    /// Null once it was erased.
    #[schema(value_type = Option<Object>)]
    pub personal: Option<Value>,
    pub hash: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verified {
    /// How many records are right, from the first.
    pub records: i64,
    /// How many of them have had their personal part erased.
    pub erased: i64,
    /// The hash of the last right record, worth keeping elsewhere.
    pub head: String,
    /// Whether these are all: false, too, where one is wrong.
    pub complete: bool,
    /// The first record that is wrong.
    pub broken: Option<Broken>,
}

/// Where the chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Broken {
    pub seq: i64,
    pub why: String,
}

impl Ledger {
    /// Appends to the trail. Told twice is recorded twice: the trail says what was asked, not what came of it.
    pub async fn audit(&self, acts: &[Act]) -> Result<()> {
        if acts.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin().await?;
        self.chain(&mut transaction, acts).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Appends to the trail within a transaction, which holds the chain's end until it commits.
    pub(super) async fn chain(
        &self,
        transaction: &mut Transaction<'_, Any>,
        acts: &[Act],
    ) -> Result<()> {
        if self.dialect == Dialect::Postgres {
            self.query("SELECT pg_advisory_xact_lock($1)")
                .bind(CHAIN_LOCK)
                .execute(&mut **transaction)
                .await?;
        }
        let last = self
            .query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut **transaction)
            .await?;
        let (mut seq, mut hash) = match last {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (0, GENESIS.to_owned()),
        };
        let at = micros(clock::now());
        let mut values = Vec::with_capacity(acts.len());
        for act in acts {
            seq += 1;
            let record = Stored::of(act, seq, at);
            hash = record.hash_after(&hash);
            values.push(record.row(&hash));
        }
        let text = format!(
            "INSERT INTO audit ({COLUMNS})
            SELECT CAST(rows.value->>'seq' AS BIGINT), CAST(rows.value->>'at' AS BIGINT), rows.value->>'actor',
                rows.value->>'action', rows.value->>'subject', rows.value->>'details', rows.value->>'contact',
                rows.value->>'personal', rows.value->>'salt', rows.value->>'commitment', rows.value->>'hash'
            FROM {{rows}}"
        );
        self.put(transaction, &text, &values).await
    }

    /// The trail, newest first; `before` is the number of the last record of the page before.
    pub async fn trail(
        &self,
        filter: &TrailFilter,
        limit: i64,
        before: i64,
    ) -> Result<Vec<Audited>> {
        let text = format!(
            "SELECT {COLUMNS} FROM audit
            WHERE ($1 IS NULL OR actor = $1) AND ($2 IS NULL OR action = $2) AND ($3 IS NULL OR subject = $3)
                AND ($4 IS NULL OR contact IN ($4, $5)) AND at >= $6 AND at < $7 AND seq < $8
            ORDER BY seq DESC LIMIT $9"
        );
        let (address, pseudonym) = filter
            .contact
            .as_ref()
            .map(|contact| self.names(contact))
            .unzip();
        let query = self
            .query(&text)
            .bind(filter.actor.clone())
            .bind(filter.action.clone())
            .bind(filter.subject.clone())
            .bind(address)
            .bind(pseudonym.flatten())
            .bind(filter.from.map_or(i64::MIN, micros))
            .bind(filter.to.map_or(i64::MAX, micros));
        let found = query.bind(before).bind(limit).fetch_all(&self.pool).await?;
        found.iter().map(|row| Stored::read(row)?.shown()).collect()
    }

    /// The hash of one record.
    pub async fn audit_hash(&self, seq: i64) -> Result<Option<String>> {
        let row = self
            .query("SELECT hash FROM audit WHERE seq = $1")
            .bind(seq);
        let row = row.fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The last records about a contact, oldest first.
    pub async fn audited(&self, contact: &Contact, limit: i64) -> Result<Vec<Audited>> {
        let text = format!(
            "SELECT {COLUMNS} FROM audit WHERE contact IN ($1, $2) ORDER BY seq DESC LIMIT $3"
        );
        let (address, pseudonym) = self.names(contact);
        let found = self.query(&text).bind(address).bind(pseudonym).bind(limit);
        let found = found.fetch_all(&self.pool).await?;
        found
            .iter()
            .rev()
            .map(|row| Stored::read(row)?.shown())
            .collect()
    }

    /// Checks every record against the one before it, and names the first that is wrong.
    pub async fn verify_audit(&self) -> Result<Verified> {
        self.verify_audit_after(None, i64::MAX).await
    }

    /// The same for at most so many records after a head that was found right before: its number and its hash.
    pub async fn verify_audit_after(
        &self,
        head: Option<(i64, String)>,
        most: i64,
    ) -> Result<Verified> {
        let (records, hash) = head.unwrap_or((0, GENESIS.to_owned()));
        let mut verified = Verified {
            records,
            erased: 0,
            head: hash,
            complete: false,
            broken: None,
        };
        if records > 0 && self.audit_hash(records).await?.as_ref() != Some(&verified.head) {
            let why = "it is missing, or is not the one that was given".to_owned();
            verified.broken = Some(Broken { seq: records, why });
            return Ok(verified);
        }
        let until = records.saturating_add(most);
        let text = format!("SELECT {COLUMNS} FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2");
        loop {
            let left = (until - verified.records).min(PAGE);
            let page = self.query(&text).bind(verified.records).bind(left.max(1));
            let page = page.fetch_all(&self.pool).await?;
            if page.is_empty() {
                verified.complete = true;
            }
            if page.is_empty() || left <= 0 {
                return Ok(verified);
            }
            for row in &page {
                let record = Stored::read(row)?;
                if let Some(why) = record.wrong_after(&verified) {
                    let seq = record.seq;
                    verified.broken = Some(Broken { seq, why });
                    return Ok(verified);
                }
                verified.records += 1;
                verified.erased += i64::from(record.is_erased());
                verified.head = row.try_get("hash")?;
            }
        }
    }
}

/// A record as it stands in the table, but for its hash.
struct Stored {
    seq: i64,
    at: i64,
    actor: String,
    action: String,
    subject: Option<String>,
    details: String,
    contact: Option<String>,
    personal: Option<String>,
    salt: Option<String>,
    commitment: String,
    hash: String,
}

impl Stored {
    fn of(act: &Act, seq: i64, at: i64) -> Self {
        let personal = Value::Object(act.personal.clone()).to_string();
        let contact = act.contact.as_ref().map(|contact| contact.address.clone());
        let salt = hex(&random::<[u8; 16]>());
        Self {
            seq,
            at,
            actor: act.actor.clone(),
            action: act.action.to_owned(),
            subject: act.subject.clone(),
            details: Value::Object(act.details.clone()).to_string(),
            commitment: commitment(&salt, contact.as_deref(), &personal),
            contact,
            personal: Some(personal),
            salt: Some(salt),
            hash: String::new(),
        }
    }

    fn hash_after(&self, previous: &str) -> String {
        let (seq, at) = (self.seq.to_string(), self.at.to_string());
        let subject = self.subject.as_deref();
        digest([
            Some(previous),
            Some(&seq),
            Some(&at),
            Some(&self.actor),
            Some(&self.action),
            subject,
            Some(&self.details),
            Some(&self.commitment),
        ])
    }

    fn is_erased(&self) -> bool {
        self.salt.is_none()
    }

    /// What is wrong with it, if it comes after what was verified.
    fn wrong_after(&self, verified: &Verified) -> Option<String> {
        if self.seq != verified.records + 1 {
            let missing = verified.records + 1;
            return Some(format!("the record {missing} before it is missing"));
        }
        if self.hash_after(&verified.head) != self.hash {
            return Some(
                "its hash does not follow from what it says and the hash before".to_owned(),
            );
        }
        let (Some(salt), Some(personal)) = (&self.salt, &self.personal) else {
            return None;
        };
        (commitment(salt, self.contact.as_deref(), personal) != self.commitment)
            .then(|| "its contact or note is not the one that was recorded".to_owned())
    }

    fn row(&self, hash: &str) -> Value {
        json!({
            "seq": self.seq, "at": self.at, "actor": self.actor, "action": self.action, "subject": self.subject,
            "details": self.details, "contact": self.contact, "personal": self.personal, "salt": self.salt,
            "commitment": self.commitment, "hash": hash,
        })
    }

    fn read(row: &AnyRow) -> Result<Self> {
        Ok(Self {
            seq: row.try_get("seq")?,
            at: row.try_get("at")?,
            actor: row.try_get("actor")?,
            action: row.try_get("action")?,
            subject: row.try_get("subject")?,
            details: row.try_get("details")?,
            contact: row.try_get("contact")?,
            personal: row.try_get("personal")?,
            salt: row.try_get("salt")?,
            commitment: row.try_get("commitment")?,
            hash: row.try_get("hash")?,
        })
    }

    fn shown(self) -> Result<Audited> {
        let json = |text: &str| {
            serde_json::from_str(text).map_err(|error| Error::Corrupt(error.to_string()))
        };
        Ok(Audited {
            seq: self.seq,
            at: timestamp(self.at)?,
            actor: self.actor,
            action: self.action,
            subject: self.subject,
            details: json(&self.details)?,
            contact: self.contact,
            personal: self.personal.as_deref().map(json).transpose()?,
            hash: self.hash,
        })
    }
}

fn commitment(salt: &str, contact: Option<&str>, personal: &str) -> String {
    digest([Some(salt), contact, Some(personal)])
}

/// SHA-256 over the parts, each with its length, so that no two lists of parts agree.
fn digest<'a>(parts: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(part.unwrap_or_default());
    }
    hex(&hash.finalize())
}
