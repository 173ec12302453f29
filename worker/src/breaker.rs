//! A circuit breaker: a target that keeps failing is left alone for a while.
//!
//! ```text
//! closed --`after` failures in a row--> open --pause over--> half-open --success--> closed
//!                                        ^                      |
//!                                        +-------failure--------+   (the pause doubles, up to 5 minutes)
//! ```
//!
//! While it is open nothing is sent and no attempt is spent: the deliveries stay in the queue. Half-open lets one call
//! through.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub(crate) use common::ledger::Level;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// One target's breaker, in one worker.
#[derive(Debug)]
pub struct Breaker {
    after: u32,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One call is under way and decides.
    HalfOpen {
        pause: Duration,
    },
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Free,
    /// One call, whose outcome is to be told.
    Probe,
    /// Nothing before then.
    Wait(Instant),
}

impl Breaker {
    /// A closed breaker that opens after `after` failures in a row; 0 for one that never opens.
    pub fn new(after: u32) -> Self {
        Self {
            after,
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Asks what may be sent now. A [`Admission::Probe`] that is not followed by an outcome is asked back with
    /// [`Breaker::withdraw`].
    pub fn admit(&self, now: Instant) -> Admission {
        self.with(|state| match *state {
            State::Closed { .. } => Admission::Free,
            State::Open { until, pause } if until <= now => {
                *state = State::HalfOpen { pause };
                Admission::Probe
            }
            State::Open { until, .. } => Admission::Wait(until),
            // The probe is bounded by its deadline, so looking again soon is enough.
            State::HalfOpen { .. } => Admission::Wait(now + Duration::from_millis(100)),
        })
    }

    /// The probe did not take place.
    pub fn withdraw(&self, now: Instant) {
        self.with(|state| {
            if let State::HalfOpen { pause } = *state {
                *state = State::Open { until: now, pause };
            }
        });
    }

    /// The target answered.
    pub fn succeeded(&self) {
        self.with(|state| *state = State::Closed { failures: 0 });
    }

    /// The target failed.
    pub fn failed(&self, now: Instant) {
        let after = self.after;
        self.with(|state| {
            *state = match *state {
                State::Closed { failures } if after > 0 && failures + 1 >= after => State::Open {
                    until: now + FIRST_PAUSE,
                    pause: FIRST_PAUSE,
                },
                State::Closed { failures } => State::Closed {
                    failures: failures.saturating_add(1),
                },
                // A call that began before the breaker opened.
                open @ State::Open { .. } => open,
                State::HalfOpen { pause } => {
                    let pause = (pause * 2).min(LONGEST_PAUSE);
                    State::Open {
                        until: now + pause,
                        pause,
                    }
                }
            };
        });
    }

    /// Whether calls go as they come.
    pub(crate) fn lets_through(&self) -> bool {
        self.level() == Level::Closed
    }

    /// Where it stands.
    pub(crate) fn level(&self) -> Level {
        self.with(|state| match state {
            State::Closed { .. } => Level::Closed,
            State::HalfOpen { .. } => Level::HalfOpen,
            State::Open { .. } => Level::Open,
        })
    }

    fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_a_success_closes_it() {
        let (breaker, now) = (Breaker::new(3), Instant::now());
        breaker.failed(now);
        breaker.failed(now);
        breaker.succeeded();
        breaker.failed(now);
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Admission::Free);
        breaker.failed(now);
        assert_eq!(
            (breaker.admit(now), breaker.level()),
            (Admission::Wait(now + FIRST_PAUSE), Level::Open)
        );
    }

    #[test]
    fn it_lets_one_call_through_when_the_pause_is_over_and_waits_longer_if_that_fails() {
        let (breaker, now) = (Breaker::new(1), Instant::now());
        breaker.failed(now);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Admission::Probe);
        assert!(matches!(breaker.admit(later), Admission::Wait(_)));
        breaker.failed(later);
        assert_eq!(
            breaker.admit(later),
            Admission::Wait(later + FIRST_PAUSE * 2)
        );
        let last = later + FIRST_PAUSE * 2;
        assert_eq!(breaker.admit(last), Admission::Probe);
        breaker.withdraw(last);
        assert_eq!(breaker.admit(last), Admission::Probe);
        breaker.succeeded();
        assert_eq!(breaker.admit(last), Admission::Free);
    }

    #[test]
    fn zero_never_opens() {
        let (breaker, now) = (Breaker::new(0), Instant::now());
        (0..100).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.admit(now), Admission::Free);
    }
}
