//! Endpoints that users registered: who is told of what, and that the trouble of one is its own.

use std::time::Duration;

use common::{
    config::Filter,
    delivery::State,
    endpoint::{self, Endpoint, Wanted},
    envelope,
    event::Kind,
    ledger::{Act, DeliveryFilter, DeliveryRow, EventFilter},
};
use uuid::Uuid;

use crate::{
    bench::{Bench, envelope_of, inbound, until},
    receiver::Receiver,
};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEXT_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A worker with these settings of endpoints, whose receiver is on the loopback.
pub(crate) async fn bench(endpoints: &str, rest: &str) -> (Bench, Receiver) {
    let settings = format!(
        "[outbound]\nallow_networks = ['127.0.0.0/8']\n[worker]\nsweep_every = '100ms'\n\
         [endpoints]\nallow_http = true\n{endpoints}\n{rest}"
    );
    (Bench::with("", &settings).await, Receiver::start().await)
}

fn wanted(url: &str, events: &[&str]) -> Wanted {
    let events: Vec<_> = events.iter().map(|name| (*name).to_owned()).collect();
    Wanted {
        url: url.parse().unwrap(),
        events: Filter::of(&events).unwrap(),
        description: None,
        enabled: None,
    }
}

pub(crate) async fn register(bench: &Bench, url: &str, events: &[&str]) -> Uuid {
    let (wanted, id) = (wanted(url, events), Uuid::now_v7());
    let (secret, act) = (SECRET.into(), Act::default());
    let created = bench.ledger.create_endpoint(id, &wanted, &secret, &act);
    created.await.unwrap().id
}

async fn enable(bench: &Bench, id: Uuid, enabled: bool) {
    let before = endpoint(bench, id).await;
    let wanted = Wanted {
        url: before.url.parse().unwrap(),
        events: before.events,
        description: None,
        enabled: Some(enabled),
    };
    let act = Act::default();
    let changed = bench.ledger.update_endpoint(id, &wanted, &act);
    assert_eq!(changed.await.unwrap().unwrap().enabled, enabled);
}

async fn endpoint(bench: &Bench, id: Uuid) -> Endpoint {
    bench.ledger.endpoint(id).await.unwrap().unwrap()
}

/// Sends the unsubscribe of `userNUMBER@example.com`.
pub(crate) async fn unsubscribe(bench: &Bench, number: usize) {
    let envelope = envelope_of("shop", &format!("user{number}@example.com"));
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
}

/// Waits until the deliveries to the endpoint are as many, and all as wanted.
async fn deliveries(
    bench: &Bench,
    id: Uuid,
    count: usize,
    wanted: impl Fn(&DeliveryRow) -> bool,
) -> Vec<DeliveryRow> {
    let filter = DeliveryFilter {
        target: Some(endpoint::target(id)),
        ..DeliveryFilter::default()
    };
    until(async || {
        let page = bench.ledger.deliveries(&filter, 500, None).await.unwrap();
        (page.items.len() == count && page.items.iter().all(&wanted)).then_some(page.items)
    })
    .await
}

// rows: SM-23
#[tokio::test]
async fn an_endpoint_is_told_once_of_what_it_asked_for_and_signed_as_receivers_verify() {
    let (bench, receiver) = bench("", "").await;
    bench.work();
    unsubscribe(&bench, 0).await;
    bench.delivery(State::Delivered, 1).await;
    let id = register(&bench, &receiver.url("/hook"), &["unsubscribed", "bounced"]).await;
    register(&bench, &receiver.url("/opens"), &["opened"]).await;
    for _ in 0..3 {
        unsubscribe(&bench, 1).await;
    }
    bench.delivery(State::Delivered, 3).await;
    unsubscribe(&bench, 2).await;
    deliveries(&bench, id, 2, |row| row.state == State::Delivered).await;
    let heard = receiver.heard("/hook");
    assert_eq!(heard.len(), 2, "neither what was before it nor a repeat");
    assert_eq!(receiver.heard("/opens").len(), 0);
    assert_eq!(heard[0].json()["recipient"], "user1@example.com");
    assert!(heard[0].verifies(SECRET) && !heard[0].verifies(NEXT_SECRET));
    let fared = until(async || endpoint(&bench, id).await.last_success_at).await;
    assert!(fared >= endpoint(&bench, id).await.created_at);
}

#[tokio::test]
async fn a_hanging_endpoint_takes_up_its_own_slots_and_delays_no_other() {
    let (bench, receiver) = bench("slots = 2", "").await;
    receiver.hold("/hangs");
    let hangs = register(&bench, &receiver.url("/hangs"), &["*"]).await;
    register(&bench, &receiver.url("/works"), &["*"]).await;
    bench.work();
    // More than its line holds.
    let count = 100;
    for number in 0..count {
        unsubscribe(&bench, number).await;
    }
    receiver.hears("/works", count).await;
    assert_eq!(receiver.heard("/hangs").len(), 2);
    receiver.release("/hangs");
    receiver.hears("/hangs", count).await;
    let told = deliveries(&bench, hangs, count, |row| row.state == State::Delivered).await;
    assert!(told.iter().all(|row| row.attempts == 1));
}

