//! The stages in this process, over SQLite: what happens to messages that no provider would send.
#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod bench;
mod beside;
mod echo;
mod endpoints;
mod levels;
mod line;
mod moved;
mod overtaken;
mod receiver;
mod reconcile;
mod reused;
mod sweep;
mod switch;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    clock,
    contact::Contact,
    delivery::{Answer, Attempt, Delivery, State},
    envelope::{self, Envelope},
    ledger::{Finished, Leave},
    providers::{self, Provider},
    queue::{DELIVERY_LIMIT, Feed, Priority, QueueName},
};
use uuid::Uuid;

use bench::{Bench, envelope_of, event, inbound, log, until};

#[tokio::test]
async fn bytes_that_are_no_message_go_to_quarantine() {
    let bench = Bench::new().await;
    bench
        .publish(inbound(), Bytes::from_static(b"\xff\x00 no envelope"))
        .await;
    bench.work();
    let held = bench.held(1).await;
    let kept = bench
        .ledger
        .envelope(held[0].envelope_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.envelope.body, &b"\xff\x00 no envelope"[..]);
}

#[tokio::test]
async fn bytes_that_differ_where_they_are_no_text_are_both_kept() {
    let bench = Bench::new().await;
    for body in [&b"\xff"[..], b"\xfe"] {
        bench.publish(inbound(), Bytes::from_static(body)).await;
    }
    bench.work();
    bench.held(2).await;
}

#[tokio::test]
async fn an_envelope_of_a_source_that_was_removed_is_kept() {
    let bench = Bench::new().await;
    bench
        .publish(
            inbound(),
            envelope::encode([&envelope_of("gone", "user@example.com")]),
        )
        .await;
    bench.work();
    assert!(
        bench.held(1).await[0]
            .reason
            .contains("\"gone\" is not configured")
    );
}

#[tokio::test]
async fn an_envelope_that_kept_killing_its_worker_is_shown_in_quarantine() {
    let bench = Bench::new().await;
    let envelope = envelope_of("shop", "user@example.com");
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
    bench.bounce(&inbound(), DELIVERY_LIMIT).await;
    bench.work();
    let held = bench.held(1).await;
    assert_eq!(
        (held[0].envelope_id, held[0].source.as_str()),
        (envelope.id, "shop")
    );
}

#[tokio::test]
async fn a_worker_whose_only_target_is_disabled_goes_on() {
    let bench = Bench::with("enabled = false", "").await;
    let envelope = envelope_of("shop", "user@example.com");
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
    bench.work();
    bench.delivery(State::Parked, 1).await;
    assert!(!bench.lifecycle.is_stopping());
    bench.lifecycle.stop();
    assert!(bench.lifecycle.finish(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_delivery_that_kept_killing_its_worker_is_dead() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    let lease = Duration::from_mins(1);
    let ids = [delivery.id];
    let killed = bench.ledger.take(&ids, Uuid::now_v7(), lease);
    assert!(matches!(killed.await.unwrap()[..], [Leave::Granted { .. }]));
    bench.publish(log(Feed::Urgent), delivery.encode()).await;
    bench.bounce(&log(Feed::Urgent), DELIVERY_LIMIT).await;
    bench.work();
    bench.delivery(State::Dead, 1).await;
    assert!(!bench.file().exists(), "it is not attempted again");
}

#[tokio::test]
async fn a_delivery_that_only_waited_while_its_worker_died_is_made() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    bench.publish(log(Feed::Bulk), delivery.encode()).await;
    bench.bounce(&log(Feed::Bulk), DELIVERY_LIMIT).await;
    bench.work();
    bench.delivery(State::Delivered, 1).await;
}

#[tokio::test]
async fn a_message_whose_delivery_is_in_other_hands_keeps_its_count() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    let lease = Duration::from_mins(1);
    let ids = [delivery.id];
    let killed = bench.ledger.take(&ids, Uuid::now_v7(), lease);
    assert!(matches!(killed.await.unwrap()[..], [Leave::Granted { .. }]));
    bench.publish(log(Feed::Urgent), delivery.encode()).await;
    bench.bounce(&log(Feed::Urgent), DELIVERY_LIMIT - 1).await;
    bench.work();
    bench.taken(Feed::Urgent).await;
    bench.lifecycle.stop();
    assert!(bench.lifecycle.finish(Duration::from_secs(10)).await);
    let mut poison = bench.queue.consume(&QueueName::Poison, 1).await.unwrap();
    let parked = tokio::time::timeout(Duration::from_secs(5), poison.receive(1)).await;
    assert_eq!(parked.unwrap().unwrap()[0].body, delivery.encode());
}

