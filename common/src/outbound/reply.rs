//! What came back: status, the pause that is asked for, the beginning of the body; and what it means for a delivery.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde::de::DeserializeOwned;

use crate::{
    clock,
    delivery::{Answer, Outcome},
};

/// What says instead of `Retry-After` when a rate limit is over: Klaviyo and Resend, SendGrid, Brevo.
const RESETS: [&str; 3] = [
    "ratelimit-reset",
    "x-ratelimit-reset",
    "x-sib-ratelimit-reset",
];

/// <https://docs.aws.amazon.com/ses/latest/APIReference/CommonErrors.html>
const ERROR_TYPE: &str = "x-amzn-errortype";

/// Of an answer this much is kept in the ledger.
const EXCERPT_LIMIT: usize = 2 << 10;

/// An answer, its body cut at 64 KiB, or where it was asked to be.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    /// What AWS calls the error.
    pub error_type: Option<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let stated = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let now = clock::now();
        let mut retry_after = stated(RETRY_AFTER.as_str()).and_then(|text| pause(text, now));
        // With any other answer they only say when the count begins anew.
        if status == StatusCode::TOO_MANY_REQUESTS && retry_after.is_none() {
            let resets = RESETS.iter().filter_map(|name| stated(name));
            retry_after = resets.filter_map(|text| reset(text, now)).max();
        }
        Self {
            status,
            retry_after,
            error_type: stated(ERROR_TYPE).map(str::to_owned),
            body: vec![],
        }
    }

    /// The body, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What it means by its status: 2xx is done; 408, 409, 423, 425, 429, 477 and 5xx are tried again; other 4xx are
    /// final. 423 is locked for a moment; by 477 HubSpot says that it is moving the account, and when to come again:
    /// <https://developers.hubspot.com/docs/api-reference/error-handling>.
    ///
    /// A redirect is tried again, too: maintenance pages, login walls and moved sites answer so, which is no verdict on
    /// the delivery, and the operator has the schedule's days to correct the URL before anything has to be redriven.
    pub fn answer(&self) -> Answer {
        let status = self.status;
        let code = status.as_u16();
        let retry = |why| Outcome::Retry {
            after: self.retry_after,
            why,
        };
        let outcome = match code {
            200..=299 => Outcome::Done,
            300..=399 => retry(format!(
                "answered {status}: redirects are not followed, set the url to where it leads"
            )),
            408 | 409 | 423 | 425 | 429 | 477 => retry(format!("answered {status}")),
            410 => Outcome::Dead {
                why: format!(
                    "answered {status}: it asks to be sent nothing any more, so disable or remove the target"
                ),
            },
            400..=499 => Outcome::Dead {
                why: format!("answered {status}"),
            },
            _ => retry(format!("answered {status}")),
        };
        let excerpt = excerpt(&self.body);
        Answer {
            outcome,
            status: Some(code),
            excerpt: (!excerpt.is_empty()).then_some(excerpt),
        }
    }
}

/// The beginning of a text for the ledger: at most 2 KiB of UTF-8, without NUL, which PostgreSQL does not store.
pub fn excerpt(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(EXCERPT_LIMIT)];
    let mut text = String::from_utf8_lossy(head).replace('\0', "");
    text.truncate(text.floor_char_boundary(EXCERPT_LIMIT));
    text
}

/// `Retry-After`: seconds, or a date.
fn pause(stated: &str, now: Timestamp) -> Option<Duration> {
    let stated = stated.trim();
    if let Ok(seconds) = stated.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::parse(stated).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// When a limit is over: seconds from now, or, where that would be years, seconds since 1970.
fn reset(stated: &str, now: Timestamp) -> Option<Duration> {
    const YEAR: u64 = 365 * 24 * 60 * 60;
    let seconds: u64 = stated.trim().parse().ok()?;
    if seconds < YEAR {
        return Some(Duration::from_secs(seconds));
    }
    let until = Timestamp::from_second(seconds.try_into().ok()?).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(7)),
            error_type: None,
            body: vec![],
        }
    }

    #[test]
    fn a_status_is_done_tried_again_or_final() {
        for (verdict, codes) in [
            ("done", vec![200, 201, 202, 204]),
            (
                "retry",
                vec![
                    301, 302, 304, 307, 308, 408, 409, 423, 425, 429, 477, 500, 502, 503, 504, 599,
                ],
            ),
            ("dead", vec![400, 401, 403, 404, 405, 410, 413, 422, 451]),
        ] {
            for code in codes {
                let given = match reply(code).answer().outcome {
                    Outcome::Done => "done",
                    Outcome::Withheld => "withheld",
                    Outcome::Retry { after, .. } => {
                        assert_eq!(after, Some(Duration::from_secs(7)));
                        "retry"
                    }
                    Outcome::Dead { .. } => "dead",
                };
                assert_eq!(given, verdict, "{code}");
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-11-22T21:00:00Z".parse().unwrap();
        assert_eq!(pause("120", now), Some(Duration::from_mins(2)));
        assert_eq!(
            pause("Sun, 22 Nov 2026 21:05:00 GMT", now),
            Some(Duration::from_mins(5))
        );
        assert_eq!(
            pause("Sun, 22 Nov 2026 20:05:00 GMT", now),
            Some(Duration::ZERO)
        );
        for nonsense in ["soon", "-5", "1.5", ""] {
            assert_eq!(pause(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn a_rate_limit_s_end_is_heeded_where_no_retry_after_stands_beside_it() {
        let pause = |status: u16, headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| {
                let name = reqwest::header::HeaderName::from_static(name);
                (name, value.parse().unwrap())
            });
            Reply::new(
                StatusCode::from_u16(status).unwrap(),
                &headers.collect::<HeaderMap>(),
            )
            .retry_after
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pause(429, &[("ratelimit-reset", "9")]), seconds(9));
        assert_eq!(pause(429, &[("x-sib-ratelimit-reset", "5")]), seconds(5));
        assert_eq!(
            pause(429, &[("retry-after", "3"), ("ratelimit-reset", "9")]),
            seconds(3)
        );
        assert_eq!(pause(503, &[("ratelimit-reset", "9")]), None);
        assert_eq!(pause(429, &[("x-ratelimit-reset", "soon")]), None);
        let now = "2026-11-22T21:00:00Z".parse().unwrap();
        assert_eq!(reset("1795381230", now), seconds(30));
        assert_eq!(reset("1695381230", now), seconds(0));
    }

    #[test]
    fn an_excerpt_is_at_most_two_kibibytes_of_clean_text() {
        let text = excerpt(&[b"a\0b\xff".as_slice(), &[0xff; 4000]].concat());
        assert!(text.starts_with("ab\u{fffd}") && text.len() <= 2048);
        assert_eq!(excerpt("ö".repeat(2000).as_bytes()).len(), 2048);
    }
}
