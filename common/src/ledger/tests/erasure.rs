//! Erasing a contact: what goes, what stays, and that what stays still suppresses.

use secrecy::SecretString;
use sqlx::Row;

use super::*;

const PEPPER: &str = "a pepper for these tests";

async fn peppered(ledger: &Ledger, pepper: &str) -> Ledger {
    let peppered = ledger.clone().with_pepper(Some(SecretString::from(pepper)));
    peppered.migrate().await.ok();
    peppered
}

fn jane() -> Contact {
    Contact::email("jane@example.com").unwrap()
}

fn asked(force: bool) -> ErasureRequest {
    ErasureRequest {
        actor: "ops".to_owned(),
        reference: Some("case 7".to_owned()),
        force,
    }
}

fn jane_writes(body: &'static [u8]) -> Envelope {
    Envelope {
        body: Bytes::from_static(body),
        ..envelope()
    }
}

async fn erased(ledger: &Ledger, force: bool) -> Erasure {
    match ledger.erase(&jane(), &asked(force)).await.unwrap() {
        Erased::Done(erasure) => erasure,
        other => panic!("{other:?}"),
    }
}

/// An opt-out that its target was told of, which came twice, the second time known by the claims store; and a click.
async fn history(ledger: &Ledger) -> (Event, [Uuid; 3]) {
    let (first, second, third) = (
        jane_writes(b"{\"to\":\"Jane@Example.com\"}"),
        jane_writes(b"{\"to\":\"Jane@Example.com\"} "),
        jane_writes(b"{\"to\":\"Jane@Example.com\"}  "),
    );
    let mut event = event(&first, Kind::Unsubscribed, "1", 0);
    event.metadata.insert("ip".to_owned(), "192.0.2.7".into());
    let events = std::slice::from_ref(&event);
    ledger
        .record(&[entry(&first, events, &["slack"])])
        .await
        .unwrap();
    let again = Event {
        envelope_id: second.id,
        ..event.clone()
    };
    ledger
        .record(&[entry(&second, &[again], &[])])
        .await
        .unwrap();
    let mut known = entry(&third, &[], &[]);
    known.duplicates = vec![event.id];
    ledger.record(&[known]).await.unwrap();
    let id = Delivery::id_of(event.id, "slack");
    let owner = Uuid::now_v7();
    ledger.take(&[id], owner, LEASE).await.unwrap();
    let done = finished(id, 1, State::Delivered, None);
    ledger.finish(&[done], owner).await.unwrap();
    (event, [first.id, second.id, third.id])
}

/// Everything that a database holds, as text.
async fn everything(ledger: &Ledger) -> String {
    let mut all = String::new();
    for (table, columns) in [
        (
            "events",
            "id || contact || COALESCE(contact_raw, '') || COALESCE(reason, '') || metadata",
        ),
        ("registers", "contact || COALESCE(reason, '')"),
        ("envelopes", "headers"),
        ("attempts", "COALESCE(error, '') || COALESCE(answer, '')"),
        (
            "submissions",
            "COALESCE(email, '') || COALESCE(email_raw, '') || COALESCE(phone, '') || metadata",
        ),
        (
            "audit",
            "COALESCE(contact, '') || COALESCE(personal, '') || details",
        ),
    ] {
        let text = format!("SELECT {columns} FROM {table}");
        for row in ledger.query(&text).fetch_all(&ledger.pool).await.unwrap() {
            let text: String = row.try_get(0).unwrap();
            all.push_str(&text.to_lowercase());
        }
    }
    let bodies = ledger.query("SELECT body FROM envelopes");
    for row in bodies.fetch_all(&ledger.pool).await.unwrap() {
        let body: Vec<u8> = row.try_get(0).unwrap();
        all.push_str(&String::from_utf8_lossy(&body).to_lowercase());
    }
    all
}

