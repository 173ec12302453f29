//! The deliver loop of all endpoints: one for the queues that they share. It never waits for one of them: what cannot
//! go now waits in a short line or is put off, and the loop goes on to the next.
//!
//! What is true if the process dies: what [`crate::deliver`] says. Between putting a delivery off, parking or burying it
//! in the ledger and settling its message, the message is handed out again, and the ledger says the same of it again.

use common::patience::until_done;
use tokio::sync::mpsc::unbounded_channel;

use super::desk::{Desks, Plan};
use crate::{
    attempt::{self, Context, read},
    feeds::Feeds,
};

/// Messages in hand per queue: as many calls as several hundred endpoints that hang have under way, and the lines.
pub(crate) const PREFETCH: u16 = 4096;

/// Messages that are looked at together.
const BATCH: usize = 256;

/// Delivers to all endpoints until the feeds end.
pub(crate) async fn run(context: Context, mut feeds: Feeds) -> anyhow::Result<()> {
    let (app, lifecycle) = (&context.app, &context.lifecycle);
    let (to, mut calls) = unbounded_channel();
    let mut desks = Desks::new(app.endpoints.slots(), to);
    let mut stopping = false;
    loop {
        let (mut fresh, mut ended) = (vec![], vec![]);
        tokio::select! {
            biased;
            () = lifecycle.stopping(), if !stopping => stopping = true,
            Some(call) = calls.recv() => ended.push(call),
            first = feeds.next() => match first {
                Some(item) => fresh.extend(read(item)),
                None => return Ok(()),
            }
        }
        if stopping {
            // What waits goes back to its queue, and so does all that comes from now on.
            desks.clear();
            continue;
        }
        while let Ok(call) = calls.try_recv() {
            ended.push(call);
        }
        while fresh.len() < BATCH
            && let Some(item) = feeds.at_hand()
        {
            fresh.extend(read(item));
        }
        let current = until_done(lifecycle, "endpoints", || {
            app.endpoints.current(&app.ledger)
        });
        if let Some(known) = current.await {
            work(&context, desks.plan(&known, fresh, ended)).await;
        }
    }
}

/// Does as planned. If the worker is told to stop in the middle, what is left goes back to its queue.
async fn work(context: &Context, plan: Plan) {
    if !plan.calls.is_empty() {
        for call in context.leave(plan.calls).await {
            let here = context.clone();
            let attempt = async move { here.attempt(call).await };
            context.lifecycle.spawn_work(attempt);
        }
    }
    let ledger = &context.app.ledger;
    let (later, waits): (Vec<_>, Vec<_>) = plan.later.into_iter().unzip();
    let ids: Vec<_> = attempt::ids(&later).into_iter().zip(waits).collect();
    context.set_aside(later, || ledger.postpone(&ids)).await;
    let ids = attempt::ids(&plan.parked);
    context.set_aside(plan.parked, || ledger.park(&ids)).await;
    let ids = attempt::ids(&plan.deleted);
    context
        .set_aside(plan.deleted, || ledger.bury_deleted(&ids))
        .await;
}
