//! When each of so many webhooks was answered 200, and when each target heard of it, by one clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::tests::until;

use crate::latency::Latency;

/// Not yet.
const NEVER: u64 = 0;

#[derive(Debug, Clone)]
pub(crate) struct Journal {
    begun: Instant,
    accepted: Arc<[AtomicU64]>,
    /// Per target.
    heard: Arc<[Box<[AtomicU64]>]>,
}

impl Journal {
    pub(crate) fn new(targets: usize, webhooks: u64) -> Self {
        let times = || (0..webhooks).map(|_| AtomicU64::new(NEVER));
        Self {
            begun: Instant::now(),
            accepted: times().collect(),
            heard: (0..targets).map(|_| times().collect()).collect(),
        }
    }

    /// The `n`th is answered 200 now.
    pub(crate) fn accept(&self, n: u64) {
        self.note(&self.accepted, n);
    }

    /// A target hears of the `n`th now. Only its first time counts.
    pub(crate) fn hear(&self, target: usize, n: u64) {
        self.note(&self.heard[target], n);
    }

    fn note(&self, times: &[AtomicU64], n: u64) {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(time) = usize::try_from(n).ok().and_then(|n| times.get(n)) {
            let noted =
                time.compare_exchange(NEVER, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
            noted.ok();
        }
    }

    /// How many of what was accepted the target has heard of.
    pub(crate) fn told(&self, target: usize) -> u64 {
        let times = self.accepted.iter().zip(&self.heard[target]);
        let told = times.filter(|(accepted, heard)| at(accepted) != NEVER && at(heard) != NEVER);
        told.count() as u64
    }

    /// Waits until the first so many targets have heard of all that was accepted.
    pub(crate) async fn all_told(&self, targets: usize) {
        let accepted = self.accepted();
        until(
            "the targets are told of all that was accepted",
            async || {
                let mut all = 0..targets;
                all.all(|target| self.told(target) == accepted)
                    .then_some(())
            },
        )
        .await;
    }

    pub(crate) fn accepted(&self) -> u64 {
        let times = self.accepted.iter();
        times.filter(|time| at(time) != NEVER).count() as u64
    }

    /// How long the oldest waits of what was accepted and the target has not heard of.
    pub(crate) fn oldest(&self, target: usize) -> Duration {
        let times = self.accepted.iter().zip(&self.heard[target]);
        let waiting = times.filter(|(_, heard)| at(heard) == NEVER);
        let accepted = waiting.map(|(accepted, _)| at(accepted));
        let oldest = accepted.filter(|accepted| *accepted != NEVER).min();
        oldest.map_or(Duration::ZERO, |accepted| {
            self.begun
                .elapsed()
                .saturating_sub(Duration::from_nanos(accepted))
        })
    }

    /// From the 200 to the target. A target may hear of an event before its 200 is read; that took no time.
    pub(crate) fn latency(&self, target: usize) -> Latency {
        let mut latency = Latency::default();
        for (accepted, heard) in self.accepted.iter().zip(&self.heard[target]) {
            let (accepted, heard) = (at(accepted), at(heard));
            if accepted != NEVER && heard != NEVER {
                latency.record(Duration::from_nanos(heard.saturating_sub(accepted)));
            }
        }
        latency
    }
}

fn at(time: &AtomicU64) -> u64 {
    time.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_of_what_was_accepted_and_heard_and_a_repeat_does_not_count() {
        let journal = Journal::new(2, 3);
        (0..2).for_each(|n| journal.accept(n));
        journal.hear(0, 1);
        let first = journal.latency(0).most();
        std::thread::sleep(Duration::from_millis(5));
        journal.hear(0, 1);
        journal.hear(0, 2);
        journal.hear(0, 99);
        assert_eq!(
            (journal.accepted(), journal.told(0), journal.told(1)),
            (2, 1, 0)
        );
        assert!((journal.latency(0).most() - first).abs() < f64::EPSILON);
        assert!(journal.oldest(0) >= Duration::from_millis(5));
        journal.hear(0, 0);
        assert_eq!(journal.oldest(0), Duration::ZERO);
    }
}
