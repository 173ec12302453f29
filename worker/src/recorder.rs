//! The recorder: writes what came of attempts, in batches, then publishes what is to be tried again, then lets the
//! messages be acknowledged. In this order, so that dying between two of them repeats a step and skips none.

use std::{sync::Arc, time::Duration};

use common::{fault, ledger, ledger::Finished, lifecycle::Lifecycle, patience::until_done};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::error;

use crate::{App, attempt::again, endpoints::health, stage::Item};

/// Outcomes that are written together.
const BATCH: usize = 256;

/// What is to be done about a delivery's message.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub item: Item,
    pub target: String,
    /// The attempt to record; None if none was made.
    pub finished: Option<Finished>,
    pub next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    /// The message comes back so much later.
    Again {
        delay: Duration,
    },
}

/// Records until every deliver loop and every attempt has ended, and the worker is told to stop: one that has no target
/// enabled has nothing to record, and routes all the same.
pub(crate) async fn run(
    app: Arc<App>,
    mut from: UnboundedReceiver<Verdict>,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let mut verdicts = Vec::with_capacity(BATCH);
    while from.recv_many(&mut verdicts, BATCH).await > 0 {
        // None means stopping while a store is away: the items are dropped, and the leases tell how far they got.
        if record(&app, &verdicts, &lifecycle).await.is_some() {
            verdicts.drain(..).for_each(|verdict| verdict.item.ack());
        }
        verdicts.clear();
    }
    lifecycle.stopping().await;
    Ok(())
}

async fn record(app: &App, verdicts: &[Verdict], lifecycle: &Lifecycle) -> Option<()> {
    let finished: Vec<_> = verdicts
        .iter()
        .filter_map(|verdict| verdict.finished.clone())
        .collect();
    if !finished.is_empty() {
        until_done(lifecycle, "finish", || finish(app, &finished)).await?;
        health::note(app, verdicts, lifecycle).await?;
    }
    fault::point("deliver.recorded");
    let again: Vec<_> = verdicts
        .iter()
        .filter_map(|verdict| match verdict.next {
            Next::Done => None,
            Next::Again { delay } => {
                Some(again(&verdict.target, verdict.item.body().clone(), delay))
            }
        })
        .collect();
    if !again.is_empty() {
        until_done(lifecycle, "publish", || app.queue.publish(again.clone())).await?;
    }
    fault::point("deliver.published");
    Some(())
}

async fn finish(app: &App, finished: &[Finished]) -> ledger::Result<()> {
    match app.ledger.finish(finished, app.id).await {
        Err(ledger::Error::Refused(error)) => {
            // Cannot be: every value here is ours or made storable. If it is, better loud than in a ring for ever.
            error!(%error, "the ledger refuses the record of attempts");
            Ok(())
        }
        answered => answered,
    }
}
