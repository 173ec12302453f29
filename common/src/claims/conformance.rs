//! What every claims store must do, run against both adapters, and against Redis over TLS, too.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{Claim, Claims, Lifetimes, RedisClaims, SqliteClaims, Wish};
use crate::queue::conformance::test_url;

/// Longer than anything takes that a test waits for.
const LONG: Duration = Duration::from_secs(20);

/// Where a test's claims are kept: a file, or a prefix of its own on the server.
struct Store {
    url: String,
    prefix: String,
    folder: Option<TempDir>,
}

impl Store {
    fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}/data/claims.db", folder.path().display());
        Self {
            url,
            prefix: String::new(),
            folder: Some(folder),
        }
    }

    fn redis() -> Self {
        Self::redis_at("OPTOUT_TEST_REDIS_URL")
    }

    fn redis_over_tls() -> Self {
        Self::redis_at("OPTOUT_TEST_REDISS_URL")
    }

    fn redis_at(variable: &str) -> Self {
        let prefix = format!("test-{}", Uuid::now_v7().simple());
        Self {
            url: test_url(variable),
            prefix,
            folder: None,
        }
    }

    async fn open(&self) -> Box<dyn Claims> {
        self.open_with(Lifetimes::default()).await
    }

    async fn open_with(&self, lifetimes: Lifetimes) -> Box<dyn Claims> {
        if self.folder.is_some() {
            Box::new(SqliteClaims::open_with(&self.url, lifetimes).await.unwrap())
        } else {
            Box::new(
                RedisClaims::connect_with(&self.url, &self.prefix, lifetimes)
                    .await
                    .unwrap(),
            )
        }
    }

    /// Loses everything, as a Redis without persistence does when it restarts.
    async fn forget(&self) {
        if let Some(folder) = &self.folder {
            std::fs::remove_dir_all(folder.path().join("data")).unwrap();
            return;
        }
        let client = redis::Client::open(test_url("OPTOUT_TEST_REDIS_URL")).unwrap();
        // No limit: on a server with millions of keys, finding ours takes a moment.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        let mut connection = connection.await.unwrap();
        let keys = redis::cmd("KEYS")
            .arg(format!("{}:*", self.prefix))
            .to_owned();
        let keys: Vec<String> = keys.query_async(&mut connection).await.unwrap();
        if !keys.is_empty() {
            redis::cmd("DEL")
                .arg(keys)
                .query_async::<()>(&mut connection)
                .await
                .unwrap();
        }
    }
}

async fn run(store: Store, behaviour: impl for<'a> FnOnce(&'a Store) -> BoxFuture<'a, ()>) {
    let outcome = AssertUnwindSafe(timeout(LONG, behaviour(&store)))
        .catch_unwind()
        .await;
    store.forget().await;
    match outcome {
        Ok(outcome) => outcome.expect("the behaviour is shown in time"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Each behaviour becomes one test for each adapter.
macro_rules! behaviours {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::run(super::Store::sqlite(), |store| super::FutureExt::boxed(super::$name(store))).await;
            })+
        }

        mod on_redis {
            $(#[tokio::test]
            async fn $name() {
                super::run(super::Store::redis(), |store| super::FutureExt::boxed(super::$name(store))).await;
            })+
        }

        mod on_redis_over_tls {
            $(#[tokio::test]
            async fn $name() {
                super::run(super::Store::redis_over_tls(), |store| super::FutureExt::boxed(super::$name(store))).await;
            })+
        }
    };
}

behaviours! {
    the_first_to_claim_owns_and_owns_again,
    a_claim_of_another_is_contested_until_it_is_settled,
    a_repeat_that_says_something_else_is_contested_although_settled,
    settling_takes_over_whatever_claim_stood_there,
    the_answers_are_in_the_order_of_the_wishes,
    within_one_call_the_first_wish_owns,
    a_store_that_forgets_everything_grants_every_claim_anew,
    claims_expire_and_settled_ones_later,
    a_hundred_claimants_at_once_make_one_owner,
    nothing_is_asked_for_nothing,
}

