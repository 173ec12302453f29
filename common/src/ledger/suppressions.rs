//! The suppression list: which registers say "do not send".

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Ledger, Result, parsed, timestamp};
use crate::{
    contact::{Channel, Contact},
    event::{Kind, Lane, Origin},
};

/// One standing suppression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suppression {
    pub channel: Channel,
    pub contact: String,
    pub scope: String,
    pub source: String,
    pub lane: Lane,
    pub occurred_at: Timestamp,
    /// The event that set it.
    pub event_id: Uuid,
    pub kind: Kind,
    pub reason: Option<String>,
    pub origin: Origin,
}

impl Ledger {
    /// What suppresses a contact in `scope`: that scope's registers and the global ones. Without a scope, whatever
    /// suppresses it anywhere: the strictest answer.
    pub async fn check(&self, contact: &Contact, scope: Option<&str>) -> Result<Vec<Suppression>> {
        let text = "
            SELECT channel, contact, scope, source, lane, occurred_at, event_id, kind, reason, origin FROM registers
            WHERE contact = $1 AND channel = $2 AND suppressed = 1 AND ($3 IS NULL OR scope = $3 OR scope = 'global')
            ORDER BY scope, source, lane";
        let query = self
            .query(text)
            .bind(contact.address.clone())
            .bind(contact.channel.to_string());
        let found = query
            .bind(scope.map(str::to_owned))
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(suppression).collect()
    }
}

fn suppression(row: &AnyRow) -> Result<Suppression> {
    Ok(Suppression {
        channel: parsed(&row.try_get::<String, _>(0)?)?,
        contact: row.try_get(1)?,
        scope: row.try_get(2)?,
        source: row.try_get(3)?,
        lane: parsed(&row.try_get::<String, _>(4)?)?,
        occurred_at: timestamp(row.try_get(5)?)?,
        event_id: parsed(&row.try_get::<String, _>(6)?)?,
        kind: parsed(&row.try_get::<String, _>(7)?)?,
        reason: row.try_get(8)?,
        origin: parsed(&row.try_get::<String, _>(9)?)?,
    })
}
