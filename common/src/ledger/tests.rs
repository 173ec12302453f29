//! The ledger's promises, on SQLite and on PostgreSQL alike.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::{prelude::*, test_runner::TestRunner};
use sqlx::Row;
use tempfile::TempDir;

use super::*;
use crate::{
    clock,
    contact::Contact,
    delivery::{Attempt, State},
    envelope::Envelope,
    event::{Draft, Event, Identity, Kind, Undetermined},
};

/// A ledger of its own for one test.
pub(crate) struct Fresh {
    pub(crate) ledger: Ledger,
    _folder: TempDir,
}

/// One ledger on each database; both are gone or forgotten after the test.
async fn fresh() -> [Fresh; 2] {
    let folder = || tempfile::tempdir().unwrap();
    let (one, other) = (folder(), folder());
    let sqlite = format!("sqlite:{}", one.path().join("ledger.db").display());
    [
        Fresh {
            ledger: Ledger::connect(&sqlite, 4).await.unwrap(),
            _folder: one,
        },
        Fresh {
            ledger: Ledger::connect(&postgres().await, 4).await.unwrap(),
            _folder: other,
        },
    ]
}

/// A new database on the tests' PostgreSQL server.
async fn postgres() -> String {
    let url = crate::test_store("OPTOUT_TEST_POSTGRES_URL");
    install_default_drivers();
    let server = AnyPool::connect(&url).await.unwrap();
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&server)
        .await
        .unwrap();
    let (server_url, _) = url.rsplit_once('/').unwrap();
    format!("{server_url}/{name}")
}

fn envelope() -> Envelope {
    Envelope {
        id: uuid::Uuid::now_v7(),
        source: "shop".to_owned(),
        received_at: clock::now(),
        content_type: Some("application/json".to_owned()),
        headers: vec![("user-agent".to_owned(), "test".to_owned())],
        body: Bytes::from_static(b"{\"a\":\0\xff}"),
    }
}

fn event(envelope: &Envelope, kind: Kind, id: &str, second: i64) -> Event {
    let mut draft = Draft::new(kind, "name", Identity::Own(id.to_owned()));
    draft.contact = Some(Contact::email("Jane@Example.com").unwrap());
    draft.occurred_at = Some(Timestamp::from_second(1_700_000_000 + second).unwrap());
    draft.into_event(envelope, "test", Undetermined::Suppress)
}

fn entry<'a>(envelope: &'a Envelope, events: &'a [Event], targets: &[&str]) -> Entry<'a> {
    let targets: Vec<_> = targets
        .iter()
        .map(|target| ((*target).to_owned(), State::Pending))
        .collect();
    let events = events
        .iter()
        .map(|event| (event, targets.clone()))
        .collect();
    Entry {
        envelope,
        provider: "test",
        events,
        duplicates: 0,
        unreadable: vec![],
    }
}

async fn one_delivery(ledger: &Ledger) -> (Event, uuid::Uuid) {
    let envelope = envelope();
    let event = event(&envelope, Kind::Unsubscribed, &envelope.id.to_string(), 0);
    ledger
        .record(&[entry(&envelope, std::slice::from_ref(&event), &["slack"])])
        .await
        .unwrap();
    let id = crate::delivery::Delivery::id_of(event.id, "slack");
    (event, id)
}

fn finished(
    delivery: uuid::Uuid,
    number: i64,
    state: State,
    next_attempt_at: Option<Timestamp>,
) -> Finished {
    let attempt = Attempt {
        number,
        started_at: clock::now(),
        duration_ms: 12,
        outcome: "retry".to_owned(),
        status: Some(503),
        error: Some("away\0".to_owned()),
        answer: Some("busy".to_owned()),
    };
    Finished {
        delivery,
        state,
        next_attempt_at,
        attempt,
    }
}

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn recording_twice_changes_nothing_and_reads_back_as_it_was() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let events = [
            event(&envelope, Kind::Unsubscribed, "1", 0),
            event(&envelope, Kind::Opened, "2", 1),
        ];
        for _ in 0..2 {
            let recorded = ledger
                .record(&[entry(&envelope, &events, &["slack"])])
                .await
                .unwrap();
            assert_eq!(recorded, [Recorded::Owned, Recorded::Owned]);
        }
        assert_eq!(
            ledger.event(events[0].id).await.unwrap().as_ref(),
            Some(&events[0])
        );
        let stored = ledger.envelope(envelope.id).await.unwrap().unwrap();
        assert_eq!(stored.envelope.body, envelope.body);
        assert_eq!((stored.events, stored.duplicates), (2, 0));
        assert_eq!(
            ledger
                .deliveries(&DeliveryFilter::default(), 10, None)
                .await
                .unwrap()
                .items
                .len(),
            2
        );
        let standing = ledger
            .check(&Contact::email("jane@example.com").unwrap(), None)
            .await
            .unwrap();
        assert_eq!(standing.len(), 1);
        assert_eq!(standing[0].event_id, events[0].id);
    }
}

