//! The behaviours that both adapters share.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{FutureExt, future::join_all};
use tokio::time::{Instant, sleep, timeout};

use super::{super::*, *};

behaviours! {
    what_was_published_is_there_after_a_restart,
    an_acknowledged_message_is_gone,
    any_subset_can_be_acknowledged_in_any_order,
    a_released_message_comes_again_with_a_higher_count,
    a_dropped_consumer_gives_back_what_it_holds,
    a_consumer_that_is_dropped_while_it_waits_loses_nothing,
    a_cancelled_receive_loses_nothing,
    a_consumer_that_waits_is_woken,
    two_consumers_never_have_the_same_message,
    prefetch_bounds_what_is_in_hand,
    a_consumer_sees_only_its_own_queue,
    many_publishers_at_once_lose_nothing,
    a_large_body_arrives_as_it_was,
    depth_counts_what_is_ready_and_tells_its_age,
    a_queue_that_was_not_declared_is_refused,
    a_queue_that_is_there_answers,
}

pub(super) async fn what_was_published_is_there_after_a_restart(store: &Store) {
    let queue = store.open().await;
    queue
        .publish(vec![message(&URGENT, "a"), message(&URGENT, "b")])
        .await
        .unwrap();
    drop(queue);
    let mut consumer = store.open().await.consume(&URGENT, 10).await.unwrap();
    let messages = receive(&mut consumer, 2).await;
    assert_eq!(bodies(&messages), ["a", "b"]);
    assert!(
        messages
            .iter()
            .all(|message| message.deliveries == 1 && message.parked_from.is_none())
    );
    let age = crate::clock::now().duration_since(messages[0].published_at.unwrap());
    assert!(age.unsigned_abs() < LONG, "{age:?}");
}

async fn an_acknowledged_message_is_gone(store: &Store) {
    let queue = store.open().await;
    queue
        .publish(vec![message(&URGENT, "a"), message(&URGENT, "b")])
        .await
        .unwrap();
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    let messages = receive(&mut consumer, 2).await;
    consumer.ack(&tokens(&messages)).await.unwrap();
    drop((consumer, queue));
    let queue = store.open().await;
    nothing(&mut queue.consume(&URGENT, 10).await.unwrap()).await;
    assert_eq!(queue.depth(&URGENT).await.unwrap(), Depth::default());
}

async fn any_subset_can_be_acknowledged_in_any_order(store: &Store) {
    let queue = store.open().await;
    queue
        .publish((0..10).map(|body| message(&URGENT, body)).collect())
        .await
        .unwrap();
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    let messages = receive(&mut consumer, 10).await;
    for some in [
        &messages[7..8],
        &messages[2..4],
        &messages[0..1],
        &messages[1..2],
    ] {
        consumer.ack(&tokens(some)).await.unwrap();
    }
    consumer.ack(&tokens(&messages[0..4])).await.unwrap(); // again: nothing is there to be done
    let rest: Vec<_> = messages
        .iter()
        .enumerate()
        .filter(|(at, _)| *at > 3 && *at != 7)
        .map(|(_, message)| message.clone())
        .collect();
    drop(consumer);
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    assert_eq!(bodies(&receive(&mut consumer, 5).await), bodies(&rest));
    nothing(&mut consumer).await;
}

pub(super) async fn a_released_message_comes_again_with_a_higher_count(store: &Store) {
    let queue = store.open().await;
    queue
        .publish(vec![message(&URGENT, "a"), message(&URGENT, "b")])
        .await
        .unwrap();
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    let messages = receive(&mut consumer, 2).await;
    consumer.release(&tokens(&messages[..1])).await.unwrap();
    let again = receive_one(&mut consumer).await;
    assert_eq!((&again.body, again.deliveries), (&messages[0].body, 2));
    nothing(&mut consumer).await; // the other one is still in hand
    consumer
        .ack(&[again.token, messages[1].token])
        .await
        .unwrap();
    drop(consumer);
    ready(&queue, &URGENT, 0).await;
}

