//! Changes of the api that the ledger has and no worker has routed: the api records a change itself before it answers, so
//! when the message of one is lost it holds, and no target is told. Their envelopes are published again, and go the way
//! of every webhook, which enters what is missing.
//!
//! Each worker looks at each change once, some minutes after it was made, and at the last hours' when it starts. What it
//! finds may be in order, as a change that no target was told of when it was routed: then its claims are settled, and
//! publishing it again has no effect.

use std::time::Duration;

use common::{
    clock, envelope,
    event::Kind,
    ledger::Unrouted,
    lifecycle::Lifecycle,
    patience::until_done,
    providers::Provider,
    queue::{self, Message, Priority, QueueName},
    request::{Api, SOURCE},
};
use jiff::Timestamp;
use tracing::warn;
use uuid::Uuid;

use crate::{
    App,
    endpoints::Known,
    sweep::{LOST_AFTER, mended},
};

/// How far a worker that starts looks back.
const LOOK_BACK: Duration = Duration::from_hours(6);

/// Envelopes that are published together.
const BATCH: i64 = 100;

/// How far this worker has looked.
pub(crate) struct Reroute {
    from: Timestamp,
}

impl Reroute {
    pub(crate) fn new() -> Self {
        let from = clock::now().checked_sub(LOOK_BACK);
        Self {
            from: from.unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// Looks at what was received since the last time. None if the worker is told to stop before; then the next start
    /// looks again.
    pub(crate) async fn run(
        &mut self,
        app: &App,
        known: &Known,
        lifecycle: &Lifecycle,
    ) -> Option<()> {
        // What may still wait is not lost; it is looked at next time.
        if until_done(lifecycle, "sweep", || something_waits(app)).await? {
            return Some(());
        }
        let to = clock::now()
            .checked_sub(LOST_AFTER)
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let told = |kind: &Kind| !app.told_of(*kind, known).is_empty();
        let kinds: Vec<_> = Kind::ALL.iter().copied().filter(told).collect();
        let wanted = Unrouted {
            source: SOURCE,
            kinds: &kinds,
            from: self.from,
            to,
        };
        let mut after = Uuid::nil();
        loop {
            let found = until_done(lifecycle, "sweep", || {
                app.ledger.unrouted(&wanted, after, BATCH)
            });
            let found = found.await?;
            let Some(last) = found.last() else { break };
            after = last.id;
            // What cannot be read is of no use to anybody.
            let readable = found.iter().filter(|one| Api.parse(one).is_ok());
            let messages: Vec<_> = readable
                .map(|one| Message {
                    queue: QueueName::Inbound(Api.priority(&one.body)),
                    body: envelope::encode([one]),
                    delay: Duration::ZERO,
                })
                .collect();
            warn!(
                changes = messages.len(),
                "publishing changes of the api that no target is being told of"
            );
            until_done(lifecycle, "publish", || app.queue.publish(messages.clone())).await?;
            mended("change_published", messages.len() as u64);
        }
        self.from = to;
        Some(())
    }
}

async fn something_waits(app: &App) -> queue::Result<bool> {
    for priority in Priority::ALL {
        let inbound = QueueName::Inbound(*priority);
        if app.queue.depth(&inbound).await?.ready > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
