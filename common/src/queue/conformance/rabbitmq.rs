//! What only RabbitMQ can get wrong: confirms, routing, lost connections.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::FutureExt;
use lapin::{
    Channel,
    options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{task::JoinSet, time::Instant};

use super::{
    super::{Error, Queue, RabbitMq},
    *,
};
use crate::proxy::Proxy;

async fn open(url: &str, store: &Store) -> Arc<RabbitMq> {
    let queue = RabbitMq::connect(url, &store.prefix, &[Duration::from_secs(3)])
        .await
        .unwrap();
    queue.declare(&[URGENT, BULK, retried()]).await.unwrap();
    Arc::new(queue)
}

/// The test's URL by way of a proxy.
async fn proxied() -> (Proxy, String) {
    let url = test_url("OPTOUT_TEST_AMQP_URL");
    let mut parsed = url::Url::parse(&url).unwrap();
    let proxy = Proxy::before(format!(
        "{}:{}",
        parsed.host_str().unwrap(),
        parsed.port().unwrap_or(5672)
    ))
    .await;
    parsed.set_host(Some("127.0.0.1")).unwrap();
    parsed.set_port(Some(proxy.address.port())).unwrap();
    (proxy, parsed.to_string())
}

/// MEASURED.md, trap 1: published by many tasks on one channel, rejected messages are reported as confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rejected_publish_is_never_reported_as_confirmed() {
    run(Store::rabbitmq(), |store| rejected(store).boxed()).await;
}

async fn rejected(store: &Store) {
    let queue = open(&store.url, store).await;
    let (rejecting, _declared_by) = declare_rejecting(&queue, store).await;
    let confirmed = by_turns(&queue, &rejecting).await;
    let queue: Arc<dyn Queue> = queue;
    eventually(|| async { queue.depth(&URGENT).await.unwrap().ready >= confirmed }).await;
}