fn wish(event: u128, envelope: u128, fingerprint: i64) -> Wish {
    Wish {
        event: Uuid::from_u128(event),
        envelope: Uuid::from_u128(envelope),
        fingerprint,
    }
}

async fn claim(claims: &dyn Claims, wish: Wish) -> Claim {
    let answers = claims.claim(&[wish]).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers[0]
}

async fn the_first_to_claim_owns_and_owns_again(store: &Store) {
    let claims = store.open().await;
    assert_eq!(claim(&*claims, wish(1, 1, 7)).await, Claim::Owned);
    assert_eq!(claim(&*claims, wish(1, 1, 7)).await, Claim::Owned);
    claims.settle(&[wish(1, 1, 7)]).await.unwrap();
    assert_eq!(claim(&*claims, wish(1, 1, 7)).await, Claim::Owned);
    drop(claims);
    assert_eq!(
        claim(&*store.open().await, wish(1, 1, 7)).await,
        Claim::Owned,
        "after a restart"
    );
}

async fn a_claim_of_another_is_contested_until_it_is_settled(store: &Store) {
    let claims = store.open().await;
    assert_eq!(claim(&*claims, wish(1, 1, 7)).await, Claim::Owned);
    assert_eq!(claim(&*claims, wish(1, 2, 7)).await, Claim::Contested);
    claims.settle(&[wish(1, 1, 7)]).await.unwrap();
    assert_eq!(claim(&*claims, wish(1, 2, 7)).await, Claim::Settled);
    assert_eq!(
        claim(&*store.open().await, wish(1, 2, 7)).await,
        Claim::Settled,
        "after a restart"
    );
}

async fn a_repeat_that_says_something_else_is_contested_although_settled(store: &Store) {
    let claims = store.open().await;
    for fingerprint in [0, 7, -7, i64::MIN, i64::MAX] {
        let event = u128::from(fingerprint.unsigned_abs()) * 2 + u128::from(fingerprint < 0);
        claims.settle(&[wish(event, 1, fingerprint)]).await.unwrap();
        assert_eq!(
            claim(&*claims, wish(event, 2, fingerprint)).await,
            Claim::Settled,
            "{fingerprint}"
        );
        assert_eq!(
            claim(&*claims, wish(event, 2, fingerprint ^ 1)).await,
            Claim::Contested,
            "{fingerprint}"
        );
    }
}

async fn settling_takes_over_whatever_claim_stood_there(store: &Store) {
    let claims = store.open().await;
    assert_eq!(claim(&*claims, wish(1, 1, 7)).await, Claim::Owned);
    claims.settle(&[wish(1, 2, 8)]).await.unwrap();
    assert_eq!(claim(&*claims, wish(1, 2, 8)).await, Claim::Owned);
    assert_eq!(claim(&*claims, wish(1, 1, 8)).await, Claim::Settled);
    assert_eq!(claim(&*claims, wish(1, 1, 7)).await, Claim::Contested);
}

