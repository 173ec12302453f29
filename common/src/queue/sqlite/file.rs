//! The file that the embedded queue and the embedded claims are kept in, together or each in one of its own.
//!
//! Opening creates the folder, the file and the tables, and refuses a file that a later release has written. Several
//! processes may open one file, also for the first time and at the same time.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

/// `PRAGMA user_version`: what the tables of this release look like.
const FORMAT: i64 = 1;

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

/// The line in which this process's writers to one file wait for each other. SQLite lets one write at a time and has the
/// others sleep, longer each time, up to a tenth of a second, until they happen upon a pause; beside a busy queue the claims
/// slept most of the time. Other processes still meet like that.
pub(crate) type Line = Arc<Mutex<()>>;

/// By the file's path. One that nobody holds any more is made anew.
static LINES: std::sync::Mutex<BTreeMap<PathBuf, Weak<Mutex<()>>>> =
    std::sync::Mutex::new(BTreeMap::new());

/// The line for a file that has been opened.
pub(crate) fn line(file: &Path) -> Line {
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = lines.get(&path).and_then(Weak::upgrade) {
        return line;
    }
    lines.retain(|_, line| line.strong_count() > 0);
    let line = Line::default();
    lines.insert(path, Arc::downgrade(&line));
    line
}

/// The options for `sqlite:PATH`, with the folder created.
pub(crate) fn options(
    url: &str,
    synchronous: SqliteSynchronous,
) -> sqlx::Result<SqliteConnectOptions> {
    let options: SqliteConnectOptions = url.parse()?;
    if let Some(folder) = options.get_filename().parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY)
        .foreign_keys(false)
        .disable_statement_logging())
}

/// Opens the file and makes sure of its tables.
pub(crate) async fn open(
    options: &SqliteConnectOptions,
    schema: &'static str,
) -> sqlx::Result<SqliteConnection> {
    // While another process turns the new file to WAL, SQLite answers "locked" at once, whatever the busy time-out.
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_jitter()
        .with_max_times(8);
    (|| prepare(options, schema))
        .retry(patience)
        .when(is_busy)
        .await
}

async fn prepare(
    options: &SqliteConnectOptions,
    schema: &'static str,
) -> sqlx::Result<SqliteConnection> {
    let mut connection = options.connect().await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await?;
    if found > FORMAT {
        let file = options.get_filename().display();
        let why = format!("{file} has format {found}, this release reads up to {FORMAT}");
        return Err(sqlx::Error::Configuration(why.into()));
    }
    sqlx::raw_sql(schema).execute(&mut *transaction).await?;
    sqlx::raw_sql("PRAGMA user_version = 1")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(connection)
}

/// Opens a connection anew if what just failed on it left it of no further use. SQLite ends a transaction by itself at
/// some failures, a full disk among them; the driver counts it as open for ever, and begins no other.
pub(crate) async fn mend(
    connection: &mut SqliteConnection,
    options: &SqliteConnectOptions,
) -> sqlx::Result<()> {
    // The answer comes after the rollback of what failed was tried.
    if connection.ping().await.is_err() || connection.is_in_transaction() {
        *connection = options.connect().await?;
    }
    Ok(())
}

/// The primary result code, where SQLite gave one: 5 busy, 13 full.
pub(crate) fn result_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

fn is_busy(error: &sqlx::Error) -> bool {
    matches!(result_code(error), Some(5 | 6))
}
