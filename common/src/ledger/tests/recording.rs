//! What is recorded once, and what is a duplicate.

use super::*;

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

#[tokio::test]
async fn an_envelope_twice_in_one_batch_is_held_once() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let unreadable = || Entry {
            unreadable: vec![Unreadable {
                element: None,
                reason: "not JSON".to_owned(),
            }],
            ..entry(&envelope, &[], &[])
        };
        ledger.record(&[unreadable(), unreadable()]).await.unwrap();
        assert_eq!(ledger.held().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn what_postgresql_has_no_room_for_is_refused_and_not_tried_for_ever() {
    let [_, Fresh { ledger, .. }] = &fresh().await;
    let envelope = envelope();
    let mut event = event(&envelope, Kind::Unsubscribed, "1", 0);
    // Too long for an index, and not to be compressed.
    event.scope = (0..400)
        .map(|n: u32| {
            crate::event::derived_id("test", &n.to_string(), [])
                .simple()
                .to_string()
        })
        .collect();
    let refused = ledger.record(&[entry(&envelope, &[event], &[])]).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_is_the_last_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let ledger = Ledger::connect(&url, 1).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ROLLBACK, 'as a full disk does'); END";
    sqlx::raw_sql(full).execute(&ledger.writer).await.unwrap();
    let envelope = envelope();
    let events = [event(&envelope, Kind::Unsubscribed, "1", 0)];
    let entries = [entry(&envelope, &events, &[])];
    ledger.record(&entries).await.unwrap_err();
    let mended = "DROP TRIGGER full";
    sqlx::raw_sql(mended).execute(&ledger.writer).await.unwrap();
    assert_eq!(ledger.record(&entries).await.unwrap(), [Recorded::Owned]);
}