async fn a_dropped_consumer_gives_back_what_it_holds(store: &Store) {
    let queue = store.open().await;
    queue
        .publish((0..6).map(|body| message(&URGENT, body)).collect())
        .await
        .unwrap();
    let mut first = queue.consume(&URGENT, 10).await.unwrap();
    let mut second = queue.consume(&URGENT, 10).await.unwrap();
    let held = receive(&mut first, 2).await;
    let start = Instant::now();
    drop(first);
    let messages = receive(&mut second, 6).await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "at once, not when a lease ends: {:?}",
        start.elapsed()
    );
    let again = messages
        .iter()
        .filter(|message| held.iter().any(|held| held.body == message.body));
    assert!(
        again.clone().count() == 2 && again.clone().all(|message| message.deliveries == 2),
        "{messages:?}"
    );
}

async fn a_cancelled_receive_loses_nothing(store: &Store) {
    let queue = store.open().await;
    let mut consumer = queue.consume(&URGENT, 20).await.unwrap();
    let publishing = async {
        for body in 0..50 {
            queue.publish(vec![message(&URGENT, body)]).await.unwrap();
        }
    };
    let receiving = async {
        let mut came = BTreeSet::new();
        while came.len() < 50 {
            if let Ok(messages) = timeout(Duration::from_micros(300), consumer.receive(3)).await {
                let messages = messages.unwrap();
                assert!(messages.len() <= 3);
                came.extend(bodies(&messages));
                consumer.ack(&tokens(&messages)).await.unwrap();
            }
        }
    };
    timeout(LONG, async { tokio::join!(publishing, receiving) })
        .await
        .expect("all arrive");
    drop(consumer);
    ready(&queue, &URGENT, 0).await;
}

async fn a_consumer_that_is_dropped_while_it_waits_loses_nothing(store: &Store) {
    let queue = store.open().await;
    let start = Instant::now();
    for round in 0_u32..40 {
        queue.publish(vec![message(&URGENT, round)]).await.unwrap();
        let mut dropped = queue.consume(&URGENT, 1).await.unwrap();
        let asking = timeout(
            Duration::from_micros(u64::from(round) * 20),
            dropped.receive(1),
        );
        drop(asking.await);
        drop(dropped);
        let mut consumer = queue.consume(&URGENT, 1).await.unwrap();
        let came = receive_one(&mut consumer).await;
        assert_eq!(came.body, round.to_string());
        consumer.ack(&[came.token]).await.unwrap();
    }
    let each = start.elapsed() / 40;
    assert!(
        each < Duration::from_secs(1),
        "not when a lease ends: {each:?}"
    );
}

async fn a_consumer_that_waits_is_woken(store: &Store) {
    let queue = store.open().await;
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    for milliseconds in [0, 100] {
        sleep(SHORT).await; // so that it has looked, and waits
        let publishing = async {
            sleep(SHORT).await;
            queue
                .publish(vec![delayed(&URGENT, "a", milliseconds)])
                .await
                .unwrap();
        };
        let (came, ()) = tokio::join!(receive_one(&mut consumer), publishing);
        consumer.ack(&[came.token]).await.unwrap();
    }
}

async fn two_consumers_never_have_the_same_message(store: &Store) {
    let queue = store.open().await;
    queue
        .publish((0..200).map(|body| message(&URGENT, body)).collect())
        .await
        .unwrap();
    let take = |mut consumer: Box<dyn Consumer>| async move {
        let mut came = Vec::new();
        while let Ok(messages) = timeout(SHORT * 2, consumer.receive(7)).await {
            came.extend(messages.unwrap());
        }
        (consumer, came)
    };
    let consumers = [
        queue.consume(&URGENT, 1000).await.unwrap(),
        queue.consume(&URGENT, 1000).await.unwrap(),
    ];
    let came = join_all(consumers.map(take)).await;
    let all: Vec<_> = came.iter().flat_map(|(_, came)| bodies(came)).collect();
    assert_eq!(all.len(), 200);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 200);
}

async fn prefetch_bounds_what_is_in_hand(store: &Store) {
    let queue = store.open().await;
    queue
        .publish((0..5).map(|body| message(&URGENT, body)).collect())
        .await
        .unwrap();
    let mut first = queue.consume(&URGENT, 2).await.unwrap();
    let held = receive(&mut first, 2).await;
    nothing(&mut first).await;
    let mut second = queue.consume(&URGENT, 10).await.unwrap();
    assert_eq!(receive(&mut second, 3).await.len(), 3);
    queue.publish(vec![message(&URGENT, 6)]).await.unwrap();
    drop(second);
    first.ack(&tokens(&held[..1])).await.unwrap();
    assert_eq!(receive(&mut first, 1).await.len(), 1);
    nothing(&mut first).await;
}

