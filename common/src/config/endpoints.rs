//! `[endpoints]`: what holds for all targets that users register over the api.

use std::time::Duration;

use url::Url;

use crate::settings::Section;

/// How registered endpoints are called.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Whether an endpoint may be `http://`: whoever stands between reads the addresses.
    pub allow_http: bool,
    /// Calls under way at a time, per endpoint and worker.
    pub slots: u16,
    /// The deadline of one call, from connecting to the answer's end.
    pub timeout: Duration,
    /// Consecutive failures after which calls to an endpoint stop for a while.
    pub breaker_after: u32,
    /// An endpoint that has done nothing but fail for so long is disabled.
    pub disable_after: Duration,
    /// How long the secret before is signed with, too, after a rotation.
    pub rotation: Duration,
}

impl Endpoints {
    pub(super) fn read(mut section: Section) -> Self {
        let endpoints = Self {
            allow_http: section.or("allow_http", false),
            slots: section.or("slots", 8),
            timeout: section.or("timeout", Duration::from_secs(15)),
            breaker_after: section.or("breaker_after", 10),
            disable_after: section.or("disable_after", Duration::from_hours(120)),
            rotation: section.or("rotation", Duration::from_hours(24)),
        };
        if endpoints.slots == 0 {
            section.mistake("slots", "is 0, but at least 1 is needed");
        }
        section.finish();
        endpoints
    }

    /// Whether an endpoint at this URL is not sent to, though it is enabled: it was registered while `http://` was
    /// allowed, and that is not so any more. Its deliveries wait until it is again, or the URL is another.
    pub fn holds_back(&self, url: &Url) -> bool {
        url.scheme() == "http" && !self.allow_http
    }
}