#[tokio::test]
async fn a_leftover_message_does_not_use_up_a_call_that_the_rate_allows() {
    let bench = Bench::with("rate = '1/1m'", "").await;
    let delivered = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivered).await.unwrap();
    let me = Uuid::now_v7();
    let lease = Duration::from_mins(1);
    bench.ledger.take(&[delivered.id], me, lease).await.unwrap();
    let attempt = Attempt {
        number: 1,
        started_at: clock::now(),
        duration_ms: 1,
        outcome: "done".to_owned(),
        status: None,
        error: None,
        answer: None,
    };
    let finished = Finished {
        delivery: delivered.id,
        state: State::Delivered,
        again: None,
        attempt,
    };
    bench.ledger.finish(&[finished], me).await.unwrap();
    bench.publish(log(Feed::Urgent), delivered.encode()).await;
    bench.work();
    bench.taken(Feed::Urgent).await;
    let mut other = event();
    other.id = Uuid::now_v7();
    let other = Delivery::new(other, "log");
    bench.ledger.adopt(&other).await.unwrap();
    bench.publish(log(Feed::Bulk), other.encode()).await;
    bench.delivery(State::Delivered, 2).await;
}

/// A target with a bug.
struct Panicking;

#[async_trait::async_trait]
impl worker::targets::Target for Panicking {
    async fn deliver(&self, _: &[Delivery]) -> Vec<Answer> {
        panic!("as a bug would")
    }
}

#[tokio::test]
async fn a_target_that_panics_spends_its_attempts_and_keeps_nothing_waiting() {
    let bench = Bench::with(
        "breaker_after = 1",
        "[retry]\nschedule = ['100ms', '100ms']",
    )
    .await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    bench.publish(log(Feed::Urgent), delivery.encode()).await;
    bench.work_with(|app| {
        Arc::get_mut(&mut app.outlets[0]).unwrap().target = Box::new(Panicking);
    });
    bench.delivery(State::Dead, 1).await;
    assert_eq!(bench.ledger.attempts(delivery.id).await.unwrap().len(), 3);
}

/// A parser with a bug.
#[derive(Debug)]
struct Careless;

impl Provider for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn priority(&self, _: &[u8]) -> Priority {
        Priority::Urgent
    }

    fn parse(&self, _: &Envelope) -> providers::Parsed {
        panic!("as a bug would")
    }

    fn samples(&self) -> &'static [providers::Sample] {
        &[]
    }
}

#[tokio::test]
async fn a_body_that_a_parser_panics_at_goes_to_quarantine() {
    let bench = Bench::new().await;
    let envelope = envelope_of("shop", "user@example.com");
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
    bench.work_with(|app| {
        app.sources.get_mut("shop").unwrap().provider = providers::Adapter::Known(&Careless);
    });
    assert!(bench.held(1).await[0].reason.contains("panicked"));
    assert!(!bench.lifecycle.is_stopping());
}

#[tokio::test]
async fn a_message_that_keeps_coming_back_is_split_and_loses_no_envelope() {
    let bench = Bench::new().await;
    let envelopes: Vec<_> = (0..5)
        .map(|n| envelope_of("shop", &format!("user{n}@example.com")))
        .collect();
    bench.publish(inbound(), envelope::encode(&envelopes)).await;
    bench.bounce(&inbound(), 3).await;
    bench.work();
    bench.delivery(State::Delivered, 5).await;
    assert_eq!(
        std::fs::read_to_string(bench.file())
            .unwrap()
            .lines()
            .count(),
        5
    );
}

#[tokio::test]
async fn a_delivery_that_the_ledger_lost_is_entered_again_and_made() {
    let bench = Bench::new().await;
    bench
        .publish(log(Feed::Bulk), Delivery::new(event(), "log").encode())
        .await;
    bench.work();
    bench.delivery(State::Delivered, 1).await;
    let standing = bench
        .ledger
        .check(&Contact::email("user@example.com").unwrap(), None)
        .await
        .unwrap();
    assert_eq!(standing.len(), 1);
}

#[tokio::test]
async fn two_messages_for_one_delivery_make_one_attempt() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    for feed in [Feed::Urgent, Feed::Bulk, Feed::Retried] {
        bench.publish(log(feed), delivery.encode()).await;
    }
    bench.work();
    bench.delivery(State::Delivered, 1).await;
    until(async || {
        let mut ready = 0;
        for feed in Feed::ALL {
            ready += bench.queue.depth(&log(*feed)).await.unwrap().ready;
        }
        (ready == 0).then_some(())
    })
    .await;
    assert_eq!(bench.ledger.attempts(delivery.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_stops() {
    let bench = Bench::new().await;
    bench.work();
    bench
        .publish(
            inbound(),
            envelope::encode([&envelope_of("shop", "user@example.com")]),
        )
        .await;
    bench.delivery(State::Delivered, 1).await;
    bench.lifecycle.stop();
    assert!(bench.lifecycle.finish(Duration::from_secs(10)).await);
}
