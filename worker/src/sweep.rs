//! The sweep: finds deliveries that ought to move and do not, and publishes them again.
//!
//! That is how a target's parked deliveries resume once it is enabled, and how a delivery moves on whose message was lost
//! between the ledger and the queue. A delivery that was published twice is attempted once, since leave is given once.

use std::{sync::Arc, time::Duration};

use common::{
    clock,
    lifecycle::Lifecycle,
    queue::{Depth, Feed, QueueName},
};
use jiff::Timestamp;
use metrics::{counter, gauge};
use tracing::info;

use crate::{App, Outlet, breaker::Level, deliver::again, patience::until_done};

/// Due for so long with nobody at it, in an empty queue: its message is lost.
const LOST_AFTER: Duration = Duration::from_mins(10);

const BATCH: i64 = 500;

/// How often the gauges are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// Sweeps at start and then every so often.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    loop {
        for outlet in app.outlets.iter().filter(|outlet| outlet.enabled) {
            if until_done(&lifecycle, "sweep", || sweep(&app, outlet))
                .await
                .is_none()
            {
                return Ok(());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(app.sweep_every) => {}
            () = lifecycle.stopping() => return Ok(()),
        }
    }
}

async fn sweep(app: &App, outlet: &Outlet) -> anyhow::Result<()> {
    // Behind an open breaker, or in a queue that has not been worked off, what waits is not lost.
    let mut waiting = outlet.breaker.level() != Level::Closed;
    for feed in Feed::ALL {
        waiting |= app
            .queue
            .depth(&QueueName::Target(outlet.name.clone(), *feed))
            .await?
            .ready
            > 0;
    }
    let before = if waiting {
        Timestamp::UNIX_EPOCH
    } else {
        clock::now() - LOST_AFTER
    };
    loop {
        let found = app.ledger.stuck(&outlet.name, before, BATCH).await?;
        if found.is_empty() {
            return Ok(());
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
    }
}

/// Keeps the gauges: queues, breakers, what waits for a person. A store that is away leaves them as they were.
pub(crate) async fn gauges(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    loop {
        for queue in app.queues() {
            let Ok(Depth { ready, oldest }) = app.queue.depth(&queue).await else {
                continue;
            };
            let oldest = if ready == 0 {
                0.0
            } else {
                oldest.unwrap_or_default().as_secs_f64()
            };
            #[expect(
                clippy::cast_precision_loss,
                reason = "a gauge is a float, exact to 2^53 messages"
            )]
            gauge!("optout_queue_ready", "queue" => queue.to_string()).set(ready as f64);
            gauge!("optout_queue_oldest_age_seconds", "queue" => queue.to_string()).set(oldest);
        }
        for outlet in &app.outlets {
            gauge!("optout_breaker_state", "target" => outlet.name.clone())
                .set(f64::from(outlet.breaker.level() as u8));
        }
        if let Ok((held, dead)) = waiting_for_a_person(&app).await {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a gauge is a float, exact to 2^53 entries"
            )]
            gauge!("optout_quarantine_held").set(held as f64);
            for outlet in &app.outlets {
                let count = dead
                    .iter()
                    .find(|(target, _)| *target == outlet.name)
                    .map_or(0, |(_, count)| *count);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a gauge is a float, exact to 2^53 deliveries"
                )]
                gauge!("optout_deliveries_dead", "target" => outlet.name.clone()).set(count as f64);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(GAUGES_EVERY) => {}
            () = lifecycle.stopping() => return Ok(()),
        }
    }
}

async fn waiting_for_a_person(app: &App) -> common::ledger::Result<(i64, Vec<(String, i64)>)> {
    Ok((app.ledger.held().await?, app.ledger.dead().await?))
}