#[tokio::test]
async fn nothing_names_an_erased_contact_and_it_stays_suppressed() {
    for Fresh { ledger, .. } in &fresh().await {
        let ledger = &peppered(ledger, PEPPER).await;
        let (event, envelopes) = history(ledger).await;
        let act = Act {
            actor: "ops".to_owned(),
            action: "test",
            contact: Some(jane()),
            ..Act::default()
        };
        ledger.audit(&[act]).await.unwrap();
        assert!(everything(ledger).await.contains("jane@example.com"));

        let erasure = erased(ledger, false).await;
        assert_eq!(
            (erasure.events, erasure.suppressions, erasure.envelopes),
            (1, 1, 3)
        );
        assert_eq!((erasure.deliveries, erasure.audit_records), (1, 1));
        let left = everything(ledger).await;
        assert!(
            !left.contains("jane") && !left.contains("192.0.2.7"),
            "{left}"
        );
        for envelope in envelopes {
            let stored = ledger.envelope(envelope).await.unwrap().unwrap();
            assert!(stored.erased && stored.envelope.body.is_empty());
        }

        // Asked by the address, all of it is found.
        let found = ledger.check(&jane(), None).await.unwrap();
        assert_eq!(found[0].event_id, event.id);
        assert_eq!(found[0].contact, "jane@example.com");
        let other = Contact::email("john@example.com").unwrap();
        let answers = ledger.check_all(&[other, jane()], Some("news")).await;
        assert_eq!(answers.unwrap(), [false, true]);
        let filter = EventFilter {
            contact: Some(jane()),
            ..EventFilter::default()
        };
        let page = ledger.events(&filter, 10, None).await.unwrap();
        assert!(page.items[0].contact.as_ref().unwrap().is_erased());
        let (deliveries, attempts) = ledger.told_of(&jane(), 10).await.unwrap();
        assert!(deliveries[0].erased);
        assert_eq!((attempts[0].1.error.as_ref(), attempts.len()), (None, 1));
        let trail = ledger.audited(&jane(), 10).await.unwrap();
        assert_eq!(trail.last().unwrap().action, "contact.erase");
        let verified = ledger.verify_audit().await.unwrap();
        assert_eq!((verified.broken, verified.erased), (None, 1));

        let again = erased(ledger, false).await;
        assert_eq!(
            (again.events, again.suppressions, again.envelopes),
            (0, 0, 0)
        );
    }
}