#[tokio::test]
async fn an_open_breaker_puts_deliveries_off_and_spends_no_attempt() {
    let (bench, receiver) = bench("breaker_after = 1", "[retry]\nschedule = ['1h']").await;
    receiver.answer("/hook", 503);
    let id = register(&bench, &receiver.url("/hook"), &["*"]).await;
    bench.work();
    unsubscribe(&bench, 1).await;
    deliveries(&bench, id, 1, |row| row.state == State::Retrying).await;
    unsubscribe(&bench, 2).await;
    let put_off = |row: &DeliveryRow| row.next_attempt_at.is_some();
    let rows = deliveries(&bench, id, 2, put_off).await;
    assert_eq!((rows[0].state, rows[0].attempts), (State::Pending, 0));
    assert_eq!(receiver.heard("/hook").len(), 1);
    receiver.answer("/hook", 200);
    deliveries(&bench, id, 2, |row| {
        row.state == State::Delivered || row.attempts == 1
    })
    .await;
    assert_eq!(receiver.hears("/hook", 2).await.len(), 2, "it came back");
}

#[tokio::test]
async fn the_deliveries_of_a_disabled_endpoint_wait_and_resume() {
    let (bench, receiver) = bench("", "[retry]\nschedule = ['300ms', '300ms', '300ms']").await;
    receiver.answer("/hook", 503);
    let id = register(&bench, &receiver.url("/hook"), &["*"]).await;
    bench.work();
    unsubscribe(&bench, 1).await;
    deliveries(&bench, id, 1, |row| row.state == State::Retrying).await;
    enable(&bench, id, false).await;
    deliveries(&bench, id, 1, |row| row.state == State::Parked).await;
    unsubscribe(&bench, 2).await;
    deliveries(&bench, id, 2, |row| row.state == State::Parked).await;
    receiver.answer("/hook", 200);
    enable(&bench, id, true).await;
    deliveries(&bench, id, 2, |row| row.state == State::Delivered).await;
}

#[tokio::test]
async fn the_deliveries_of_a_deleted_endpoint_are_dead() {
    let (bench, receiver) = bench("", "[retry]\nschedule = ['100ms', '1h']").await;
    receiver.answer("/hook", 503);
    let id = register(&bench, &receiver.url("/hook"), &["*"]).await;
    bench.work();
    unsubscribe(&bench, 1).await;
    deliveries(&bench, id, 1, |row| row.attempts == 2).await;
    receiver.hold("/hook");
    unsubscribe(&bench, 2).await;
    receiver.hears("/hook", 3).await;
    bench
        .ledger
        .delete_endpoint(id, &Act::default())
        .await
        .unwrap();
    let dead = deliveries(&bench, id, 2, |row| row.state == State::Dead).await;
    let why = Some("the endpoint was deleted");
    assert!(dead.iter().all(|row| row.last_error.as_deref() == why));
    receiver.release("/hook");
    unsubscribe(&bench, 3).await;
    bench.log_has(3).await;
    assert_eq!(receiver.heard("/hook").len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_does_nothing_but_fail_is_disabled_by_one_event_and_its_deliveries_wait() {
    let schedule =
        "[retry]\nschedule = ['100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms']";
    let (bench, receiver) = bench("disable_after = '100ms'", schedule).await;
    receiver.answer("/s3cret", 500);
    let id = register(&bench, &receiver.url("/s3cret"), &["unsubscribed"]).await;
    bench.work();
    // A second worker beside the first one.
    bench.work();
    for number in 0..5 {
        unsubscribe(&bench, number).await;
    }
    deliveries(&bench, id, 5, |row| row.state == State::Parked).await;
    let disabled = endpoint(&bench, id).await;
    assert!(!disabled.enabled);
    let reason = disabled.disabled_reason.unwrap();
    assert!(
        reason.starts_with("nothing but failures since "),
        "{reason}"
    );
    let filter = EventFilter {
        kind: Some(Kind::Other),
        ..EventFilter::default()
    };
    let events = until(async || {
        let page = bench.ledger.events(&filter, 10, None).await.unwrap();
        (!page.items.is_empty()).then_some(page.items)
    })
    .await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].provider_event, "endpoint.disabled");
    assert_eq!(events[0].metadata["endpoint"], id.to_string());
    let said = serde_json::to_string(&events[0]).unwrap();
    assert!(!said.contains("s3cret"), "{said}");

    receiver.answer("/s3cret", 200);
    enable(&bench, id, true).await;
    deliveries(&bench, id, 5, |row| row.state == State::Delivered).await;
    assert_eq!(endpoint(&bench, id).await.failing_since, None);
}

#[tokio::test]
async fn while_a_secret_is_rotated_receivers_of_either_accept() {
    let (bench, receiver) = bench("", "").await;
    let id = register(&bench, &receiver.url("/hook"), &["*"]).await;
    bench.work();
    let rotate = async |id, secret: &str, overlap| {
        let (secret, act) = (secret.into(), Act::default());
        let rotated = bench.ledger.rotate_endpoint(id, &secret, overlap, &act);
        rotated.await.unwrap().unwrap();
    };
    rotate(id, NEXT_SECRET, Duration::from_hours(1)).await;
    unsubscribe(&bench, 1).await;
    let heard = receiver.hears("/hook", 1).await;
    assert!(heard[0].verifies(SECRET) && heard[0].verifies(NEXT_SECRET));
    let other = register(&bench, &receiver.url("/other"), &["*"]).await;
    rotate(other, NEXT_SECRET, Duration::ZERO).await;
    unsubscribe(&bench, 2).await;
    let heard = receiver.hears("/other", 1).await;
    assert!(heard[0].verifies(NEXT_SECRET) && !heard[0].verifies(SECRET));
}