async fn the_answers_are_in_the_order_of_the_wishes(store: &Store) {
    let claims = store.open().await;
    claims.settle(&[wish(5, 1, 7)]).await.unwrap();
    claims.claim(&[wish(3, 1, 7)]).await.unwrap();
    let answers = claims
        .claim(&[
            wish(9, 2, 7),
            wish(5, 2, 7),
            wish(1, 2, 7),
            wish(3, 2, 7),
            wish(0, 2, 7),
        ])
        .await
        .unwrap();
    assert_eq!(
        answers,
        [
            Claim::Owned,
            Claim::Settled,
            Claim::Owned,
            Claim::Contested,
            Claim::Owned
        ]
    );
    let many: Vec<_> = (0..1000)
        .map(|event| wish(event * 7919 % 1000 + 100, 3, 7))
        .collect();
    claims
        .settle(
            &many[..500]
                .iter()
                .map(|wish| Wish {
                    envelope: Uuid::nil(),
                    ..*wish
                })
                .collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    let answers = claims.claim(&many).await.unwrap();
    assert!(
        answers[..500]
            .iter()
            .all(|answer| *answer == Claim::Settled)
    );
    assert!(answers[500..].iter().all(|answer| *answer == Claim::Owned));
}

async fn within_one_call_the_first_wish_owns(store: &Store) {
    let claims = store.open().await;
    let answers = claims
        .claim(&[wish(1, 1, 7), wish(1, 2, 7), wish(1, 1, 8), wish(2, 2, 7)])
        .await
        .unwrap();
    assert_eq!(
        answers,
        [Claim::Owned, Claim::Contested, Claim::Owned, Claim::Owned]
    );
}

async fn a_store_that_forgets_everything_grants_every_claim_anew(store: &Store) {
    let claims = store.open().await;
    claims.claim(&[wish(1, 1, 7)]).await.unwrap();
    claims.settle(&[wish(2, 1, 7)]).await.unwrap();
    drop(claims);
    store.forget().await;
    let claims = store.open().await;
    let answers = claims.claim(&[wish(1, 2, 7), wish(2, 2, 7)]).await.unwrap();
    assert_eq!(answers, [Claim::Owned, Claim::Owned]);
}

async fn claims_expire_and_settled_ones_later(store: &Store) {
    let lifetimes = Lifetimes {
        unsettled: Duration::from_millis(200),
        settled: Duration::from_millis(900),
    };
    let claims = store.open_with(lifetimes).await;
    let start = Instant::now();
    claims.claim(&[wish(1, 1, 7), wish(2, 1, 7)]).await.unwrap();
    claims.settle(&[wish(2, 1, 7)]).await.unwrap();
    // Each wish is another envelope's, so that it becomes the owner only when the claim has expired.
    for (event, while_it_stands, lifetime) in [
        (1, Claim::Contested, lifetimes.unsettled),
        (2, Claim::Settled, lifetimes.settled),
    ] {
        loop {
            match claim(&*claims, wish(event, 2, 7)).await {
                Claim::Owned => break,
                other => assert_eq!(other, while_it_stands),
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert!(start.elapsed() >= lifetime, "{:?}", start.elapsed());
    }
}

async fn a_hundred_claimants_at_once_make_one_owner(store: &Store) {
    let claims = [store.open().await, store.open().await];
    let claimants =
        (0..100).map(|envelope| claim(&*claims[envelope % 2], wish(1, envelope as u128 + 1, 7)));
    let answers = futures_util::future::join_all(claimants).await;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Claim::Owned)
            .count(),
        1
    );
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Claim::Contested)
            .count(),
        99
    );
}

async fn nothing_is_asked_for_nothing(store: &Store) {
    let claims = store.open().await;
    assert_eq!(claims.claim(&[]).await.unwrap(), []);
    claims.settle(&[]).await.unwrap();
    claims.ping().await.unwrap();
}

#[tokio::test]
async fn a_redis_that_is_away_is_an_error_soon() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("redis://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    assert!(
        RedisClaims::connect(&silent, "test").await.is_err(),
        "it accepts, and says nothing"
    );
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    drop(listener);
    assert!(RedisClaims::connect(&silent, "test").await.is_err());
}

#[tokio::test]
async fn a_redis_whose_certificate_another_ca_signed_is_refused_and_told_why() {
    let url = test_url("OPTOUT_TEST_REDISS_URL").replace("ca.pem", "other.pem");
    let refused = RedisClaims::connect(&url, "test").await.err().unwrap();
    let why = refused.to_string();
    assert!(why.contains("invalid peer certificate"), "{why}");
}

#[tokio::test]
async fn a_ca_that_cannot_be_read_is_named() {
    let url = "rediss://localhost/?sslrootcert=/missing.pem";
    let refused = RedisClaims::connect(url, "test").await.err().unwrap();
    assert!(refused.to_string().contains("/missing.pem"), "{refused}");
}
