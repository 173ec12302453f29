//! The keys that open the api: those of the configuration, then those that the ledger keeps; and how often each may ask.
//!
//! A given key is compared with every configured one in constant time, without a query. Else its hash is looked up, at each
//! request, so that a key which is revoked or expires stops at once; while the ledger cannot answer nothing is said of it.
//!
//! What is counted is in this process's memory, for keys that were let in and no others, so there is as much of it as
//! there are keys.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use common::{
    config::{Api, ApiKey, Rate, Role},
    key,
    ledger::Ledger,
    pace::{Paces, wait},
    signature,
};
use governor::DefaultDirectRateLimiter;
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::error::{Error, Result, asked};

/// How often keys that were never seen are looked up, all together: some thousand times what a person's mistakes need, and
/// a small part of what the ledger can answer.
const STRANGERS: Rate = Rate {
    calls: 100,
    per: Duration::from_secs(1),
};

/// How often, above that, all hashes are read.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// The most hashes that are read, and the most keys of which it is known how often they asked.
const MOST: usize = 100_000;

/// Who a key lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// The key's name.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The id of a key of the ledger.
    pub(crate) id: Option<Uuid>,
}

/// All keys.
pub(crate) struct Keyring {
    configured: Vec<(ApiKey, Option<DefaultDirectRateLimiter>)>,
    /// Of the keys that have no rate of their own.
    rate: Option<Rate>,
    paces: Paces,
    known: Mutex<Known>,
    /// Holds the look-ups of keys that were never seen to [`STRANGERS`].
    pub(crate) strangers: Option<DefaultDirectRateLimiter>,
}

/// The hashes that are worth a look at any time: those that were live when they were looked up last.
#[derive(Default)]
struct Known {
    hashes: HashSet<String>,
    refreshed: Option<Instant>,
}

impl Keyring {
    pub(crate) fn new(api: &Api) -> Self {
        let configured = api.keys.iter().map(|key| {
            let rate = key.rate.or(api.rate);
            (key.clone(), rate.and_then(Rate::limiter))
        });
        Self {
            configured: configured.collect(),
            rate: api.rate,
            paces: Paces::new(MOST),
            known: Mutex::default(),
            strangers: STRANGERS.limiter(),
        }
    }

    /// Whether a configured key has this name.
    pub(crate) fn is_configured(&self, name: &str) -> bool {
        self.configured.iter().any(|(key, _)| key.name == name)
    }

    /// Who is let in by `given`, if it has not asked too often. Every key that is none is told the same.
    pub(crate) async fn admit(&self, ledger: &Ledger, given: &[u8]) -> Result<Admitted> {
        if let Some((key, limiter)) = self.configured(given) {
            if let Some(limiter) = limiter {
                keep_pace(limiter, &key.name)?;
            }
            return Ok(Admitted {
                name: key.name.clone(),
                role: key.role,
                id: None,
            });
        }
        if !key::is_one(given) {
            return Err(Error::UnknownKey);
        }
        let key = self.stored(ledger, &key::hash(given)).await?;
        if let Some(rate) = key.rate.or(self.rate) {
            let kept = self.paces.keep(key.id, rate, Instant::now());
            kept.map_err(|wait| too_often(&key.name, wait))?;
        }
        Ok(Admitted {
            name: key.name,
            role: key.role,
            id: Some(key.id),
        })
    }

    /// The role of the configured key with this name, if `is_it` knows one of its values.
    pub(crate) fn role_of(&self, name: &str, is_it: impl Fn(&[u8]) -> bool) -> Option<Role> {
        let named = self.configured.iter().filter(|(key, _)| key.name == name);
        named.into_iter().find_map(|(key, _)| {
            let mut values = key.keys.iter();
            let known = values.any(|value| is_it(value.expose_secret().as_bytes()));
            known.then_some(key.role)
        })
    }

    /// Looks at every key, also after the right one, so that the time does not tell which it was.
    fn configured(&self, given: &[u8]) -> Option<&(ApiKey, Option<DefaultDirectRateLimiter>)> {
        self.configured.iter().fold(None, |found, configured| {
            if signature::any_equal(given, &configured.0.keys) {
                found.or(Some(configured))
            } else {
                found
            }
        })
    }

    /// The live key with this hash. Of two keys the hashes differ from the first character on, so how long a comparison
    /// of them takes tells nothing of a key.
    async fn stored(&self, ledger: &Ledger, hash: &str) -> Result<key::Key> {
        self.may_look(ledger, hash).await?;
        let found = asked(ledger.key_by_hash(hash)).await?;
        let hashes = &mut held(&self.known).hashes;
        if found.is_some() {
            hashes.insert(hash.to_owned());
        } else {
            hashes.remove(hash);
        }
        found.ok_or(Error::UnknownKey)
    }

    /// A flood of wrong keys costs no more than [`STRANGERS`] and keeps no right one out: above it all hashes are read
    /// now and then, and who is among them is looked up as ever. A key that was made a moment ago may have to come again.
    async fn may_look(&self, ledger: &Ledger, hash: &str) -> Result<()> {
        if held(&self.known).hashes.contains(hash) {
            return Ok(());
        }
        let Some(wait) = self.strangers.as_ref().and_then(wait) else {
            return Ok(());
        };
        if self.is_time_to_refresh() {
            let hashes = asked(ledger.key_hashes(MOST)).await?;
            held(&self.known).hashes = hashes.into_iter().collect();
        }
        if held(&self.known).hashes.contains(hash) {
            Ok(())
        } else {
            Err(Error::TooManyStrangers {
                wait: wait.max(REFRESH_EVERY),
            })
        }
    }

    /// True for one request per [`REFRESH_EVERY`].
    fn is_time_to_refresh(&self) -> bool {
        let (mut known, now) = (held(&self.known), Instant::now());
        let is_time = known
            .refreshed
            .is_none_or(|last| now.duration_since(last) >= REFRESH_EVERY);
        if is_time {
            known.refreshed = Some(now);
        }
        is_time
    }
}

/// Counts one request of the key called `name`.
fn keep_pace(limiter: &DefaultDirectRateLimiter, name: &str) -> Result<()> {
    wait(limiter).map_or(Ok(()), |wait| Err(too_often(name, wait)))
}

fn too_often(name: &str, wait: Duration) -> Error {
    Error::TooOften {
        name: name.to_owned(),
        wait,
    }
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
