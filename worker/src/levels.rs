//! Where this worker's breakers stand, said to the ledger for people who watch: nobody else knows.
//!
//! It is looked every second, in memory; the ledger hears of it when one has changed, and every few seconds again, which
//! keeps it believed. What is true if the process dies:
//! - before it has said something: what it said before is told until it is too old.
//! - after: the same. Nothing is decided by what is told.

use std::{sync::Arc, time::Duration};

use common::{
    ledger::{BELIEVED, Level},
    lifecycle::Lifecycle,
    patience::until_done,
};
use tokio::time::Instant;
use tracing::warn;

use crate::App;

/// How often it is looked where they stand.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is said again what has not changed: a few times before it is not believed any more.
const AGAIN: Duration = Duration::from_secs(BELIEVED.as_secs() / 4);

/// What was said last, and when.
#[derive(Default)]
struct Said {
    levels: Vec<(String, Level)>,
    at: Option<Instant>,
}

/// Looks and says until the worker is told to stop; then it takes back what it said.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let mut said = Said::default();
    loop {
        let levels = levels(&app);
        if said.wants(&levels) {
            let note = || app.ledger.note_breakers(app.id, &levels);
            if until_done(&lifecycle, "breakers", note).await.is_none() {
                break;
            }
            let at = Some(Instant::now());
            said = Said { levels, at };
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = lifecycle.stopping() => break,
        }
    }
    if !said.levels.is_empty()
        && let Err(error) = app.ledger.note_breakers(app.id, &[]).await
    {
        warn!(%error, "where the breakers stood is told until it is too old");
    }
    Ok(())
}

impl Said {
    /// Whether there is something to say.
    fn wants(&self, levels: &[(String, Level)]) -> bool {
        let is_old = self.at.is_some_and(|at| at.elapsed() >= AGAIN);
        self.levels != levels || is_old && !levels.is_empty()
    }
}

/// Of each configured target; of the endpoints, who are without number, of those that are not closed.
fn levels(app: &App) -> Vec<(String, Level)> {
    let configured = app.outlets.iter().filter(|outlet| outlet.enabled);
    let configured = configured.map(|outlet| (outlet.name.clone(), outlet.breaker.level()));
    let known = app.endpoints.known();
    let endpoints = known
        .enabled()
        .map(|outlet| (outlet.name.clone(), outlet.breaker.level()))
        .filter(|(_, level)| *level != Level::Closed);
    let mut levels: Vec<_> = configured.chain(endpoints).collect();
    levels.sort();
    levels
}
