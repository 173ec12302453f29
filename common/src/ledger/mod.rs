//! The ledger: the database of record, PostgreSQL or SQLite. One concrete struct; a file per subject.
//!
//! One SQL text serves both wherever the dialects allow. What makes that possible: rows go in as one JSON parameter
//! (`{rows}`: `jsonb_array_elements` or `json_each`, with the same `->>`), so a batch of any size is one prepared
//! statement; times and flags are whole numbers, ids are text. What differs is in [`Dialect`] and nowhere else.
//!
//! What PostgreSQL believes of a table is a minute old or more, and nothing of one that has just filled. Where rows are
//! joined by their ids, `{listed}` says of the id, too, that it is among theirs: of a list it expects few and goes by the
//! primary key, whatever it believes. Without, it read all deliveries that wait to find sixteen of them.
//!
//! Whose turn it is, and when, is told by the database's clock (`{now}`): leases, what a delivery waits for, and when it last
//! moved. So it goes in periods: the clocks of the processes need not agree. What a person reads, when something was
//! received or recorded, is told by the clock of the process that saw it.
//!
//! Every write is a statement, or a transaction of a few, that may run twice with the same result.

mod aside;
mod audit;
mod breakers;
mod compliance;
mod contacts;
mod deliveries;
mod endpoints;
mod erasure;
mod events;
mod failing;
mod keys;
mod leases;
mod migrations;
mod moved;
mod page;
mod pepper;
mod quarantine;
mod reconciliations;
mod record;
mod redrive;
mod registers;
mod repeats;
mod replays;
mod retention;
mod rows;
mod sessions;
mod strangers;
mod submissions;
mod suppressions;
mod targets;
mod tokens;
mod told;
mod unrouted;
mod vitals;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use secrecy::SecretString;
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Transaction,
    any::{AnyArguments, AnyPoolOptions, install_default_drivers},
    query::Query,
};

use crate::contact::Contact;
use pepper::Pepper;
use rows::{in_order, rows};

pub use audit::{Act, Audited, Broken, TrailFilter, Verified};
pub use breakers::{BELIEVED, Breaker, Level};
pub use compliance::{Compliance, Late, Overdue, Percentiles, TargetTimes, Undelivered};
pub use deliveries::{DeliveryFilter, DeliveryRow};
pub use erasure::{Erased, Erasure, Request as ErasureRequest};
pub use events::{EventFilter, StoredEnvelope};
pub use failing::{Failing, Fared};
pub use leases::{Finished, Leave};
pub use page::Page;
pub use quarantine::{Held, HeldFilter, Quarantined};
pub use reconciliations::{
    Difference, DifferenceFilter, Gap, Listed, Place, ReconciledList, Reconciliation, Reconciling,
    RegisterRow, Tally,
};
pub use record::{Entry, Recorded, Unreadable};
pub use replays::{Job, Progress, Replay, ReplayFilter};
pub use retention::Expired;
pub use sessions::{IDLE, LONGEST, MOST as MOST_SESSIONS, Session};
pub use submissions::{Consent, Submission};
pub use suppressions::{Standing, Suppression, SuppressionFilter};
pub use targets::{Disabled, TEST_WAITS, TestState};
pub use tokens::Token;
pub use told::{Accounted, Question, Told};
pub use unrouted::Unrouted;
pub use vitals::{Due, LastTold, MANY, Minute, Unfinished};

/// A connection that cannot be had in this time means that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was of use so lately is taken to be alive. If it is not, whoever uses it is told that the database is
/// away, as those are who had theirs in hand when it died.
const TRUSTED: Duration = Duration::from_secs(1);

/// The database of record. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: AnyPool,
    /// For all that writes. SQLite lets one connection write at a time, and the others ask again and again, the longer the
    /// seldomer; so there they are one, for which callers wait in a line.
    writer: AnyPool,
    dialect: Dialect,
    pepper: Option<Pepper>,
    /// Whether the pepper is known to be the one that contacts were erased with: else they would not be found.
    pepper_fits: Arc<AtomicBool>,
}

/// Where the two databases differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Postgres,
    Sqlite,
}

