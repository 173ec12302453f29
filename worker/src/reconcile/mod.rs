//! Reconciliations: whom the targets' platforms list as suppressed, compared with whom the ledger holds to be.
//!
//! One list after the other: whom the platform lists is read into the ledger page by page, then both sides are gone through
//! a page at a time, so memory does not grow with either. What is on its way is no difference: what was recorded while, or
//! shortly before, it was read, and what the target is still to be told. What differs is noted, and repaired where that was
//! asked for, always towards suppressed ([`repair`]).
//!
//! What is true if the process dies is said where it is noted ([`common::ledger::Reconciling`]). One who was taken for dead
//! and is not is told so by its next write, and stops.

mod compare;
mod read;
mod repair;

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{
    ledger::{self, Reconciling, Tally},
    lifecycle::Lifecycle,
    patience::until_done,
};
use tokio::time::Instant;
use tracing::{info, warn};

pub(crate) use repair::REPAIR;

use crate::{App, Outlet, targets::Book};

/// How often it is looked for what was asked for.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked whether it is time by the schedule.
const SCHEDULE: Duration = Duration::from_secs(30);

/// While it waits for something it says so often that it is alive: several times in a lease.
const BEAT: Duration = Duration::from_secs(5);

/// Why a reconciliation is left where it is.
enum Left {
    /// The worker is told to stop.
    Stopping,
    /// It is in other hands.
    Lost,
}

/// One list of a target's platform at work.
struct Session<'a> {
    app: &'a App,
    held: &'a Reconciling,
    outlet: &'a Outlet,
    book: Book<'a>,
    lifecycle: &'a Lifecycle,
    tally: Tally,
    beat: Mutex<Instant>,
}

