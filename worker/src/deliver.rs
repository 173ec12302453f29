//! The deliver stage: one loop per target. Send, then the verdict: done, retry later, dead.
//!
//! What is true if the process dies:
//! - before leave is taken: nothing has happened; the message is handed out again.
//! - after leave is taken, before the target has answered or its answer is recorded: the message is handed out again and
//!   is held until the lease ends; then the target may hear of it a second time, with the same idempotency key. This is
//!   the one place where a repeat can come from.
//! - after the attempt is recorded, before the retry is published: the message is handed out again; the ledger says that
//!   it is not due yet, and it is published to wait.
//! - after that, before the acknowledgement: two messages for one delivery; leave is given once at a time.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use common::{
    clock,
    delivery::{Answer, Attempt, Delivery, Outcome, State},
    fault,
    ledger::{Finished, Leave},
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{Feed, Message, QueueName},
};
use futures_util::FutureExt;
use jiff::Timestamp;
use metrics::{counter, histogram};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedSender},
    time::Instant,
};
use tracing::{error, info, warn};

use crate::{
    App, Outlet,
    breaker::{Admission, Level},
    feeds::Feeds,
    overtaken,
    recorder::{Next, Verdict},
    stage::Item,
};

/// A lease lasts this much longer than the longest attempt, for the recording.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// A target ends by itself at its deadline, and then says what it had told already; this is for one that does not.
const GRACE: Duration = Duration::from_secs(1);

/// Deliveries for which leave is asked together.
const BATCH: usize = 64;

/// Delivers to one target until its feeds end.
pub(crate) async fn run(
    app: Arc<App>,
    outlet: Arc<Outlet>,
    mut feeds: Feeds,
    recorder: UnboundedSender<Verdict>,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let slots = Arc::new(Semaphore::new(usize::from(outlet.slots)));
    // Whether the rate has allowed a call that was not made, since all its messages were leftovers.
    let mut allowed = false;
    while let Some(first) = feeds.next().await {
        // Stopping: the message is dropped, and so goes back to its queue.
        let admitted = admitted(&outlet, &slots, allowed, &lifecycle).await;
        let Some((admission, permit)) = admitted else {
            continue;
        };
        let calls = gather(&outlet, &slots, admission, permit, first, &mut feeds);
        let probing = admission == Admission::Probe;
        let granted = leave(&app, &outlet, calls, &recorder, &lifecycle).await;
        allowed = granted.is_empty();
        if probing && granted.is_empty() {
            outlet.breaker.withdraw(Instant::now());
        }
        for (permit, call) in granted {
            let (app, outlet, recorder) = (Arc::clone(&app), Arc::clone(&outlet), recorder.clone());
            lifecycle.spawn_work(async move {
                attempt(&app, &outlet, call, &recorder).await;
                drop(permit);
            });
        }
    }
    Ok(())
}

/// Waits for a slot, the rate (unless it has `allowed` the call already) and the breaker. None if the worker is told to stop before.
async fn admitted(
    outlet: &Outlet,
    slots: &Arc<Semaphore>,
    allowed: bool,
    lifecycle: &Lifecycle,
) -> Option<(Admission, OwnedSemaphorePermit)> {
    let wait = async {
        let permit = Arc::clone(slots).acquire_owned().await.ok()?;
        if let Some(rate) = outlet.rate.as_ref().filter(|_| !allowed) {
            rate.until_ready().await;
        }
        loop {
            match outlet.breaker.admit(Instant::now()) {
                Admission::Wait(until) => tokio::time::sleep_until(until).await,
                admission => return Some((admission, permit)),
            }
        }
    };
    tokio::select! {
        biased;
        () = lifecycle.stopping() => None,
        admitted = wait => admitted,
    }
}

/// One call's worth of messages, with the slot that it takes.
type Call<T> = (OwnedSemaphorePermit, Vec<T>);

/// Takes what is here already, as much as the free slots and the target's batch allow, without waiting for more.
fn gather(
    outlet: &Outlet,
    slots: &Arc<Semaphore>,
    admission: Admission,
    permit: OwnedSemaphorePermit,
    first: Item,
    feeds: &mut Feeds,
) -> Vec<Call<Item>> {
    let batch = outlet.target.batch();
    let one_call = admission == Admission::Probe || outlet.rate.is_some();
    let mut calls = vec![(permit, vec![first])];
    let mut gathered = 1;
    while gathered < BATCH.max(batch) {
        let full = calls.last().is_none_or(|(_, items)| items.len() >= batch);
        if full {
            let free = if one_call {
                None
            } else {
                Arc::clone(slots).try_acquire_owned().ok()
            };
            let Some(permit) = free else { break };
            calls.push((permit, vec![]));
        }
        let Some(item) = feeds.at_hand() else { break };
        gathered += 1;
        if let Some((_, items)) = calls.last_mut() {
            items.push(item);
        }
    }
    calls.retain(|(_, items)| !items.is_empty());
    calls
}

