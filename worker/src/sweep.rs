//! The sweep: finds deliveries that ought to move and do not, and publishes them again.
//!
//! That is how a target's parked deliveries resume once it is enabled, and how a delivery moves on whose message was lost
//! between the ledger and the queue. A delivery that was published twice is attempted once, since leave is given once.

use std::{sync::Arc, time::Duration};

use common::{
    clock,
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{self, Depth, Feed, QueueName},
};
use jiff::Timestamp;
use metrics::{counter, gauge};
use tracing::info;

use crate::{App, Outlet, breaker::Level, deliver::again};

/// Due for so long with nobody at it, in an empty queue: its message is lost.
const LOST_AFTER: Duration = Duration::from_mins(10);

const BATCH: i64 = 500;

/// How often the gauges are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// How many of these beats it is from one look at the deadlines to the next: they are days away, and it reads more.
const DEADLINES_EVERY: u64 = 12;

/// Sweeps at start and then every so often.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    loop {
        for outlet in app.outlets.iter().filter(|outlet| outlet.enabled) {
            if sweep(&app, outlet, &lifecycle).await.is_none() {
                return Ok(());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(app.sweep_every) => {}
            () = lifecycle.stopping() => return Ok(()),
        }
    }
}

/// Publishes all of one target's deliveries that ought to move. None if the worker is told to stop before.
async fn sweep(app: &App, outlet: &Outlet, lifecycle: &Lifecycle) -> Option<()> {
    let before = until_done(lifecycle, "sweep", || lost_before(app, outlet)).await?;
    while !lifecycle.is_stopping() {
        if until_done(lifecycle, "sweep", || move_on(app, outlet, before)).await? == 0 {
            return Some(());
        }
    }
    None
}

/// Since when a delivery has to have stood still to count as lost.
async fn lost_before(app: &App, outlet: &Outlet) -> queue::Result<Timestamp> {
    // Behind an open breaker, or in a queue that has not been worked off, what waits is not lost.
    let mut waiting = outlet.breaker.level() != Level::Closed;
    for feed in Feed::ALL {
        let name = QueueName::Target(outlet.name.clone(), *feed);
        waiting |= app.queue.depth(&name).await?.ready > 0;
    }
    Ok(if waiting {
        Timestamp::UNIX_EPOCH
    } else {
        clock::now() - LOST_AFTER
    })
}

/// Publishes a batch, and says how many that were. If the publish fails they are found again once they are lost.
async fn move_on(app: &App, outlet: &Outlet, before: Timestamp) -> anyhow::Result<usize> {
    let found = app.ledger.stuck(&outlet.name, before, BATCH).await?;
    if found.is_empty() {
        return Ok(0);
    }
    info!(
        target_name = outlet.name,
        deliveries = found.len(),
        "publishing deliveries that did not move"
    );
    counter!("optout_deliveries_swept_total", "target" => outlet.name.clone())
        .increment(found.len() as u64);
    let messages = found
        .iter()
        .map(|delivery| again(&outlet.name, delivery.encode(), clock::now()))
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
            for outlet in &app.outlets {
                gauge!("optout_breaker_state", "target" => outlet.name.clone())
                    .set(f64::from(outlet.breaker.level() as u8));
            }
            tokio::time::sleep(GAUGES_EVERY).await;
        }
    };
    // Cut off in the middle: what waits for a broker that is away must not keep the worker from stopping.
    tokio::select! {
        () = read_again_and_again => Ok(()),
        () = lifecycle.stopping() => Ok(()),
    }
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
    for outlet in &app.outlets {
        let of_it = dead.iter().find(|(target, _)| *target == outlet.name);
        let count = of_it.map_or(0, |(_, count)| *count);
        gauge!("optout_deliveries_dead", "target" => outlet.name.clone()).set(count as f64);
    }
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