/// FULL: a commit that was answered survives a power failure.
const SQLITE: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000;";

/// Ids are hashes, so every event touches pages all over the file. They are kept (16 MiB), and go from the log into the file
/// seldom (every 32 MiB), each then once for many changes: with a million events in the ledger an opt-out costs what it does
/// with ten thousand, and a third more without this.
const SQLITE_WRITER: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000;
    PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 8000;";

/// Why the ledger did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is away, busy or in trouble: the same request may succeed later.
    #[error("the ledger is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database refuses these very rows: asking again will not help.
    #[error("the ledger refuses the data: {0}")]
    Refused(#[source] sqlx::Error),
    /// A row that does not read as what we write.
    #[error("the ledger holds a value that cannot be read: {0}")]
    Corrupt(String),
    /// A cursor that this listing did not give out.
    #[error("the cursor is not one that was given out for this list")]
    Cursor,
}

pub type Result<T> = std::result::Result<T, Error>;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        // PostgreSQL: data exceptions, integrity violations, and what is too large for an index, a row or a parameter.
        // SQLite: too big, constraint, mismatch.
        let refused = code.is_some_and(|code| match code.len() {
            5 => ["22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class)),
            _ => matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(18..=20)),
        });
        if refused {
            Self::Refused(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

impl Ledger {
    /// Connects to `postgres://…` or `sqlite:PATH` (made if it is not there), and applies what migrations are missing.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self> {
        let ledger = Self::open(url, max_connections)?;
        ledger.migrate().await?;
        Ok(ledger)
    }

    /// A ledger that need not be there yet: it connects when it is first asked. Wants [`Ledger::migrate`].
    pub fn open(url: &str, max_connections: u32) -> Result<Self> {
        install_default_drivers();
        let (dialect, url) = match url.strip_prefix("sqlite:") {
            Some(path) => (Dialect::Sqlite, sqlite_url(path)?),
            None => (Dialect::Postgres, url.to_owned()),
        };
        let options = |settings: &'static str| {
            AnyPoolOptions::new()
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        sqlx::raw_sql(settings).execute(connection).await?;
                        Ok(())
                    })
                })
                // Not at each use, which would be a round trip beside each that asks for something.
                .test_before_acquire(false)
                .before_acquire(|connection, used| Box::pin(is_fit(connection, used.idle_for)))
        };
        let pool = options(dialect.settings())
            .max_connections(max_connections)
            .connect_lazy(&url)?;
        let writer = match dialect {
            Dialect::Postgres => pool.clone(),
            Dialect::Sqlite => options(SQLITE_WRITER)
                .max_connections(1)
                .connect_lazy(&url)?,
        };
        Ok(Self {
            pool,
            writer,
            dialect,
            pepper: None,
            pepper_fits: Arc::default(),
        })
    }

    /// The same ledger, which can erase contacts and find those that were erased. Wants [`Ledger::migrate`].
    #[must_use]
    pub fn with_pepper(self, pepper: Option<SecretString>) -> Self {
        Self {
            pepper: pepper.map(Pepper::new),
            pepper_fits: Arc::default(),
            ..self
        }
    }

    /// Compares the pepper with the one that contacts were erased with, if any was.
    async fn compare_pepper(&self) -> Result<()> {
        let stored: Option<String> = sqlx::query_scalar("SELECT id FROM pepper")
            .fetch_optional(&self.pool)
            .await?;
        let ours = self.pepper.as_ref().map(Pepper::id);
        let fits = stored.as_deref().is_none_or(|stored| ours == Some(stored));
        self.pepper_fits.store(fits, Ordering::Relaxed);
        if fits { Ok(()) } else { Err(wrong_pepper()) }
    }

    /// That whether a contact is suppressed can be told: not before the pepper was compared.
    fn can_find_erased(&self) -> Result<()> {
        if self.pepper_fits.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(wrong_pepper())
        }
    }

    /// The two names under which a contact may stand: its address, and what stands for it since it was erased.
    fn names(&self, contact: &Contact) -> (String, Option<String>) {
        let pseudonym = self.pepper.as_ref().map(|pepper| pepper.pseudonym(contact));
        (contact.address.clone(), pseudonym)
    }

    /// Begins a transaction that will write. SQLite is told so at once: a transaction that turns to writing later can
    /// be refused in the middle.
    async fn begin(&self) -> Result<Transaction<'static, Any>> {
        Ok(match self.dialect {
            Dialect::Postgres => self.writer.begin().await?,
            Dialect::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await?,
        })
    }

    /// The time by the database's clock, which is the one that moves are told by.
    async fn now(&self) -> Result<Timestamp> {
        let text = self.dialect.text("SELECT {now}");
        let now = sqlx::query_scalar(AssertSqlSafe(text));
        timestamp(now.fetch_one(&self.pool).await?)
    }

    /// A statement in this dialect.
    fn query(&self, text: &str) -> Query<'static, Any, AnyArguments> {
        sqlx::query(AssertSqlSafe(self.dialect.text(text)))
    }
}

