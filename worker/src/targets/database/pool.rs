//! The connections to a customer's database, made when they are needed.
//!
//! By each driver itself and not through `sqlx::Any`, which fails on a result whose type it does not know: `SELECT
//! opt_out(:email)`, a function that returns nothing, is the usual way to give a program one right and no more.

use std::{str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Encode, Executor, MySqlPool, PgPool, SqlitePool, Type,
    error::DatabaseError,
    mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlPoolOptions},
    postgres::{PgConnectOptions, PgPoolOptions},
    query::Query,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::statement::Dialect;

/// A guest takes few of the database's connections, and gives them back.
const MOST: u32 = 5;
const IDLE: Duration = Duration::from_mins(1);

/// The driver waits for a server that is starting; longer than this it would hold up what can be tried again.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the database is.
pub(super) enum Address {
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
    Sqlite(SqliteConnectOptions),
}

pub(super) enum Pool {
    Postgres(PgPool),
    MySql(MySqlPool),
    Sqlite(SqlitePool),
}

impl Address {
    /// Reads the URL; the error does not quote it, since it holds the password.
    pub(super) fn read(url: &str, timeout: Duration) -> Result<Self, String> {
        let scheme = url.split(':').next().unwrap_or_default();
        let read = match scheme {
            "postgres" | "postgresql" => PgConnectOptions::from_str(url)
                .map(|o| Self::Postgres(o.application_name("optout"))),
            "mysql" | "mariadb" => MySqlConnectOptions::from_str(url).map(Self::MySql),
            "sqlite" => SqliteConnectOptions::from_str(url)
                .map(|options| Self::Sqlite(options.busy_timeout(timeout))),
            _ => {
                return Err(
                    "is no URL of a database: postgres://, mysql:// or sqlite:PATH is needed"
                        .to_owned(),
                );
            }
        };
        read.map_err(|_| format!("cannot be read as a {scheme} URL"))
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// A pool that connects when it is first used. The server is told the time limit too, so that a statement that was
    /// given up here does not go on holding locks there.
    pub(super) fn pool(&self, timeout: Duration) -> Pool {
        let connect = CONNECT.min(timeout);
        match self {
            Self::Postgres(options) => {
                let limit: Arc<str> =
                    format!("SET statement_timeout = {}", timeout.as_millis().max(1)).into();
                let pool = PgPoolOptions::new()
                    .max_connections(MOST)
                    .idle_timeout(IDLE)
                    .acquire_timeout(connect);
                let pool = pool.after_connect(move |connection, _| {
                    let limit = AssertSqlSafe(Arc::clone(&limit));
                    Box::pin(
                        async move { connection.execute(sqlx::raw_sql(limit)).await.map(drop) },
                    )
                });
                Pool::Postgres(pool.connect_lazy_with(options.clone()))
            }
            Self::MySql(options) => {
                // What is in the comment is read by MariaDB only.
                let seconds = timeout.as_secs().max(1);
                let limit = format!(
                    "SET SESSION innodb_lock_wait_timeout = {seconds} /*M! , max_statement_time = {seconds} */"
                );
                let limit: Arc<str> = limit.into();
                let pool = MySqlPoolOptions::new()
                    .max_connections(MOST)
                    .idle_timeout(IDLE)
                    .acquire_timeout(connect);
                let pool = pool.after_connect(move |connection, _| {
                    let limit = AssertSqlSafe(Arc::clone(&limit));
                    Box::pin(
                        async move { connection.execute(sqlx::raw_sql(limit)).await.map(drop) },
                    )
                });
                Pool::MySql(pool.connect_lazy_with(options.clone()))
            }
            Self::Sqlite(options) => {
                // One writer at a time is all that SQLite has.
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .idle_timeout(IDLE)
                    .acquire_timeout(connect);
                Pool::Sqlite(pool.connect_lazy_with(options.clone()))
            }
        }
    }
}

impl Pool {
    /// Runs a statement; the number of rows that it matched.
    pub(super) async fn execute(
        &self,
        sql: &Arc<str>,
        values: Vec<Option<String>>,
    ) -> Result<u64, sqlx::Error> {
        match self {
            Self::Postgres(pool) => bound(sql, values)
                .execute(pool)
                .await
                .map(|done| done.rows_affected()),
            Self::MySql(pool) => bound(sql, values)
                .execute(pool)
                .await
                .map(|done| done.rows_affected()),
            Self::Sqlite(pool) => bound(sql, values)
                .execute(pool)
                .await
                .map(|done| done.rows_affected()),
        }
    }
}

/// The text is the operator's own, its parameters were made placeholders when it was read.
fn bound<'q, DB: sqlx::Database>(
    sql: &Arc<str>,
    values: Vec<Option<String>>,
) -> Query<'q, DB, DB::Arguments>
where
    for<'v> Option<String>: Encode<'v, DB> + Type<DB>,
{
    values
        .into_iter()
        .fold(sqlx::query(AssertSqlSafe(Arc::clone(sql))), Query::bind)
}

/// Whether the database could not read the statement, whatever state it is in itself.
pub(super) fn is_syntax(error: &dyn DatabaseError) -> bool {
    // Of MySQL the SQLSTATE is not enough: 42000 is also a right that is missing.
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return error.number() == 1064;
    }
    match error.code().as_deref() {
        Some("42601") => true,
        // SQLite has one code for most errors.
        Some("1") => ["syntax error", "incomplete input", "unrecognized token"]
            .iter()
            .any(|text| error.message().contains(text)),
        _ => false,
    }
}