/// Does what is asked for, and by the schedule, until the worker is told to stop.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let readable = |outlet: &&Arc<Outlet>| outlet.enabled && outlet.target.book().is_some();
    let any = app.outlets.iter().any(|outlet| readable(&outlet));
    let every = app.reconcile.every.filter(|_| any);
    let names: Vec<_> = app.outlets.iter().filter(|outlet| outlet.enabled).collect();
    let names: Vec<_> = names.iter().map(|outlet| outlet.name.as_str()).collect();
    let mut next_turn = Instant::now();
    loop {
        if let Some(every) = every
            && Instant::now() >= next_turn
        {
            let schedule = || {
                app.ledger
                    .schedule_reconciliation(every, app.reconcile.repair)
            };
            if until_done(&lifecycle, "reconcile", schedule)
                .await
                .is_none()
            {
                return Ok(());
            }
            next_turn = Instant::now() + SCHEDULE;
        }
        let take = || app.ledger.take_reconciliation(&names);
        let Some(taken) = until_done(&lifecycle, "reconcile", take).await else {
            return Ok(());
        };
        if let Some(held) = taken {
            match conduct(&app, &held, &lifecycle).await {
                Ok(()) => continue,
                Err(Left::Lost) => {
                    warn!(reconciliation.id = %held.id, "a reconciliation is in other hands");
                }
                Err(Left::Stopping) => {
                    if let Err(error) = app.ledger.leave_reconciliation(&held).await {
                        warn!(%error, "a reconciliation is left to the next worker when its lease ends");
                    }
                    return Ok(());
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = lifecycle.stopping() => return Ok(()),
        }
    }
}

/// Does one, from where it was left.
async fn conduct(app: &App, held: &Reconciling, lifecycle: &Lifecycle) -> Result<(), Left> {
    let (mut lists, mut failed) = (0, 0);
    for outlet in app.outlets.iter().filter(|outlet| outlet.enabled) {
        let is_asked = held
            .target
            .as_ref()
            .is_none_or(|target| *target == outlet.name);
        let Some(book) = outlet.target.book().filter(|_| is_asked) else {
            continue;
        };
        for list in book.lists() {
            let current = || app.endpoints.current(&app.ledger);
            let known = until_done(lifecycle, "endpoints", current).await;
            if !known.ok_or(Left::Stopping)?.takes(&outlet.name) {
                continue;
            }
            let place = (outlet.name.clone(), list.to_owned());
            let is_compared = if let Some(is_compared) = held.done.get(&place) {
                *is_compared
            } else {
                let (target, list) = place;
                let tally = Tally {
                    target,
                    list,
                    ..Tally::default()
                };
                let beat = Mutex::new(Instant::now());
                let session = Session {
                    app,
                    held,
                    outlet,
                    book,
                    lifecycle,
                    tally,
                    beat,
                };
                session.reconcile().await?
            };
            lists += 1;
            failed += usize::from(!is_compared);
        }
    }
    let why = match (lists, failed) {
        (0, _) => Some(match &held.target {
            Some(target) => {
                format!("{target} is disabled, or its system says of nobody whom it suppresses")
            }
            None => "there is no enabled target whose platform says whom it suppresses".to_owned(),
        }),
        (_, 0) => None,
        _ => Some(format!("{failed} of {lists} lists could not be compared")),
    };
    let end = || app.ledger.end_reconciliation(held, why.as_deref());
    let ended = until_done(lifecycle, "reconcile", end).await;
    if !ended.ok_or(Left::Stopping)? {
        return Err(Left::Lost);
    }
    info!(reconciliation.id = %held.id, lists, failed, "a reconciliation is done");
    Ok(())
}

impl Session<'_> {
    /// Reads the list, and compares it; whether that could be done.
    async fn reconcile(mut self) -> Result<bool, Left> {
        self.holding(|| self.app.ledger.begin_list(self.held, &self.tally))
            .await?;
        let error = match self.read().await? {
            Ok(()) => {
                self.compare_theirs().await?;
                if self.book.shows_all() {
                    self.compare_ours().await?;
                }
                None
            }
            Err(why) => Some(why),
        };
        let end = || {
            let ledger = &self.app.ledger;
            ledger.end_list(self.held, &self.tally, error.as_deref())
        };
        self.holding(end).await?;
        // Not which list, which may be called by an address.
        let Tally { target, listed, .. } = &self.tally;
        let id = self.held.id;
        match &error {
            None => {
                info!(reconciliation.id = %id, target_name = target, listed, "a list was compared");
            }
            Some(why) => {
                warn!(reconciliation.id = %id, target_name = target, why, "a list could not be compared");
            }
        }
        Ok(error.is_none())
    }

    /// Does a step until it works, and keeps the reconciliation in these hands meanwhile.
    async fn step<T, E, F>(&self, step: impl FnMut() -> F) -> Result<T, Left>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        let done = until_done(self.lifecycle, "reconcile", step);
        self.beating(done).await?.ok_or(Left::Stopping)
    }

    /// Does a step that holds it by itself, and says whether it is still in these hands.
    async fn holding<F>(&self, step: impl FnMut() -> F) -> Result<(), Left>
    where
        F: Future<Output = ledger::Result<bool>>,
    {
        let held = until_done(self.lifecycle, "reconcile", step).await;
        if !held.ok_or(Left::Stopping)? {
            return Err(Left::Lost);
        }
        *self.beat() = Instant::now();
        Ok(())
    }

    /// Waits for something, and says so often that it is alive, whatever has become of the steps before.
    async fn beating<T>(&self, work: impl Future<Output = T>) -> Result<T, Left> {
        let mut work = pin!(work);
        loop {
            let next = *self.beat() + BEAT;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => {}
                done = &mut work => return Ok(done),
                () = self.lifecycle.stopping() => return Err(Left::Stopping),
            }
            self.holding(|| self.app.ledger.hold_reconciliation(self.held))
                .await?;
        }
    }

    /// When it was last known to be in these hands.
    fn beat(&self) -> MutexGuard<'_, Instant> {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
