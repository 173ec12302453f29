//! When a failed delivery is tried again: a pure function of the attempt, the target's wish and a random number.
//!
//! Default, after the first attempt: 5 s, 30 s, 2 m, 10 m, 1 h, 3 h, 6 h, 12 h, 24 h; then the delivery is dead.

use std::time::Duration;

/// A target that asks for a longer pause than this gets this.
pub const LONGEST: Duration = Duration::from_hours(24);

/// The pauses between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

impl Schedule {
    pub fn new(steps: Vec<Duration>) -> Self {
        Self(steps)
    }

    /// The pauses, in order.
    pub fn steps(&self) -> &[Duration] {
        &self.0
    }

    /// How long to wait after attempt number `attempt` (from 1) failed; None if that was the last.
    ///
    /// Jitter takes up to a fifth off, never adds: `random` is from 0 to 1. A pause that the target asked for
    /// (`Retry-After`) is honoured where it is longer, up to [`LONGEST`].
    pub fn delay(&self, attempt: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
        let step = self.0.get(usize::try_from(attempt).ok()?.checked_sub(1)?)?;
        let jittered = step.mul_f64(1.0 - 0.2 * random.clamp(0.0, 1.0));
        Some(jittered.max(asked.unwrap_or_default()).min(LONGEST))
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self(
            [
                5,
                30,
                120,
                600,
                3600,
                3 * 3600,
                6 * 3600,
                12 * 3600,
                24 * 3600,
            ]
            .map(Duration::from_secs)
            .to_vec(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(attempt: u32, asked: Option<u64>, random: f64) -> Option<u64> {
        Schedule::default()
            .delay(attempt, asked.map(Duration::from_secs), random)
            .map(|delay| delay.as_secs())
    }

    #[test]
    fn each_attempt_waits_its_step_and_the_last_is_followed_by_none() {
        let steps: Vec<_> = (1..=10)
            .map(|attempt| seconds(attempt, None, 0.0))
            .collect();
        let expected = [5, 30, 120, 600, 3600, 10_800, 21_600, 43_200, 86_400].map(Some);
        assert_eq!(steps[..9], expected);
        assert_eq!(steps[9], None);
        assert_eq!(seconds(0, None, 0.0), None);
    }

    #[test]
    fn jitter_only_takes_off_and_at_most_a_fifth() {
        assert_eq!(seconds(2, None, 1.0), Some(24));
        assert_eq!(seconds(2, None, 7.0), Some(24));
    }

    #[test]
    fn a_longer_pause_that_the_target_asks_for_is_honoured_up_to_a_day() {
        assert_eq!(seconds(1, Some(60), 0.0), Some(60));
        assert_eq!(seconds(3, Some(60), 0.0), Some(120));
        assert_eq!(seconds(1, Some(1_000_000), 0.0), Some(86_400));
    }
}
