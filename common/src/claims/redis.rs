//! Claims in Redis 6 or later, or Valkey.
//!
//! One key an event, `PREFIX:claim:EVENT`, which expires by itself. Its value is `1:STATE:ENVELOPE:FINGERPRINT`: the
//! version of this format, `c` for claimed or `s` for settled, and two numbers in hexadecimal. A value that this release
//! cannot read counts as contested, which leaves the decision to the ledger.
//!
//! Every call is one round trip, and fails after [`ANSWER`] rather than hold a stage up.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use redis::{
    Client, Pipeline, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Claim, Claims, Error, Lifetimes, Result, Wish};

/// How long Redis may take to accept a connection, and to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a call may take in all, with a new connection if the old one is lost.
const ANSWER: Duration = Duration::from_secs(3);

/// Claims on a Redis server.
pub struct RedisClaims {
    connection: ConnectionManager,
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
        // For rediss. A provider that the program has already chosen is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::open(url).map_err(failure)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let connection = within(ConnectionManager::new_with_config(client, config)).await?;
        Ok(Self {
            connection,
            prefix: prefix.to_owned(),
            lifetimes,
        })
    }

    fn key(&self, event: Uuid) -> String {
        format!("{}:claim:{}", self.prefix, event.simple())
    }

    async fn ask<T: redis::FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        // A manager is a handle to the one connection, and is cloned for each use.
        within(pipeline.query_async(&mut self.connection.clone())).await
    }
}

#[async_trait]
impl Claims for RedisClaims {
    async fn claim(&self, wishes: &[Wish]) -> Result<Vec<Claim>> {
        if wishes.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for wish in wishes {
            let key = self.key(wish.event);
            let lifetime = milliseconds(self.lifetimes.unsettled);
            pipeline
                .cmd("SET")
                .arg(&key)
                .arg(value('c', wish))
                .arg("NX")
                .arg("PX")
                .arg(lifetime)
                .ignore();
            pipeline.cmd("GET").arg(&key);
        }
        let found: Vec<Option<String>> = self.ask(&pipeline).await?;
        Ok(wishes
            .iter()
            .zip(&found)
            .map(|(wish, found)| judge(wish, found.as_deref()))
            .collect())
    }

    async fn settle(&self, wishes: &[Wish]) -> Result<()> {
        if wishes.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for wish in wishes {
            let lifetime = milliseconds(self.lifetimes.settled);
            pipeline
                .cmd("SET")
                .arg(self.key(wish.event))
                .arg(value('s', wish))
                .arg("PX")
                .arg(lifetime)
                .ignore();
        }
        self.ask(&pipeline).await
    }

    async fn ping(&self) -> Result<()> {
        self.ask(redis::pipe().cmd("PING").ignore()).await
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

fn failure(error: RedisError) -> Error {
    Error(Box::new(error))
}

async fn within<T>(answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(failure),
        Err(elapsed) => Err(Error(Box::new(elapsed))),
    }
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