// rows: SM-25
#[tokio::test]
async fn another_envelope_with_the_same_event_is_a_duplicate_and_a_different_content_is_flagged() {
    for Fresh { ledger, .. } in &fresh().await {
        let (first, second) = (envelope(), envelope());
        let original = event(&first, Kind::Unsubscribed, "1", 0);
        ledger
            .record(&[entry(&first, std::slice::from_ref(&original), &["slack"])])
            .await
            .unwrap();
        let same = event(&second, Kind::Unsubscribed, "1", 0);
        let other = event(&second, Kind::Unsubscribed, "1", 5);
        for (repeat, differs) in [(same, false), (other, true)] {
            let recorded = ledger
                .record(&[entry(&second, &[repeat], &["slack"])])
                .await
                .unwrap();
            assert_eq!(
                recorded,
                [Recorded::Duplicate {
                    owner: first.id,
                    conflicting: differs
                }]
            );
        }
        assert_eq!(ledger.event(original.id).await.unwrap(), Some(original));
        assert_eq!(
            ledger
                .deliveries(&DeliveryFilter::default(), 10, None)
                .await
                .unwrap()
                .items
                .len(),
            1
        );
    }
}

/// The registers of a contact, as (scope, lane, suppressed).
async fn registers(ledger: &Ledger) -> Vec<(String, String, i64, i64, String)> {
    let text = "SELECT scope, lane, suppressed, occurred_at, event_id FROM registers ORDER BY scope, lane, source";
    let found = ledger.query(text).fetch_all(&ledger.pool).await.unwrap();
    found
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
        .collect()
}

#[test]
fn any_order_of_any_repetition_of_the_same_events_gives_the_same_registers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kinds = prop::sample::select(vec![
        Kind::Unsubscribed,
        Kind::Resubscribed,
        Kind::Complained,
        Kind::Bounced,
        Kind::Suppressed,
        Kind::Opened,
    ]);
    let one = (
        kinds,
        0_i64..4,
        prop::sample::select(vec![None, Some("news"), Some("offers")]),
    );
    let multiset = prop::collection::vec(one, 1..10).prop_flat_map(|events| {
        let indices: Vec<_> = (0..events.len()).chain(0..events.len() / 2).collect();
        (
            Just(events),
            Just(indices.clone()).prop_shuffle(),
            Just(indices).prop_shuffle(),
            1_usize..5,
        )
    });
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&multiset, |(kinds, one_order, other_order, batch)| {
            runtime.block_on(async {
                let mut results = vec![];
                for order in [one_order, other_order] {
                    for Fresh { ledger, .. } in &fresh().await {
                        apply(ledger, &kinds, &order, batch).await;
                        results.push(registers(ledger).await);
                    }
                }
                assert!(
                    results.windows(2).all(|pair| pair[0] == pair[1]),
                    "{results:#?}"
                );
            });
            Ok(())
        })
        .unwrap();
}

/// Records the events in `order`, `batch` envelopes at a time, each in an envelope of its own.
async fn apply(
    ledger: &Ledger,
    kinds: &[(Kind, i64, Option<&str>)],
    order: &[usize],
    batch: usize,
) {
    for chunk in order.chunks(batch) {
        let envelopes: Vec<_> = chunk.iter().map(|_| envelope()).collect();
        let events: Vec<_> = chunk
            .iter()
            .zip(&envelopes)
            .map(|(index, envelope)| {
                let (kind, second, scope) = kinds[*index];
                let mut event = event(envelope, kind, &index.to_string(), second);
                event.scope = scope.unwrap_or(crate::event::GLOBAL).to_owned();
                [event]
            })
            .collect();
        let entries: Vec<_> = envelopes
            .iter()
            .zip(&events)
            .map(|(envelope, event)| entry(envelope, event, &[]))
            .collect();
        ledger.record(&entries).await.unwrap();
    }
}

