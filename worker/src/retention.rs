//! Retention: takes away what is older than it is kept, in small steps with pauses, so that it has the ledger for a fifth
//! of the time at most and no opt-out waits for it.
//!
//! Every worker does it: what one has taken away the others no longer find. What is true if the process dies is said in
//! the ledger's own [`Ledger::expire_payloads`].

use std::time::Duration;

use common::{
    clock,
    config::{Keep, Retention},
    ledger::{self, Ledger},
    lifecycle::Lifecycle,
    patience::until_done,
};
use jiff::{SignedDuration, Timestamp};
use metrics::counter;
use tokio::time::{Instant, sleep};

/// How often is looked for what has become too old.
const EVERY: Duration = Duration::from_mins(10);

/// Rows of one step: a few milliseconds' work.
const STEP: i64 = 200;

/// How long a token is kept that nobody else came by: its signature holds for two days at most, a day of which its time may
/// lie ahead.
const TOKENS: SignedDuration = SignedDuration::from_hours(72);

/// How long a reconciliation is kept, with what differed.
const RECONCILIATIONS: SignedDuration = SignedDuration::from_hours(24 * 90);

/// A step is followed by a pause so many times as long.
const PAUSE: u32 = 4;

/// Looks at start and then every so often.
pub(crate) async fn run(
    ledger: Ledger,
    retention: Retention,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let again_and_again = async {
        while expire(&ledger, retention, &lifecycle).await.is_some() {
            sleep(EVERY).await;
        }
    };
    // Each step is short, and one that is cut off is found again.
    tokio::select! {
        () = again_and_again => {}
        () = lifecycle.stopping() => {}
    }
    Ok(())
}

/// Takes away all that is too old now. None if the worker is told to stop before.
async fn expire(ledger: &Ledger, retention: Retention, lifecycle: &Lifecycle) -> Option<()> {
    if let Some(before) = limit(retention.payloads) {
        let mut next = Some(Timestamp::UNIX_EPOCH);
        while let Some(from) = next {
            let step = || ledger.expire_payloads(from, before, STEP);
            let expired = paced("payloads", lifecycle, step).await?;
            count("payloads", expired.emptied);
            next = expired.next;
        }
    }
    if let Some(before) = limit(retention.attempts) {
        let mut removed = u64::MAX;
        while removed > 0 {
            let step = || ledger.expire_attempts(before, STEP);
            removed = paced("attempts", lifecycle, step).await?;
            count("attempts", removed);
        }
    }
    let before = clock::now()
        .checked_sub(TOKENS)
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let mut removed = u64::MAX;
    while removed > 0 {
        let step = || ledger.expire_tokens(before, STEP);
        removed = paced("tokens", lifecycle, step).await?;
        count("tokens", removed);
    }
    let before = clock::now()
        .checked_sub(RECONCILIATIONS)
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let mut removed = u64::MAX;
    while removed > 0 {
        let step = || ledger.expire_reconciliations(before, STEP);
        removed = paced("reconciliations", lifecycle, step).await?;
        count("reconciliations", removed);
    }
    Some(())
}

/// What is older than this is too old; None if nothing is.
fn limit(keep: Keep) -> Option<Timestamp> {
    match keep {
        Keep::Forever => None,
        Keep::For(kept) => clock::now().checked_sub(kept).ok(),
    }
}

/// Does a step, and pauses in proportion.
async fn paced<T, F>(
    what: &'static str,
    lifecycle: &Lifecycle,
    step: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = ledger::Result<T>>,
{
    let begun = Instant::now();
    let done = until_done(lifecycle, what, step).await?;
    sleep(begun.elapsed() * PAUSE).await;
    Some(done)
}

fn count(what: &'static str, removed: u64) {
    counter!("optout_expired_total", "what" => what).increment(removed);
}

#[cfg(test)]
mod tests {
    use common::{envelope::Envelope, ledger::Entry};
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_is_too_old_goes_while_the_worker_runs_and_only_that() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::connect(&url, 2).await.unwrap();
        let day = Duration::from_hours(24);
        let received = async |days: u32| {
            let envelope = Envelope {
                id: Uuid::now_v7(),
                source: "shop".to_owned(),
                received_at: clock::now() - days * day,
                content_type: None,
                headers: vec![],
                body: b"{}".as_slice().into(),
            };
            let entry = Entry {
                envelope: &envelope,
                provider: "test",
                events: vec![],
                duplicates: vec![],
                echoes: vec![],
                unreadable: vec![],
            };
            ledger.record(&[entry]).await.unwrap();
            envelope.id
        };
        let old = [received(3).await, received(2).await];
        let young = received(0).await;
        let expired = async |id: Uuid| ledger.envelope(id).await.unwrap().unwrap().expired;
        let retention = Retention {
            payloads: Keep::For(day),
            attempts: Keep::Forever,
        };
        let lifecycle = Lifecycle::new();
        let run = run(ledger.clone(), retention, lifecycle.clone());
        lifecycle.spawn("retention", run);
        let both = async {
            while !(expired(old[0]).await && expired(old[1]).await) {
                tokio::task::yield_now().await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(20), both).await;
        assert!(gone.is_ok(), "what is too old stays");
        assert!(!expired(young).await);
        lifecycle.stop();
        assert!(lifecycle.finish(Duration::from_secs(5)).await);
    }
}
