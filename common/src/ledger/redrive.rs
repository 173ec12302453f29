//! Deliveries that are told again: by hand, or since they ought to move and do not. Each is returned to be published.

use std::time::Duration;

use serde_json::json;
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Ledger, Result, period, rows};
use crate::delivery::Delivery;

/// What a delivery is set to that begins again, beside when.
pub(super) const RESTART: &str = "state = 'pending', attempts = 0, next_attempt_at = NULL, delivered_at = NULL, lease_owner = NULL";

impl Ledger {
    /// Puts a delivery back to the start of its schedule, and returns it for publishing. None if there is none, or its contact was
    /// erased.
    ///
    /// An attempt that is under way keeps its time, so that there are not two at once, but decides nothing any more.
    /// Before the publish, so that the worker that gets it finds it pending; if the publish then fails, the sweep
    /// finds it.
    pub async fn restart(&self, delivery: Uuid) -> Result<Option<Delivery>> {
        self.query(&format!(
            "UPDATE deliveries SET {RESTART}, moved_at = {{now}} WHERE id = $1 AND erased = 0"
        ))
        .bind(delivery.to_string())
        .execute(&self.writer)
        .await?;
        let text = format!(
            "SELECT {}, target FROM deliveries JOIN events ON events.id = event_id WHERE deliveries.id = $1 AND erased = 0",
            super::events::COLUMNS
        );
        let row = self
            .query(&text)
            .bind(delivery.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| delivery_of(&row)).transpose()
    }

    /// Finds deliveries to `target` that ought to move and have not for so long: parked though the target is
    /// enabled, or due without a worker at it (their message was lost, or never published). Each is found once per
    /// sweep, by one of several sweepers.
    pub async fn stuck(&self, target: &str, still: Duration, limit: i64) -> Result<Vec<Delivery>> {
        // The condition outside is for PostgreSQL, which looks at it again once another sweeper lets go of the row; that
        // nothing is delivered among these is said for SQLite, which then uses the index.
        let text = "
            UPDATE deliveries SET moved_at = {now}, state = CASE WHEN state = 'parked' THEN 'pending' ELSE state END
            WHERE (state = 'parked' OR moved_at < {now} - $2) AND id IN (
                SELECT id FROM deliveries
                WHERE target = $1 AND state <> 'delivered'
                    AND (state = 'parked' OR (state IN ('pending', 'retrying') AND moved_at < {now} - $2))
                    AND (next_attempt_at IS NULL OR next_attempt_at < {now} - $2)
                    AND (lease_until IS NULL OR lease_until < {now} - $2)
                ORDER BY moved_at LIMIT $3
            )
            RETURNING id";
        let found = self
            .query(text)
            .bind(target.to_owned())
            .bind(period(still))
            .bind(limit);
        let found = found.fetch_all(&self.writer).await?;
        let ids = found
            .iter()
            .map(|row| Ok(json!({ "id": row.try_get::<String, _>(0)? })))
            .collect::<Result<Vec<_>>>()?;
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let text = format!(
            "SELECT {}, target FROM {{rows}} JOIN deliveries ON deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} JOIN events ON events.id = event_id",
            super::events::COLUMNS
        );
        let found = self
            .query(&text)
            .bind(rows(&ids))
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(delivery_of).collect()
    }
}

/// Reads the delivery out of a row with the event's columns and the target.
pub(super) fn delivery_of(row: &AnyRow) -> Result<Delivery> {
    let event = super::events::event_of(row)?;
    let target: String = row.try_get("target")?;
    Ok(Delivery::new(event, &target))
}
