//! Claims in a SQLite file.
//!
//! `synchronous=NORMAL`: a power failure may forget the last claims, which costs speed and nothing else, since the
//! ledger is the authority. The file may be the queue's; SQLite has one writer a file, so there each waits for the other.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use sqlx::{
    Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow, SqliteSynchronous},
};
use tokio::sync::Mutex;

use super::{Claim, Claims, Error, Lifetimes, Result, Wish};
use crate::{clock, queue::file};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS claim ( \
        event BLOB PRIMARY KEY, envelope BLOB NOT NULL, fingerprint INTEGER NOT NULL, \
        settled INTEGER NOT NULL, expires_at INTEGER NOT NULL \
    ) WITHOUT ROWID; \
    CREATE INDEX IF NOT EXISTS claim_expiry ON claim (expires_at)";

/// A call deletes up to so many expired claims, and two more for each wish: it stays short, and still they do not heap up.
const SWEEP: usize = 16;

/// Claims in a file.
pub struct SqliteClaims {
    connection: Mutex<SqliteConnection>,
    options: SqliteConnectOptions,
    line: file::Line,
    lifetimes: Lifetimes,
}

impl SqliteClaims {
    /// Opens the file that `sqlite:PATH` names, and creates what is missing of it.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, Lifetimes::default()).await
    }

    pub(super) async fn open_with(url: &str, lifetimes: Lifetimes) -> Result<Self> {
        let options = file::options(url, SqliteSynchronous::Normal).map_err(failure)?;
        let connection = file::open(&options, SCHEMA).await.map_err(failure)?;
        Ok(Self {
            connection: Mutex::new(connection),
            line: file::line(options.get_filename()),
            options,
            lifetimes,
        })
    }

    async fn claim_at(&self, wishes: &[Wish], now: Timestamp) -> sqlx::Result<Vec<Claim>> {
        let mut connection = self.connection.lock().await;
        let _turn = self.line.lock().await;
        let claimed = self.claim_on(&mut connection, wishes, now).await;
        if claimed.is_err() {
            file::mend(&mut connection, &self.options).await?;
        }
        claimed
    }

    async fn claim_on(
        &self,
        connection: &mut SqliteConnection,
        wishes: &[Wish],
        now: Timestamp,
    ) -> sqlx::Result<Vec<Claim>> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let sweep = "DELETE FROM claim WHERE event IN (SELECT event FROM claim WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)";
        let limit = i64::try_from(SWEEP + 2 * wishes.len()).unwrap_or(i64::MAX);
        sqlx::query(sweep)
            .bind(now.as_microsecond())
            .bind(limit)
            .execute(&mut *transaction)
            .await?;

        let claim = "INSERT INTO claim (event, envelope, fingerprint, settled, expires_at) \
            SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, 0, ?2 FROM json_each(?1) WHERE true \
            ON CONFLICT (event) DO UPDATE SET envelope = excluded.envelope, fingerprint = excluded.fingerprint, \
            settled = 0, expires_at = excluded.expires_at WHERE claim.expires_at <= ?3";
        let claim = sqlx::query(claim)
            .bind(rows(wishes))
            .bind(after(now, self.lifetimes.unsettled))
            .bind(now.as_microsecond());
        claim.execute(&mut *transaction).await?;

        let judge = "SELECT envelope = unhex(value ->> 1), settled AND fingerprint = value ->> 2 \
            FROM json_each(?1) JOIN claim ON event = unhex(value ->> 0) ORDER BY key";
        let rows = sqlx::query(judge)
            .bind(rows(wishes))
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        rows.iter().map(judged).collect()
    }

    async fn settle_at(&self, wishes: &[Wish], now: Timestamp) -> sqlx::Result<()> {
        let settle = "INSERT INTO claim (event, envelope, fingerprint, settled, expires_at) \
            SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, 1, ?2 FROM json_each(?1) WHERE true \
            ON CONFLICT (event) DO UPDATE SET envelope = excluded.envelope, fingerprint = excluded.fingerprint, \
            settled = 1, expires_at = excluded.expires_at";
        let settle = sqlx::query(settle)
            .bind(rows(wishes))
            .bind(after(now, self.lifetimes.settled));
        let mut connection = self.connection.lock().await;
        let _turn = self.line.lock().await;
        settle.execute(&mut *connection).await.map(drop)
    }
}

