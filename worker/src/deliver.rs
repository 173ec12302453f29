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

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    Outlet,
    attempt::{Call, Context, Fresh, read},
    breaker::Admission,
    feeds::Feeds,
};

/// Deliveries for which leave is asked together.
const BATCH: usize = 64;

/// Delivers to one target until its feeds end.
pub(crate) async fn run(
    context: Context,
    outlet: Arc<Outlet>,
    mut feeds: Feeds,
) -> anyhow::Result<()> {
    let slots = Arc::new(Semaphore::new(usize::from(outlet.slots)));
    // Whether the rate has allowed a call that was not made, since all its messages were leftovers.
    let mut allowed = false;
    while let Some(first) = feeds.next().await {
        let Some(first) = read(first) else { continue };
        // Stopping: the message is dropped, and so goes back to its queue.
        let admitted = admitted(&context, &outlet, &slots, allowed).await;
        let Some((admission, permit)) = admitted else {
            continue;
        };
        let calls = gather(&outlet, &slots, admission, permit, first, &mut feeds);
        let granted = context.leave(calls).await;
        allowed = granted.is_empty();
        for call in granted {
            let here = context.clone();
            context
                .lifecycle
                .spawn_work(async move { here.attempt(call).await });
        }
    }
    Ok(())
}

/// Waits for a slot, the rate (unless it has `allowed` the call already) and the breaker. None if the worker is told to stop before.
async fn admitted(
    context: &Context,
    outlet: &Outlet,
    slots: &Arc<Semaphore>,
    allowed: bool,
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
        () = context.lifecycle.stopping() => None,
        admitted = wait => admitted,
    }
}

/// Takes what is here already, as much as the free slots and the target's batch allow, without waiting for more.
fn gather(
    outlet: &Arc<Outlet>,
    slots: &Arc<Semaphore>,
    admission: Admission,
    permit: OwnedSemaphorePermit,
    first: Fresh,
    feeds: &mut Feeds,
) -> Vec<Call<Fresh>> {
    let batch = outlet.target.batch();
    let probing = admission == Admission::Probe;
    let one_call = probing || outlet.rate.is_some();
    let call = |permit: OwnedSemaphorePermit, deliveries| Call {
        outlet: Arc::clone(outlet),
        slot: Box::new(permit),
        probing,
        deliveries,
    };
    let mut calls = vec![call(permit, vec![first])];
    let mut gathered = 1;
    while gathered < BATCH.max(batch) {
        let full = calls
            .last()
            .is_none_or(|call| call.deliveries.len() >= batch);
        if full {
            let free = if one_call {
                None
            } else {
                Arc::clone(slots).try_acquire_owned().ok()
            };
            let Some(permit) = free else { break };
            calls.push(call(permit, vec![]));
        }
        let Some(item) = feeds.at_hand() else { break };
        gathered += 1;
        if let Some(call) = calls.last_mut() {
            call.deliveries.extend(read(item));
        }
    }
    calls.retain(|call| !call.deliveries.is_empty());
    calls
}
