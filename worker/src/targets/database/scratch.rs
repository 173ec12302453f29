//! For tests: real databases, each test's its own, dropped with it.

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row, raw_sql};

/// A database of one test's own, dropped with it.
pub(super) struct Scratch {
    pub(super) url: String,
    drop: Option<(String, String)>,
    _folder: tempfile::TempDir,
}

/// PostgreSQL, MySQL and SQLite, each with an empty database.
pub(super) async fn databases() -> Vec<Scratch> {
    vec![postgres().await, mysql().await, sqlite()]
}

pub(super) async fn postgres() -> Scratch {
    server(
        "OPTOUT_TEST_POSTGRES_URL",
        "DROP DATABASE %NAME% WITH (FORCE)",
    )
    .await
}

pub(super) async fn mysql() -> Scratch {
    server("OPTOUT_TEST_MYSQL_URL", "DROP DATABASE %NAME%").await
}

/// PostgreSQL and MySQL over TLS, each of which proves who it is.
pub(super) async fn secured() -> Vec<Scratch> {
    vec![
        server(
            "OPTOUT_TEST_POSTGRES_TLS_URL",
            "DROP DATABASE %NAME% WITH (FORCE)",
        )
        .await,
        server("OPTOUT_TEST_MYSQL_TLS_URL", "DROP DATABASE %NAME%").await,
    ]
}

fn sqlite() -> Scratch {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    std::fs::write(&path, "").unwrap();
    Scratch {
        url: format!("sqlite:{}", path.display()),
        drop: None,
        _folder: folder,
    }
}

async fn server(variable: &str, drop: &str) -> Scratch {
    #[expect(
        clippy::disallowed_methods,
        reason = "tells a test where the private servers are"
    )]
    let admin = std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test"));
    let name = format!("t{}", uuid::Uuid::now_v7().simple());
    execute(&admin, &format!("CREATE DATABASE {name}")).await;
    let mut url = url::Url::parse(&admin).unwrap();
    url.set_path(&name);
    let drop = Some((admin, drop.replace("%NAME%", &name)));
    Scratch {
        url: url.into(),
        drop,
        _folder: tempfile::tempdir().unwrap(),
    }
}

pub(super) async fn connect(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.unwrap()
}

async fn execute(url: &str, sql: &str) {
    let mut connection = connect(url).await;
    raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

impl Scratch {
    pub(super) async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// The first column of every row, a text or NULL.
    pub(super) async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let mut connection = connect(&self.url).await;
        let rows = raw_sql(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(super) fn is(&self, scheme: &str) -> bool {
        self.url.starts_with(scheme)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some((admin, sql)) = self.drop.take() else {
            return;
        };
        let dropping = async move { execute(&admin, &sql).await };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // A runtime blocks no thread of another one.
        std::thread::spawn(move || runtime.block_on(dropping))
            .join()
            .unwrap();
    }
}
