//! How often each of many may ask, counted in this process's memory, of which there is a bounded amount.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    DefaultDirectRateLimiter,
    clock::{Clock, DefaultClock},
};
use uuid::Uuid;

use crate::config::Rate;

/// How often it is looked for those who may be forgotten, which looks at all.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Everybody's pace, by their ids.
#[derive(Debug)]
pub struct Paces {
    known: Mutex<Known>,
    /// The most that are known at a time.
    most: usize,
}

#[derive(Debug, Default)]
struct Known {
    paces: HashMap<Uuid, Pace>,
    looked: Option<Instant>,
}

/// How one has asked of late.
#[derive(Debug)]
struct Pace {
    limiter: DefaultDirectRateLimiter,
    per: Duration,
    last: Instant,
}

impl Paces {
    /// Knows so many at a time. Beyond that, whoever is new is not counted: rather that than to refuse who asks rightly.
    pub fn new(most: usize) -> Self {
        Self {
            known: Mutex::default(),
            most,
        }
    }

    /// Counts one request of `id`; the error is how long until the next one may come.
    pub fn keep(&self, id: Uuid, rate: Rate, now: Instant) -> Result<(), Duration> {
        let mut known = self.known();
        if !known.paces.contains_key(&id) {
            known.forget(now);
            let Some(limiter) = rate.limiter().filter(|_| known.paces.len() < self.most) else {
                return Ok(());
            };
            let (per, last) = (rate.per, now);
            known.paces.insert(id, Pace { limiter, per, last });
        }
        let Some(pace) = known.paces.get_mut(&id) else {
            return Ok(());
        };
        pace.last = now;
        wait(&pace.limiter).map_or(Ok(()), Err)
    }

    /// Counts what `id` has asked for nothing.
    pub fn forgive(&self, id: Uuid) {
        self.known().paces.remove(&id);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// One that has not asked for its whole time may ask as often as a new one: nothing is lost by forgetting it.
    fn forget(&mut self, now: Instant) {
        let is_time = self
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= FORGET_EVERY);
        if is_time {
            self.looked = Some(now);
            self.paces
                .retain(|_, pace| now.duration_since(pace.last) < pace.per);
        }
    }
}

/// Counts one; else how long until the next one may come, in whole seconds, so that who waits so long is let in.
pub fn wait(limiter: &DefaultDirectRateLimiter) -> Option<Duration> {
    let until = limiter.check().err()?;
    let wait = until.wait_time_from(DefaultClock::default().now());
    Some(Duration::from_secs(wait.as_secs() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_pace_of_its_own_that_is_forgotten_once_its_time_has_passed() {
        let (paces, begun) = (Paces::new(3), Instant::now());
        let [steady, brief, last] = [1, 2, 3].map(Uuid::from_u128);
        let keep = |id, rate: &str, now| paces.keep(id, rate.parse().unwrap(), now).is_ok();
        assert!(keep(steady, "1/1h", begun) && keep(brief, "1/1ns", begun));
        assert!(keep(last, "1/1h", begun + FORGET_EVERY));
        let known: Vec<_> = {
            let known = paces.known();
            [steady, brief, last]
                .map(|id| known.paces.contains_key(&id))
                .into()
        };
        assert_eq!(known, [true, false, true]);
        assert!(!keep(steady, "1/1h", begun), "it is still held to its rate");
        paces.forgive(steady);
        assert!(keep(steady, "1/1h", begun));
    }

    #[test]
    fn beyond_the_most_nobody_is_refused_and_nothing_more_is_kept() {
        let (paces, now) = (Paces::new(2), Instant::now());
        let keep = |id: u128| paces.keep(Uuid::from_u128(id), "1/1h".parse().unwrap(), now);
        for id in 1..=4 {
            assert_eq!(keep(id), Ok(()));
        }
        assert!(keep(1).is_err() && keep(2).is_err());
        assert!(keep(3).is_ok() && keep(4).is_ok());
        assert_eq!(paces.known().paces.len(), 2);
    }
}