/// Asks the ledger's leave for all of them in one statement, and settles those that may not be attempted now.
async fn leave(
    app: &App,
    outlet: &Outlet,
    calls: Vec<Call<Item>>,
    recorder: &UnboundedSender<Verdict>,
    lifecycle: &Lifecycle,
) -> Vec<Call<InHand>> {
    let calls: Vec<Call<(Item, Delivery)>> = calls
        .into_iter()
        .map(|(permit, items)| (permit, items.into_iter().filter_map(decode).collect()))
        .collect();
    let ids: Vec<_> = calls
        .iter()
        .flat_map(|(_, items)| items.iter().map(|(_, delivery)| delivery.id))
        .collect();
    let lease = outlet.timeout + LEASE_MARGIN;
    let leaves = until_done(lifecycle, "take", || app.ledger.take(&ids, app.id, lease)).await;
    let Some(leaves) = leaves else { return vec![] };
    fault::point("deliver.taken");

    let mut leaves = leaves.into_iter();
    let mut granted = vec![];
    for (permit, items) in calls {
        let mut in_hand = vec![];
        for ((item, delivery), leave) in items.into_iter().zip(leaves.by_ref()) {
            match leave {
                Leave::Granted { attempt, ever } => in_hand.push(InHand {
                    item,
                    delivery,
                    attempt,
                    ever,
                }),
                Leave::Wait { until } => tell(recorder, waiting(outlet, item, until)),
                Leave::Taken { until } => hold(lifecycle, item, until),
                Leave::Finished => item.ack(),
                Leave::Unknown => {
                    error!(delivery.id = %delivery.id, "the ledger does not know a delivery; it is entered again");
                    if until_done(lifecycle, "adopt", || app.ledger.adopt(&delivery))
                        .await
                        .is_some()
                    {
                        tell(recorder, waiting(outlet, item, clock::now()));
                    }
                }
            }
        }
        if !in_hand.is_empty() {
            granted.push((permit, in_hand));
        }
    }
    granted
}

/// Keeps a message while its delivery is in other hands, and then lets it go back to its queue. It is not published
/// afresh, since that would begin its count anew, by which one is known that keeps killing its worker.
fn hold(lifecycle: &Lifecycle, item: Item, until: Timestamp) {
    let stopping = lifecycle.clone();
    let wait = Duration::try_from(until.duration_since(clock::now())).unwrap_or_default();
    lifecycle.spawn_work(async move {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopping.stopping() => {}
        }
        drop(item);
    });
}

/// A delivery that this worker may attempt now.
struct InHand {
    item: Item,
    delivery: Delivery,
    attempt: u32,
    ever: i64,
}

fn decode(item: Item) -> Option<(Item, Delivery)> {
    match Delivery::decode(item.body()) {
        Ok(delivery) => Some((item, delivery)),
        Err(error) => {
            // Dropped, so handed out again until it is parked as poison, where it is shown.
            error!(%error, "a delivery cannot be decoded");
            None
        }
    }
}

/// Calls the target once and passes on what came of it.
async fn attempt(
    app: &App,
    outlet: &Outlet,
    call: Vec<InHand>,
    recorder: &UnboundedSender<Verdict>,
) {
    let started_at = clock::now();
    let begun = Instant::now();
    let deliveries: Vec<_> = call
        .iter()
        .map(|in_hand| in_hand.delivery.clone())
        .collect();
    // A bug in one target's code is a failed attempt: it must cost no other target its worker, and is not to be tried
    // for ever.
    let told = AssertUnwindSafe(overtaken::deliver(app, outlet, &deliveries)).catch_unwind();
    let (mut answers, why) = match tokio::time::timeout(outlet.timeout + GRACE, told).await {
        Ok(Ok(Err(error))) => {
            // Trouble inside spends no attempt: the messages go back, and are held until their leases end.
            warn!(%error, "the ledger could not be asked before a target is told");
            return;
        }
        Ok(Ok(Ok(answers))) => (answers, "the target's code gave no answer".to_owned()),
        Ok(Err(_)) => (vec![], "the target's code panicked".to_owned()),
        Err(_) => (vec![], format!("no answer within {:?}", outlet.timeout)),
    };
    fault::point("deliver.sent");
    answers.resize_with(call.len(), || Answer::retry(&why));
    judge(outlet, &answers);
    let took = begun.elapsed();
    for (in_hand, answer) in call.into_iter().zip(answers) {
        let verdict = verdict(app, outlet, in_hand, answer, started_at, took);
        tell(recorder, verdict);
    }
}

