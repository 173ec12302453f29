//! What is recorded in the audit trail off the path of an answer that must not wait.

use common::{
    ledger::{self, Act, Ledger},
    lifecycle::Lifecycle,
    patience::until_done,
};
use metrics::counter;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{error, warn};

/// Acts that wait to be written. At a thousand questions a second that is some ten seconds without the ledger.
const WAITING: usize = 16_384;

/// Acts that are written together.
const BATCH: usize = 500;

/// Takes acts to be recorded soon. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Trail(Sender<Act>);

impl Trail {
    /// A trail, and what [`write()`] takes from.
    pub(crate) fn new() -> (Self, Receiver<Act>) {
        let (sender, receiver) = channel(WAITING);
        (Self(sender), receiver)
    }

    /// Records soon. Where too many wait already the act is let go and counted: an answer does not wait for its record.
    pub(crate) fn note(&self, act: Act) {
        if self.0.try_send(act).is_err() {
            counter!("optout_audit_dropped_total").increment(1);
        }
    }
}

/// Writes what comes until nobody is left to send any, and then what is left. What waits when the process dies is lost:
/// the answers were given, their record was not.
pub(crate) async fn write(
    mut acts: Receiver<Act>,
    ledger: Ledger,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    while acts.recv_many(&mut batch, BATCH).await > 0 {
        let written = until_done(&lifecycle, "audit", || async {
            match ledger.audit(&batch).await {
                Err(ledger::Error::Unavailable(away)) => Err(away),
                answered => Ok(answered),
            }
        });
        match written.await {
            Some(Ok(())) => {}
            Some(Err(refused)) => error!(error = %refused, "the ledger refuses audit records"),
            None => warn!(
                acts = batch.len(),
                "stopped before audit records could be written"
            ),
        }
        batch.clear();
    }
    Ok(())
}
