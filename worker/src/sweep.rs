//! The sweep: finds what the ledger and the queue disagree about, and mends it by publishing again.
//!
//! | what is found | as after | what is done |
//! |---|---|---|
//! | a parked delivery whose target is enabled | a target was enabled | published |
//! | a delivery that is long due, in nobody's hands or in a dead worker's, with no message | a queue that lost it | published |
//! | a change of the api that no target is being told of ([`reroute`]) | a queue that lost it | its envelope is published |
//! | an unfinished delivery of a deleted endpoint | an endpoint was deleted | ends as dead |
//!
//! The other way round, a message whose delivery the ledger does not know, is met by the deliver stage, which enters it.
//! All of it may be done twice, also by several workers at once, and when a worker dies in the middle: a delivery that
//! was published twice is attempted once, since leave is given once, and an envelope is known by its id. What was mended
//! is counted by `optout_sweep_mended_total`.
//!
//! [`reroute`]: crate::reroute

use std::{sync::Arc, time::Duration};

use common::{
    clock, endpoint,
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{self, Depth, Feed, QueueName},
};
use metrics::{counter, gauge};
use tracing::info;

use crate::{App, Outlet, attempt::again, breaker::Level, reroute::Reroute};

/// Due for so long with nobody at it, in an empty queue: its message is lost.
pub(crate) const LOST_AFTER: Duration = Duration::from_mins(10);

/// Due for so much longer than the oldest of what waits in its queue: it is not among that. Longer than what a worker has
/// in hand waits for a slow target.
const LOST_BEHIND: Duration = Duration::from_hours(1);

const BATCH: i64 = 500;

/// How often the gauges are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// How many of these beats it is from one look at the deadlines to the next: they are days away, and it reads more.
const DEADLINES_EVERY: u64 = 12;

/// Sweeps at start and then every so often.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let mut changes = Reroute::new();
    loop {
        if sweep_all(&app, &mut changes, &lifecycle).await.is_none() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(app.sweep_every) => {}
            () = lifecycle.stopping() => return Ok(()),
        }
    }
}

/// Counts what was mended.
pub(crate) fn mended(what: &'static str, count: u64) {
    counter!("optout_sweep_mended_total", "what" => what).increment(count);
}

/// Sweeps all targets. None if the worker is told to stop before.
async fn sweep_all(app: &App, changes: &mut Reroute, lifecycle: &Lifecycle) -> Option<()> {
    let known = until_done(lifecycle, "endpoints", || {
        app.endpoints.current(&app.ledger)
    });
    let known = known.await?;
    for outlet in app.outlets.iter().filter(|outlet| outlet.enabled) {
        let still = until_done(lifecycle, "sweep", || lost_after(app, &outlet.name)).await?;
        sweep(app, outlet, still, lifecycle).await?;
    }
    let still = until_done(lifecycle, "sweep", || lost_after(app, endpoint::ALL)).await?;
    for outlet in known.enabled() {
        sweep(app, outlet, still, lifecycle).await?;
    }
    loop {
        let buried = until_done(lifecycle, "sweep", || app.ledger.bury_all_deleted(BATCH)).await?;
        mended("endpoint_deleted", buried);
        if buried == 0 {
            break;
        }
    }
    changes.run(app, &known, lifecycle).await
}

/// Publishes all of one target's deliveries that ought to move. None if the worker is told to stop before.
async fn sweep(app: &App, outlet: &Outlet, still: Duration, lifecycle: &Lifecycle) -> Option<()> {
    // Behind an open breaker what waits is not lost.
    let still = match outlet.breaker.level() {
        Level::Closed => still,
        Level::Open | Level::HalfOpen => Duration::MAX,
    };
    while !lifecycle.is_stopping() {
        // Also in the middle: what is parked of a target that somebody has just disabled stays so.
        if !app.endpoints.known().takes(&outlet.name) {
            return Some(());
        }
        let moved = until_done(lifecycle, "sweep", || move_on(app, outlet, still)).await?;
        if moved == 0 {
            return Some(());
        }
        mended("delivery_published", moved as u64);
    }
    None
}

/// Publishes what is parked of a target that is enabled again, at most so many batches; whether there was any, so that there
/// may be more.
pub(crate) async fn resume(app: &App, outlet: &Outlet, batches: usize) -> anyhow::Result<bool> {
    let mut any = false;
    for _ in 0..batches {
        if move_on(app, outlet, Duration::MAX).await? == 0 {
            break;
        }
        any = true;
    }
    Ok(any)
}

