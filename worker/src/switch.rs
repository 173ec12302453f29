//! Targets of the configuration that a person disables and enables while everything runs.
//!
//! The ledger says which are disabled. What is routed from then on begins as parked, and what comes to the deliver stage all
//! the same is parked there; what waits anywhere else, for its time or behind a breaker, is parked here. Its messages then
//! find it parked, and are acknowledged.
//!
//! What is true if the process dies:
//! - before or amid the parking: the ledger says still that the target is disabled, and every worker parks what is left.
//! - after a target was enabled, before what is parked was published: the sweep of any worker finds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use common::{ledger, lifecycle::Lifecycle, patience::until_done};
use tracing::info;

use crate::{App, Outlet, endpoints::Known, sweep};

/// How often it is looked which are disabled.
const BEAT: Duration = Duration::from_secs(1);

/// Deliveries that are parked together.
const BATCH: i64 = 500;

/// Batches of one beat, after which it is looked again which are disabled.
const BATCHES: usize = 20;

/// Beats in a row without anything that is parked, after which nothing more is looked for: a batch that was being routed when
/// a target was enabled has landed by then.
const QUIET: u32 = 2;

/// Which targets this worker knows to be disabled, and to which it is sending what was parked.
#[derive(Default)]
struct Switches {
    disabled: BTreeSet<String>,
    /// With the beats in a row that found nothing parked.
    resuming: BTreeMap<String, u32>,
    /// What was known at the last beat.
    version: Option<i64>,
}

/// Heeds what people ask until the worker is told to stop.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let mut switches = Switches::default();
    while let Some(is_done) = beat(&app, &mut switches, &lifecycle).await {
        if is_done {
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                () = lifecycle.stopping() => break,
            }
        }
    }
    Ok(())
}

/// One look at all of them, and whether nothing is left to be done at once. None if the worker is told to stop.
async fn beat(app: &App, switches: &mut Switches, lifecycle: &Lifecycle) -> Option<bool> {
    let current = || app.endpoints.current(&app.ledger);
    let known = until_done(lifecycle, "endpoints", current).await?;
    switches.look(app, &known);
    let mut is_done = true;
    for outlet in app.outlets.iter().filter(|outlet| outlet.enabled) {
        let name = &outlet.name;
        if switches.disabled.contains(name) {
            let park = || park(app, outlet);
            is_done &= !until_done(lifecycle, "park", park).await?;
        } else if let Some(quiet) = switches.resuming.get_mut(name) {
            let resume = || sweep::resume(app, outlet, BATCHES);
            let any = until_done(lifecycle, "resume", resume).await?;
            *quiet = if any { 0 } else { quiet.saturating_add(1) };
            is_done &= !any;
        }
        if lifecycle.is_stopping() {
            return None;
        }
    }
    Some(is_done)
}

impl Switches {
    /// Notes what has changed. A target that was disabled and enabled again between two beats has been neither here, but
    /// parts of it were parked: so after any change it is looked for what is parked of all that are enabled.
    fn look(&mut self, app: &App, known: &Known) {
        let before = std::mem::replace(&mut self.version, known.version());
        let has_changed = before.is_some() && before != known.version();
        self.resuming.retain(|_, quiet| *quiet < QUIET);
        for outlet in app.outlets.iter().filter(|outlet| outlet.enabled) {
            let name = &outlet.name;
            if known.takes(name) {
                if self.disabled.remove(name) {
                    info!(target_name = name, "a target is enabled again");
                }
                if has_changed {
                    self.resuming.insert(name.clone(), 0);
                }
            } else {
                self.resuming.remove(name);
                if self.disabled.insert(name.clone()) {
                    info!(
                        target_name = name,
                        "a target is disabled: what waits for it is parked"
                    );
                }
            }
        }
    }
}

/// Parks what waits for a target; whether there was any, so that there may be more.
async fn park(app: &App, outlet: &Outlet) -> ledger::Result<bool> {
    let mut any = false;
    for _ in 0..BATCHES {
        if app.ledger.park_all(&outlet.name, BATCH).await? == 0 {
            return Ok(any);
        }
        any = true;
    }
    Ok(any)
}
