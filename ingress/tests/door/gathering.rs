//! How envelopes are put into messages, and what becomes of them when the queue hangs.

use std::pin::pin;

use futures_util::{future::join_all, poll};

use crate::{
    harness::{OPEN, config, open, post, router},
    queue::{Behaviour, TestQueue},
};

#[tokio::test]
async fn what_arrives_while_a_publish_is_on_its_way_goes_out_in_one_message() {
    let queue = TestQueue::holding();
    let router = router(OPEN, &queue);
    let mut first = pin!(post(router.clone(), "/webhooks/open", "first"));
    assert!(poll!(&mut first).is_pending());
    queue.begun().await;
    let others = (0..50).map(|number| post(router.clone(), "/webhooks/open", number.to_string()));
    let mut others = pin!(join_all(others));
    assert!(poll!(&mut others).is_pending());

    queue.release(2);
    assert_eq!(first.await.status(), 200);
    assert!(others.await.iter().all(|answer| answer.status() == 200));
    let gathered: Vec<_> = queue
        .stored()
        .into_iter()
        .map(|(_, envelopes)| envelopes.len())
        .collect();
    assert_eq!(gathered, [1, 50]);
    let bodies: Vec<_> = queue.stored()[1]
        .1
        .iter()
        .map(|envelope| envelope.body.clone())
        .collect();
    assert_eq!(
        bodies,
        (0..50)
            .map(|number: u8| number.to_string())
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_request_alone_does_not_wait_for_company() {
    let queue = TestQueue::new(Behaviour::Store);
    let router = router(OPEN, &queue);
    for _ in 0..3 {
        assert_eq!(
            post(router.clone(), "/webhooks/open", "alone")
                .await
                .status(),
            200
        );
    }
    assert_eq!(queue.stored().len(), 3);
}

#[tokio::test]
async fn a_message_stays_within_256_envelopes_and_100_kib() {
    let queue = TestQueue::holding();
    let router = router(OPEN, &queue);
    let sizes = [vec![1; 300], vec![40 * 1024; 5], vec![300 * 1024, 1]].concat();
    let mut first = pin!(post(router.clone(), "/webhooks/open", "first"));
    assert!(poll!(&mut first).is_pending());
    queue.begun().await;
    let posts = sizes
        .iter()
        .map(|size| post(router.clone(), "/webhooks/open", vec![b'x'; *size]));
    let mut posts = pin!(join_all(posts));
    assert!(poll!(&mut posts).is_pending());
    queue.release(100);
    assert_eq!(first.await.status(), 200);
    assert!(posts.await.iter().all(|answer| answer.status() == 200));

    let stored = queue.stored();
    assert_eq!(queue.envelopes().len(), 1 + sizes.len());
    assert!(stored.iter().all(|(_, envelopes)| envelopes.len() <= 256));
    for ((_, envelopes), size) in stored.iter().zip(queue.sizes()) {
        assert!(
            size <= 100 * 1024 || envelopes.len() == 1,
            "{size} bytes, {} envelopes",
            envelopes.len()
        );
    }
    assert!(stored.len() < 10, "{} messages", stored.len());
}

#[tokio::test]
async fn what_is_not_confirmed_in_time_is_to_be_sent_again_and_holds_up_the_next_no_longer() {
    let config = config(&format!("ingress.publish_timeout = '100ms'\n{OPEN}"));
    let door = open(&config, TestQueue::new(Behaviour::Hang)).await;
    let answer = door.post("/webhooks/open", &[], b"hangs").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    door.queue.become_(Behaviour::Store);
    let answer = door.post("/webhooks/open", &[], b"next").await;
    assert_eq!(answer.status, 200);
    assert_eq!(door.queue.only().body, &b"next"[..]);
}

#[tokio::test]
async fn what_has_been_answered_come_again_is_not_published_after_a_long_hang() {
    let queue = TestQueue::new(Behaviour::Hang);
    let router = router(
        &format!("ingress.publish_timeout = '100ms'\n{OPEN}"),
        &queue,
    );
    // Too large to share a message: the second waits while the first hangs, longer than its request waits.
    let large = || post(router.clone(), "/webhooks/open", vec![b'x'; 90 * 1024]);
    let mut two = pin!(join_all([large(), large()]));
    assert!(poll!(&mut two).is_pending());
    assert!(two.await.iter().all(|answer| answer.status() == 503));
    queue.become_(Behaviour::Store);
    let next = post(router, "/webhooks/open", "next").await;
    assert_eq!(next.status(), 200);
    let bodies: Vec<_> = queue
        .envelopes()
        .into_iter()
        .map(|envelope| envelope.body)
        .collect();
    assert_eq!(bodies, ["next"]);
}

#[tokio::test]
async fn one_priority_does_not_wait_for_the_other() {
    let queue = TestQueue::holding();
    let source = "[[sources]]\nname = 'a'\nprovider = 'sentinmail'\nauth = { kind = 'none' }";
    let router = router(source, &queue);
    let body = |kind| format!(r#"{{"id":"evt-1","type":"{kind}","recipient":"user@example.com"}}"#);
    let mut bulk = pin!(post(router.clone(), "/webhooks/a", body("delivered")));
    assert!(poll!(&mut bulk).is_pending());
    queue.begun().await;
    let mut urgent = pin!(post(router.clone(), "/webhooks/a", body("unsubscribed")));
    assert!(poll!(&mut urgent).is_pending());
    queue.begun().await;
    queue.release(2);
    assert_eq!(
        (bulk.await.status(), urgent.await.status()),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
}

#[tokio::test]
async fn a_client_that_goes_away_after_its_body_loses_nothing_and_keeps_no_place() {
    let queue = TestQueue::holding();
    let router = router(&format!("ingress.max_in_flight = 2\n{OPEN}"), &queue);
    {
        let mut first = pin!(post(router.clone(), "/webhooks/open", "first"));
        assert!(poll!(&mut first).is_pending());
        queue.begun().await;
        let mut second = pin!(post(router.clone(), "/webhooks/open", "second"));
        assert!(poll!(&mut second).is_pending());
        // What they wait for still counts as in hand.
        assert_eq!(
            post(router.clone(), "/webhooks/open", "third")
                .await
                .status(),
            503
        );
    }
    queue.release(10);
    queue.begun().await;
    assert_eq!(
        post(router.clone(), "/webhooks/open", "fourth")
            .await
            .status(),
        200
    );
    let bodies: Vec<_> = queue
        .envelopes()
        .into_iter()
        .map(|envelope| envelope.body)
        .collect();
    assert_eq!(bodies, ["first", "second", "fourth"]);
    assert_eq!(post(router, "/webhooks/open", "fifth").await.status(), 200);
}