/// What has been due for so long has lost its message: the queues of this name hold nothing as old.
async fn lost_after(app: &App, name: &str) -> queue::Result<Duration> {
    let mut lost_after = LOST_AFTER;
    for feed in Feed::ALL {
        let name = QueueName::Target(name.to_owned(), *feed);
        let Depth { ready, oldest } = app.queue.depth(&name).await?;
        match oldest {
            _ if ready == 0 => {}
            Some(oldest) => lost_after = lost_after.max(oldest.saturating_add(LOST_BEHIND)),
            // It may be as old as anything.
            None => return Ok(Duration::MAX),
        }
    }
    Ok(lost_after)
}

/// Publishes a batch, and says how many that were. If the publish fails they are found again once they are lost.
async fn move_on(app: &App, outlet: &Outlet, still: Duration) -> anyhow::Result<usize> {
    let found = app.ledger.stuck(&outlet.name, still, BATCH).await?;
    if found.is_empty() {
        return Ok(0);
    }
    info!(
        target_name = outlet.name,
        deliveries = found.len(),
        "publishing deliveries that did not move"
    );
    counter!("optout_deliveries_swept_total", "target" => outlet.label().to_owned())
        .increment(found.len() as u64);
    let messages = found
        .iter()
        .map(|delivery| again(&outlet.name, delivery.encode(), Duration::ZERO))
        .collect();
    app.queue.publish(messages).await?;
    Ok(found.len())
}

/// Keeps the gauges: queues, breakers, what waits for a person. A store that is away leaves them as they were.
pub(crate) async fn gauges(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let read_again_and_again = async {
        for beat in 0_u64.. {
            if beat.is_multiple_of(DEADLINES_EVERY) {
                deadlines(&app).await;
            }
            queues(&app).await;
            waiting_for_a_person(&app).await;
            breakers(&app);
            tokio::time::sleep(GAUGES_EVERY).await;
        }
    };
    // Cut off in the middle: what waits for a broker that is away must not keep the worker from stopping.
    tokio::select! {
        () = read_again_and_again => Ok(()),
        () = lifecycle.stopping() => Ok(()),
    }
}

/// Each configured target's; of the endpoints', who are without number, how many are open.
fn breakers(app: &App) {
    for outlet in &app.outlets {
        gauge!("optout_breaker_state", "target" => outlet.name.clone())
            .set(f64::from(outlet.breaker.level() as u8));
    }
    let known = app.endpoints.known();
    let open = known
        .enabled()
        .filter(|outlet| outlet.breaker.level() != Level::Closed);
    let open = u32::try_from(open.count()).unwrap_or(u32::MAX);
    gauge!("optout_endpoint_breakers_open").set(f64::from(open));
}

async fn queues(app: &App) {
    for queue in app.queues() {
        let Ok(Depth { ready, oldest }) = app.queue.depth(&queue).await else {
            continue;
        };
        let oldest = oldest.filter(|_| ready > 0).unwrap_or_default();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float, exact to 2^53 messages"
        )]
        gauge!("optout_queue_ready", "queue" => queue.to_string()).set(ready as f64);
        gauge!("optout_queue_oldest_age_seconds", "queue" => queue.to_string())
            .set(oldest.as_secs_f64());
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float, exact to 2^53 entries"
)]
async fn waiting_for_a_person(app: &App) {
    if let Ok(held) = app.ledger.held().await {
        gauge!("optout_quarantine_held").set(held as f64);
    }
    let Ok(dead) = app.ledger.dead().await else {
        return;
    };
    let of = |is: &dyn Fn(&str) -> bool| {
        let counts = dead.iter().filter(|(target, _)| is(target));
        counts.map(|(_, count)| *count).sum::<i64>() as f64
    };
    for outlet in &app.outlets {
        let count = of(&|target| target == outlet.name);
        gauge!("optout_deliveries_dead", "target" => outlet.name.clone()).set(count);
    }
    let count = of(&|target| endpoint::id_of(target).is_some());
    gauge!("optout_deliveries_dead", "target" => endpoint::ALL).set(count);
}

/// Opt-outs that some target has not been told of, for an alert well before the deadlines of 48 hours and ten business
/// days.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float, exact to 2^53 opt-outs"
)]
async fn deadlines(app: &App) {
    let Ok(undelivered) = app.ledger.undelivered(clock::now()).await else {
        return;
    };
    for (age, count) in [
        ("24h", undelivered.over_24_hours),
        ("48h", undelivered.over_48_hours),
    ] {
        gauge!("optout_opt_outs_undelivered", "older_than" => age).set(count as f64);
    }
}
