//! The schema, made by migrations: applied in order, each once, by whichever process starts first.

use sqlx::AssertSqlSafe;

use super::{Dialect, Error, Ledger, Result};

/// In order, the first one's version being 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_ledger.sql"),
    include_str!("../../migrations/0002_api.sql"),
    include_str!("../../migrations/0003_keys.sql"),
    include_str!("../../migrations/0004_erasure.sql"),
    include_str!("../../migrations/0005_retention.sql"),
    include_str!("../../migrations/0006_dashboard.sql"),
    include_str!("../../migrations/0007_breakers.sql"),
    include_str!("../../migrations/0008_targets.sql"),
    include_str!("../../migrations/0009_lists.sql"),
    include_str!("../../migrations/0010_leases.sql"),
    include_str!("../../migrations/0011_echoes.sql"),
    include_str!("../../migrations/0012_tokens.sql"),
    include_str!("../../migrations/0013_refused.sql"),
    include_str!("../../migrations/0014_reconciliations.sql"),
];

/// Names the advisory lock under which several processes that start together take turns at migrating.
const MIGRATION_LOCK: i64 = 0x4f50_544f_5554;

impl Ledger {
    /// Applies the migrations that are missing. Several processes may do so at once.
    pub async fn migrate(&self) -> Result<()> {
        let mut transaction = self.begin().await?;
        if self.dialect == Dialect::Postgres {
            self.query("SELECT pg_advisory_xact_lock($1)")
                .bind(MIGRATION_LOCK)
                .execute(&mut *transaction)
                .await?;
            // Else every start logs that the table below is there already.
            sqlx::raw_sql("SET LOCAL client_min_messages = warning")
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            .execute(&mut *transaction)
            .await?;
        let done: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM schema_version")
            .fetch_one(&mut *transaction)
            .await?;
        for (migration, version) in MIGRATIONS
            .iter()
            .zip(1..)
            .filter(|(_, version)| *version > done)
        {
            sqlx::raw_sql(AssertSqlSafe(self.dialect.text(migration)))
                .execute(&mut *transaction)
                .await?;
            self.query("INSERT INTO schema_version VALUES ($1)")
                .bind(version)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        self.compare_pepper().await
    }

    /// Whether the database answers, has every migration that this program knows, and erased no contact by another pepper.
    pub async fn ping(&self) -> Result<()> {
        let version: i64 = sqlx::query_scalar("SELECT MAX(version) FROM schema_version")
            .fetch_one(&self.pool)
            .await?;
        if usize::try_from(version).is_ok_and(|version| version >= MIGRATIONS.len()) {
            return self.compare_pepper().await;
        }
        let behind = format!(
            "its schema has version {version}, {} is needed",
            MIGRATIONS.len()
        );
        Err(Error::Unavailable(sqlx::Error::Configuration(
            behind.into(),
        )))
    }
}
