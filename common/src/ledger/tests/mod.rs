//! The ledger's promises, on SQLite and on PostgreSQL alike.

mod aside;
mod audit;
mod breakers;
mod compared;
mod compliance;
mod connections;
mod endpoints;
mod erasure;
mod hostile;
mod keys;
mod leases;
mod listing;
mod moved;
mod plans;
mod quarantine;
mod reconciliations;
mod recording;
mod redrive;
mod registers;
mod replays;
mod retention;
mod sessions;
mod strangers;
mod suppressions;
mod targets;
mod tls;
mod tokens;
mod told;
mod unrouted;
mod vitals;

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    clock,
    contact::Contact,
    delivery::{Attempt, Delivery, State},
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
    let name = format!("test_{}", Uuid::now_v7().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&server)
        .await
        .unwrap();
    let (server_url, _) = url.rsplit_once('/').unwrap();
    format!("{server_url}/{name}")
}

fn envelope() -> Envelope {
    Envelope {
        id: Uuid::now_v7(),
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
        duplicates: vec![],
        echoes: vec![],
        unreadable: vec![],
    }
}

async fn one_delivery(ledger: &Ledger) -> (Event, Uuid) {
    let envelope = envelope();
    let event = event(&envelope, Kind::Unsubscribed, &envelope.id.to_string(), 0);
    ledger
        .record(&[entry(&envelope, std::slice::from_ref(&event), &["slack"])])
        .await
        .unwrap();
    let id = Delivery::id_of(event.id, "slack");
    (event, id)
}

fn finished(delivery: Uuid, number: i64, state: State, again: Option<Duration>) -> Finished {
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
        again,
        attempt,
    }
}

const LEASE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);

/// Makes all deliveries so much older, as the database's clock tells; younger, if it is less than nothing: as they are when
/// the clock was set back.
async fn age(ledger: &Ledger, by: jiff::SignedDuration) {
    let text = "UPDATE deliveries SET moved_at = moved_at - $1, leased_at = leased_at - $1, lease_until = lease_until - $1,
        next_attempt_at = next_attempt_at - $1";
    let by = i64::try_from(by.as_micros()).unwrap();
    let aged = ledger.query(text).bind(by);
    aged.execute(&ledger.pool).await.unwrap();
}

/// That the time left is an hour, but for what the test took.
fn about_an_hour(left: Duration) -> bool {
    left <= HOUR && left > Duration::from_mins(55)
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
