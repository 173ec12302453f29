//! The suppression list: the registers as people see them, and which of them say "do not send".

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Ledger, Page, Result, events, micros, page::Cursor, parsed, rows, timestamp};
use crate::{
    contact::{Channel, Contact},
    event::{Event, Kind, Lane, Origin},
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

/// Which suppressions are listed; what is None does not filter.
#[derive(Debug, Clone, Default)]
pub struct SuppressionFilter {
    pub contact: Option<Contact>,
    pub scope: Option<String>,
    pub source: Option<String>,
    pub lane: Option<Lane>,
    pub kind: Option<Kind>,
    pub reason: Option<String>,
    pub origin: Option<Origin>,
    pub state: Option<Standing>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
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

impl Ledger {
    /// Lists suppressions, standing and lifted, newest first by when what they say happened.
    pub async fn suppressions(
        &self,
        filter: &SuppressionFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<Suppression>> {
        let begin = Cursor::read(cursor, filter.to)?;
        let text = listing(filter, NEWEST_FIRST);
        let found = self.listed(&text, filter, begin, limit + 1).await?;
        let found = found.into_iter().map(|suppression| {
            let cursor = Cursor {
                at: micros(suppression.occurred_at),
                id: suppression.id.to_string(),
            };
            (cursor, suppression)
        });
        Ok(Page::of(found.collect(), limit))
    }

    /// Suppressions in the order of their ids, which never change: read page by page to the end, each that stands in the
    /// list all the while is told once, however many change their times meanwhile. `after` is the last of the page before.
    pub async fn every_suppression(
        &self,
        filter: &SuppressionFilter,
        limit: usize,
        after: Option<Uuid>,
    ) -> Result<Vec<Suppression>> {
        let begin = Cursor {
            at: filter.to.map_or(i64::MAX, micros),
            id: after.map(|id| id.to_string()).unwrap_or_default(),
        };
        let text = listing(filter, BY_ID);
        self.listed(&text, filter, begin, limit).await
    }

    /// One suppression, standing or lifted.
    pub async fn suppression(&self, id: Uuid) -> Result<Option<Suppression>> {
        let text = format!("SELECT {COLUMNS} FROM registers WHERE id = $1");
        let row = self.query(&text).bind(id.to_string());
        let row = row.fetch_optional(&self.pool).await?;
        row.as_ref().map(suppression).transpose()
    }

    /// The events that set this suppression or tried to, oldest first: at most the last `limit` of those that set
    /// anything of its contact's.
    pub async fn history(&self, suppression: &Suppression, limit: i64) -> Result<Vec<Event>> {
        let text = format!(
            "SELECT {} FROM events
            WHERE contact = $1 AND channel = $2 AND effect <> 'none' AND COALESCE(register_source, source) = $3
            ORDER BY occurred_at DESC, id DESC LIMIT $4",
            events::COLUMNS
        );
        let query = self
            .query(&text)
            .bind(suppression.contact.clone())
            .bind(suppression.channel.to_string())
            .bind(suppression.source.clone())
            .bind(limit);
        let found = query.fetch_all(&self.pool).await?;
        let mut events = found
            .iter()
            .map(events::event_of)
            .collect::<Result<Vec<_>>>()?;
        events.retain(|event| {
            let mut changes = event.changes().into_iter();
            changes.any(|change| {
                (change.scope, change.lane) == (suppression.scope.as_str(), suppression.lane)
            })
        });
        events.reverse();
        Ok(events)
    }

    async fn listed(
        &self,
        text: &str,
        filter: &SuppressionFilter,
        begin: Cursor,
        limit: usize,
    ) -> Result<Vec<Suppression>> {
        let contact = filter.contact.as_ref();
        let active = |state| i64::from(state == Standing::Active);
        let query = self
            .query(text)
            .bind(contact.map(|contact| contact.address.clone()))
            .bind(contact.map(|contact| contact.channel.to_string()))
            .bind(filter.scope.clone())
            .bind(filter.source.clone())
            .bind(filter.lane.map(|lane| lane.to_string()))
            .bind(filter.kind.map(|kind| kind.to_string()))
            .bind(filter.reason.clone())
            .bind(filter.origin.map(|origin| origin.to_string()))
            .bind(filter.state.map(active))
            .bind(filter.from.map_or(i64::MIN, micros))
            .bind(begin.at)
            .bind(begin.id)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.pool).await?;
        found.iter().map(suppression).collect()
    }
}

/// Where a page of a list begins (`$10` and `$11` are times, `$12` is an id), and its order.
pub(super) const NEWEST_FIRST: &str =
    "occurred_at >= $10 AND (occurred_at, id) < ($11, $12) ORDER BY occurred_at DESC, id DESC";
/// The plus signs keep the index on the time out of it: each page would be sorted out of all that is left.
pub(super) const BY_ID: &str =
    "+occurred_at >= $10 AND +occurred_at < $11 AND id > $12 ORDER BY id";

/// One page of the suppressions that match.
pub(super) fn listing(filter: &SuppressionFilter, page: &str) -> String {
    // Written out where it is asked for, so that the index on the contact is used.
    let contact = if filter.contact.is_some() {
        "contact = $1 AND channel = $2"
    } else {
        "$1 IS NULL AND $2 IS NULL"
    };
    format!(
        "SELECT {COLUMNS} FROM registers
        WHERE {contact} AND ($3 IS NULL OR scope = $3) AND ($4 IS NULL OR source = $4) AND ($5 IS NULL OR lane = $5)
            AND ($6 IS NULL OR kind = $6) AND ($7 IS NULL OR reason = $7) AND ($8 IS NULL OR origin = $8)
            AND ($9 IS NULL OR suppressed = $9) AND {page} LIMIT $13"
    )
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
