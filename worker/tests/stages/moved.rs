//! Who opted out under an address is not mailed at the one that they have since.

use common::{
    clock,
    contact::Contact,
    envelope::{self, Envelope},
    event::Lane,
    ledger::{EventFilter, Standing, Suppression},
};
use uuid::Uuid;

use crate::bench::{Bench, inbound};

const SOURCES: &str = "
    [[sources]]
    name = 'audience'
    provider = 'mailchimp'
    auth = { kind = 'none' }
    [[sources]]
    name = 'crm'
    provider = 'generic'
    auth = { kind = 'none' }";

const OLD: &str = "old@example.com";
const NEW: &str = "new@example.com";

/// A message, and how many events come of it.
type Step = (&'static str, String);

fn moved(from: &str, to: &str) -> Step {
    moved_in("a6b5", from, to)
}

fn moved_in(audience: &str, from: &str, to: &str) -> Step {
    let body = format!(
        "type=upemail&fired_at=2026-03-26+22:15:09&data[list_id]={audience}&data[new_id]=51da&data[new_email]={to}&data[old_email]={from}"
    );
    ("audience", body)
}

fn crm(event: &str, email: &str, at: &str) -> Step {
    let body = format!(
        r#"{{"event":"{event}","email":"{email}","timestamp":"2026-03-{at}T00:00:00Z","scope":"news"}}"#
    );
    ("crm", body)
}

async fn publish(bench: &Bench, (source, body): &Step) {
    let envelope = Envelope {
        id: Uuid::now_v7(),
        source: (*source).to_owned(),
        received_at: clock::now(),
        content_type: None,
        headers: vec![],
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
    };
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
}

/// Takes one message after the other, until the log has so many events after each.
async fn after(steps: &[(Step, usize)]) -> Bench {
    let bench = Bench::with("", SOURCES).await;
    bench.work();
    for (step, events) in steps {
        publish(&bench, step).await;
        bench.log_has(*events).await;
    }
    bench
}

async fn standing(bench: &Bench, email: &str) -> Vec<Suppression> {
    let contact = Contact::email(email).unwrap();
    let mut registers = bench.ledger.registers(&[contact]).await.unwrap();
    registers.retain(|register| register.state == Standing::Active);
    registers
}

#[tokio::test]
async fn an_opt_out_holds_for_the_new_address_whichever_is_heard_of_first() {
    let opt_out = crm("unsubscribed", OLD, "01");
    for steps in [
        [(opt_out.clone(), 1), (moved(OLD, NEW), 4)],
        [(moved(OLD, NEW), 2), (opt_out.clone(), 4)],
    ] {
        let bench = after(&steps).await;
        let [stands] = &standing(&bench, NEW).await[..] else {
            panic!("one register is to be set");
        };
        assert_eq!(
            (stands.source.as_str(), stands.scope.as_str(), stands.lane),
            ("crm", "news", Lane::Consent)
        );
        assert_eq!(stands.occurred_at.to_string(), "2026-03-01T00:00:00Z");
        // The same again is nothing new.
        publish(&bench, &moved(OLD, NEW)).await;
        publish(&bench, &opt_out).await;
        publish(&bench, &crm("opened", NEW, "02")).await;
        bench.log_has(5).await;
        // It is the recipient's own to take back.
        publish(&bench, &crm("resubscribed", NEW, "03")).await;
        bench.log_has(6).await;
        assert!(standing(&bench, NEW).await.is_empty());
        assert_eq!(standing(&bench, OLD).await.len(), 1);
    }
}

#[tokio::test]
async fn a_complaint_is_carried_and_a_bounce_and_what_was_taken_back_are_not() {
    let bench = after(&[
        (crm("bounced hard", OLD, "01"), 1),
        (crm("unsubscribed", OLD, "02"), 2),
        (crm("resubscribed", OLD, "03"), 3),
        (crm("bounced hard", OLD, "04"), 4),
        (crm("complained", OLD, "05"), 5),
        (moved(OLD, NEW), 8),
    ])
    .await;
    let lanes: Vec<_> = standing(&bench, NEW)
        .await
        .iter()
        .map(|it| it.lane)
        .collect();
    assert_eq!(lanes, [Lane::Complaint]);
}

#[tokio::test]
async fn what_was_said_of_the_new_address_later_stands() {
    let bench = after(&[
        (crm("unsubscribed", OLD, "01"), 1),
        (crm("resubscribed", NEW, "02"), 2),
        (moved(OLD, NEW), 4),
        (crm("unsubscribed", OLD, "03"), 6),
    ])
    .await;
    let stands = standing(&bench, NEW).await;
    assert_eq!(stands.len(), 1, "only what was said after it: {stands:?}");
    assert_eq!(stands[0].occurred_at.to_string(), "2026-03-03T00:00:00Z");
}

#[tokio::test]
async fn what_two_audiences_tell_of_is_carried_once() {
    let bench = after(&[
        (moved_in("a6b5", OLD, NEW), 2),
        (moved_in("c8d7", OLD, NEW), 4),
        (crm("unsubscribed", OLD, "01"), 6),
    ])
    .await;
    assert_eq!(standing(&bench, NEW).await.len(), 1);
    let filter = EventFilter::default();
    let events = bench.ledger.events(&filter, 50, None).await.unwrap();
    let carried = events
        .items
        .iter()
        .filter(|it| it.provider_event == "address.changed");
    let carried: Vec<_> = carried.collect();
    assert_eq!(carried.len(), 1);
    assert!(carried[0].metadata.is_empty(), "{carried:?}");
}

#[tokio::test]
async fn of_two_addresses_that_become_one_within_a_second_each_is_carried() {
    let (opt_out, third) = (crm("unsubscribed", OLD, "01"), "third@example.com");
    for steps in [
        [
            (opt_out.clone(), 1),
            (moved(third, NEW), 3),
            (moved(OLD, NEW), 6),
        ],
        [
            (moved(third, NEW), 2),
            (moved(OLD, NEW), 4),
            (opt_out.clone(), 6),
        ],
    ] {
        let bench = after(&steps).await;
        assert_eq!(standing(&bench, NEW).await.len(), 1);
    }
}

#[tokio::test]
async fn it_goes_from_address_to_address_and_a_ring_of_them_comes_to_rest() {
    let third = "third@example.com";
    let bench = after(&[
        (moved(OLD, NEW), 2),
        (moved(NEW, third), 4),
        (moved(third, OLD), 6),
        (crm("unsubscribed", OLD, "01"), 9),
    ])
    .await;
    for email in [OLD, NEW, third] {
        assert_eq!(standing(&bench, email).await.len(), 1, "{email}");
    }
    publish(&bench, &crm("opened", OLD, "02")).await;
    bench.log_has(10).await;
    let events = bench
        .ledger
        .events(&EventFilter::default(), 50, None)
        .await
        .unwrap();
    assert_eq!(events.items.len(), 10);
}
