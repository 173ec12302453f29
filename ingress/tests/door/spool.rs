//! What the door does while the broker is away, and what becomes of it when the broker is back: over a spool's real file
//! and a broker that the test holds in its hand.

use std::{path::Path, sync::Arc, time::Duration};

use common::{
    envelope::{self, Envelope},
    lifecycle::LoopState,
    queue::{DELIVERY_LIMIT, Message, Priority, Queue, QueueName, SqliteQueue},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    harness::{Door, STUCK, config, open},
    queue::{Behaviour, TestQueue},
};

/// A source whose bodies say how urgent they are.
const SOURCE: &str = "[[sources]]\nname = 'a'\nprovider = 'sentinmail'\nauth = { kind = 'none' }";

/// A door with a spool in `folder`.
async fn door(folder: &TempDir, more: &str, broker: &Arc<TestQueue>) -> Door {
    let path = folder.path().join("a spool?.db");
    let text = format!(
        "{more}\n[queue]\nurl = 'amqp://localhost'\n[ingress.spool]\npath = '{}'\nmax_size = '1MiB'\n{SOURCE}",
        path.display()
    );
    open(&config(&text), Arc::clone(broker)).await
}

fn body(kind: &str, number: usize) -> String {
    format!(r#"{{"id":"evt-{number}","type":"{kind}","recipient":"user@example.com"}}"#)
}

async fn accepted(door: &Door, body: &str) {
    let answer = door.post("/webhooks/a", &[], body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Waits until it is so.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < STUCK, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the broker has so many envelopes, and gives them in their order.
async fn arrived(broker: &TestQueue, count: usize) -> Vec<Envelope> {
    let what = format!("{count} envelopes arrive");
    until(&what, async || broker.envelopes().len() >= count).await;
    broker.envelopes()
}

async fn stop(door: Door) {
    door.lifecycle.stop();
    assert!(door.lifecycle.finish(STUCK).await);
    let loops = door.lifecycle.loops();
    assert_eq!(loops["ingress.spool"], LoopState::Stopped);
}

/// The file itself, as another process would see it.
async fn file(folder: &Path) -> SqliteQueue {
    let url = format!("sqlite:{}/a spool%3f.db", folder.display());
    let file = SqliteQueue::open(&url).await.unwrap();
    file.declare(&ingress::queues()).await.unwrap();
    file
}

#[tokio::test]
async fn with_the_broker_away_webhooks_are_answered_200_and_sent_on_when_it_is_back() {
    for behaviour in [Behaviour::Away, Behaviour::Refuse, Behaviour::Hang] {
        let (folder, broker) = (tempfile::tempdir().unwrap(), TestQueue::new(behaviour));
        let door = door(&folder, "ingress.publish_timeout = '1s'", &broker).await;
        let bodies: Vec<_> = (0..5).map(|number| body("unsubscribed", number)).collect();
        for body in &bodies {
            accepted(&door, body).await;
        }
        assert_eq!(broker.envelopes(), [], "{behaviour:?}");
        broker.become_(Behaviour::Store);
        if behaviour == Behaviour::Hang {
            // A publish that hangs is given up by the real adapter after a while; this one has to be told.
            stop(door).await;
            drop(door_again(&folder, &broker, &bodies).await);
        } else {
            in_order(&broker, &bodies).await;
            // What comes now goes to the broker itself.
            accepted(&door, &body("unsubscribed", 5)).await;
            assert_eq!(broker.envelopes().len(), 6);
            stop(door).await;
        }
    }
}

async fn door_again(folder: &TempDir, broker: &Arc<TestQueue>, bodies: &[String]) -> Door {
    let door = door(folder, "", broker).await;
    in_order(broker, bodies).await;
    door
}

async fn in_order(broker: &TestQueue, bodies: &[String]) {
    let arrived = arrived(broker, bodies.len()).await;
    let arrived: Vec<_> = arrived.iter().map(|envelope| &envelope.body[..]).collect();
    let bodies: Vec<_> = bodies.iter().map(String::as_bytes).collect();
    assert_eq!(arrived, bodies);
}

#[tokio::test]
async fn a_broker_that_hangs_is_waited_for_a_fifth_of_the_time_and_then_no_more() {
    let (folder, broker) = (tempfile::tempdir().unwrap(), TestQueue::holding());
    let door = door(&folder, "ingress.publish_timeout = '1500ms'", &broker).await;
    let begun = Instant::now();
    accepted(&door, &body("unsubscribed", 0)).await;
    let first = begun.elapsed();
    assert!(first >= Duration::from_millis(300), "{first:?}");
    broker.begun().await;
    for number in 1..10 {
        accepted(&door, &body("delivered", number)).await;
    }
    // Of the other nine none was offered to it: what it is offered besides, the drain offers, once.
    let offered = 1 + broker.offered();
    assert!(offered <= 2, "{offered}");
}

#[tokio::test]
async fn a_spool_left_by_another_process_is_drained_urgent_first_and_each_in_order() {
    let (folder, away) = (
        tempfile::tempdir().unwrap(),
        TestQueue::new(Behaviour::Away),
    );
    let first = door(&folder, "", &away).await;
    // More than one batch of each.
    for number in 0..40 {
        accepted(&first, &body("delivered", number)).await;
        accepted(&first, &body("unsubscribed", number)).await;
    }
    stop(first).await;

    let broker = TestQueue::new(Behaviour::Store);
    let second = door(&folder, "", &broker).await;
    arrived(&broker, 80).await;
    let stored: Vec<_> = broker
        .stored()
        .into_iter()
        .flat_map(|(queue, envelopes)| envelopes.into_iter().map(move |one| (queue.clone(), one)))
        .map(|(queue, envelope)| (queue, envelope.body))
        .collect();
    let expected = ["unsubscribed", "delivered"].into_iter().flat_map(|kind| {
        let queue = match kind {
            "unsubscribed" => QueueName::Inbound(Priority::Urgent),
            _ => QueueName::Inbound(Priority::Bulk),
        };
        (0..40).map(move |number| (queue.clone(), body(kind, number).into()))
    });
    assert_eq!(stored, expected.collect::<Vec<_>>());
    stop(second).await;
}

#[tokio::test]
async fn a_full_spool_answers_503_and_what_it_took_is_kept() {
    let (folder, broker) = (
        tempfile::tempdir().unwrap(),
        TestQueue::new(Behaviour::Away),
    );
    let door = door(&folder, "", &broker).await;
    let large = "x".repeat(100 * 1024);
    let mut taken = 0;
    let refused = loop {
        let answer = door.post("/webhooks/a", &[], large.as_bytes()).await;
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken <= 10, "1 MiB holds no more");
    };
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("5"))
    );
    assert!(taken >= 5, "{taken}");
    broker.become_(Behaviour::Store);
    assert_eq!(arrived(&broker, taken).await.len(), taken);
    // Once that is out of the file, there is room again.
    broker.become_(Behaviour::Away);
    until("there is room", async || {
        door.post("/webhooks/a", &[], large.as_bytes()).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn doors_that_share_a_file_send_on_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (cut_off, connected) = (
        TestQueue::new(Behaviour::Away),
        TestQueue::new(Behaviour::Store),
    );
    let one = door(&folder, "", &cut_off).await;
    accepted(&one, &body("unsubscribed", 0)).await;
    let two = door(&folder, "", &connected).await;
    for number in 1..50 {
        accepted(&one, &body("unsubscribed", number)).await;
    }
    // The first one has a batch in hand, and the other one takes the rest.
    arrived(&connected, 1).await;
    cut_off.become_(Behaviour::Store);
    until("both have sent on what there was", async || {
        cut_off.envelopes().len() + connected.envelopes().len() >= 50
    })
    .await;
    accepted(&one, &body("unsubscribed", 50)).await;
    stop(one).await;
    stop(two).await;
    assert!(!cut_off.envelopes().is_empty());
}

#[tokio::test]
async fn what_was_handed_out_too_often_is_sent_on_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let away = TestQueue::new(Behaviour::Away);
    let first = door(&folder, "", &away).await;
    stop(first).await;
    let file = file(folder.path()).await;
    let bulk = QueueName::Inbound(Priority::Bulk);
    let envelope = Envelope {
        id: uuid::Uuid::now_v7(),
        source: "a".to_owned(),
        received_at: common::clock::now(),
        content_type: None,
        headers: vec![],
        body: "parked".into(),
    };
    let message = Message {
        queue: bulk.clone(),
        body: envelope::encode([&envelope]),
        delay: Duration::ZERO,
    };
    file.publish(vec![message]).await.unwrap();
    let mut consumer = file.consume(&bulk, 1).await.unwrap();
    for _ in 0..DELIVERY_LIMIT {
        let taken = consumer.receive(1).await.unwrap();
        consumer.release(&[taken[0].token]).await.unwrap();
    }
    assert_eq!(file.depth(&QueueName::Poison).await.unwrap().ready, 1);

    let broker = TestQueue::new(Behaviour::Store);
    let second = door(&folder, "", &broker).await;
    assert_eq!(arrived(&broker, 1).await, [envelope]);
    assert_eq!(broker.stored()[0].0, bulk);
    stop(second).await;
}

#[tokio::test]
async fn a_spool_that_cannot_be_opened_does_not_keep_the_door_shut() {
    let (folder, broker) = (
        tempfile::tempdir().unwrap(),
        TestQueue::new(Behaviour::Store),
    );
    std::fs::create_dir(folder.path().join("a spool?.db")).unwrap();
    let door = door(&folder, "", &broker).await;
    accepted(&door, &body("unsubscribed", 0)).await;
    broker.become_(Behaviour::Away);
    let answer = door.post("/webhooks/a", &[], b"{}").await;
    assert_eq!(answer.status, 503);
    broker.become_(Behaviour::Store);
    accepted(&door, &body("unsubscribed", 1)).await;
    stop(door).await;
}
