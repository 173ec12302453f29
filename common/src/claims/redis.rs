//! Claims in Redis 6 or later, or Valkey.
//!
//! One key an event, `PREFIX:claim:EVENT`, which expires by itself. Its value is `1:STATE:ENVELOPE:FINGERPRINT`: the
//! version of this format, `c` for claimed or `s` for settled, and two numbers in hexadecimal. A value that this release
//! cannot read counts as contested, which leaves the decision to the ledger.
//!
//! Every call is one round trip, and fails soon rather than hold a stage up ([`super::server`]).
//!
//! A server that fails over may have lost the last claims, as replication is asynchronous: that costs a look at the
//! ledger, as forgetting does.

use std::time::Duration;

use async_trait::async_trait;
use redis::Pipeline;
use uuid::Uuid;

use super::{Claim, Claims, Lifetimes, Result, Wish, server::Server};

/// Claims on a Redis server.
pub struct RedisClaims {
    server: Server,
    prefix: String,
    lifetimes: Lifetimes,
}

impl RedisClaims {
    /// Connects. The first connection must succeed; one that is lost is opened again by the next call.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self> {
        Self::connect_with(url, prefix, Lifetimes::default()).await
    }

    pub(super) async fn connect_with(
        url: &str,
        prefix: &str,
        lifetimes: Lifetimes,
    ) -> Result<Self> {
        Ok(Self {
            server: Server::connect(url).await?,
            prefix: prefix.to_owned(),
            lifetimes,
        })
    }

    fn key(&self, event: Uuid) -> String {
        format!("{}:claim:{}", self.prefix, event.simple())
    }
}

#[async_trait]
impl Claims for RedisClaims {
    async fn claim(&self, wishes: &[Wish]) -> Result<Vec<Claim>> {
        let lifetime = milliseconds(self.lifetimes.unsettled);
        let claim = |pipeline: &mut Pipeline, wish: &Wish| {
            let key = self.key(wish.event);
            pipeline
                .cmd("SET")
                .arg(&key)
                .arg(value('c', wish))
                .arg("NX")
                .arg("PX")
                .arg(lifetime)
                .ignore();
            pipeline.cmd("GET").arg(&key);
        };
        let found = self.server.ask(wishes, claim).await?;
        Ok(wishes
            .iter()
            .zip(&found)
            .map(|(wish, found)| judge(wish, found.as_deref()))
            .collect())
    }

    async fn settle(&self, wishes: &[Wish]) -> Result<()> {
        let lifetime = milliseconds(self.lifetimes.settled);
        let settle = |pipeline: &mut Pipeline, wish: &Wish| {
            pipeline
                .cmd("SET")
                .arg(self.key(wish.event))
                .arg(value('s', wish))
                .arg("PX")
                .arg(lifetime)
                .ignore();
        };
        self.server.ask(wishes, settle).await.map(drop)
    }

    async fn ping(&self) -> Result<()> {
        let ping = |pipeline: &mut Pipeline, (): &()| {
            pipeline.cmd("PING").ignore();
        };
        self.server.ask(&[()], ping).await.map(drop)
    }
}

/// The part of a value that names state and owner.
fn owner(state: char, wish: &Wish) -> String {
    format!("1:{state}:{}:", wish.envelope.simple())
}

fn value(state: char, wish: &Wish) -> String {
    format!("{}{:x}", owner(state, wish), wish.fingerprint)
}

/// What a wish gets where this value stands. None: it expired between the two commands, and is nobody's.
fn judge(wish: &Wish, found: Option<&str>) -> Claim {
    let Some(found) = found else {
        return Claim::Contested;
    };
    let mut parts = found.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("1"), Some("c" | "s"), Some(envelope), _)
            if envelope == wish.envelope.simple().to_string() =>
        {
            Claim::Owned
        }
        (Some("1"), Some("s"), _, Some(fingerprint))
            if fingerprint == format!("{:x}", wish.fingerprint) =>
        {
            Claim::Settled
        }
        _ => Claim::Contested,
    }
}

fn milliseconds(lifetime: Duration) -> u64 {
    u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_be_read_leaves_the_decision_to_the_ledger() {
        let wish = Wish {
            event: Uuid::nil(),
            envelope: Uuid::nil(),
            fingerprint: -1,
        };
        for value in [
            "",
            "2:c:x:1",
            "1:s",
            "1:x:00000000000000000000000000000000:1",
            "1:s:other:1",
        ] {
            assert_eq!(judge(&wish, Some(value)), Claim::Contested, "{value:?}");
        }
        assert_eq!(
            judge(&wish, Some("1:s:other:ffffffffffffffff")),
            Claim::Settled
        );
        assert_eq!(judge(&wish, None), Claim::Contested);
    }
}
