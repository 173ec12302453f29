//! Pages that are brought up to date while somebody looks.
//!
//! One loop per process asks every two seconds whether anything has changed, only while somebody watches, and for all of
//! them together. A stream tells its page no more than that: the page fetches itself anew, so what it shows is made in
//! one place, with its filters and for its visitor. Streams are bounded in number, and end with the session and with the
//! process.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use bytes::Bytes;
use common::lifecycle::Lifecycle;
use futures_util::stream;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::visitor::Visitor;
use crate::{
    App,
    error::{Error, Result, asked},
};

/// How often it is asked whether anything has changed.
const EVERY: Duration = Duration::from_secs(2);

/// How often a stream makes sure that its session has not ended.
const RECHECK: Duration = Duration::from_secs(20);

/// The most pages of this process that are kept up to date.
const MOST: usize = 200;

/// Replays and reconciliations that are watched for how far they have come: the newest.
const JOBS: usize = 5;

/// What the watchers share.
pub(super) struct Live {
    /// A mark of what was seen last; empty before the first look.
    mark: watch::Sender<String>,
    came: Notify,
    seats: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

/// One watcher's stream.
struct Watch {
    app: Arc<App>,
    visitor: Visitor,
    mark: watch::Receiver<String>,
    _seat: OwnedSemaphorePermit,
}

impl Live {
    pub(super) fn new(lifecycle: &Lifecycle) -> Self {
        Self {
            mark: watch::Sender::default(),
            came: Notify::new(),
            seats: Arc::new(Semaphore::new(MOST)),
            lifecycle: lifecycle.clone(),
        }
    }
}

/// `GET /live`: an event, without content that matters, whenever something has changed.
pub(super) async fn watch(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Response> {
    let live = &app.dashboard.live;
    let seat = Arc::clone(&live.seats).try_acquire_owned();
    let seat = seat.map_err(|_| Error::TooManyWatch)?;
    let mut mark = live.mark.subscribe();
    // The page may be older than what was seen last.
    if !mark.borrow().is_empty() {
        mark.mark_changed();
    }
    live.came.notify_one();
    let watch = Watch {
        app: Arc::clone(&app),
        visitor,
        mark,
        _seat: seat,
    };
    let events = stream::unfold(watch, async |mut watch| {
        let mark = watch.next().await?;
        Some((Ok::<_, Infallible>(Event::default().data(mark)), watch))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new())
        .into_response())
}

impl Watch {
    /// The next change; None at the end of the session or the process.
    async fn next(&mut self) -> Option<String> {
        let lifecycle = self.app.dashboard.live.lifecycle.clone();
        loop {
            tokio::select! {
                () = lifecycle.stopping() => return None,
                changed = timeout(RECHECK, self.mark.changed()) => match changed {
                    Ok(Ok(())) => return Some(self.mark.borrow_and_update().clone()),
                    Ok(Err(_)) => return None,
                    Err(_) => {
                        // While the ledger is away nothing is known of the session, and nothing is shown.
                        if let Ok(None) = self.visitor.still(&self.app).await {
                            return None;
                        }
                    }
                },
            }
        }
    }
}

/// Looks whether anything has changed, while somebody watches.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let live = &app.dashboard.live;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = lifecycle.stopping() => return Ok(()),
        }
        if live.mark.receiver_count() == 0 {
            tokio::select! {
                () = live.came.notified() => {}
                () = lifecycle.stopping() => return Ok(()),
            }
        }
        // What is away is told by the pages themselves.
        if let Ok(seen) = Box::pin(look(&app)).await {
            live.mark.send_if_modified(|mark| {
                let is_new = *mark != seen;
                *mark = seen;
                is_new
            });
        }
    }
}

/// A mark of all that the pages show which changes by itself.
async fn look(app: &Arc<App>) -> Result<String> {
    let pulse = &app.dashboard.pulse;
    let replays = async { asked(app.ledger.replays(JOBS, None)).await };
    let compared = Box::pin(async { asked(app.ledger.reconciliations(JOBS, None)).await });
    // Grows when a target or an endpoint is enabled or disabled.
    let version = async { asked(app.ledger.endpoints_version()).await };
    let (minutes, trouble, report, replays, compared, version) = tokio::try_join!(
        pulse.minutes(app),
        pulse.trouble(app),
        pulse.report(app),
        replays,
        compared,
        version
    )?;
    let counted = report.map(|report| report.day.to);
    let jobs = (replays.items, compared.items);
    let seen = json!([*minutes, *trouble, counted, jobs, version]).to_string();
    let digest = Bytes::copy_from_slice(&Sha256::digest(seen)[..8]);
    Ok(format!("{digest:x}"))
}
