//! The ledger at start: there at once, though its database may be away or its schema old. Until both are right every
//! question to it fails as it does when the database goes down later, and the operations listener says so.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use secrecy::ExposeSecret;
use tokio::{sync::oneshot, time::timeout};
use tracing::{info, warn};

use crate::{
    config::Config,
    ledger::{Ledger, Result},
    lifecycle::Lifecycle,
};

/// How long a process waits for the ledger before it starts without it.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);

/// The ledger, with the migrations applied: within a second, or else in the background, tried for ever. Fails only for
/// a URL that no database could have.
pub async fn ledger(config: &Config, lifecycle: &Lifecycle) -> Result<Ledger> {
    let ledger = configured(config)?;
    let (migrating, stopping) = (ledger.clone(), lifecycle.clone());
    let (done, migrated) = oneshot::channel::<()>();
    lifecycle.spawn_work(async move {
        tokio::select! {
            () = migrate(&migrating) => info!(store = "ledger", "connected"),
            () = stopping.stopping() => {}
        }
        drop(done);
    });
    // Ends, too, when the sender is dropped; at the deadline the process starts without.
    timeout(FIRST_ATTEMPT, migrated).await.ok();
    Ok(ledger)
}

/// The ledger for a command, which does nothing without: connected, with the migrations applied.
pub async fn ledger_at_once(config: &Config) -> Result<Ledger> {
    let ledger = configured(config)?;
    ledger.migrate().await?;
    Ok(ledger)
}

fn configured(config: &Config) -> Result<Ledger> {
    let settings = &config.ledger;
    let ledger = Ledger::open(settings.url.expose_secret(), settings.max_connections)?;
    Ok(ledger.with_pepper(settings.pepper.clone()))
}

/// Only the connection has a deadline, the pool's own: a migration may take its time, and is not to be cut off and
/// begun again for ever.
async fn migrate(ledger: &Ledger) {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times();
    let mut last = String::new();
    let tried = (|| ledger.migrate()).retry(pauses).notify(|error, _| {
        // A database that is away for an hour is one line, not a thousand.
        let why = error.to_string();
        if last != why {
            warn!(
                store = "ledger",
                error = why,
                "cannot connect; trying for ever"
            );
            last = why;
        }
    });
    // No error comes out: there is no last try.
    tried.await.ok();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{config::Loaded, ledger::Error};

    async fn ledger_at(url: &str, lifecycle: &Lifecycle) -> Ledger {
        let text = format!("[ledger]\nurl = '{url}'");
        let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
        ledger(&loaded.config, lifecycle).await.unwrap()
    }

    #[tokio::test]
    async fn a_ledger_that_is_there_is_migrated_before_the_process_goes_on() {
        let (folder, lifecycle) = (tempfile::tempdir().unwrap(), Lifecycle::new());
        let ledger = ledger_at(
            &format!("sqlite:{}/ledger.db", folder.path().display()),
            &lifecycle,
        )
        .await;
        ledger.ping().await.unwrap();
    }

    #[tokio::test]
    async fn a_process_starts_and_stops_without_its_ledger() {
        let lifecycle = Lifecycle::new();
        let ledger = ledger_at("postgres://nobody@127.0.0.1:1/nothing", &lifecycle).await;
        assert!(matches!(ledger.ping().await, Err(Error::Unavailable(_))));
        lifecycle.stop();
        assert!(lifecycle.finish(Duration::from_secs(5)).await);
    }
}
