//! The deliver stage: one loop per target. Send, then the verdict: done, retry later, dead.
//!
//! A target is told of as much at a time as it has slots. One that answers quickly gets a line before them: leave is asked
//! for whole batches then, and the slots need not wait for the ledger. What is in the line goes within a fraction of a
//! second, so it keeps nothing that is more urgent waiting; if the target turns slow it goes back.
//!
//! What comes for a target that somebody has disabled is parked, whoever sent it: a worker that died with it in hand, one
//! that routed it before it heard.
//!
//! What is true if the process dies:
//! - before leave is taken: nothing has happened; the message is handed out again.
//! - after leave is taken, before the target has answered or its answer is recorded: the message is handed out again and
//!   is held until the lease ends; then the target may hear of it a second time, with the same idempotency key. This is
//!   the one place where a repeat can come from.
//! - after the attempt is recorded, before the retry is published: the message is handed out again; the ledger says that
//!   it is not due yet, and it is published to wait.
//! - after that, before the acknowledgement: two messages for one delivery; leave is given once at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    Outlet,
    attempt::{Call, Context, Fresh, InHand, LONGEST_WAIT, read},
    breaker::Admission,
    feeds::Feeds,
};

/// Deliveries for which leave is asked together.
const BATCH: u16 = 64;

/// Calls that wait in a line at most: one batch, while leave is asked for the next.
const LINE: u16 = 2 * BATCH;

/// A line is for a target that gets through a batch in this time.
const QUICKLY: Duration = Duration::from_millis(100);

/// A target's slots, and the places in the line before them.
struct Window {
    outlet: Arc<Outlet>,
    slots: Arc<Semaphore>,
    line: Arc<Semaphore>,
    /// What a call takes, on average of the last ones, in microseconds.
    took: AtomicU64,
}

/// What the next calls go by.
struct Admitted {
    admission: Admission,
    /// As many calls at most, each with a slot or a place in the line.
    permits: OwnedSemaphorePermit,
    in_line: bool,
}

/// Delivers to one target until its feeds end.
pub(crate) async fn run(
    context: Context,
    outlet: Arc<Outlet>,
    mut feeds: Feeds,
) -> anyhow::Result<()> {
    let window = Arc::new(Window::new(outlet));
    // Whether the rate has allowed a call that was not made, since all its messages were leftovers.
    let mut allowed = false;
    while let Some(first) = feeds.next().await {
        let Some(first) = read(first) else { continue };
        // Stopping: the message is dropped, and so goes back to its queue.
        let admitted = tokio::select! {
            biased;
            () = context.lifecycle.stopping() => None,
            admitted = window.admitted(allowed) => admitted,
        };
        let Some(admitted) = admitted else { continue };
        let in_line = admitted.in_line;
        let calls = gather(&window, admitted, first, &mut feeds);
        if !window.takes(&context) {
            context.park(calls).await;
            allowed = true;
            continue;
        }
        let granted = context.leave(calls).await;
        allowed = granted.is_empty();
        for call in granted {
            let (here, window) = (context.clone(), Arc::clone(&window));
            context
                .lifecycle
                .spawn_work(async move { window.call(&here, call, in_line).await });
        }
    }
    Ok(())
}

impl Window {
    fn new(outlet: Arc<Outlet>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(usize::from(outlet.slots))),
            line: Arc::new(Semaphore::new(usize::from(LINE))),
            took: AtomicU64::new(u64::MAX),
            outlet,
        }
    }

    /// Whether nobody has disabled the target, as far as this worker has heard: it looks every second.
    fn takes(&self, context: &Context) -> bool {
        context.app.endpoints.known().takes(&self.outlet.name)
    }

    /// Whether the target gets a line: it has answered quickly of late, and neither a rate nor a breaker holds it back.
    fn has_line(&self) -> bool {
        let took = Duration::from_micros(self.took.load(Ordering::Relaxed));
        let rounds = (BATCH / self.outlet.slots.max(1)).max(1);
        self.outlet.rate.is_none()
            && self.outlet.breaker.lets_through()
            && took.saturating_mul(u32::from(rounds)) <= QUICKLY
    }

    /// Waits for room for a batch in the line, or else for a slot, the rate (unless it has `allowed` the call already) and
    /// the breaker.
    async fn admitted(&self, allowed: bool) -> Option<Admitted> {
        if self.has_line() {
            let room = Arc::clone(&self.line).acquire_many_owned(u32::from(BATCH));
            return Some(Admitted {
                admission: Admission::Free,
                permits: room.await.ok()?,
                in_line: true,
            });
        }
        let mut permits = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        if let Some(rate) = self.outlet.rate.as_ref().filter(|_| !allowed) {
            rate.until_ready().await;
        }
        let admission = loop {
            match self.outlet.breaker.admit(Instant::now()) {
                Admission::Wait(until) => tokio::time::sleep_until(until).await,
                admission => break admission,
            }
        };
        if admission == Admission::Free && self.outlet.rate.is_none() {
            while let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
                permits.merge(permit);
            }
        }
        Some(Admitted {
            admission,
            permits,
            in_line: false,
        })
    }

    /// Makes a call, once it has a slot. Its leave lasts for as long a wait as this.
    async fn call(&self, context: &Context, mut call: Call<InHand>, in_line: bool) {
        if in_line {
            let slot = timeout(LONGEST_WAIT, Arc::clone(&self.slots).acquire_owned()).await;
            match slot {
                Ok(Ok(slot)) if self.outlet.breaker.lets_through() && self.takes(context) => {
                    call.slot = Box::new(slot);
                }
                _ => {
                    // It is slow by now, whatever its last calls took: then it has no line.
                    self.note(LONGEST_WAIT);
                    return context.give_back(call).await;
                }
            }
        }
        let begun = Instant::now();
        context.attempt(call).await;
        self.note(begun.elapsed());
    }

    /// Notes what a call took. Two that do so at once may count as one.
    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let average = match self.took.load(Ordering::Relaxed) {
            u64::MAX => took,
            average => average - average / 8 + took / 8,
        };
        self.took.store(average, Ordering::Relaxed);
    }
}

/// Takes what is here already, as much as there are permits for and the target's batch allows, without waiting for more.
fn gather(
    window: &Window,
    admitted: Admitted,
    first: Fresh,
    feeds: &mut Feeds,
) -> Vec<Call<Fresh>> {
    let Admitted {
        admission,
        mut permits,
        ..
    } = admitted;
    let batch = window.outlet.target.batch();
    let mut fresh = vec![first];
    while fresh.len()
        < usize::from(BATCH)
            .max(batch)
            .min(permits.num_permits() * batch)
    {
        let Some(item) = feeds.at_hand() else { break };
        fresh.extend(read(item));
    }
    let mut calls = vec![];
    let mut fresh = fresh.into_iter().peekable();
    while fresh.peek().is_some()
        && let Some(permit) = permits.split(1)
    {
        calls.push(Call {
            outlet: Arc::clone(&window.outlet),
            slot: Box::new(permit),
            probing: admission == Admission::Probe,
            deliveries: fresh.by_ref().take(batch).collect(),
        });
    }
    calls
}
