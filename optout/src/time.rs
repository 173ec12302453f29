//! Times as arguments: one in RFC 3339, or how far off it is.

use common::{clock, event::rfc3339};
use jiff::{SignedDuration, Timestamp};

/// A time, or how long ago that is.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let ago = || clock::now().checked_sub(span(text)?).ok();
    rfc3339(text)
        .or_else(ago)
        .ok_or_else(|| wanted("how long ago"))
}

/// A time, or in how long that is.
pub(crate) fn later(text: &str) -> Result<Timestamp, String> {
    let later = || clock::now().checked_add(span(text)?).ok();
    rfc3339(text)
        .or_else(later)
        .ok_or_else(|| wanted("in how long"))
}

fn span(text: &str) -> Option<SignedDuration> {
    // A day is not always 24 hours elsewhere; in UTC it is.
    let span = match text.trim().strip_suffix('d') {
        Some(days) => days
            .parse()
            .ok()
            .and_then(|days: i64| SignedDuration::try_from_hours(days.checked_mul(24)?)),
        None => text.parse().ok(),
    };
    span.filter(SignedDuration::is_positive)
}

fn wanted(or: &str) -> String {
    format!("a time in RFC 3339 is needed, such as 2026-04-02T14:30:00Z, or {or}, such as 2h or 3d")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_far_off_it_is() {
        let exact: Timestamp = "2026-04-02T14:30:00Z".parse().unwrap();
        let both = [moment, later];
        for read in both {
            assert_eq!(read("2026-04-02T16:30:00+02:00"), Ok(exact));
        }
        for (text, hours) in [("2h", 2), ("3d", 72), ("120m", 2)] {
            let (now, span) = (clock::now(), SignedDuration::from_hours(hours));
            for (read, expected) in [(moment(text), now - span), (later(text), now + span)] {
                let off = read.unwrap().duration_since(expected);
                assert!(off.abs() < SignedDuration::from_secs(5), "{text}");
            }
        }
        for text in [
            "",
            "yesterday",
            "-2h",
            "0s",
            "d",
            "2",
            "9999999999999999d",
            "2026-04-02",
        ] {
            assert!(both.iter().all(|read| read(text).is_err()), "{text}");
        }
    }
}
