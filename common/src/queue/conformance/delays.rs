//! The behaviours that both adapters share: messages that wait, and messages that are parked.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;

use super::{super::*, *};

behaviours! {
    a_delayed_message_is_never_early_and_arrives,
    a_shorter_delay_is_not_held_up_by_a_longer_one,
    a_message_that_keeps_coming_back_is_parked,
    a_message_that_was_delayed_is_parked_with_its_own_queue_as_origin,
}

async fn a_delayed_message_is_never_early_and_arrives(store: &Store) {
    let queue = store.open().await;
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    let start = Instant::now();
    queue
        .publish(vec![
            delayed(&URGENT, "later", 700),
            message(&URGENT, "now"),
        ])
        .await
        .unwrap();
    assert_eq!(receive_one(&mut consumer).await.body, "now");
    assert_eq!(
        queue.depth(&URGENT).await.unwrap().ready,
        0,
        "what is delayed is not ready"
    );
    let later = receive_one(&mut consumer).await;
    assert_eq!((later.body, later.deliveries), ("later".into(), 1));
    assert!(
        start.elapsed() >= Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
}

async fn a_shorter_delay_is_not_held_up_by_a_longer_one(store: &Store) {
    let queue = store.open().await;
    let start = Instant::now();
    queue
        .publish(vec![delayed(&retried(), "longer", 1500)])
        .await
        .unwrap();
    queue
        .publish(vec![delayed(&retried(), "shorter", 500)])
        .await
        .unwrap();
    let mut consumer = queue.consume(&retried(), 10).await.unwrap();
    assert_eq!(receive_one(&mut consumer).await.body, "shorter");
    assert_eq!(receive_one(&mut consumer).await.body, "longer");
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(2900),
        "after its delay, not after the step of 3 s: {took:?}"
    );
}

/// Releases the next message as often as it takes until it is parked.
async fn park(queue: &Arc<dyn Queue>, from: &QueueName) -> Received {
    let mut consumer = queue.consume(from, 10).await.unwrap();
    for count in 1..=DELIVERY_LIMIT {
        let message = receive_one(&mut consumer).await;
        assert_eq!((message.deliveries, message.parked_from), (count, None));
        consumer.release(&[message.token]).await.unwrap();
    }
    let parked = receive_one(&mut queue.consume(&QueueName::Poison, 10).await.unwrap()).await;
    nothing(&mut consumer).await;
    parked
}

async fn a_message_that_keeps_coming_back_is_parked(store: &Store) {
    let queue = store.open().await;
    queue.publish(vec![message(&BULK, "poison")]).await.unwrap();
    let parked = park(&queue, &BULK).await;
    assert_eq!(
        (parked.body, parked.parked_from),
        ("poison".into(), Some(BULK))
    );
    let mut consumer = queue.consume(&QueueName::Poison, 10).await.unwrap();
    for _ in 0..2 * DELIVERY_LIMIT {
        let message = receive_one(&mut consumer).await;
        assert_eq!(message.parked_from, Some(BULK));
        consumer.release(&[message.token]).await.unwrap();
    }
    let message = receive_one(&mut consumer).await;
    consumer.ack(&[message.token]).await.unwrap();
    drop(consumer);
    ready(&queue, &QueueName::Poison, 0).await;
}

async fn a_message_that_was_delayed_is_parked_with_its_own_queue_as_origin(store: &Store) {
    let queue = store.open().await;
    queue
        .publish(vec![delayed(&retried(), "poison", 100)])
        .await
        .unwrap();
    assert_eq!(park(&queue, &retried()).await.parked_from, Some(retried()));
}