/// Publishes by many tasks at once, in turns to a queue that takes nothing, which is to be told each time, and to one that
/// takes everything: how often that was confirmed.
async fn by_turns(queue: &Arc<RabbitMq>, refused: &QueueName) -> u64 {
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let (queue, refused) = (queue.clone(), refused.clone());
        tasks.spawn(async move {
            let mut confirmed = 0;
            for number in 0..50 {
                let taken = (task + number) % 4 > 0;
                let to = if taken { &URGENT } else { &refused };
                match queue.publish(vec![message(to, "by turns")]).await {
                    Ok(()) => {
                        assert!(taken, "not taken, and reported as confirmed");
                        confirmed += 1;
                    }
                    Err(Error::Refused(_)) => {}
                    // On a slow machine the host is given up, as one is by which a queue takes nothing.
                    Err(Error::Unavailable(_)) => break,
                }
            }
            confirmed
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// As happens by a node that has not noted a queue's new leader, while the others have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_by_which_a_queue_rejects_everything_is_given_up_for_the_next() {
    run(Store::rabbitmq(), |store| given_up(store).boxed()).await;
}

async fn given_up(store: &Store) {
    let queue = open(&store.url, store).await;
    let (rejecting, declared_by) = declare_rejecting(&queue, store).await;
    let before = queue.publishing().await.unwrap();
    eventually(|| async {
        let outcome = queue.publish(vec![message(&rejecting, "no")]).await;
        assert!(outcome.is_err(), "it takes nothing");
        let now = queue.publishing().await;
        now.map_or(true, |now| !Arc::ptr_eq(&before, &now))
    })
    .await;
    // It goes with its connection, and no longer stands in the way of a queue that takes what it is sent.
    drop(declared_by);
    let queue: Arc<dyn Queue> = queue;
    publish_at_last(&queue, message(&rejecting, "yes")).await;
}

/// Declares a queue that takes nothing, and is there as long as the channel.
async fn declare_rejecting(queue: &RabbitMq, store: &Store) -> (QueueName, Channel) {
    let rejecting = QueueName::Target("rejecting".to_owned(), Feed::Bulk);
    queue.topology().add(&rejecting);
    let name = queue.topology().queue(&rejecting);
    let channel = store.broker().await.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.clone(), options, arguments)
        .await
        .unwrap();
    let work = format!("{}.work", store.prefix).into();
    channel
        .queue_bind(
            name,
            work,
            rejecting.to_string().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    (rejecting, channel)
}

/// lapin hands a message that the broker sent back to whichever confirm completes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_that_no_queue_takes_is_never_reported_as_confirmed_and_its_queue_declared_again()
{
    run(Store::rabbitmq(), |store| unroutable(store).boxed()).await;
}

async fn unroutable(store: &Store) {
    let queue = open(&store.url, store).await;
    let unbound = unbound();
    queue.topology().add(&unbound);
    // In the way of declaring it, so that it stays unbound for a while.
    let name = queue.topology().queue(&unbound);
    let channel = store.broker().await.create_channel().await.unwrap();
    let options = QueueDeclareOptions::default();
    channel
        .queue_declare(name.clone(), options, FieldTable::default())
        .await
        .unwrap();

    let confirmed = by_turns(&queue, &unbound).await;
    let queue: Arc<dyn Queue> = queue;
    eventually(|| async { queue.depth(&URGENT).await.unwrap().ready >= confirmed }).await;

    channel
        .queue_delete(name, QueueDeleteOptions::default())
        .await
        .unwrap();
    publish_at_last(&queue, message(&unbound, "declared again")).await;
    ready(&queue, &unbound, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_everything_goes_on_and_nothing_confirmed_is_lost() {
    run(Store::rabbitmq(), |store| cut(store).boxed()).await;
}

async fn cut(store: &Store) {
    let (proxy, url) = proxied().await;
    let queue: Arc<dyn Queue> = open(&url, store).await;
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    queue.publish(vec![message(&URGENT, "held")]).await.unwrap();
    let held = receive_one(&mut consumer).await;
    let mut publishers = JoinSet::new();
    for publisher in 0..16 {
        let queue = queue.clone();
        publishers.spawn(async move {
            for number in 0..40 {
                publish_at_last(&queue, message(&BULK, format!("{publisher} {number}"))).await;
            }
        });
    }
    for _ in 0..3 {
        sleep(Duration::from_millis(100)).await;
        proxy.cut();
        sleep(Duration::from_millis(20)).await;
        proxy.mend();
    }
    publishers.join_all().await;

    let gone = timeout(LONG, consumer.receive(1))
        .await
        .expect("a consumer without connection says so");
    assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
    assert!(consumer.ack(&[held.token]).await.is_err());
    let again = receive_one(&mut queue.consume(&URGENT, 10).await.unwrap()).await;
    assert_eq!((again.body, again.deliveries), (held.body, 2));

    let mut consumer = queue.consume(&BULK, 1000).await.unwrap();
    let mut came = BTreeSet::new();
    while came.len() < 16 * 40 {
        came.extend(bodies(&receive(&mut consumer, 1).await));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_publishing_fails_soon_and_what_was_declared_comes_back_with_it() {
    run(Store::rabbitmq(), |store| away(store).boxed()).await;
}

async fn away(store: &Store) {
    let (proxy, url) = proxied().await;
    let queue: Arc<dyn Queue> = open(&url, store).await;
    proxy.cut();
    eventually(|| async { queue.publish(vec![message(&URGENT, "lost")]).await.is_err() }).await;
    let start = Instant::now();
    let outcome = queue.publish(vec![message(&URGENT, "lost")]).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert!(queue.ping().await.is_err());
    assert!(queue.consume(&URGENT, 1).await.is_err());

    store.clean().await;
    proxy.mend();
    publish_at_last(&queue, message(&URGENT, "found")).await;
    queue.ping().await.unwrap();
    assert_eq!(
        receive_one(&mut queue.consume(&URGENT, 1).await.unwrap())
            .await
            .body,
        "found"
    );
}