#[async_trait]
impl Claims for SqliteClaims {
    async fn claim(&self, wishes: &[Wish]) -> Result<Vec<Claim>> {
        if wishes.is_empty() {
            return Ok(Vec::new());
        }
        self.claim_at(wishes, clock::now()).await.map_err(failure)
    }

    async fn settle(&self, wishes: &[Wish]) -> Result<()> {
        if wishes.is_empty() {
            return Ok(());
        }
        self.settle_at(wishes, clock::now()).await.map_err(failure)
    }

    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1 FROM claim LIMIT 1")
            .execute(&mut *self.connection.lock().await)
            .await
            .map(drop)
            .map_err(failure)
    }
}

/// The wishes as one bound value, whatever their number.
fn rows(wishes: &[Wish]) -> String {
    let rows: Vec<_> = wishes
        .iter()
        .map(|wish| {
            json!([
                wish.event.simple(),
                wish.envelope.simple(),
                wish.fingerprint
            ])
        })
        .collect();
    json!(rows).to_string()
}

fn judged(row: &SqliteRow) -> sqlx::Result<Claim> {
    let (own, same): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match (own, same) {
        (true, _) => Claim::Owned,
        (false, true) => Claim::Settled,
        (false, false) => Claim::Contested,
    })
}

fn after(now: Timestamp, lifetime: std::time::Duration) -> i64 {
    now.as_microsecond()
        .saturating_add(i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX))
}

fn failure(error: sqlx::Error) -> Error {
    Error(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_by_itself_is_the_last_that_fails() {
        let folder = tempfile::TempDir::new().unwrap();
        let url = format!("sqlite:{}/claims.db", folder.path().display());
        let claims = SqliteClaims::open(&url).await.unwrap();
        let mut other = SqliteConnection::connect(&url).await.unwrap();
        let full = "CREATE TRIGGER full BEFORE INSERT ON claim BEGIN SELECT RAISE(ROLLBACK, 'as a full disk does'); END";
        sqlx::raw_sql(full).execute(&mut other).await.unwrap();
        let wish = Wish {
            event: uuid::Uuid::nil(),
            envelope: uuid::Uuid::nil(),
            fingerprint: 0,
        };
        claims.claim(std::slice::from_ref(&wish)).await.unwrap_err();
        sqlx::raw_sql("DROP TRIGGER full")
            .execute(&mut other)
            .await
            .unwrap();
        let claimed = claims.claim(&[wish]).await.unwrap();
        assert!(matches!(claimed[..], [Claim::Owned]));
    }

    #[tokio::test]
    async fn claims_wait_for_their_turn_where_another_writes_to_the_same_file() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("shared.db");
        let claims = SqliteClaims::open(&format!("sqlite:{}", path.display()))
            .await
            .unwrap();
        let wish = Wish {
            event: uuid::Uuid::nil(),
            envelope: uuid::Uuid::nil(),
            fingerprint: 0,
        };
        let line = file::line(&folder.path().join("./shared.db"));
        let turn = line.lock().await;
        let early = Duration::from_millis(100);
        let claimed = claims.claim(std::slice::from_ref(&wish));
        timeout(early, claimed).await.unwrap_err();
        drop(turn);
        let claimed = claims.claim(&[wish]).await.unwrap();
        assert!(matches!(claimed[..], [Claim::Owned]));
    }

    #[tokio::test]
    async fn expired_claims_do_not_heap_up() {
        let folder = tempfile::TempDir::new().unwrap();
        let claims = SqliteClaims::open(&format!("sqlite:{}/claims.db", folder.path().display()))
            .await
            .unwrap();
        let mut now = clock::now();
        for event in 0..200_u128 {
            let wish = |event| Wish {
                event: uuid::Uuid::from_u128(event),
                envelope: uuid::Uuid::nil(),
                fingerprint: 0,
            };
            claims
                .claim_at(
                    &[wish(3 * event), wish(3 * event + 1), wish(3 * event + 2)],
                    now,
                )
                .await
                .unwrap();
            now += super::super::UNSETTLED / 10;
        }
        let mut connection = claims.connection.lock().await;
        let count = sqlx::query_scalar("SELECT count(*) FROM claim");
        let left: i64 = count.fetch_one(&mut *connection).await.unwrap();
        assert!(left <= 33, "{left} are left, of which 30 stand");
    }
}
