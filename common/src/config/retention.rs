//! `[ledger.retention]`: how long that is kept which nothing depends on and which takes the most room.

use std::time::Duration;

use toml::Value;

use crate::settings::{Section, Setting};

const DAY: Duration = Duration::from_hours(24);

/// What is younger may still be wanted: a change is routed from its request, a retry is told from the attempts before.
const SHORTEST: Duration = DAY;

/// `[ledger.retention]`.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Requests as they came: bodies and headers.
    pub payloads: Keep,
    /// The record of each single attempt at a delivery.
    pub attempts: Keep,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Forever,
    For(Duration),
}

impl Retention {
    pub(super) fn read(mut section: Section) -> Self {
        let retention = Self {
            payloads: section.or("payloads", Keep::For(90 * DAY)),
            attempts: section.or("attempts", Keep::For(365 * DAY)),
        };
        section.finish();
        retention
    }
}

impl Setting for Keep {
    fn read(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("forever") {
            return Ok(Self::Forever);
        }
        match Duration::read(value) {
            Ok(kept) if kept >= SHORTEST => Ok(Self::For(kept)),
            _ => Err(format!(
                "is {value}, but \"forever\" or a time such as \"90d\", of a day at least, is needed"
            )),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Forever => Value::from("forever"),
            Self::For(kept) => kept.show(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_kept_for_a_day_at_least_or_forever() {
        let read = |text: &str| Keep::read(&Value::from(text));
        assert_eq!(read("forever"), Ok(Keep::Forever));
        assert_eq!(read("90d"), Ok(Keep::For(90 * DAY)));
        assert_eq!(read("24h"), Ok(Keep::For(DAY)));
        for wrong in ["23h", "0s", "-3d", "never", "1000000000000000000d", ""] {
            assert!(read(wrong).unwrap_err().contains("\"90d\""), "{wrong}");
        }
        assert!(Keep::read(&Value::from(90)).is_err());
    }
}
