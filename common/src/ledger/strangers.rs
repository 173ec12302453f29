//! What was refused of late, by source, as ingress told it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::Row;

use super::{Error, Ledger, Result, micros};
use crate::{refused::Refused, request::SOURCE};

/// The newest are enough: one ingress tells of a source once an hour.
const MOST: i64 = 1_000;

/// By the index of just these events, whose condition stands here word for word.
pub(super) const STRANGERS: &str = "
    SELECT metadata FROM events
    WHERE provider_event = 'source.refused' AND received_at >= $1 AND source || '' = $2
    ORDER BY received_at DESC LIMIT $3";

impl Ledger {
    /// What every ingress told since then of refused requests, together by source.
    pub async fn strangers(&self, since: Timestamp) -> Result<BTreeMap<String, Refused>> {
        let query = self.query(STRANGERS).bind(micros(since));
        let query = query.bind(SOURCE.to_owned()).bind(MOST);
        let mut together: BTreeMap<String, Refused> = BTreeMap::new();
        for row in query.fetch_all(&self.pool).await? {
            let told: Refused = serde_json::from_str(&row.try_get::<String, _>(0)?)
                .map_err(|error| Error::Corrupt(error.to_string()))?;
            together
                .entry(told.source.clone())
                .and_modify(|all| {
                    all.requests += told.requests;
                    all.first_at = all.first_at.min(told.first_at);
                    all.last_at = all.last_at.max(told.last_at);
                })
                .or_insert(told);
        }
        Ok(together)
    }
}