#[tokio::test]
async fn a_late_repeat_brings_nothing_back_and_is_told_to_nobody() {
    for Fresh { ledger, .. } in &fresh().await {
        let ledger = &peppered(ledger, PEPPER).await;
        let (event, _) = history(ledger).await;
        erased(ledger, false).await;
        let late = jane_writes(b"{\"to\":\"Jane@Example.com\"}");
        let repeat = Event {
            envelope_id: late.id,
            ..event.clone()
        };
        let repeat = [repeat];
        let recorded = ledger.record(&[entry(&late, &repeat, &["slack"])]).await;
        assert_eq!(recorded.unwrap(), [Recorded::Erased]);
        let later = jane_writes(b"{\"to\":\"Jane@Example.com\"}");
        let mut known = entry(&later, &[], &[]);
        known.duplicates = vec![event.id];
        ledger.record(&[known]).await.unwrap();
        assert!(!everything(ledger).await.contains("jane"));
        let delivery = Delivery::id_of(event.id, "slack");
        assert!(ledger.restart(delivery).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_contact_that_comes_back_is_one_contact_again() {
    for Fresh { ledger, .. } in &fresh().await {
        let ledger = &peppered(ledger, PEPPER).await;
        history(ledger).await;
        erased(ledger, false).await;
        let envelope = envelope();
        let opened = [event(&envelope, Kind::Opened, "2", 5)];
        ledger
            .record(&[entry(&envelope, &opened, &[])])
            .await
            .unwrap();
        let filter = SuppressionFilter {
            contact: Some(jane()),
            ..SuppressionFilter::default()
        };
        let listed = async || ledger.suppressions(&filter, 10, None).await.unwrap().items;
        assert!(listed().await[0].contact.starts_with("erased:"));

        let back = [event(&envelope, Kind::Resubscribed, "3", 10)];
        ledger
            .record(&[entry(&envelope, &back, &[])])
            .await
            .unwrap();
        assert_eq!(ledger.check(&jane(), None).await.unwrap(), []);
        let registers = listed().await;
        assert!(registers.iter().all(|it| it.contact == "jane@example.com"));
        // An opt-out from before changes nothing any more, whenever it comes.
        let late = [event(&envelope, Kind::Unsubscribed, "4", 3)];
        ledger
            .record(&[entry(&envelope, &late, &[])])
            .await
            .unwrap();
        assert_eq!(ledger.check(&jane(), None).await.unwrap(), []);
    }
}

#[tokio::test]
async fn an_opt_out_that_a_target_is_still_to_hear_of_is_not_erased_unless_it_must() {
    for Fresh { ledger, .. } in &fresh().await {
        let ledger = &peppered(ledger, PEPPER).await;
        let (_, id) = one_delivery(ledger).await;
        let held = jane_writes(b"to=Jane%40example.com");
        ledger.quarantine(&held, "test", "not JSON").await.unwrap();
        let Erased::Waits {
            deliveries,
            quarantined,
            ..
        } = ledger.erase(&jane(), &asked(false)).await.unwrap()
        else {
            panic!("it was erased");
        };
        assert_eq!((deliveries, quarantined.len()), (vec![id], 1));
        assert!(everything(ledger).await.contains("jane"));
        assert_eq!(ledger.check(&jane(), None).await.unwrap().len(), 1);

        erased(ledger, true).await;
        assert!(!everything(ledger).await.contains("jane"));
        let row = ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!((row.state, row.erased), (State::Dead, true));
        let leave = ledger.take(&[id], Uuid::now_v7(), LEASE).await.unwrap();
        assert_eq!(leave, [Leave::Finished]);
        let retried = ledger.retry_quarantined(quarantined[0]).await;
        assert!(retried.unwrap().is_none(), "there is nothing left to read");
    }
}

#[tokio::test]
async fn what_a_link_says_of_who_waits_in_quarantine_is_found_too() {
    for Fresh { ledger, .. } in &fresh().await {
        let ledger = &peppered(ledger, PEPPER).await;
        let says = r#"{"channel":"email","address":"jane@example.com"}"#;
        let held = Envelope {
            headers: vec![("x-optout-link".to_owned(), says.to_owned())],
            ..jane_writes(b"List-Unsubscribe=One-Click")
        };
        ledger
            .quarantine(&held, "one-click", "parked")
            .await
            .unwrap();
        let answer = ledger.erase(&jane(), &asked(false)).await.unwrap();
        let Erased::Waits { quarantined, .. } = answer else {
            panic!("it was erased");
        };
        assert_eq!(quarantined.len(), 1);
        erased(ledger, true).await;
        assert!(!everything(ledger).await.contains("jane"));
    }
}

#[tokio::test]
async fn a_change_of_the_api_is_not_erased_before_it_is_routed() {
    for Fresh { ledger, .. } in &fresh().await {
        let ledger = &peppered(ledger, PEPPER).await;
        let envelope = Envelope {
            source: "api".to_owned(),
            ..envelope()
        };
        let change = [event(&envelope, Kind::Suppressed, "1", 0)];
        ledger
            .record(&[entry(&envelope, &change, &[])])
            .await
            .unwrap();
        let waits = ledger.erase(&jane(), &asked(false)).await.unwrap();
        let expected = Erased::Waits {
            deliveries: vec![],
            changes: vec![change[0].id],
            quarantined: vec![],
        };
        assert_eq!(waits, expected);
        // The worker records the same with those who are told.
        ledger
            .record(&[entry(&envelope, &change, &["slack"])])
            .await
            .unwrap();
        let id = Delivery::id_of(change[0].id, "slack");
        let owner = Uuid::now_v7();
        ledger.take(&[id], owner, LEASE).await.unwrap();
        let done = finished(id, 1, State::Delivered, None);
        ledger.finish(&[done], owner).await.unwrap();
        erased(ledger, false).await;
    }
}

#[tokio::test]
async fn with_another_pepper_or_none_nothing_is_said_to_be_subscribed() {
    for Fresh { ledger, .. } in &fresh().await {
        let ours = peppered(ledger, PEPPER).await;
        history(&ours).await;
        erased(&ours, false).await;
        for wrong in [ledger.clone(), peppered(ledger, "some other pepper").await] {
            for answer in [wrong.ping().await, wrong.migrate().await] {
                assert!(matches!(answer, Err(Error::Unavailable(_))));
            }
            assert!(wrong.check(&jane(), None).await.is_err());
            assert!(wrong.check_all(&[jane()], None).await.is_err());
        }
        assert!(ledger.erase(&jane(), &asked(true)).await.unwrap() == Erased::NoPepper);
        let other = peppered(ledger, "some other pepper").await;
        assert!(other.erase(&jane(), &asked(true)).await.is_err());
        ours.ping().await.unwrap();
        assert_eq!(ours.check(&jane(), None).await.unwrap().len(), 1);
    }
}
