//! An attempt at deliveries, whichever loop it comes from: leave, the call, the verdict.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use common::{
    clock,
    delivery::{Answer, Attempt, Delivery, Outcome, State},
    endpoint, fault,
    ledger::{self, Finished, Leave},
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{Feed, Message},
};
use futures_util::FutureExt;
use jiff::Timestamp;
use metrics::{counter, histogram};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    App, Outlet,
    breaker::Level,
    overtaken,
    recorder::{Next, Verdict},
    stage::Item,
    sweep::mended,
};

/// A lease lasts this much longer than the longest attempt, for the recording.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// And this much longer, for the wait for a slot. What waits longer is given back.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A target ends by itself at its deadline, and then says what it had told already; this is for one that does not.
const GRACE: Duration = Duration::from_secs(1);

/// What every deliver loop works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub app: Arc<App>,
    pub recorder: UnboundedSender<Verdict>,
    pub lifecycle: Lifecycle,
}

/// A message in hand, read.
pub(crate) struct Fresh {
    pub item: Item,
    pub delivery: Delivery,
}

/// A delivery that this worker may attempt now.
pub(crate) struct InHand {
    fresh: Fresh,
    attempt: u32,
    ever: i64,
}

/// One call's worth of deliveries, with the slot that it takes.
pub(crate) struct Call<T> {
    pub outlet: Arc<Outlet>,
    /// It is free again once this is dropped.
    pub slot: Box<dyn Send>,
    /// Whether it decides about the outlet's breaker.
    pub probing: bool,
    pub deliveries: Vec<T>,
}

/// Reads a message. One that cannot be read is dropped, so handed out again until it is parked as poison, where it is
/// shown.
pub(crate) fn read(item: Item) -> Option<Fresh> {
    match Delivery::decode(item.body()) {
        Ok(delivery) => Some(Fresh { item, delivery }),
        Err(error) => {
            error!(%error, "a delivery cannot be decoded");
            None
        }
    }
}

impl Context {
    /// Asks the ledger's leave for all of them in one statement, and settles those that may not be attempted now.
    pub(crate) async fn leave(&self, calls: Vec<Call<Fresh>>) -> Vec<Call<InHand>> {
        let ids: Vec<_> = calls
            .iter()
            .flat_map(|call| call.deliveries.iter().map(|fresh| fresh.delivery.id))
            .collect();
        let timeout = calls.iter().map(|call| call.outlet.timeout).max();
        let lease = LONGEST_WAIT + timeout.unwrap_or_default() + LEASE_MARGIN;
        let leaves = until_done(&self.lifecycle, "take", || {
            self.app.ledger.take(&ids, self.app.id, lease)
        });
        let Some(leaves) = leaves.await else {
            return vec![];
        };
        fault::point("deliver.taken");
        let mut leaves = leaves.into_iter();
        let mut granted = vec![];
        for call in calls {
            let mut deliveries = vec![];
            for (fresh, leave) in call.deliveries.into_iter().zip(leaves.by_ref()) {
                deliveries.extend(self.heed(fresh, leave).await);
            }
            if !deliveries.is_empty() {
                granted.push(Call {
                    outlet: call.outlet,
                    slot: call.slot,
                    probing: call.probing,
                    deliveries,
                });
            } else if call.probing {
                call.outlet.breaker.withdraw(Instant::now());
            }
        }
        granted
    }

    /// Does with a message as the ledger says; gives it back if its delivery may be attempted.
    pub(crate) async fn heed(&self, fresh: Fresh, leave: Leave) -> Option<InHand> {
        match leave {
            Leave::Granted { attempt, ever } => {
                return Some(InHand {
                    fresh,
                    attempt,
                    ever,
                });
            }
            Leave::Wait { left } => self.tell(waiting(fresh, left)),
            Leave::Taken { left } => hold(&self.lifecycle, fresh.item, left),
            Leave::Finished => fresh.item.ack(),
            Leave::Unknown => {
                error!(delivery.id = %fresh.delivery.id, "the ledger does not know a delivery; it is entered again");
                let adopted = until_done(&self.lifecycle, "adopt", || {
                    self.app.ledger.adopt(&fresh.delivery)
                });
                if adopted.await.is_some() {
                    mended("delivery_entered", 1);
                    self.tell(waiting(fresh, Duration::ZERO));
                }
            }
        }
        None
    }