/// A target that answers, even with a refusal, is well; one that fails counts towards its breaker.
fn judge(outlet: &Outlet, answers: &[Answer]) {
    let before = outlet.breaker.level();
    let well = |answer: &Answer| matches!(answer.outcome, Outcome::Done | Outcome::Dead { .. });
    if answers.iter().any(well) {
        outlet.breaker.succeeded();
    } else {
        outlet.breaker.failed(Instant::now());
    }
    match (before, outlet.breaker.level()) {
        (Level::Closed, Level::Open) => {
            warn!(
                target_name = outlet.name,
                "a target keeps failing; it is left alone for a while"
            );
        }
        (Level::Open | Level::HalfOpen, Level::Closed) => {
            info!(target_name = outlet.name, "a target works again");
        }
        _ => {}
    }
}

fn verdict(
    app: &App,
    outlet: &Outlet,
    in_hand: InHand,
    answer: Answer,
    started_at: Timestamp,
    took: Duration,
) -> Verdict {
    let InHand {
        item,
        delivery,
        attempt,
        ever,
    } = in_hand;
    let (outcome, error, asked) = match &answer.outcome {
        Outcome::Done => ("done", None, None),
        Outcome::Retry { after, why } => ("retry", Some(why.clone()), *after),
        Outcome::Dead { why } => ("dead", Some(why.clone()), None),
    };
    let delay = match answer.outcome {
        Outcome::Retry { .. } => app.schedule.delay(attempt, asked, rand::random()),
        Outcome::Done | Outcome::Dead { .. } => None,
    };
    let (state, next_attempt_at) = match (&answer.outcome, delay) {
        (Outcome::Done, _) => (State::Delivered, None),
        (Outcome::Retry { .. }, Some(delay)) => {
            (State::Retrying, clock::now().checked_add(delay).ok())
        }
        (Outcome::Retry { .. } | Outcome::Dead { .. }, _) => (State::Dead, None),
    };
    let duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    info!(target_name = outlet.name, delivery.id = %delivery.id, event.id = %delivery.event.id,
        envelope.id = %delivery.event.envelope_id, attempt, outcome, state = %state, status = answer.status, duration_ms,
        error, "delivery attempted");
    counter!("optout_attempts_total", "target" => outlet.name.clone(), "outcome" => outcome)
        .increment(1);
    histogram!("optout_attempt_seconds", "target" => outlet.name.clone())
        .record(took.as_secs_f64());
    if state == State::Delivered {
        let waited = clock::now()
            .duration_since(delivery.event.received_at)
            .as_secs_f64();
        histogram!("optout_accepted_to_delivered_seconds", "target" => outlet.name.clone())
            .record(waited.max(0.0));
    }
    let status = answer.status.map(i64::from);
    let attempt = Attempt {
        number: ever,
        started_at,
        duration_ms,
        outcome: outcome.to_owned(),
        status,
        error,
        answer: answer.excerpt,
    };
    let next = next_attempt_at.map_or(Next::Done, |until| Next::Again { until });
    let finished = Some(Finished {
        delivery: delivery.id,
        state,
        next_attempt_at,
        attempt,
    });
    Verdict {
        item,
        target: outlet.name.clone(),
        finished,
        next,
    }
}

/// The verdict on a message whose time has not come.
fn waiting(outlet: &Outlet, item: Item, until: Timestamp) -> Verdict {
    Verdict {
        item,
        target: outlet.name.clone(),
        finished: None,
        next: Next::Again { until },
    }
}

/// Passes a verdict on. The recorder outlives the loops; if it is gone the item is dropped, and so goes back.
fn tell(recorder: &UnboundedSender<Verdict>, verdict: Verdict) {
    if recorder.send(verdict).is_err() {
        info!("a delivery's outcome could not be recorded before the worker stopped");
    }
}

/// The message by which a delivery comes back to its target at `until`.
pub(crate) fn again(target: &str, body: bytes::Bytes, until: Timestamp) -> Message {
    let delay = Duration::try_from(until.duration_since(clock::now())).unwrap_or_default();
    Message {
        queue: QueueName::Target(target.to_owned(), Feed::Retried),
        body,
        delay,
    }
}
