//! The two sets of stores that Optout runs on, each fresh for one test.

use common::ledger::Ledger;
use sqlx::{AnyPool, AssertSqlSafe, any::install_default_drivers};
use tempfile::TempDir;
use uuid::Uuid;

/// Which stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SQLite for all three.
    Embedded,
    /// RabbitMQ, Redis and PostgreSQL.
    Scaled,
}

/// A queue, a claims store and a ledger of one test's own, and a folder.
pub struct Stores {
    pub kind: Kind,
    pub folder: TempDir,
    pub queue: String,
    pub claims: String,
    pub ledger: String,
    /// What sets this test apart on a shared broker.
    pub prefix: String,
}

impl Stores {
    pub async fn fresh(kind: Kind) -> Self {
        match kind {
            Kind::Embedded => Self::embedded(),
            Kind::Scaled => Self::scaled(|name| told(&format!("OPTOUT_TEST_{name}_URL"))).await,
        }
    }

    /// Files in the folder.
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        let (queue, claims, ledger) = (file("queue.db"), file("queue.db"), file("ledger.db"));
        Self::of(Kind::Embedded, folder, [queue, claims, ledger])
    }

    /// A prefix and a database of their own on the servers that `url` knows by name.
    pub async fn scaled(url: impl Fn(&str) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = database(&url("POSTGRES")).await;
        Self::of(Kind::Scaled, folder, [url("AMQP"), url("REDIS"), ledger])
    }

    fn of(kind: Kind, folder: TempDir, [queue, claims, ledger]: [String; 3]) -> Self {
        Self {
            kind,
            folder,
            queue,
            claims,
            ledger,
            prefix: format!("t{}", Uuid::now_v7().simple()),
        }
    }

    /// The part of a configuration that names them.
    pub fn configuration(&self) -> String {
        let Self {
            queue,
            claims,
            ledger,
            prefix,
            ..
        } = self;
        format!(
            "[queue]\nurl = \"{queue}\"\nprefix = \"{prefix}\"\n[claims]\nurl = \"{claims}\"\nprefix = \"{prefix}\"\n\
             [ledger]\nurl = \"{ledger}\"\nmax_connections = 3\n"
        )
    }

    /// The ledger, to look into.
    pub async fn ledger(&self) -> Ledger {
        Ledger::connect(&self.ledger, 2)
            .await
            .expect("the test's ledger")
    }
}

/// What the environment tells the tests: where a server of `scripts/services` is, or a program of `scripts/python`.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment where their servers are"
)]
pub fn told(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the tests by scripts/test"))
}

/// A new database on the PostgreSQL server at `url`.
async fn database(url: &str) -> String {
    install_default_drivers();
    let server = AnyPool::connect(url).await.expect("the tests' PostgreSQL");
    let name = format!("e2e_{}", Uuid::now_v7().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&server)
        .await
        .expect("a database");
    let (base, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}
