//! The fold of the events, and what a check reads of it.

use proptest::{prelude::*, test_runner::TestRunner};
use sqlx::Row;

use super::*;

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
        // Whether it was marked as an echo when it was recorded first.
        prop::bool::weighted(0.2),
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
    kinds: &[(Kind, i64, Option<&str>, bool)],
    order: &[usize],
    batch: usize,
) {
    for chunk in order.chunks(batch) {
        let envelopes: Vec<_> = chunk.iter().map(|_| envelope()).collect();
        let events: Vec<_> = chunk
            .iter()
            .zip(&envelopes)
            .map(|(index, envelope)| {
                let (kind, second, scope, _) = kinds[*index];
                let mut event = event(envelope, kind, &index.to_string(), second);
                event.scope = scope.unwrap_or(crate::event::GLOBAL).to_owned();
                [event]
            })
            .collect();
        let entries: Vec<_> = envelopes
            .iter()
            .zip(&events)
            .zip(chunk)
            .map(|((envelope, event), index)| {
                let mark = |event: &Event| (event.id, Uuid::nil());
                let is_echo = kinds[*index].3;
                Entry {
                    echoes: event.iter().filter(|_| is_echo).map(mark).collect(),
                    ..entry(envelope, event, &[])
                }
            })
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