#[tokio::test]
async fn a_check_is_answered_by_its_scope_and_by_global_and_without_a_scope_by_anything() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let mut news = event(&envelope, Kind::Unsubscribed, "1", 0);
        news.scope = "news".to_owned();
        ledger
            .record(&[entry(&envelope, &[news], &[])])
            .await
            .unwrap();
        let jane = Contact::email(" JANE@example.com ").unwrap();
        assert_eq!(ledger.check(&jane, Some("news")).await.unwrap().len(), 1);
        assert_eq!(ledger.check(&jane, Some("offers")).await.unwrap().len(), 0);
        assert_eq!(ledger.check(&jane, None).await.unwrap().len(), 1);
        let complaint = event(&envelope, Kind::Complained, "2", 1);
        ledger
            .record(&[entry(&envelope, &[complaint], &[])])
            .await
            .unwrap();
        assert_eq!(ledger.check(&jane, Some("offers")).await.unwrap().len(), 1);
        assert_eq!(
            ledger
                .check(&Contact::email("other@example.com").unwrap(), None)
                .await
                .unwrap()
                .len(),
            0
        );
    }
}

#[tokio::test]
async fn leave_to_attempt_is_given_to_one_at_a_time() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let (me, other) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
        let leaves = ledger.take(&[id, id], me, LEASE).await.unwrap();
        assert_eq!(
            leaves[0],
            Leave::Granted {
                attempt: 1,
                ever: 1
            }
        );
        assert!(matches!(leaves[1], Leave::Wait { .. }));
        assert!(matches!(
            ledger.take(&[id], other, LEASE).await.unwrap()[..],
            [Leave::Wait { .. }]
        ));
        ledger.give_back(&[id], me).await.unwrap();
        assert_eq!(
            ledger.take(&[id], other, LEASE).await.unwrap(),
            [Leave::Granted {
                attempt: 1,
                ever: 1
            }]
        );
        assert_eq!(
            ledger
                .take(&[uuid::Uuid::now_v7()], me, LEASE)
                .await
                .unwrap(),
            [Leave::Unknown]
        );
    }
}

#[tokio::test]
async fn a_lease_that_ended_is_given_to_the_next() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        ledger
            .take(&[id], uuid::Uuid::now_v7(), Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(
            ledger
                .take(&[id], uuid::Uuid::now_v7(), LEASE)
                .await
                .unwrap(),
            [Leave::Granted {
                attempt: 1,
                ever: 1
            }]
        );
    }
}

#[tokio::test]
async fn attempts_are_recorded_once_and_what_is_delivered_stays_delivered() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let me = uuid::Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        let later = clock::now() + Duration::from_hours(1);
        for _ in 0..2 {
            ledger
                .finish(&[finished(id, 1, State::Retrying, Some(later))])
                .await
                .unwrap();
        }
        assert_eq!(ledger.attempts(id).await.unwrap().len(), 1);
        let row = ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!(
            (row.state, row.attempts, row.last_status),
            (State::Retrying, 1, Some(503))
        );
        assert_eq!(
            ledger.take(&[id], me, LEASE).await.unwrap(),
            [Leave::Wait { until: later }]
        );
        ledger
            .finish(&[finished(id, 2, State::Delivered, None)])
            .await
            .unwrap();
        ledger
            .finish(&[finished(id, 3, State::Retrying, None)])
            .await
            .unwrap();
        assert_eq!(
            ledger.delivery(id).await.unwrap().unwrap().state,
            State::Delivered
        );
        assert_eq!(
            ledger.take(&[id], me, LEASE).await.unwrap(),
            [Leave::Finished]
        );
    }
}

