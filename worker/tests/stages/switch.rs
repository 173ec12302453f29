//! A configured target that people disable, enable and test while the worker runs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use common::{
    delivery::{Answer, Delivery, State, Tested},
    envelope,
    ledger::{Act, DeliveryFilter, DeliveryRow, TestState},
    queue::Feed,
};
use uuid::Uuid;

use crate::bench::{Bench, envelope_of, event, inbound, log, until};

async fn unsubscribe(bench: &Bench, number: usize) {
    let envelope = envelope_of("shop", &format!("user{number}@example.com"));
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
}

async fn disable(bench: &Bench) {
    let act = Act::default();
    let disabled = bench.ledger.disable_target("log", None, &act);
    assert!(disabled.await.unwrap());
}

async fn enable(bench: &Bench) {
    let act = Act::default();
    let enabled = bench.ledger.enable_target("log", &act);
    assert!(enabled.await.unwrap());
}

/// Asks for a test of the target, and waits for what comes of it.
async fn tested(bench: &Bench) -> Tested {
    let (id, act) = (Uuid::now_v7(), Act::default());
    let asked = bench.ledger.ask_target_test(id, "log", &act);
    asked.await.unwrap();
    until(async || match bench.ledger.target_test(id).await.unwrap() {
        TestState::Made(tested) => Some(tested),
        TestState::Asked | TestState::Taken => None,
    })
    .await
}

/// All deliveries.
async fn deliveries(bench: &Bench) -> Vec<DeliveryRow> {
    let all = DeliveryFilter::default();
    let page = bench.ledger.deliveries(&all, 50, None).await;
    page.unwrap().items
}

/// Waits until so many deliveries are in this state.
async fn are(bench: &Bench, count: usize, state: State) {
    until(async || {
        let all = deliveries(bench).await;
        let found = all.iter().filter(|row| row.state == state).count();
        (found == count).then_some(())
    })
    .await;
}

/// A target that fails until it is told to do otherwise.
struct Moody(Arc<AtomicBool>);

#[async_trait::async_trait]
impl worker::targets::Target for Moody {
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let answer = || {
            if self.0.load(Ordering::Relaxed) {
                Answer::done("told")
            } else {
                Answer::retry("away")
            }
        };
        deliveries.iter().map(|_| answer()).collect()
    }
}

#[tokio::test]
async fn a_disabled_target_hears_of_nothing_and_of_all_that_waited_once_it_is_enabled() {
    let bench = Bench::new().await;
    bench.work();
    unsubscribe(&bench, 1).await;
    bench.log_has(1).await;
    bench.delivery(State::Delivered, 1).await;
    disable(&bench).await;
    for number in 2..5 {
        unsubscribe(&bench, number).await;
    }
    // From the first batch on that is routed after.
    are(&bench, 3, State::Parked).await;
    bench.log_has(1).await;
    enable(&bench).await;
    bench.delivery(State::Delivered, 4).await;
    bench.log_has(4).await;
}

#[tokio::test]
async fn what_is_retried_behind_an_open_breaker_is_parked_too_and_begins_anew() {
    let bench = Bench::with("breaker_after = 1", "[retry]\nschedule = ['1h']").await;
    let works = Arc::new(AtomicBool::new(false));
    let target = Moody(Arc::clone(&works));
    bench.work_with(|app| {
        Arc::get_mut(&mut app.outlets[0]).unwrap().target = Box::new(target);
    });
    unsubscribe(&bench, 1).await;
    bench.delivery(State::Retrying, 1).await;
    unsubscribe(&bench, 2).await;
    are(&bench, 1, State::Pending).await;
    disable(&bench).await;
    bench.delivery(State::Parked, 2).await;
    works.store(true, Ordering::Relaxed);
    enable(&bench).await;
    bench.delivery(State::Delivered, 2).await;
}

#[tokio::test]
async fn what_waits_for_a_disabled_target_is_parked_by_several_workers_and_its_messages_go() {
    let bench = Bench::with("breaker_after = 1", "[retry]\nschedule = ['1h']").await;
    for _ in 0..2 {
        let target = Moody(Arc::new(AtomicBool::new(false)));
        bench.work_with(|app| {
            Arc::get_mut(&mut app.outlets[0]).unwrap().target = Box::new(target);
        });
    }
    for number in 0..20 {
        unsubscribe(&bench, number).await;
    }
    until(async || (deliveries(&bench).await.len() == 20).then_some(())).await;
    disable(&bench).await;
    are(&bench, 20, State::Parked).await;
    for feed in Feed::ALL {
        bench.taken(*feed).await;
    }
    // Each worker's breaker opened at the first failure, and what its probe finds is a leftover.
    let attempts = deliveries(&bench).await.into_iter().map(|row| row.attempts);
    assert!(attempts.sum::<i64>() <= 2);
}

#[tokio::test]
async fn what_comes_for_a_disabled_target_from_who_had_not_heard_of_it_is_parked() {
    let bench = Bench::new().await;
    bench.work();
    disable(&bench).await;
    unsubscribe(&bench, 1).await;
    are(&bench, 1, State::Parked).await;
    // As another worker had routed them meanwhile, or had them in hand and died.
    for _ in 0..20 {
        let mut event = event();
        event.id = Uuid::now_v7();
        let delivery = Delivery::new(event, "log");
        bench.ledger.adopt(&delivery).await.unwrap();
        bench.publish(log(Feed::Urgent), delivery.encode()).await;
    }
    are(&bench, 21, State::Parked).await;
    bench.taken(Feed::Urgent).await;
    assert!(!bench.file().exists(), "it is told of none");
}

#[tokio::test]
async fn a_test_is_sent_once_by_one_of_the_workers_to_a_disabled_target_too_and_is_no_delivery() {
    let bench = Bench::new().await;
    disable(&bench).await;
    bench.work();
    bench.work();
    for number in 1..3 {
        let tested = tested(&bench).await;
        assert!(tested.delivered, "{tested:?}");
        bench.log_has(number).await;
    }
    let told = std::fs::read_to_string(bench.file()).unwrap();
    assert!(told.contains("test@example.com"), "{told}");
    assert_eq!(deliveries(&bench).await, []);
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
async fn a_target_that_panics_at_a_test_is_told_of_as_such_and_harms_nothing() {
    let bench = Bench::new().await;
    bench.work_with(|app| {
        Arc::get_mut(&mut app.outlets[0]).unwrap().target = Box::new(Panicking);
    });
    let tested = tested(&bench).await;
    assert_eq!(tested.error.as_deref(), Some("the target's code panicked"));
    assert!(!bench.lifecycle.is_stopping());
}
