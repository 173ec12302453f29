//! What is older than it is kept goes, and nothing else.

use super::*;

/// Records an envelope with one event that was received so many days ago.
async fn received(ledger: &Ledger, days: i64) -> (Envelope, Event) {
    let envelope = Envelope {
        received_at: days_ago(days),
        ..envelope()
    };
    let event = event(&envelope, Kind::Unsubscribed, &envelope.id.to_string(), 0);
    let entries = [entry(&envelope, std::slice::from_ref(&event), &["slack"])];
    ledger.record(&entries).await.unwrap();
    (envelope, event)
}

fn days_ago(days: i64) -> Timestamp {
    clock::now() - jiff::SignedDuration::from_hours(24 * days)
}

/// Empties what was received more than 90 days ago, at most `most` at a time, and says how many that were each time.
async fn expire(ledger: &Ledger, most: i64) -> Vec<u64> {
    let (mut steps, mut next) = (vec![], Some(Timestamp::UNIX_EPOCH));
    while let Some(from) = next {
        let step = ledger.expire_payloads(from, days_ago(90), most);
        let expired = step.await.unwrap();
        steps.push(expired.emptied);
        next = expired.next;
    }
    steps
}

#[tokio::test]
async fn requests_older_than_they_are_kept_are_emptied_and_what_came_of_them_stays() {
    for Fresh { ledger, .. } in &fresh().await {
        let mut old = vec![];
        for days in [100, 95, 91] {
            old.push(received(ledger, days).await);
        }
        let (young, _) = received(ledger, 89).await;
        assert_eq!(expire(ledger, 2).await, [2, 1, 0]);
        assert_eq!(expire(ledger, 2).await, [0], "there is nothing more");
        for (envelope, event) in &old {
            let stored = ledger.envelope(envelope.id).await.unwrap().unwrap();
            assert!(stored.expired && !stored.is_whole() && !stored.erased);
            assert!(stored.envelope.body.is_empty() && stored.envelope.headers.is_empty());
            assert_eq!(
                (stored.events, stored.envelope.received_at),
                (1, envelope.received_at)
            );
            assert!(ledger.event(event.id).await.unwrap().is_some());
        }
        let stored = ledger.envelope(young.id).await.unwrap().unwrap();
        assert_eq!((stored.envelope, stored.expired), (young, false));
        let jane = Contact::email("jane@example.com").unwrap();
        assert!(!ledger.check(&jane, None).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_request_that_may_still_be_read_from_is_kept_whole() {
    for Fresh { ledger, .. } in &fresh().await {
        let (held, _) = received(ledger, 200).await;
        ledger.quarantine(&held, "test", "not JSON").await.unwrap();
        let (other, _) = received(ledger, 100).await;
        assert_eq!(expire(ledger, 1).await, [1, 0], "it is no obstacle either");
        let is_whole = async |envelope: &Envelope| {
            let stored = ledger.envelope(envelope.id).await.unwrap().unwrap();
            stored.is_whole()
        };
        assert!(is_whole(&held).await && !is_whole(&other).await);
        let any = HeldFilter::default();
        let page = ledger.quarantined(&any, 10, None).await.unwrap();
        let entry = page.items[0].id;
        let (_, asked_at) = ledger.retry_quarantined(entry).await.unwrap().unwrap();
        ledger.retried(entry, asked_at).await.unwrap();
        assert_eq!(expire(ledger, 1).await, [0], "it was just tried again");
        let text = "UPDATE quarantine SET retried_at = $1";
        let long_ago = ledger.query(text).bind(micros(days_ago(91)));
        long_ago.execute(&ledger.pool).await.unwrap();
        assert_eq!(expire(ledger, 1).await, [1, 0]);
        let again = ledger.retry_quarantined(entry).await.unwrap();
        assert_eq!(again, None, "there is nothing to read any more");
    }
}

#[tokio::test]
async fn records_of_attempts_older_than_they_are_kept_go_and_the_deliveries_outcome_stays() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, delivery) = one_delivery(ledger).await;
        let owner = Uuid::now_v7();
        for (number, days) in [(1, 400), (2, 370), (3, 366), (4, 1)] {
            ledger.take(&[delivery], owner, LEASE).await.unwrap();
            let mut finished = finished(delivery, number, State::Retrying, Some(Duration::ZERO));
            finished.attempt.started_at = days_ago(days);
            ledger.finish(&[finished], owner).await.unwrap();
        }
        let before = ledger.delivery(delivery).await.unwrap();
        for removed in [2, 1, 0] {
            let expired = ledger.expire_attempts(days_ago(365), 2);
            assert_eq!(expired.await.unwrap(), removed);
        }
        let left = ledger.attempts(delivery).await.unwrap();
        assert_eq!((left.len(), left[0].number), (1, 4));
        assert_eq!(ledger.delivery(delivery).await.unwrap(), before);
        let next = ledger.take(&[delivery], owner, LEASE).await.unwrap();
        assert_eq!(
            next,
            [Leave::Granted {
                attempt: 5,
                ever: 5
            }]
        );
    }
}
