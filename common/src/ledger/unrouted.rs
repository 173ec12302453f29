//! What is recorded and has not been routed: changes that the api recorded itself, before a worker did, and whose
//! message never reached one.

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use super::{Ledger, Result, micros, parsed, rows};
use crate::{envelope::Envelope, event::Kind};

/// Which envelopes are looked for.
#[derive(Debug, Clone)]
pub struct Unrouted<'a> {
    pub source: &'a str,
    /// Kinds of event that some target is told of.
    pub kinds: &'a [Kind],
    /// Received from then on,
    pub from: Timestamp,
    /// and before then.
    pub to: Timestamp,
}

impl Ledger {
    /// Finds envelopes with an event that no target is being told of, at most `limit` in the order of their ids, after
    /// the id `after`.
    pub async fn unrouted(
        &self,
        wanted: &Unrouted<'_>,
        after: Uuid,
        limit: i64,
    ) -> Result<Vec<Envelope>> {
        let kinds: Vec<_> = wanted
            .kinds
            .iter()
            .map(|kind| json!({ "kind": kind }))
            .collect();
        let text = "
            SELECT DISTINCT events.envelope_id FROM {rows} JOIN events ON events.kind = rows.value->>'kind'
            WHERE events.source = $2 AND events.received_at >= $3 AND events.received_at < $4
                AND events.envelope_id > $5
                AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.event_id = events.id)
            ORDER BY events.envelope_id LIMIT $6";
        let query = self
            .query(text)
            .bind(rows(&kinds))
            .bind(wanted.source.to_owned())
            .bind(micros(wanted.from))
            .bind(micros(wanted.to))
            .bind(after.to_string())
            .bind(limit);
        let mut envelopes = vec![];
        for row in query.fetch_all(&self.pool).await? {
            let id = parsed(&row.try_get::<String, _>(0)?)?;
            envelopes.extend(self.envelope(id).await?.map(|stored| stored.envelope));
        }
        Ok(envelopes)
    }
}
