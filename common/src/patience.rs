//! Trouble inside spends no retries: while the ledger, the claims store or the queue is away, a step is done again, for
//! ever, with growing pauses. Only a target's own failures count as attempts.

use std::{fmt::Display, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use metrics::counter;
use tracing::{info, warn};

use crate::{ledger, lifecycle::Lifecycle};

/// A step that takes longer has lost its store without being told, as behind a firewall that drops packets. Longer than
/// the largest batch takes; whatever is cut off may be done twice.
const ANSWER: Duration = Duration::from_mins(2);

/// Does `step` until it works. None if the process is told to stop before it does.
///
/// The first failure of a row is logged, and its end.
pub async fn until_done<T, E, F>(
    lifecycle: &Lifecycle,
    what: &'static str,
    mut step: impl FnMut() -> F,
) -> Option<T>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build();
    let mut failures = 0_u32;
    loop {
        let error = match tokio::time::timeout(ANSWER, step()).await {
            Ok(Ok(value)) => {
                if failures > 0 {
                    info!(what, failures, "works again");
                }
                return Some(value);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {ANSWER:?}"),
        };
        counter!("optout_inside_trouble_total", "what" => what).increment(1);
        if failures == 0 {
            warn!(what, error, "pausing until this works");
        }
        failures += 1;
        let pause = pauses.next().unwrap_or(Duration::from_secs(5));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = lifecycle.stopping() => return None,
        }
    }
}

/// Asks the ledger until it is there to answer. That it refuses what it is given is an answer.
pub async fn answered<T, F>(
    lifecycle: &Lifecycle,
    what: &'static str,
    mut ask: impl FnMut() -> F,
) -> Option<ledger::Result<T>>
where
    F: Future<Output = ledger::Result<T>>,
{
    until_done(lifecycle, what, || {
        let asked = ask();
        async {
            match asked.await {
                Err(ledger::Error::Unavailable(error)) => Err(error),
                answered => Ok(answered),
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_that_is_never_answered_is_done_again() {
        let mut asked = 0;
        let step = || {
            asked += 1;
            let answered = asked > 1;
            async move {
                if !answered {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(())
            }
        };
        let lifecycle = Lifecycle::new();
        let done = until_done(&lifecycle, "test", step);
        let patient = tokio::time::timeout(Duration::from_hours(1), done).await;
        assert_eq!(patient, Ok(Some(())));
    }
}