async fn a_consumer_sees_only_its_own_queue(store: &Store) {
    let queue = store.open().await;
    let mut consumer = queue.consume(&URGENT, 10).await.unwrap();
    queue
        .publish(vec![message(&BULK, "b"), message(&retried(), "c")])
        .await
        .unwrap();
    nothing(&mut consumer).await;
    queue
        .publish(vec![message(&URGENT, "a"), message(&BULK, "b")])
        .await
        .unwrap();
    assert_eq!(bodies(&receive(&mut consumer, 1).await), ["a"]);
    ready(&queue, &BULK, 2).await;
}

pub(super) async fn many_publishers_at_once_lose_nothing(store: &Store) {
    let queue = store.open().await;
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..64 {
        let queue = queue.clone();
        publishers.spawn(async move {
            for number in 0..10 {
                let pair =
                    [0, 1].map(|half| message(&URGENT, format!("{publisher} {number} {half}")));
                queue.publish(pair.to_vec()).await.unwrap();
            }
        });
    }
    publishers.join_all().await;
    let mut consumer = queue.consume(&URGENT, 2000).await.unwrap();
    let came: BTreeSet<_> = bodies(&receive(&mut consumer, 1280).await)
        .into_iter()
        .collect();
    assert_eq!(came.len(), 1280);
}

pub(super) async fn a_large_body_arrives_as_it_was(store: &Store) {
    let queue = store.open().await;
    let body: Vec<u8> = (0..400_000_u32)
        .map(|at| at.to_le_bytes()[usize::from(at % 2 == 0)])
        .collect();
    queue
        .publish(vec![Message {
            queue: URGENT,
            body: body.clone().into(),
            delay: Duration::ZERO,
        }])
        .await
        .unwrap();
    queue
        .publish(vec![Message {
            queue: URGENT,
            body: Bytes::new(),
            delay: Duration::ZERO,
        }])
        .await
        .unwrap();
    let messages = receive(&mut queue.consume(&URGENT, 10).await.unwrap(), 2).await;
    let mut lengths: Vec<_> = messages.iter().map(|message| message.body.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [0, body.len()]);
    assert!(messages.iter().any(|message| message.body == body));
}

async fn depth_counts_what_is_ready_and_tells_its_age(store: &Store) {
    let queue = store.open().await;
    assert_eq!(queue.depth(&URGENT).await.unwrap(), Depth::default());
    queue
        .publish((0..5).map(|body| message(&URGENT, body)).collect())
        .await
        .unwrap();
    queue
        .publish(vec![message(&BULK, "b"), delayed(&URGENT, "later", 60_000)])
        .await
        .unwrap();
    ready(&queue, &URGENT, 5).await;
    let mut consumer = queue.consume(&URGENT, 2).await.unwrap();
    assert_eq!(receive(&mut consumer, 2).await.len(), 2);
    ready(&queue, &URGENT, 3).await;
    let oldest = queue
        .depth(&URGENT)
        .await
        .unwrap()
        .oldest
        .expect("something was handed out, so the age is known");
    assert!(oldest < LONG, "{oldest:?}");
}

async fn a_queue_that_was_not_declared_is_refused(store: &Store) {
    let queue = store.open().await;
    let unknown = QueueName::Target("unknown".to_owned(), Feed::Bulk);
    let refused =
        |result: Result<()>| assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    refused(
        queue
            .publish(vec![message(&URGENT, "a"), message(&unknown, "b")])
            .await,
    );
    refused(queue.publish(vec![delayed(&unknown, "b", 100)]).await);
    refused(queue.consume(&unknown, 1).await.map(drop));
    refused(queue.depth(&unknown).await.map(drop));
}

async fn a_queue_that_is_there_answers(store: &Store) {
    let queue = store.open().await;
    queue.ping().await.unwrap();
    queue.publish(Vec::new()).await.unwrap();
}