#[tokio::test]
async fn a_dead_delivery_starts_again_with_a_full_schedule() {
    for Fresh { ledger, .. } in &fresh().await {
        let (event, id) = one_delivery(ledger).await;
        ledger
            .finish(&[finished(id, 1, State::Dead, None)])
            .await
            .unwrap();
        assert_eq!(ledger.dead().await.unwrap(), [("slack".to_owned(), 1)]);
        let delivery = ledger.restart(id).await.unwrap().unwrap();
        assert_eq!((delivery.id, delivery.event), (id, event));
        let leave = ledger
            .take(&[id], uuid::Uuid::now_v7(), LEASE)
            .await
            .unwrap();
        assert_eq!(
            leave,
            [Leave::Granted {
                attempt: 1,
                ever: 2
            }]
        );
        assert_eq!(ledger.restart(uuid::Uuid::now_v7()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_parked_or_lost_is_found_once() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let event = event(&envelope, Kind::Unsubscribed, "1", 0);
        let mut parked = entry(&envelope, std::slice::from_ref(&event), &["slack"]);
        parked.events[0].1[0].1 = State::Parked;
        ledger.record(&[parked]).await.unwrap();
        let long_ago = clock::now() - Duration::from_hours(1);
        assert_eq!(ledger.stuck("slack", long_ago, 10).await.unwrap().len(), 1);
        assert_eq!(
            ledger.stuck("slack", long_ago, 10).await.unwrap().len(),
            0,
            "it moves now"
        );
        let soon = clock::now() + Duration::from_secs(1);
        assert_eq!(
            ledger.stuck("slack", soon, 10).await.unwrap()[0].event,
            event,
            "its message was lost"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_held_with_its_envelope_and_can_be_tried_again() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        for _ in 0..2 {
            ledger
                .quarantine(&envelope, "test", "not JSON\0")
                .await
                .unwrap();
        }
        let held = ledger
            .quarantined(&HeldFilter::default(), 10, None)
            .await
            .unwrap()
            .items;
        assert_eq!((held.len(), held[0].state), (1, Held::Held));
        assert_eq!(ledger.held().await.unwrap(), 1);
        assert_eq!(
            ledger
                .retry_quarantined(held[0].id)
                .await
                .unwrap()
                .unwrap()
                .body,
            envelope.body
        );
        assert_eq!(ledger.held().await.unwrap(), 0);
        ledger
            .quarantine(&envelope, "test", "still not JSON")
            .await
            .unwrap();
        assert_eq!(ledger.held().await.unwrap(), 1);
        assert_eq!(
            ledger
                .retry_quarantined(uuid::Uuid::now_v7())
                .await
                .unwrap(),
            None
        );
    }
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repeat() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let events: Vec<_> = (0..7)
            .map(|n| event(&envelope, Kind::Opened, &n.to_string(), n))
            .collect();
        ledger
            .record(&[entry(&envelope, &events, &["slack"])])
            .await
            .unwrap();
        let (mut seen, mut cursor) = (vec![], None);
        loop {
            let page = ledger
                .events(&EventFilter::default(), 3, cursor.as_deref())
                .await
                .unwrap();
            seen.extend(page.items.into_iter().map(|event| event.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 7);
        assert!(
            seen.windows(2)
                .all(|pair| pair[0].to_string() > pair[1].to_string())
        );
        assert!(matches!(
            ledger.events(&EventFilter::default(), 3, Some("x")).await,
            Err(Error::Cursor)
        ));
        let jane = EventFilter {
            contact: Some(Contact::email("jane@example.com").unwrap()),
            ..EventFilter::default()
        };
        assert_eq!(ledger.events(&jane, 10, None).await.unwrap().items.len(), 7);
        let filter = DeliveryFilter {
            kind: Some(Kind::Clicked),
            ..DeliveryFilter::default()
        };
        assert_eq!(
            ledger
                .deliveries(&filter, 10, None)
                .await
                .unwrap()
                .items
                .len(),
            0
        );
    }
}

#[tokio::test]
async fn several_processes_may_start_and_migrate_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for url in [
        format!("sqlite:{}", folder.path().join("ledger.db").display()),
        postgres().await,
    ] {
        let starts = (0..6).map(|_| Ledger::connect(&url, 2));
        for started in futures_util::future::join_all(starts).await {
            started.unwrap().ping().await.unwrap();
        }
    }
}
