//! Stores of several servers, which are killed while they are used: a RabbitMQ cluster, Sentinels, a Redis Cluster.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{
    claims::{self, Claim, Wish},
    queue::{self, Consumer, Message, Priority, Queue, QueueName},
};
use tests::{Servers, until};
use tokio::task::JoinSet;
use uuid::Uuid;

const URGENT: QueueName = QueueName::Inbound(Priority::Urgent);

const NODES: [&str; 3] = ["rabbitmq", "rabbitmq2", "rabbitmq3"];

/// Bodies that the broker has confirmed, or that came.
type Bodies = Arc<Mutex<BTreeSet<String>>>;

/// Each node is killed once and started again, while eight publish and two consume.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rabbitmq_cluster_whose_nodes_are_killed_one_at_a_time_loses_nothing() {
    let servers = Servers::of(&NODES).await;
    let url = servers.url("CLUSTER");
    let (confirmed, stop) = (Bodies::default(), Arc::new(AtomicBool::new(false)));
    let came = Bodies::default();
    let queue = queue::connect(&url, "optout", &[]).await.unwrap();
    queue.declare(&[URGENT]).await.unwrap();
    let mut publishers = JoinSet::new();
    for publisher in 0..8 {
        publishers.spawn(publish(
            publisher,
            queue.clone(),
            confirmed.clone(),
            stop.clone(),
        ));
    }
    let mut consumers = JoinSet::new();
    for _ in 0..2 {
        consumers.spawn(consume(url.clone(), came.clone()));
    }

    for node in NODES {
        more(&confirmed, 50).await;
        servers.signal("KILL", node).await;
        // Without the node, and for longer than what was on its way.
        more(&confirmed, 200).await;
        servers.again(node).await;
    }
    stop.store(true, Ordering::Relaxed);
    publishers.join_all().await;
    let confirmed = confirmed.lock().unwrap().clone();
    until("all that was confirmed came", async || {
        confirmed.is_subset(&came.lock().unwrap()).then_some(())
    })
    .await;
    consumers.shutdown().await;
    assert!(confirmed.len() > 750, "{}", confirmed.len());
}

/// Waits until so many more are confirmed.
async fn more(confirmed: &Bodies, count: usize) {
    let before = confirmed.lock().unwrap().len();
    until("publishing goes on", async || {
        (confirmed.lock().unwrap().len() > before + count).then_some(())
    })
    .await;
}

async fn publish(
    publisher: usize,
    queue: Arc<dyn Queue>,
    confirmed: Bodies,
    stop: Arc<AtomicBool>,
) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let body = format!("{publisher} {number}");
        let message = Message {
            queue: URGENT,
            body: body.clone().into(),
            delay: Duration::ZERO,
        };
        if queue.publish(vec![message]).await.is_ok() {
            confirmed.lock().unwrap().insert(body);
        }
    }
}

/// As a stage does: with a new consumer, and if need be a new connection, after each error.
async fn consume(url: String, came: Bodies) {
    loop {
        if let Ok(queue) = queue::connect(&url, "optout", &[]).await
            && queue.declare(&[URGENT]).await.is_ok()
        {
            while let Ok(consumer) = queue.consume(&URGENT, 50).await {
                drain(consumer, &came).await;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Until the connection is lost. What is acknowledged came before.
async fn drain(mut consumer: Box<dyn Consumer>, came: &Bodies) {
    while let Ok(messages) = consumer.receive(50).await {
        let tokens: Vec<_> = messages.iter().map(|message| message.token).collect();
        let bodies = messages
            .iter()
            .map(|message| String::from_utf8_lossy(&message.body).into_owned());
        came.lock().unwrap().extend(bodies);
        if consumer.ack(&tokens).await.is_err() {
            return;
        }
    }
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
