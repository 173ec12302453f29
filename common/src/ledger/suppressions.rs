//! The suppression list: the registers as people see them, and which of them say "do not send".

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Ledger, Result, parsed, rows, timestamp};
use crate::{
    contact::{Channel, Contact},
    event::{Kind, Lane, Origin},
    names::names,
};

names! {
    /// Whether a suppression stands.
    Standing { Active = "active", Lifted = "lifted" }
}

/// A suppression, standing or lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suppression {
    pub id: Uuid,
    pub state: Standing,
    pub channel: Channel,
    pub contact: String,
    pub scope: String,
    pub source: String,
    pub lane: Lane,
    /// When what it says now happened.
    pub occurred_at: Timestamp,
    /// The event that set it.
    pub event_id: Uuid,
    pub kind: Kind,
    pub reason: Option<String>,
    pub origin: Origin,
}

/// The columns that [`suppression`] reads.
const COLUMNS: &str = "registers.id AS id, suppressed, registers.channel AS channel, registers.contact AS contact, scope, source, lane,
    occurred_at, event_id, kind, reason, origin";

impl Ledger {
    /// What suppresses a contact in `scope`: that scope's registers and the global ones. Without a scope, whatever
    /// suppresses it anywhere: the strictest answer.
    pub async fn check(&self, contact: &Contact, scope: Option<&str>) -> Result<Vec<Suppression>> {
        let text = format!(
            "SELECT {COLUMNS} FROM registers
            WHERE contact = $1 AND channel = $2 AND suppressed = 1 AND ($3 IS NULL OR scope = $3 OR scope = 'global')
            ORDER BY scope, source, lane"
        );
        let query = self
            .query(&text)
            .bind(contact.address.clone())
            .bind(contact.channel.to_string());
        let found = query
            .bind(scope.map(str::to_owned))
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(suppression).collect()
    }

    /// Which of these contacts [`Ledger::check`] would find suppressed, in their order, by one query.
    pub async fn check_all(&self, contacts: &[Contact], scope: Option<&str>) -> Result<Vec<bool>> {
        let text = "
            SELECT DISTINCT registers.contact, registers.channel
            FROM {rows} JOIN registers
                ON registers.contact = rows.value->>'contact' AND registers.channel = rows.value->>'channel'
            WHERE suppressed = 1 AND ($2 IS NULL OR scope = $2 OR scope = 'global')";
        let query = self.query(text).bind(rows(&wanted(contacts)));
        let found = query
            .bind(scope.map(str::to_owned))
            .fetch_all(&self.pool)
            .await?;
        let suppressed = found
            .iter()
            .map(|row| Ok((row.try_get(0)?, parsed(&row.try_get::<String, _>(1)?)?)))
            .collect::<Result<HashSet<(String, Channel)>>>()?;
        let answer =
            |contact: &Contact| suppressed.contains(&(contact.address.clone(), contact.channel));
        Ok(contacts.iter().map(answer).collect())
    }

    /// Every suppression of these contacts, standing or lifted: what a change to one of them replaces.
    pub async fn registers(&self, contacts: &[Contact]) -> Result<Vec<Suppression>> {
        let text = format!(
            "SELECT {COLUMNS} FROM {{rows}} JOIN registers
                ON registers.contact = rows.value->>'contact' AND registers.channel = rows.value->>'channel'
            ORDER BY registers.contact, scope, source, lane"
        );
        let found = self.query(&text).bind(rows(&wanted(contacts)));
        found
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(suppression)
            .collect()
    }
}

fn wanted(contacts: &[Contact]) -> Vec<Value> {
    contacts
        .iter()
        .map(|contact| json!({ "contact": contact.address, "channel": contact.channel }))
        .collect()
}

fn suppression(row: &AnyRow) -> Result<Suppression> {
    let needed = |column: &str| row.try_get::<String, _>(column);
    Ok(Suppression {
        id: parsed(&needed("id")?)?,
        state: if row.try_get::<i64, _>("suppressed")? == 1 {
            Standing::Active
        } else {
            Standing::Lifted
        },
        channel: parsed(&needed("channel")?)?,
        contact: needed("contact")?,
        scope: needed("scope")?,
        source: needed("source")?,
        lane: parsed(&needed("lane")?)?,
        occurred_at: timestamp(row.try_get("occurred_at")?)?,
        event_id: parsed(&needed("event_id")?)?,
        kind: parsed(&needed("kind")?)?,
        reason: row.try_get("reason")?,
        origin: parsed(&needed("origin")?)?,
    })
}
