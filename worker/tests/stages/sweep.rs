//! The ledger and the queue disagree, by hand: the sweep finds it and mends it.

use std::time::Duration;

use common::{
    clock,
    contact::Contact,
    delivery::{Delivery, State},
    event::{Draft, Identity, Kind, Undetermined},
    ledger::{Entry, Leave},
    providers::Provider,
    queue::Feed,
    request::{Api, Request},
};
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use crate::bench::{Bench, envelope_of, event, inbound, log, until};

const OFTEN: &str = "[worker]\nsweep_every = '100ms'";

/// Makes everything in the ledger this much older.
async fn age(bench: &Bench, by: Duration) {
    let mut ledger = open(bench).await;
    for text in [
        "UPDATE deliveries SET moved_at = moved_at - ?1, leased_at = leased_at - ?1, lease_until = lease_until - ?1",
        "UPDATE events SET received_at = received_at - ?1",
    ] {
        let age = sqlx::query(text).bind(i64::try_from(by.as_micros()).unwrap());
        age.execute(&mut ledger).await.unwrap();
    }
}

/// The ledger, to be written to behind its back.
pub(crate) async fn open(bench: &Bench) -> SqliteConnection {
    let url = format!("sqlite:{}/ledger.db", bench.folder.path().display());
    SqliteConnection::connect(&url).await.unwrap()
}

fn delivery(id: &str) -> Delivery {
    let mut draft = Draft::new(Kind::Opened, "opened", Identity::Own(id.to_owned()));
    draft.contact = Some(Contact::email("user@example.com").unwrap());
    let envelope = envelope_of("shop", "user@example.com");
    let event = draft.into_event(&envelope, "notifiedby", Undetermined::Suppress);
    Delivery::new(event, "log")
}

async fn attempted(bench: &Bench, delivery: &Delivery) {
    until(async || {
        let attempts = bench.ledger.attempts(delivery.id).await.ok()?;
        (attempts.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_recorded_and_never_published_is_made() {
    let bench = Bench::with("", OFTEN).await;
    bench
        .ledger
        .adopt(&Delivery::new(event(), "log"))
        .await
        .unwrap();
    age(&bench, Duration::from_mins(11)).await;
    bench.work();
    bench.delivery(State::Delivered, 1).await;
}

#[tokio::test]
async fn what_is_in_hand_or_not_long_due_is_left_alone() {
    let bench = Bench::with("", OFTEN).await;
    let [lost, leased, fresh] = ["lost", "leased", "fresh"].map(delivery);
    bench.ledger.adopt(&lost).await.unwrap();
    bench.ledger.adopt(&leased).await.unwrap();
    age(&bench, Duration::from_mins(11)).await;
    bench.ledger.adopt(&fresh).await.unwrap();
    let lease = Duration::from_hours(1);
    let granted = bench.ledger.take(&[leased.id], Uuid::now_v7(), lease).await;
    assert!(matches!(granted.unwrap()[..], [Leave::Granted { .. }]));
    bench.work();
    // The same sweep looks at all three.
    attempted(&bench, &lost).await;
    for left_alone in [leased, fresh] {
        let attempts = bench.ledger.attempts(left_alone.id).await.unwrap();
        assert!(attempts.is_empty());
    }
}

#[tokio::test]
async fn what_a_dead_worker_had_in_hand_and_whose_message_is_lost_is_made() {
    let bench = Bench::with("", OFTEN).await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    let dead = Uuid::now_v7();
    let lease = Duration::from_mins(1);
    let granted = bench.ledger.take(&[delivery.id], dead, lease).await;
    assert!(matches!(granted.unwrap()[..], [Leave::Granted { .. }]));
    age(&bench, Duration::from_mins(12)).await;
    bench.work();
    bench.delivery(State::Delivered, 1).await;
}

#[tokio::test]
async fn in_a_queue_that_is_never_empty_what_is_older_than_all_that_waits_is_found() {
    // One call an hour, so that nearly all of them wait.
    let bench = Bench::with("rate = '1/1h'\nslots = 1", OFTEN).await;
    let lost = delivery("lost");
    bench.ledger.adopt(&lost).await.unwrap();
    age(&bench, Duration::from_hours(2)).await;
    for number in 0..200 {
        let waiting = delivery(&number.to_string());
        bench.publish(log(Feed::Bulk), waiting.encode()).await;
    }
    bench.work();
    let mut ledger = open(&bench).await;
    until(async || {
        let moved = sqlx::query_scalar::<_, i64>("SELECT moved_at FROM deliveries WHERE id = ?");
        let moved = moved.bind(lost.id.to_string()).fetch_one(&mut ledger);
        let an_hour_ago = clock::now() - Duration::from_hours(1);
        (moved.await.ok()? > an_hour_ago.as_microsecond()).then_some(())
    })
    .await;
    let mut waiting = 0;
    for feed in Feed::ALL {
        waiting += bench.queue.depth(&log(*feed)).await.unwrap().ready;
    }
    assert!(waiting > 0);
}

#[tokio::test]
async fn a_change_of_the_api_whose_message_was_lost_reaches_the_targets() {
    let bench = Bench::with("", OFTEN).await;
    let mut draft = Draft::new(
        Kind::Suppressed,
        "suppression.add",
        Identity::Own("1".to_owned()),
    );
    draft.contact = Some(Contact::email("user@example.com").unwrap());
    let request = Request {
        actor: "ops".to_owned(),
        action: "suppression.add".to_owned(),
        request: serde_json::Value::Null,
        drafts: vec![draft],
    };
    let envelope = request.into_envelope();
    let drafts = Api.parse(&envelope).unwrap();
    let events: Vec<_> = drafts
        .into_iter()
        .map(|draft| {
            draft
                .unwrap()
                .into_event(&envelope, "api", Undetermined::Suppress)
        })
        .collect();
    let entry = Entry {
        envelope: &envelope,
        provider: "api",
        events: events.iter().map(|event| (event, vec![])).collect(),
        duplicates: vec![],
        echoes: vec![],
        unreadable: vec![],
    };
    bench.ledger.record(&[entry]).await.unwrap();
    age(&bench, Duration::from_mins(11)).await;
    bench.work();
    bench.delivery(State::Delivered, 1).await;
    bench.log_has(1).await;
    assert_eq!(bench.queue.depth(&inbound()).await.unwrap().ready, 0);
}
