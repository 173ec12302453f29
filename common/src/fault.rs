//! Named points between two steps, at which a test makes the process die as `kill -9` would.
//!
//! Compiled in only with the feature `faults`. `OPTOUT_FAULT=route.recorded` dies the first time that the point is
//! passed, `OPTOUT_FAULT=route.recorded:3` the third time.

/// Passes the point `name`; does nothing unless the feature `faults` is on and a test asks for it.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn point(_name: &'static str) {}

/// Passes the point `name`, and aborts the process if `OPTOUT_FAULT` asks for it.
#[cfg(feature = "faults")]
#[expect(
    clippy::disallowed_methods,
    reason = "a test-only hook, deliberately outside the configuration"
)]
pub fn point(name: &'static str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("OPTOUT_FAULT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);

    if let Some((wanted, count)) = &*WANTED
        && wanted == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        std::process::abort();
    }
}
