//! The event log and the envelopes that it came from, as they are read.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Error, Ledger, Page, Result, micros, page::Cursor, parsed, timestamp};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{Event, Kind, Register},
};

/// Which events are listed; what is None does not filter.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventFilter {
    pub source: Option<String>,
    #[param(inline)]
    pub kind: Option<Kind>,
    #[param(ignore)]
    pub contact: Option<Contact>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// An envelope as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StoredEnvelope {
    #[serde(flatten)]
    pub envelope: Envelope,
    pub provider: String,
    pub events: i64,
    pub duplicates: i64,
    pub malformed: i64,
    /// It named a contact that was erased: its body and headers are gone.
    pub erased: bool,
    /// It is older than payloads are kept: its body and headers are gone.
    pub expired: bool,
}

impl StoredEnvelope {
    /// Whether its body and headers are there still.
    pub fn is_whole(&self) -> bool {
        !self.erased && !self.expired
    }
}

/// The columns that [`event_of`] reads, in any order.
pub(super) const COLUMNS: &str = "events.id AS event, envelope_id, source, provider, events.kind AS kind, bounce_class, channel, contact, contact_raw,
    scope, occurred_at, received_at, time_assumed, reason, origin, effect, register_source, register_lane, echo_of, provider_event, provider_event_id, message_id, campaign_id, metadata";

impl Ledger {
    /// Lists events, newest first.
    pub async fn events(
        &self,
        filter: &EventFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<Event>> {
        let after = Cursor::read(cursor, filter.to)?;
        let text = listing(filter);
        let (address, pseudonym) = filter
            .contact
            .as_ref()
            .map(|contact| self.names(contact))
            .unzip();
        let query = self.query(&text);
        let query = query
            .bind(filter.source.clone())
            .bind(filter.kind.map(|kind| kind.to_string()))
            .bind(address)
            .bind(filter.from.map_or(i64::MIN, micros))
            .bind(after.at)
            .bind(after.id)
            .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
            .bind(pseudonym.flatten());
        let found = query.fetch_all(&self.pool).await?;
        Page::of(&found, limit, event_of, |event| {
            (event.received_at, event.id)
        })
    }

    /// One event.
    pub async fn event(&self, id: Uuid) -> Result<Option<Event>> {
        let text = format!("SELECT {COLUMNS} FROM events WHERE id = $1");
        let row = self
            .query(&text)
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| event_of(&row)).transpose()
    }

    /// How many envelopes were recorded, and how many duplicates were among their events.
    pub async fn receipts(&self) -> Result<(i64, i64)> {
        let text = "SELECT COUNT(*), CAST(COALESCE(SUM(duplicates), 0) AS BIGINT) FROM envelopes";
        let row = self.query(text).fetch_one(&self.pool).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    /// One envelope, verbatim.
    pub async fn envelope(&self, id: Uuid) -> Result<Option<StoredEnvelope>> {
        let text = "
            SELECT source, provider, received_at, content_type, headers, body, events, duplicates, malformed, erased, expired
            FROM envelopes WHERE id = $1";
        let Some(row) = self
            .query(text)
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?
        else {
            return Ok(None);
        };
        let envelope = Envelope {
            id,
            source: row.try_get(0)?,
            received_at: timestamp(row.try_get(2)?)?,
            content_type: row.try_get(3)?,
            headers: json(&row.try_get::<String, _>(4)?)?,
            body: row.try_get::<Vec<u8>, _>(5)?.into(),
        };
        Ok(Some(StoredEnvelope {
            envelope,
            provider: row.try_get(1)?,
            events: row.try_get(6)?,
            duplicates: row.try_get(7)?,
            malformed: row.try_get(8)?,
            erased: row.try_get::<i64, _>(9)? == 1,
            expired: row.try_get::<i64, _>(10)? == 1,
        }))
    }
}

/// One page of the events that match. A condition is written out only where it is asked for, so that the index is used that
/// fits.
pub(super) fn listing(filter: &EventFilter) -> String {
    let source = match filter.source {
        Some(_) => "source = $1",
        None => "$1 IS NULL",
    };
    let kind = match filter.kind {
        // No index has them: there are many among the newest.
        Some(Kind::Delivered | Kind::Opened | Kind::Clicked) => "kind = $2",
        Some(_) => "kind = $2 AND kind NOT IN ('delivered', 'opened', 'clicked')",
        None => "$2 IS NULL",
    };
    let contact = match filter.contact {
        Some(_) => "contact IN ($3, $8)",
        None => "$3 IS NULL AND $8 IS NULL",
    };
    format!(
        "SELECT {COLUMNS} FROM events
        WHERE {source} AND {kind} AND {contact} AND received_at >= $4 AND (received_at, id) < ($5, $6)
        ORDER BY received_at DESC, id DESC LIMIT $7"
    )
}

/// Reads the event out of a row with [`COLUMNS`].
pub(super) fn event_of(row: &AnyRow) -> Result<Event> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let needed = |column: &str| row.try_get::<String, _>(column);
    let contact = match (text("channel")?, text("contact")?) {
        (Some(channel), Some(address)) => Some(Contact {
            channel: parsed(&channel)?,
            raw: text("contact_raw")?.unwrap_or_else(|| address.clone()),
            address,
        }),
        _ => None,
    };
    Ok(Event {
        id: parsed(&needed("event")?)?,
        envelope_id: parsed(&needed("envelope_id")?)?,
        source: needed("source")?,
        provider: needed("provider")?,
        kind: parsed(&needed("kind")?)?,
        bounce_class: text("bounce_class")?
            .map(|class| parsed(&class))
            .transpose()?,
        contact,
        scope: needed("scope")?,
        occurred_at: timestamp(row.try_get("occurred_at")?)?,
        received_at: timestamp(row.try_get("received_at")?)?,
        time_assumed: row.try_get::<i64, _>("time_assumed")? != 0,
        reason: text("reason")?,
        origin: parsed(&needed("origin")?)?,
        effect: parsed(&needed("effect")?)?,
        register: match (text("register_source")?, text("register_lane")?) {
            (Some(source), Some(lane)) => Some(Register {
                source,
                lane: parsed(&lane)?,
            }),
            _ => None,
        },
        echo_of: text("echo_of")?.map(|id| parsed(&id)).transpose()?,
        provider_event: needed("provider_event")?,
        provider_event_id: text("provider_event_id")?,
        message_id: text("message_id")?,
        campaign_id: text("campaign_id")?,
        metadata: match json::<Value>(&needed("metadata")?)? {
            Value::Object(map) => map,
            other => return Err(Error::Corrupt(other.to_string())),
        },
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(error.to_string()))
}
