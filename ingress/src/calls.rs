//! What the door itself calls, because a provider's scheme wants it: the certificate by which a request is checked, and the
//! URL that confirms a subscription. Only URLs that the provider's own code vouches for come here.
//!
//! Certificates are kept for a day. One is fetched at a time, and one that could not be had is not asked for again for a
//! while. A stranger who knows a topic and makes requests up gets calls to the provider out of it, one by one, by which the
//! first request after a certificate's day may have to wait, and be answered that it is to come again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::Method;
use bytes::Bytes;
use common::outbound::Outbound;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tracing::warn;
use url::Url;

/// SNS waits fifteen seconds for our answer.
const PATIENCE: Duration = Duration::from_secs(5);

const KEPT: SignedDuration = SignedDuration::from_hours(24);
const NOT_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// More than there are in use at a time: one per region.
const MOST: usize = 64;

/// Gets what stands at a URL. None where it could not be had.
pub type Fetch = Arc<dyn Fn(Url) -> BoxFuture<'static, Option<Bytes>> + Send + Sync>;

/// The door's way out.
pub struct Calls {
    fetch: Fetch,
    certificates: Mutex<HashMap<Url, Found>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Found {
    certificate: Option<Bytes>,
    until: Timestamp,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl Calls {
    /// Calls over the one outbound client.
    pub fn over(outbound: &Outbound) -> Self {
        let outbound = outbound.with_timeout(PATIENCE);
        Self::by(Arc::new(move |url| {
            let outbound = outbound.clone();
            Box::pin(async move {
                let request = outbound.request(Method::GET, url);
                let reply = outbound.exchange(request, outbound.deadline()).await;
                match reply {
                    Ok(reply) if reply.status.is_success() => Some(reply.body.into()),
                    Ok(reply) => {
                        warn!(status = %reply.status, "a provider's certificate or confirmation was refused");
                        None
                    }
                    Err(error) => {
                        warn!(%error, "a provider's certificate or confirmation could not be fetched");
                        None
                    }
                }
            })
        }))
    }

    /// Calls by something else, for tests.
    pub fn by(fetch: Fetch) -> Self {
        Self {
            fetch,
            certificates: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Visits a URL. None where it did not answer, or not well.
    pub(crate) async fn visit(&self, url: Url) -> Option<()> {
        (self.fetch)(url).await.map(drop)
    }

    /// The certificate at this URL.
    pub(crate) async fn certificate(&self, url: &Url, now: Timestamp) -> Option<Bytes> {
        if let Some(found) = self.known(url, now) {
            return found.certificate;
        }
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have fetched it.
        if let Some(found) = self.known(url, now) {
            return found.certificate;
        }
        let certificate = (self.fetch)(url.clone()).await;
        let kept = if certificate.is_some() {
            KEPT
        } else {
            NOT_AGAIN
        };
        let found = Found {
            certificate: certificate.clone(),
            until: now.saturating_add(kept).unwrap_or(now),
        };
        let mut known = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, found| found.until > now);
        if certificate.is_some() || known.len() < MOST {
            known.insert(url.clone(), found);
        }
        certificate
    }

    fn known(&self, url: &Url, now: Timestamp) -> Option<Found> {
        let known = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(url).filter(|found| found.until > now).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counting(answer: Option<&'static [u8]>) -> (Calls, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let calls = Calls::by(Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { answer.map(Bytes::from_static) })
        }));
        (calls, count)
    }

    #[tokio::test]
    async fn a_certificate_is_fetched_once_a_day_and_a_missing_one_not_at_once_again() {
        let url: Url = "https://sns.us-east-1.amazonaws.com/x.pem".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        for (answer, kept) in [(Some(&b"pem"[..]), KEPT), (None, NOT_AGAIN)] {
            let (calls, count) = counting(answer);
            let within = now.saturating_add(kept / 2).unwrap();
            let after = now.saturating_add(kept * 2).unwrap();
            for (at, fetched) in [(now, 1), (within, 1), (after, 2)] {
                assert_eq!(calls.certificate(&url, at).await.as_deref(), answer);
                assert_eq!(count.load(Ordering::Relaxed), fetched);
            }
        }
    }

    #[tokio::test]
    async fn requests_that_come_together_wait_for_one_fetch() {
        let url: Url = "https://sns.us-east-1.amazonaws.com/x.pem".parse().unwrap();
        let (calls, count) = counting(Some(b"pem"));
        let both = (0..8).map(|_| calls.certificate(&url, Timestamp::UNIX_EPOCH));
        let both = futures_util::future::join_all(both).await;
        assert!(both.iter().all(Option::is_some));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
