//! Retention: the requests as they came, and the records of single attempts, go when they are older than they are kept.
//! What came of them stays: events, suppressions, deliveries with their state and their last outcome, the audit trail.
//!
//! A few hundred rows at a time, each time by a short statement, found by indexes that hold only what is there still. A
//! process that dies in between leaves the rest to the next look, and doing it twice finds nothing the second time.

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;

use super::{Ledger, Result, in_order, micros, rows, timestamp};

/// Whether a request may still be read from: something of it is held in quarantine, or was tried again since `$2`.
const WANTED: &str = "EXISTS (
    SELECT 1 FROM quarantine WHERE envelope_id = envelopes.id AND (state = 'held' OR retried_at >= $2))";

/// How far a look at payloads came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    pub emptied: u64,
    /// Where the next look begins; None if there is nothing more.
    pub next: Option<Timestamp>,
}

impl Ledger {
    /// Empties at most `most` of the requests that were received from `from` on and before `before`. A request of which
    /// something is held in quarantine, or was tried again since, is kept: it may be read from once more.
    pub async fn expire_payloads(
        &self,
        from: Timestamp,
        before: Timestamp,
        most: i64,
    ) -> Result<Expired> {
        // Read first and not beside the update, which keeps all other writers to SQLite waiting.
        let text = format!(
            "SELECT id, received_at FROM envelopes
            WHERE erased = 0 AND expired = 0 AND received_at >= $1 AND received_at < $2 AND NOT {WANTED}
            ORDER BY received_at, id LIMIT $3"
        );
        let old = self.query(&text);
        let old = old.bind(micros(from)).bind(micros(before)).bind(most);
        let old = old.fetch_all(&self.pool).await?;
        let Some(last) = old.last() else {
            return Ok(Expired {
                emptied: 0,
                next: None,
            });
        };
        let next = Some(timestamp(last.try_get(1)?)?);
        let mut ids = vec![];
        for row in &old {
            ids.push(json!({ "id": row.try_get::<String, _>(0)? }));
        }
        in_order(&mut ids);
        let text = format!(
            "UPDATE envelopes SET expired = 1, body = CAST('' AS {{bytes}}), headers = '[]'
            FROM {{rows}} WHERE envelopes.id = rows.value->>'id' AND envelopes.id {{listed}} AND erased = 0 AND expired = 0 AND NOT {WANTED}"
        );
        let emptied = self.query(&text).bind(rows(&ids)).bind(micros(before));
        let emptied = emptied.execute(&self.writer).await?.rows_affected();
        Ok(Expired { emptied, next })
    }

    /// Removes at most `most` records of attempts that began before, and says how many it removed.
    pub async fn expire_attempts(&self, before: Timestamp, most: i64) -> Result<u64> {
        let text = "
            DELETE FROM attempts WHERE (delivery_id, number) IN (
                SELECT delivery_id, number FROM attempts WHERE started_at < $1 ORDER BY started_at LIMIT $2)";
        let removed = self.query(text).bind(micros(before)).bind(most);
        Ok(removed.execute(&self.writer).await?.rows_affected())
    }

    /// Removes at most `most` rows of reconciliations that began before, themselves last, and says how many it removed. What
    /// is under way for so long is done by nobody, as where no worker has its target.
    pub async fn expire_reconciliations(&self, before: Timestamp, most: i64) -> Result<u64> {
        let old = "SELECT id FROM reconciliations WHERE created_at < $1";
        for table in ["differences", "listed"] {
            let key = match table {
                "differences" => "id",
                _ => "reconciliation, contact, channel",
            };
            let text = format!(
                "DELETE FROM {table} WHERE ({key}) IN (
                    SELECT {key} FROM {table} WHERE reconciliation IN ({old}) LIMIT $2)"
            );
            let removed = self.query(&text).bind(micros(before)).bind(most);
            let removed = removed.execute(&self.writer).await?.rows_affected();
            if removed > 0 {
                return Ok(removed);
            }
        }
        let mut transaction = self.begin().await?;
        let mut removed = 0;
        for text in [
            format!("DELETE FROM reconciled_lists WHERE reconciliation IN ({old})"),
            "DELETE FROM reconciliations WHERE created_at < $1".to_owned(),
        ] {
            let done = self.query(&text).bind(micros(before));
            removed += done.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(removed)
    }
}
