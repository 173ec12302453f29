//! Stores of several servers, which are killed while they are used: a RabbitMQ cluster, Sentinels, a Redis Cluster.

use std::time::Duration;

use common::{
    claims::{self, Claim, Wish},
    queue::{self, Message, Priority, QueueName},
};
use tests::{Servers, until};
use uuid::Uuid;

const URGENT: QueueName = QueueName::Inbound(Priority::Urgent);

const NODES: [&str; 3] = ["rabbitmq", "rabbitmq2", "rabbitmq3"];

/// RabbitMQ's channels may go on asking the dead leader for as long as its node is away, if they sent the queue nothing
/// before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_takes_its_first_message_soon_after_the_node_of_its_leader_died() {
    let servers = Servers::of(&NODES).await;
    // The leader is on the node where the queue was declared first.
    let one = queue::connect(&servers.url("AMQP"), "optout", &[])
        .await
        .unwrap();
    one.declare(&[URGENT]).await.unwrap();
    let all = servers.url("CLUSTER");
    let (start, hosts) = all.split_once('@').unwrap();
    let (_, others) = hosts.split_once(',').unwrap();
    let queue = queue::connect(&format!("{start}@{others}"), "optout", &[])
        .await
        .unwrap();
    queue.declare(&[URGENT]).await.unwrap();

    servers.signal("KILL", NODES[0]).await;
    until("the message is confirmed", async || {
        let message = Message {
            queue: URGENT,
            body: "opted out".into(),
            delay: Duration::ZERO,
        };
        queue.publish(vec![message]).await.ok()
    })
    .await;
    let mut consumer = queue.consume(&URGENT, 1).await.unwrap();
    assert_eq!(consumer.receive(1).await.unwrap()[0].body, "opted out");
}

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
