//! The line before a target's slots: for one that answers quickly, and only as long as it does.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    delivery::{Answer, Delivery, State},
    ledger::Leave,
    queue::Feed,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bench::{Bench, event, log, until};

/// A target with a gate: it answers at once while that is open, and not before while it is shut.
#[derive(Clone, Default)]
struct Gated {
    shut: Arc<watch::Sender<bool>>,
    told: Arc<Mutex<Vec<Uuid>>>,
}

#[async_trait::async_trait]
impl worker::targets::Target for Gated {
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let ids = deliveries.iter().map(|delivery| delivery.id);
        self.told.lock().unwrap().extend(ids);
        let mut shut = self.shut.subscribe();
        shut.wait_for(|shut| !shut).await.unwrap();
        vec![Answer::done("heard"); deliveries.len()]
    }
}

impl Gated {
    /// Waits until it has been told of so many deliveries, and gives them.
    async fn hears(&self, count: usize) -> Vec<Uuid> {
        until(async || {
            let told = self.told.lock().unwrap().clone();
            (told.len() >= count).then_some(told)
        })
        .await
    }
}

/// A worker at work for such a target of one slot.
async fn at_work(target: &Gated) -> Bench {
    let bench = Bench::with("slots = 1", "").await;
    let target = Box::new(target.clone());
    bench.work_with(|app| Arc::get_mut(&mut app.outlets[0]).unwrap().target = target);
    bench
}

/// Publishes so many deliveries, and gives their ids.
async fn publish(bench: &Bench, count: usize) -> Vec<Uuid> {
    let mut ids = vec![];
    for _ in 0..count {
        let mut event = event();
        event.id = Uuid::now_v7();
        let delivery = Delivery::new(event, "log");
        bench.ledger.adopt(&delivery).await.unwrap();
        bench.publish(log(Feed::Bulk), delivery.encode()).await;
        ids.push(delivery.id);
    }
    ids
}

/// Whether anybody would be given leave for this delivery now.
async fn is_free(bench: &Bench, delivery: Uuid) -> bool {
    let ids = [delivery];
    let leave = bench.ledger.take(&ids, Uuid::now_v7(), Duration::ZERO);
    matches!(leave.await.unwrap()[..], [Leave::Granted { .. }])
}

#[tokio::test]
async fn what_waits_in_line_for_a_target_that_turned_slow_is_given_back_and_told_once() {
    let target = Gated::default();
    let bench = at_work(&target).await;
    publish(&bench, 1).await;
    bench.delivery(State::Delivered, 1).await;
    target.shut.send_replace(true);
    let ids = publish(&bench, 6).await;
    let told = target.hears(2).await;
    let waiting: Vec<_> = ids.iter().filter(|id| !told.contains(id)).collect();
    assert_eq!(waiting.len(), 5);
    for id in &waiting {
        // One that is in the line is so again and again, but not for as long as a lease.
        until(async || is_free(&bench, **id).await.then_some(())).await;
    }
    target.shut.send_replace(false);
    bench.delivery(State::Delivered, 7).await;
    let mut told = target.hears(7).await;
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 7, "each is told, and only once");
    for id in ids {
        assert_eq!(bench.ledger.attempts(id).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_target_that_has_not_answered_quickly_has_no_line() {
    let target = Gated::default();
    target.shut.send_replace(true);
    let bench = at_work(&target).await;
    let ids = publish(&bench, 4).await;
    let told = target.hears(1).await;
    bench.taken(Feed::Bulk).await;
    for id in ids.iter().filter(|id| !told.contains(id)) {
        assert!(is_free(&bench, *id).await);
    }
    target.shut.send_replace(false);
    bench.delivery(State::Delivered, 4).await;
}
