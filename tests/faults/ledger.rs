//! The ledger as the suite looks into it: by its own statements, past the code under test. Its database may be away, so
//! every question may go without an answer.

use std::collections::HashMap;

use common::clock;
use sqlx::{AnyPool, Row, any::AnyPoolOptions, any::install_default_drivers};

use crate::event::Key;

/// What stands in the ledger of one delivery.
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) target: String,
    pub(crate) state: String,
}

pub(crate) struct Ledger {
    pool: AnyPool,
}

impl Ledger {
    pub(crate) fn at(url: &str) -> Self {
        install_default_drivers();
        let pool = AnyPoolOptions::new().max_connections(1).connect_lazy(url);
        Self {
            pool: pool.unwrap(),
        }
    }

    /// Deliveries that some worker has leave to attempt now, or had when it died.
    pub(crate) async fn in_hand(&self) -> Option<u64> {
        let text =
            "SELECT COUNT(*) FROM deliveries WHERE state <> 'delivered' AND lease_until > $1";
        self.count(text, clock::now().as_microsecond()).await
    }

    /// Deliveries made before then that no target has confirmed.
    pub(crate) async fn undelivered(&self, before: i64) -> Option<u64> {
        let text = "SELECT COUNT(*) FROM deliveries WHERE state <> 'delivered' AND created_at < $1";
        self.count(text, before).await
    }

    /// Bodies that went to quarantine although they can be read: what was parked as poison is among them.
    pub(crate) async fn wrongly_held(&self) -> Option<u64> {
        let text = "SELECT COUNT(*) FROM quarantine WHERE source <> 'garbled' AND created_at > $1";
        self.count(text, 0).await
    }

    /// Some body that cannot be read, to be tried again.
    pub(crate) async fn held(&self) -> Option<String> {
        self.some("SELECT id FROM quarantine WHERE state = 'held' LIMIT 1")
            .await
    }

    /// Some delivery that was made to the target that may be told again.
    pub(crate) async fn delivered_again(&self) -> Option<String> {
        let text = "SELECT id FROM deliveries WHERE target = 'again' AND state = 'delivered' ORDER BY created_at DESC LIMIT 1";
        self.some(text).await
    }

    /// Every event, with its id, but for echoes.
    pub(crate) async fn events(&self) -> Option<Vec<(Key, String)>> {
        let text =
            "SELECT source, kind, contact, occurred_at, id FROM events WHERE echo_of IS NULL";
        let rows = sqlx::query(text).fetch_all(&self.pool).await.ok()?;
        let read = rows.iter().map(|row| {
            let source: String = row.get(0);
            let occurred_at = (source != "api").then(|| row.get(3));
            let key = Key {
                source,
                kind: row.get(1),
                contact: row.get(2),
                occurred_at,
            };
            (key, row.get(4))
        });
        Some(read.collect())
    }

    /// Events that only report back what was told.
    pub(crate) async fn echoes(&self) -> Option<u64> {
        let text = "SELECT COUNT(*) FROM events WHERE echo_of IS NOT NULL AND received_at > $1";
        self.count(text, 0).await
    }

    pub(crate) async fn deliveries(&self) -> Option<Vec<Delivery>> {
        let text = "SELECT id, event_id, target, state FROM deliveries";
        let rows = sqlx::query(text).fetch_all(&self.pool).await.ok()?;
        let read = |row: &sqlx::any::AnyRow| Delivery {
            id: row.get(0),
            event: row.get(1),
            target: row.get(2),
            state: row.get(3),
        };
        Some(rows.iter().map(read).collect())
    }

    /// Whether each contact that some register speaks of is suppressed.
    pub(crate) async fn suppressed(&self) -> Option<HashMap<String, bool>> {
        let text = "SELECT contact, MAX(suppressed) FROM registers GROUP BY contact";
        let rows = sqlx::query(text).fetch_all(&self.pool).await.ok()?;
        let read = |row: &sqlx::any::AnyRow| (row.get(0), row.get::<i64, _>(1) != 0);
        Some(rows.iter().map(read).collect())
    }

    async fn count(&self, text: &'static str, bound: i64) -> Option<u64> {
        let count = sqlx::query_scalar::<_, i64>(text)
            .bind(bound)
            .fetch_one(&self.pool)
            .await;
        count.ok()?.try_into().ok()
    }

    async fn some(&self, text: &'static str) -> Option<String> {
        sqlx::query_scalar(text)
            .fetch_optional(&self.pool)
            .await
            .ok()?
    }
}
