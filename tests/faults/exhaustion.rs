//! Holds every connection that PostgreSQL gives, the services' own among them.

use std::time::Duration;

use sqlx::{AnyConnection, Connection, any::install_default_drivers};

/// Connections that are held until this ends.
pub(crate) struct Exhaustion {
    held: Vec<AnyConnection>,
}

/// One connection of the suite's own.
pub(crate) async fn connect(url: &str) -> sqlx::Result<AnyConnection> {
    install_default_drivers();
    AnyConnection::connect(url).await
}

impl Exhaustion {
    /// Takes all there are, puts everybody else out, and takes theirs.
    pub(crate) async fn of(url: &str) -> Self {
        let mut exhaustion = Self { held: vec![] };
        exhaustion.take_all(url).await;
        let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state IS NOT NULL AND
            usename = current_user AND pid <> pg_backend_pid() AND application_name <> 'exhaustion'";
        let last = exhaustion.held.last_mut().unwrap();
        sqlx::raw_sql(text).execute(last).await.unwrap();
        exhaustion.take_all(url).await;
        exhaustion
    }

    async fn take_all(&mut self, url: &str) {
        let url = format!("{url}?application_name=exhaustion");
        // What waits for a connection is answered at once or refused; a server that is slow is not full.
        while let Ok(Ok(connection)) =
            tokio::time::timeout(Duration::from_secs(30), connect(&url)).await
        {
            self.held.push(connection);
        }
    }

    /// Gives all of them back.
    pub(crate) async fn end(self) {
        for connection in self.held {
            connection.close().await.unwrap();
        }
    }
}
