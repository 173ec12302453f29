//! The one reader of the wall clock. Everything else takes `now`, so that it can be tested at any time of day.

use jiff::{Timestamp, Unit};

/// The time now, to the microsecond: what the ledger stores, so that a value read back equals the one written.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that the ban points to"
)]
pub fn now() -> Timestamp {
    truncate(Timestamp::now())
}

/// Cuts a time to the microsecond.
pub fn truncate(time: Timestamp) -> Timestamp {
    time.round((Unit::Microsecond, 1)).unwrap_or(time)
}
