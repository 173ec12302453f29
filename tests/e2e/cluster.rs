//! Stores of several servers, which are killed while they are used: Sentinels, a Redis Cluster.

use common::claims::{self, Claim, Wish};
use tests::{Servers, until};
use uuid::Uuid;

fn wish(event: u128, envelope: u128) -> Wish {
    Wish {
        event: Uuid::from_u128(event),
        envelope: Uuid::from_u128(envelope),
        fingerprint: 7,
    }
}

/// By a URL whose first Sentinel is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_go_on_with_the_master_that_sentinels_choose_when_theirs_is_killed() {
    let servers = Servers::of(&["redis", "replica", "sentinel"]).await;
    let claims = claims::connect(&servers.url("SENTINEL"), "optout")
        .await
        .unwrap();
    claims.settle(&[wish(1, 1)]).await.unwrap();
    assert_eq!(claims.claim(&[wish(1, 2)]).await.unwrap(), [Claim::Settled]);
    replicated(&servers).await;

    servers.signal("KILL", "redis").await;
    let found = until("claims go on", async || {
        claims.claim(&[wish(1, 2), wish(2, 2)]).await.ok()
    });
    assert_eq!(
        found.await,
        [Claim::Settled, Claim::Owned],
        "the replica had the first"
    );
    claims.ping().await.unwrap();
}

/// Waits until the replica has what the master has, one key.
async fn replicated(servers: &Servers) {
    let replica = redis::Client::open(servers.url("REPLICA")).unwrap();
    let mut replica = replica.get_multiplexed_async_connection().await.unwrap();
    until("the replica has the key", async || {
        let keys: usize = redis::cmd("DBSIZE")
            .query_async(&mut replica)
            .await
            .unwrap();
        (keys == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_keeps_claims_on_all_its_servers_and_is_found_again_after_a_kill() {
    let servers = Servers::of(&["shard1", "shard2", "shard3"]).await;
    let claims = claims::connect(&servers.url("SHARDS"), "optout")
        .await
        .unwrap();
    let wishes = |envelope| {
        (0..300)
            .map(|event| wish(event, envelope))
            .collect::<Vec<_>>()
    };
    let all = |answers: Vec<Claim>, claim| {
        answers.len() == 300 && answers.iter().all(|answer| *answer == claim)
    };
    assert!(all(claims.claim(&wishes(1)).await.unwrap(), Claim::Owned));
    assert!(all(
        claims.claim(&wishes(2)).await.unwrap(),
        Claim::Contested
    ));
    claims.settle(&wishes(1)).await.unwrap();
    assert!(all(claims.claim(&wishes(2)).await.unwrap(), Claim::Settled));
    claims.ping().await.unwrap();

    servers.signal("KILL", "shard2").await;
    assert!(claims.claim(&wishes(2)).await.is_err());
    servers.again("shard2").await;
    // It has forgotten its third, which is claimed anew.
    let answers = until("claims go on", async || claims.claim(&wishes(3)).await.ok()).await;
    assert!(answers.contains(&Claim::Settled) && answers.contains(&Claim::Owned));
}