    /// Calls the target once and passes on what came of it.
    pub(crate) async fn attempt(&self, call: Call<InHand>) {
        let outlet = &*call.outlet;
        let started_at = clock::now();
        let begun = Instant::now();
        let deliveries: Vec<_> = call
            .deliveries
            .iter()
            .map(|in_hand| in_hand.fresh.delivery.clone())
            .collect();
        let told = overtaken::deliver(&self.app, outlet, &deliveries);
        let (mut answers, why) = match guarded(outlet, told).await {
            Ok(Err(error)) => {
                // Trouble inside spends no attempt: the messages go back, and are held until their leases end.
                warn!(%error, "the ledger could not be asked before a target is told");
                if call.probing {
                    outlet.breaker.withdraw(Instant::now());
                }
                return;
            }
            Ok(Ok(answers)) => (answers, "the target's code gave no answer".to_owned()),
            Err(why) => (vec![], why),
        };
        fault::point("deliver.sent");
        answers.resize_with(call.deliveries.len(), || Answer::retry(&why));
        judge(outlet, &answers, call.probing);
        let took = begun.elapsed();
        for (in_hand, answer) in call.deliveries.into_iter().zip(answers) {
            self.tell(verdict(
                &self.app, outlet, in_hand, answer, started_at, took,
            ));
        }
    }

    /// Gives back the leave for what was not attempted in time, and lets it come again. If the process dies before, the
    /// lease ends and the message is handed out again; after, the message is there a second time.
    pub(crate) async fn give_back(&self, call: Call<InHand>) {
        let deliveries = call.deliveries.iter();
        let ids: Vec<_> = deliveries
            .map(|in_hand| in_hand.fresh.delivery.id)
            .collect();
        let given = until_done(&self.lifecycle, "give back", || {
            self.app.ledger.give_back(&ids, self.app.id)
        });
        if given.await.is_some() {
            for in_hand in call.deliveries {
                self.tell(waiting(in_hand.fresh, Duration::ZERO));
            }
        }
    }

    /// Parks what is for a target that takes nothing now. If the process dies before, the messages are handed out again and
    /// come here again; after, they find their deliveries parked.
    pub(crate) async fn park(&self, calls: Vec<Call<Fresh>>) {
        for call in &calls {
            if call.probing {
                call.outlet.breaker.withdraw(Instant::now());
            }
        }
        let deliveries: Vec<_> = calls.into_iter().flat_map(|call| call.deliveries).collect();
        let ids = ids(&deliveries);
        self.set_aside(deliveries, || self.app.ledger.park(&ids))
            .await;
    }

    /// Sets deliveries aside in the ledger, and does with their messages as it then says.
    pub(crate) async fn set_aside<F>(&self, deliveries: Vec<Fresh>, aside: impl FnMut() -> F)
    where
        F: Future<Output = ledger::Result<Vec<Leave>>>,
    {
        if deliveries.is_empty() {
            return;
        }
        let leaves = until_done(&self.lifecycle, "set aside", aside).await;
        for (fresh, leave) in deliveries.into_iter().zip(leaves.into_iter().flatten()) {
            self.heed(fresh, leave).await;
        }
    }

    /// Passes a verdict on. The recorder outlives the loops; if it is gone the item is dropped, and so goes back.
    fn tell(&self, verdict: Verdict) {
        if self.recorder.send(verdict).is_err() {
            info!("a delivery's outcome could not be recorded before the worker stopped");
        }
    }
}

/// The deliveries that the messages are about.
pub(crate) fn ids(messages: &[Fresh]) -> Vec<Uuid> {
    messages.iter().map(|fresh| fresh.delivery.id).collect()
}

