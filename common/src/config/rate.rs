//! A rate, as targets and keys have one: `"10/s"` or `"100/1m"`, in the configuration, in the ledger and in answers alike.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::{Serialize, Serializer};
use toml::Value;

use crate::settings::Setting;

/// The longest time that a rate may speak of; what is counted is in memory, and begins anew with the process.
const LONGEST: Duration = Duration::from_hours(24);

/// At most `calls` in `per`, written `"1/1s"` or `"100/1m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub calls: u32,
    pub per: Duration,
}

impl Rate {
    /// The pause between two calls that keeps to the rate.
    pub fn pause(self) -> Duration {
        self.per / self.calls.max(1)
    }

    /// What holds callers to the rate: `calls` at once, then one per pause. None for a rate beyond one call per nanosecond.
    pub fn limiter(self) -> Option<DefaultDirectRateLimiter> {
        let calls = NonZeroU32::new(self.calls)?;
        let quota = Quota::with_period(self.pause())?.allow_burst(calls);
        Some(RateLimiter::direct(quota))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = self.per.show();
        write!(f, "{}/{}", self.calls, per.as_str().unwrap_or_default())
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.split_once('/').and_then(|(calls, per)| {
            let calls = calls.trim().parse().ok().filter(|calls| *calls > 0)?;
            let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
                per.to_owned()
            } else {
                format!("1{per}")
            };
            let per = Duration::read(&Value::from(per))
                .ok()
                .filter(|per| !per.is_zero() && *per <= LONGEST)?;
            Some(Self { calls, per })
        });
        read.ok_or_else(|| {
            format!(
                "is {text:?}, but a rate such as \"1/s\" or \"100/1m\", over 24h at most, is needed"
            )
        })
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Setting for Rate {
    fn read(value: &Value) -> Result<Self, String> {
        String::read(value)?.parse()
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_as_it_is_shown_and_holds_callers_to_it() {
        for (text, shown) in [
            ("1/s", "1/1s"),
            ("100/1m", "100/1m"),
            ("5/1h30m", "5/1h 30m"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), shown);
            assert_eq!(shown.parse(), Ok(rate));
        }
        for text in [
            "",
            "1",
            "0/s",
            "-1/s",
            "1/0s",
            "1/",
            "1/fortnight",
            "1/25h",
            "4294967296/s",
        ] {
            let wrong = text.parse::<Rate>().unwrap_err();
            assert!(wrong.contains("such as \"1/s\""), "{text}: {wrong}");
        }
        let limiter = "2/1h".parse::<Rate>().unwrap().limiter().unwrap();
        let passed = [limiter.check(), limiter.check(), limiter.check()].map(|check| check.is_ok());
        assert_eq!(passed, [true, true, false]);
    }
}
