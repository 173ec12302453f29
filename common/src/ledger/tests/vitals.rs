//! The ledger at a glance: it tells what there is, and by indexes, however much there ever was.

use serde_json::json;

use super::{plans::plan, *};
use crate::ledger::{
    compliance::late_text,
    suppressions::{Order, listing},
    vitals::{DUE_FIRST, LAST_FAILED, LAST_HEARD, MINUTES, UNFINISHED},
};

/// Enough that reading them all is the worse choice.
const MANY_EVENTS: usize = 50_000;

/// So many events, one a minute until now, each delivered but for a few of the newest.
async fn fill(ledger: &Ledger) {
    let now = micros(clock::now());
    let rows_of = |from: usize, to: usize| -> Vec<_> {
        let row = |number: usize| {
            let at = now - i64::try_from(number).unwrap() * 60_000_000;
            let state = if number.is_multiple_of(1000) {
                "dead"
            } else {
                "delivered"
            };
            json!({ "id": Uuid::now_v7(), "at": at.to_string(), "state": state })
        };
        (from..to).map(row).collect()
    };
    let rows = rows(&rows_of(0, MANY_EVENTS));
    for text in [
        "INSERT INTO events (id, envelope_id, source, provider, kind, scope, occurred_at, received_at, recorded_at, time_assumed,
            origin, effect, provider_event, metadata, fingerprint, conflicting)
        SELECT rows.value->>'id', rows.value->>'id', 'shop', 'test', 'unsubscribed', 'global', CAST(rows.value->>'at' AS BIGINT),
            CAST(rows.value->>'at' AS BIGINT), CAST(rows.value->>'at' AS BIGINT), 0, 'recipient', 'suppress', 'x', '{}', 0, 0
        FROM {rows} WHERE TRUE",
        "INSERT INTO deliveries (id, event_id, target, kind, state, attempts, attempts_ever, created_at, moved_at, last_error,
            delivered_at)
        SELECT rows.value->>'id', rows.value->>'id', 'slack', 'unsubscribed', rows.value->>'state', 1, 1,
            CAST(rows.value->>'at' AS BIGINT), CAST(rows.value->>'at' AS BIGINT), 'gone', CAST(rows.value->>'at' AS BIGINT)
        FROM {rows} WHERE TRUE",
        "INSERT INTO registers (id, channel, contact, scope, source, lane, suppressed, occurred_at, event_id, kind, origin, updated_at)
        SELECT rows.value->>'id', 'email', rows.value->>'id', 'global', 'shop', 'consent', 1, CAST(rows.value->>'at' AS BIGINT),
            rows.value->>'id', 'unsubscribed', 'recipient', 0
        FROM {rows} WHERE TRUE",
    ] {
        let query = ledger.query(text).bind(rows.clone());
        query.execute(&ledger.pool).await.unwrap();
    }
    sqlx::raw_sql("ANALYZE")
        .execute(&ledger.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn it_is_asked_by_indexes_however_much_there_ever_was() {
    for Fresh { ledger, .. } in &fresh().await {
        fill(ledger).await;
        let since = micros(clock::now()) - 3_600_000_000;
        let slack = || "slack".to_owned();
        let late = late_text("received_at + $3");
        let late = late.as_str();
        let plans = [
            (
                late,
                plan(ledger, late, |query| {
                    let span = query.bind(since).bind(i64::MAX);
                    span.bind(0_i64).bind(i64::MAX).bind(10_i64)
                })
                .await,
            ),
            (
                MINUTES,
                plan(ledger, MINUTES, |query| query.bind(since)).await,
            ),
            (
                UNFINISHED,
                plan(ledger, UNFINISHED, |query| query.bind(MANY)).await,
            ),
            (
                DUE_FIRST,
                plan(ledger, DUE_FIRST, |query| query.bind(MANY).bind(10_i64)).await,
            ),
            (
                LAST_HEARD,
                plan(ledger, LAST_HEARD, |query| query.bind("shop")).await,
            ),
            (
                LAST_FAILED,
                plan(ledger, LAST_FAILED, |query| {
                    query.bind(slack()).bind("dead")
                })
                .await,
            ),
        ];
        for (text, plan) in plans {
            for line in plan.to_lowercase().lines().map(str::trim) {
                let of_a_table = ["events", "deliveries"]
                    .iter()
                    .any(|table| line.contains(table));
                let whole = line.contains("seq scan")
                    || line.starts_with("scan ") && !line.contains("using");
                assert!(!(whole && of_a_table), "{text}: {plan}");
            }
        }
    }
}

#[tokio::test]
async fn lists_of_what_is_seldom_are_read_by_indexes_in_their_order_however_much_there_ever_was() {
    for Fresh { ledger, .. } in &fresh().await {
        fill(ledger).await;
        let events = |source: bool, kind| EventFilter {
            source: source.then(|| "nobody".to_owned()),
            kind,
            ..EventFilter::default()
        };
        for (filter, index) in [
            (events(false, None), "events_by_receipt"),
            (events(true, None), "events_by_source"),
            (events(false, Some(Kind::Complained)), "events_by_kind"),
        ] {
            let text = crate::ledger::events::listing(&filter);
            let plan = plan(ledger, &text, |query| {
                let query = query.bind(filter.source.clone());
                let query = query.bind(filter.kind.map(|kind| kind.to_string()));
                let query = query.bind(None::<String>).bind(i64::MIN).bind(i64::MAX);
                query.bind("").bind(51_i64).bind(None::<String>)
            });
            is_read_in_order(&plan.await, index);
        }
        let lifted = SuppressionFilter {
            state: Some(Standing::Lifted),
            ..SuppressionFilter::default()
        };
        let text = listing(&lifted, Order::NewestFirst);
        let plan = plan(ledger, &text, |query| {
            let nothing = (0..8).fold(query, |query, _| query.bind(None::<String>));
            let query = nothing.bind(0_i64).bind(None::<i64>).bind(None::<i64>);
            query.bind("").bind(51_i64).bind(i64::MAX)
        });
        is_read_in_order(&plan.await, "registers_lifted");
    }
}

fn is_read_in_order(plan: &str, index: &str) {
    assert!(plan.contains(index), "not by {index}: {plan}");
    for sorted in ["Sort", "TEMP B-TREE"] {
        assert!(!plan.contains(sorted), "{index}: {plan}");
    }
}

#[tokio::test]
async fn it_tells_what_came_what_waits_and_how_targets_fared_last() {
    for Fresh { ledger, .. } in &fresh().await {
        let began = clock::now();
        let (event, id) = one_delivery(ledger).await;
        let minutes = ledger
            .minutes(began - Duration::from_mins(1))
            .await
            .unwrap();
        assert_eq!(minutes.len(), 1);
        assert_eq!(
            (minutes[0].kind, minutes[0].events),
            (Kind::Unsubscribed, 1)
        );
        assert_eq!(micros(minutes[0].begin) % 60_000_000, 0);
        assert_eq!(
            ledger
                .minutes(began + Duration::from_mins(5))
                .await
                .unwrap(),
            []
        );

        let [waiting] = &ledger.unfinished().await.unwrap()[..] else {
            panic!("one is unfinished");
        };
        assert_eq!(
            (waiting.target.as_str(), waiting.state, waiting.count),
            ("slack", State::Pending, 1)
        );
        let [due] = &ledger.due_first(10).await.unwrap()[..] else {
            panic!("one is due");
        };
        assert_eq!((due.delivery_id, due.event_id), (id, event.id));
        let sources = ["nobody".to_owned(), event.source.clone()];
        assert_eq!(
            ledger.last_heard(&sources).await.unwrap(),
            [(event.source, event.received_at)]
        );
    }
}

#[tokio::test]
async fn how_a_target_fared_last_is_its_newest_success_and_its_newest_failure() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        assert_eq!(
            ledger.last_told("slack").await.unwrap(),
            LastTold::default()
        );

        let me = Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        ledger
            .finish(&[finished(id, 1, State::Dead, None)], me)
            .await
            .unwrap();
        let last = ledger.last_told("slack").await.unwrap();
        assert!(last.delivered_at.is_none() && last.failed_at.is_some());
        assert_eq!(last.error.as_deref(), Some("away\u{fffd}"));
        let (_, told) = one_delivery(ledger).await;
        ledger.take(&[told], me, LEASE).await.unwrap();
        ledger
            .finish(&[finished(told, 1, State::Delivered, None)], me)
            .await
            .unwrap();
        assert!(
            ledger
                .last_told("slack")
                .await
                .unwrap()
                .delivered_at
                .is_some()
        );
        assert_eq!(
            ledger.due_first(10).await.unwrap().len(),
            1,
            "a dead one does not hold"
        );
    }
}