impl Dialect {
    /// What a connection begins with.
    ///
    /// PostgreSQL plans a statement once for a connection, and one that was planned while a table was empty went on reading
    /// all of it until the next automatic analysis: half of the time of recording was that. Every statement here finds its
    /// rows by an index, however small the table. Where none serves, the price that is then put on reading the table is so
    /// high that the statement would be compiled, which takes longer than it.
    fn settings(self) -> &'static str {
        match self {
            Self::Postgres => "SET enable_seqscan = off; SET jit = off;",
            Self::Sqlite => SQLITE,
        }
    }

    /// Puts this dialect's words in. Both databases read `$1`.
    fn text(self, text: &str) -> String {
        let (now, rows, listed, bytes, unhex, uuid, postgres) = match self {
            // Not the clock's, which differs from row to row, so that no index would serve.
            Self::Postgres => (
                "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT)",
                "jsonb_array_elements(CAST($1 AS jsonb)) AS rows(value)",
                "= ANY(ARRAY(SELECT value->>'id' FROM jsonb_array_elements(CAST($1 AS jsonb)) AS listed(value)))",
                "BYTEA",
                "decode(rows.value->>'body', 'hex')",
                "CAST(gen_random_uuid() AS TEXT)",
                "",
            ),
            Self::Sqlite => (
                "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
                "json_each($1) AS rows",
                "IS NOT NULL",
                "BLOB",
                "unhex(rows.value->>'body')",
                "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(6)))",
                "--",
            ),
        };
        text.replace("{now}", now)
            .replace("{rows}", rows)
            .replace("{listed}", listed)
            .replace("{bytes}", bytes)
            .replace("{body}", unhex)
            .replace("{uuid}", uuid)
            .replace("{postgres}", postgres)
    }
}

/// Whether a connection of the pool that was of no use for so long may be used once more; an error says that it is dead.
///
/// SQLite ends a transaction by itself at some failures, a full disk among them; the driver counts it as open for ever, and
/// begins no other on that connection.
async fn is_fit(connection: &mut AnyConnection, idle: Duration) -> sqlx::Result<bool> {
    if idle > TRUSTED {
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

fn wrong_pepper() -> Error {
    let why = "contacts were erased with another ledger.pepper than is set here, or it is not compared yet";
    Error::Unavailable(sqlx::Error::Configuration(why.into()))
}

fn sqlite_url(path: &str) -> Result<String> {
    let path = path.trim_start_matches("//");
    let (file, options) = path.split_once('?').unwrap_or((path, ""));
    if let Some(folder) = std::path::Path::new(file).parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::Unavailable(sqlx::Error::Io(error)))?;
    }
    let mode = if options.contains("mode=") {
        ""
    } else {
        "mode=rwc&"
    };
    Ok(format!("sqlite:{file}?{mode}{options}")
        .trim_end_matches(['?', '&'])
        .to_owned())
}

/// A period as it is stored.
fn period(of: Duration) -> i64 {
    i64::try_from(of.as_micros()).unwrap_or(i64::MAX / 2)
}

/// A time as it is stored.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A stored time.
fn timestamp(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|_| Error::Corrupt(format!("the time {micros}")))
}

/// A stored name or id.
fn parsed<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::Corrupt(text.to_owned()))
}
