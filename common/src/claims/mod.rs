//! Claims: the fast filter before the ledger. A claim is the right of one envelope to an event; its two adapters are
//! Redis and SQLite, and both pass `conformance`.
//!
//! A claim is owned by the envelope's id, so a message that is redelivered finds its own claims and goes on. It is
//! **settled** once the ledger holds the event. Only a settled claim with the same fingerprint lets a duplicate be
//! dropped unseen; every other doubt is left to the ledger's unique key, which is the authority. So a store that
//! forgets everything costs speed and nothing else, and a claim whose owner never came to record it hides nothing.

mod redis;
mod server;
mod sqlite;

#[cfg(test)]
mod conformance;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

pub use redis::RedisClaims;
pub use sqlite::SqliteClaims;

/// How long an unsettled claim stands: longer than any worker takes over a message.
pub const UNSETTLED: Duration = Duration::from_mins(10);

/// How long a settled claim stands: a week past the longest time that any provider retries (7 days).
pub const SETTLED: Duration = Duration::from_hours(14 * 24);

/// [`UNSETTLED`] and [`SETTLED`], so that a test can shorten them.
#[derive(Debug, Clone, Copy)]
struct Lifetimes {
    unsettled: Duration,
    settled: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            unsettled: UNSETTLED,
            settled: SETTLED,
        }
    }
}

/// One envelope's wish for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub event: Uuid,
    pub envelope: Uuid,
    /// [`crate::event::Event::fingerprint`]: a repeat that says something else is not dropped unseen.
    pub fingerprint: i64,
}

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// This envelope's, newly or from before: go on.
    Owned,
    /// Another envelope's, and not known to be recorded, or recorded with another content: ask the ledger.
    Contested,
    /// Another envelope's, recorded, and saying the same: a duplicate.
    Settled,
}

/// Why the claims store did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the claims store is not reachable: {0}")]
pub struct Error(#[source] pub Box<dyn std::error::Error + Send + Sync>);

pub type Result<T> = std::result::Result<T, Error>;

/// The port. One value is shared by a whole process.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Claims each event for its envelope, in one round trip. The answers are in the order of the wishes.
    async fn claim(&self, wishes: &[Wish]) -> Result<Vec<Claim>>;

    /// Says that the ledger holds these events, by these envelopes. Takes over whatever claim stood there.
    async fn settle(&self, wishes: &[Wish]) -> Result<()>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<()>;
}

/// Connects to the claims store that `url` names: `redis://`, `redis+sentinel://`, `redis+cluster://`, each of them
/// with TLS as `rediss…`, or `sqlite:PATH`.
///
/// `prefix` stands before every key on a shared server. A file is better the claims' own than the queue's. The first
/// connection must succeed; from then on it is the adapter that keeps it up.
pub async fn connect(url: &str, prefix: &str) -> Result<Arc<dyn Claims>> {
    if url.starts_with("sqlite:") {
        Ok(Arc::new(SqliteClaims::open(url).await?))
    } else {
        Ok(Arc::new(RedisClaims::connect(url, prefix).await?))
    }
}
