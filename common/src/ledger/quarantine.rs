//! Quarantine: what was accepted and could not be read or recorded, with the reason. Nothing is thrown away.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Any, Row, Transaction, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Entry, Ledger, Page, Result, StoredEnvelope, Unreadable, micros, page::Cursor, parsed,
    timestamp,
};
use crate::{clock, envelope::Envelope, event::derived_id, names::names};

names! {
    /// Where a quarantined body stands.
    Held { Held = "held", Retried = "retried" }
}

/// Which entries are listed.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HeldFilter {
    #[param(inline)]
    pub state: Option<Held>,
    pub source: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Quarantined {
    pub id: Uuid,
    pub envelope_id: Uuid,
    pub source: String,
    pub element: Option<i64>,
    pub reason: String,
    pub state: Held,
    pub created_at: Timestamp,
    /// When it was last asked to be tried again; None if not since it was last held.
    pub retried_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, envelope_id, source, element, reason, state, created_at, retried_at";

impl Ledger {
    /// Puts a whole envelope into quarantine, outside of the usual recording.
    pub async fn quarantine(
        &self,
        envelope: &Envelope,
        provider: &str,
        reason: &str,
    ) -> Result<()> {
        let unreadable = vec![Unreadable {
            element: None,
            reason: reason.to_owned(),
        }];
        let entry = Entry {
            envelope,
            provider,
            events: vec![],
            duplicates: vec![],
            echoes: vec![],
            unreadable,
        };
        self.record(&[entry]).await.map(|_| ())
    }

    /// Holds what could not be read of these envelopes.
    pub(super) async fn hold(
        &self,
        transaction: &mut Transaction<'_, Any>,
        entries: &[Entry<'_>],
    ) -> Result<()> {
        let now = micros(clock::now());
        // By id, since an envelope may be twice in a batch and one statement must not touch a row twice.
        let values: BTreeMap<_, _> = entries
            .iter()
            .flat_map(|entry| entry.unreadable.iter().map(|it| (entry.envelope, it)))
            .map(|(envelope, unreadable)| {
                let id = entry_id(envelope.id, unreadable.element);
                (id, row(id, envelope, unreadable, now))
            })
            .collect();
        let values: Vec<_> = values.into_values().collect();
        // A body that is tried again and still cannot be read is held again, with today's reason.
        let text = "
            INSERT INTO quarantine (id, envelope_id, source, element, reason, state, created_at)
            SELECT rows.value->>'id', rows.value->>'envelope_id', rows.value->>'source',
                CAST(rows.value->>'element' AS BIGINT), rows.value->>'reason', 'held',
                CAST(rows.value->>'created_at' AS BIGINT)
            FROM {rows} WHERE TRUE
            ON CONFLICT (id) DO UPDATE SET state = 'held', reason = excluded.reason, retried_at = NULL";
        self.put(transaction, text, &values).await
    }

    /// Lists what is in quarantine, newest first.
    pub async fn quarantined(
        &self,
        filter: &HeldFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<Quarantined>> {
        let after = Cursor::read(cursor, None)?;
        let text = format!(
            "SELECT {COLUMNS} FROM quarantine
            WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR source = $2)
                AND (created_at, id) < ($3, $4)
            ORDER BY created_at DESC, id DESC LIMIT $5"
        );
        let query = self
            .query(&text)
            .bind(filter.state.map(|state| state.to_string()))
            .bind(filter.source.clone());
        let query = query
            .bind(after.at)
            .bind(after.id)
            .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.pool).await?;
        Page::of(&found, limit, listed, |entry| (entry.created_at, entry.id))
    }

    /// One entry.
    pub async fn quarantine_entry(&self, id: Uuid) -> Result<Option<Quarantined>> {
        let text = format!("SELECT {COLUMNS} FROM quarantine WHERE id = $1");
        let row = self
            .query(&text)
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| listed(&row)).transpose()
    }

    /// The envelope of an entry, to be published again, and the time that [`Ledger::retried`] wants once it is. Until
    /// then the entry stays held.
    pub async fn retry_quarantined(&self, id: Uuid) -> Result<Option<(Envelope, Timestamp)>> {
        let now = clock::now();
        let text = "UPDATE quarantine SET retried_at = $2 WHERE id = $1 RETURNING envelope_id";
        let row = self
            .query(text)
            .bind(id.to_string())
            .bind(micros(now))
            .fetch_optional(&self.writer)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let envelope = self
            .envelope(parsed(&row.try_get::<String, _>(0)?)?)
            .await?;
        let kept = envelope.filter(StoredEnvelope::is_whole);
        Ok(kept.map(|stored| (stored.envelope, now)))
    }

    /// Marks an entry as retried: its envelope was published. Not if it has been held again since `asked_at`: what was
    /// published has been read already, in vain.
    pub async fn retried(&self, id: Uuid, asked_at: Timestamp) -> Result<()> {
        let text = "UPDATE quarantine SET state = 'retried' WHERE id = $1 AND retried_at = $2";
        self.query(text)
            .bind(id.to_string())
            .bind(micros(asked_at))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// How many entries wait for a person.
    pub async fn held(&self) -> Result<i64> {
        let row = self
            .query("SELECT COUNT(*) FROM quarantine WHERE state = 'held'")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get(0)?)
    }
}

/// The id of one unreadable body or element: derived, so that recording it twice holds it once.
fn entry_id(envelope: Uuid, element: Option<usize>) -> Uuid {
    let element = element.map_or_else(|| "body".to_owned(), |element| element.to_string());
    derived_id("quarantine", &envelope.to_string(), [element.as_str()])
}

fn row(id: Uuid, envelope: &Envelope, unreadable: &Unreadable, now: i64) -> Value {
    json!({
        "id": id, "envelope_id": envelope.id,
        "source": envelope.source, "element": unreadable.element, "reason": unreadable.reason.replace('\0', "\u{fffd}"),
        "created_at": now,
    })
}

fn listed(row: &AnyRow) -> Result<Quarantined> {
    Ok(Quarantined {
        id: parsed(&row.try_get::<String, _>(0)?)?,
        envelope_id: parsed(&row.try_get::<String, _>(1)?)?,
        source: row.try_get(2)?,
        element: row.try_get(3)?,
        reason: row.try_get(4)?,
        state: parsed(&row.try_get::<String, _>(5)?)?,
        created_at: timestamp(row.try_get(6)?)?,
        retried_at: row
            .try_get::<Option<i64>, _>(7)?
            .map(timestamp)
            .transpose()?,
    })
}
