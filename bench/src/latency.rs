//! Latencies, to three digits.

use std::time::Duration;

use hdrhistogram::Histogram;

/// From a microsecond on; what is longer than this counts as this.
const MOST: Duration = Duration::from_hours(1);

#[derive(Debug, Clone)]
pub(crate) struct Latency {
    micros: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        let most = micros(MOST);
        Self {
            micros: Histogram::new_with_bounds(1, most, 3).expect("bounds that are in order"),
        }
    }
}

impl Latency {
    pub(crate) fn record(&mut self, took: Duration) {
        self.micros.saturating_record(micros(took));
    }

    /// Takes in those of another.
    pub(crate) fn add(&mut self, other: &Self) {
        let added = self.micros.add(&other.micros);
        added.expect("all have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }

    /// In milliseconds, what `share` of them did not exceed: 0.5 for the median.
    pub(crate) fn at(&self, share: f64) -> f64 {
        milliseconds(self.micros.value_at_quantile(share))
    }

    pub(crate) fn most(&self) -> f64 {
        milliseconds(self.micros.max())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits_and_nothing_is_dropped() {
        let mut latency = Latency::default();
        for milliseconds in 1..=1000 {
            latency.record(Duration::from_millis(milliseconds));
        }
        for (share, milliseconds) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latency.at(share);
            assert!((found / milliseconds - 1.0).abs() < 0.001, "{found}");
        }
        latency.record(Duration::from_hours(100));
        latency.record(Duration::ZERO);
        assert_eq!(latency.count(), 1002);
        assert!((latency.most() / 3_600_000.0 - 1.0).abs() < 0.001);
    }
}