/// What a target's code says, or why it says nothing: a bug in one target's code is a failed attempt, which must cost no
/// other target its worker, and is not to be tried for ever.
pub(crate) async fn guarded<T>(
    outlet: &Outlet,
    told: impl Future<Output = T>,
) -> Result<T, String> {
    let told = AssertUnwindSafe(told).catch_unwind();
    match tokio::time::timeout(outlet.timeout + GRACE, told).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(_)) => Err("the target's code panicked".to_owned()),
        Err(_) => Err(format!("no answer within {:?}", outlet.timeout)),
    }
}

/// Keeps a message while its delivery is in other hands, and then lets it go back to its queue. It is not published
/// afresh, since that would begin its count anew, by which one is known that keeps killing its worker.
fn hold(lifecycle: &Lifecycle, item: Item, left: Duration) {
    let stopping = lifecycle.clone();
    lifecycle.spawn_work(async move {
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            () = stopping.stopping() => {}
        }
        drop(item);
    });
}

/// A target that answers, even with a refusal, is well; one that fails counts towards its breaker. What was withheld says
/// nothing of it.
fn judge(outlet: &Outlet, answers: &[Answer], probing: bool) {
    let withheld = |answer: &Answer| answer.outcome == Outcome::Withheld;
    if answers.iter().all(withheld) {
        if probing {
            outlet.breaker.withdraw(Instant::now());
        }
        return;
    }
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
        fresh: Fresh { item, delivery },
        attempt,
        ever,
    } = in_hand;
    let (outcome, error, asked) = match &answer.outcome {
        Outcome::Done => ("done", None, None),
        Outcome::Withheld => ("withheld", None, None),
        Outcome::Retry { after, why } => ("retry", Some(why.clone()), *after),
        Outcome::Dead { why } => ("dead", Some(why.clone()), None),
    };
    let delay = match answer.outcome {
        Outcome::Retry { .. } => app.schedule.delay(attempt, asked, rand::random()),
        Outcome::Done | Outcome::Withheld | Outcome::Dead { .. } => None,
    };
    let state = match (&answer.outcome, delay) {
        (Outcome::Done | Outcome::Withheld, _) => State::Delivered,
        (Outcome::Retry { .. }, Some(_)) => State::Retrying,
        (Outcome::Retry { .. } | Outcome::Dead { .. }, _) => State::Dead,
    };
    let duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    info!(target_name = outlet.name, delivery.id = %delivery.id, event.id = %delivery.event.id,
        envelope.id = %delivery.event.envelope_id, attempt, outcome, state = %state, status = answer.status, duration_ms,
        error, "delivery attempted");
    counter!("optout_attempts_total", "target" => outlet.label().to_owned(), "outcome" => outcome)
        .increment(1);
    histogram!("optout_attempt_seconds", "target" => outlet.label().to_owned())
        .record(took.as_secs_f64());
    if state == State::Delivered {
        let waited = clock::now()
            .duration_since(delivery.event.received_at)
            .as_secs_f64();
        histogram!("optout_accepted_to_delivered_seconds", "target" => outlet.label().to_owned())
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
    let next = delay.map_or(Next::Done, |delay| Next::Again { delay });
    let finished = Some(Finished {
        delivery: delivery.id,
        state,
        again: delay,
        attempt,
    });
    Verdict {
        item,
        target: delivery.target,
        finished,
        next,
    }
}

/// The verdict on a message whose time has not come.
fn waiting(fresh: Fresh, delay: Duration) -> Verdict {
    Verdict {
        item: fresh.item,
        target: fresh.delivery.target,
        finished: None,
        next: Next::Again { delay },
    }
}

/// The message by which a delivery comes back to its target after `delay`.
pub(crate) fn again(target: &str, body: bytes::Bytes, delay: Duration) -> Message {
    Message {
        queue: endpoint::queue_of(target, Feed::Retried),
        body,
        delay,
    }
}
