//! The deadlines: how long opt-outs took to hold.

use super::*;

/// A Monday.
const NOW: &str = "2026-03-16T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Records an opt-out that was received at `received` with deliveries to `targets`, entered in the ledger `applied_ms`
/// later, and gives the event's id.
async fn opt_out(ledger: &Ledger, received: &str, applied_ms: i64, targets: &[&str]) -> Uuid {
    let mut envelope = envelope();
    envelope.received_at = at(received);
    let event = event(&envelope, Kind::Unsubscribed, &envelope.id.to_string(), 0);
    ledger
        .record(&[entry(&envelope, std::slice::from_ref(&event), targets)])
        .await
        .unwrap();
    let text = "UPDATE events SET recorded_at = received_at + $2 WHERE id = $1";
    let query = ledger.query(text).bind(event.id.to_string());
    query
        .bind(applied_ms * 1000)
        .execute(&ledger.pool)
        .await
        .unwrap();
    event.id
}

/// Lets a delivery end in `state`, so long after the event's receipt.
async fn end(ledger: &Ledger, event: Uuid, target: &str, state: State, took_ms: i64) {
    let (id, me) = (Delivery::id_of(event, target), Uuid::now_v7());
    ledger.take(&[id], me, LEASE).await.unwrap();
    ledger
        .finish(&[finished(id, 1, state, None)], me)
        .await
        .unwrap();
    let received = ledger.event(event).await.unwrap().unwrap().received_at;
    let text = "UPDATE deliveries SET first_delivered_at = $2 WHERE id = $1 AND first_delivered_at IS NOT NULL";
    let query = ledger.query(text).bind(id.to_string());
    query
        .bind(micros(received) + took_ms * 1000)
        .execute(&ledger.pool)
        .await
        .unwrap();
}

async fn report(ledger: &Ledger, from: &str, to: &str) -> Compliance {
    ledger.compliance(at(from), at(to), at(NOW)).await.unwrap()
}

#[tokio::test]
async fn percentiles_are_exact_and_each_target_has_its_own() {
    for Fresh { ledger, .. } in &fresh().await {
        for n in 1..=20 {
            let event = opt_out(ledger, "2026-03-16T11:00:00Z", n, &["slack", "log"]).await;
            end(ledger, event, "slack", State::Delivered, n * 100).await;
            match n {
                1 => end(ledger, event, "log", State::Delivered, 7).await,
                2 => end(ledger, event, "log", State::Dead, 0).await,
                _ => {}
            }
        }
        let mut opened = envelope();
        opened.received_at = at("2026-03-16T11:00:00Z");
        let no_opt_out = event(&opened, Kind::Opened, "1", 0);
        ledger
            .record(&[entry(&opened, &[no_opt_out], &["slack"])])
            .await
            .unwrap();
        let report = report(ledger, "2026-03-16T11:00:00Z", "2026-03-16T11:00:01Z").await;
        assert_eq!(report.opt_outs, 20);
        let applied = Percentiles {
            count: 20,
            p50_ms: Some(10),
            p95_ms: Some(19),
            p99_ms: Some(20),
            max_ms: Some(20),
        };
        assert_eq!(report.applied, applied);
        let [log, slack] = &report.targets[..] else {
            panic!("{:?}", report.targets)
        };
        assert_eq!(
            (log.target.as_str(), log.delivered, log.waiting, log.dead),
            ("log", 1, 18, 1)
        );
        assert_eq!((log.p50_ms, log.max_ms), (Some(7), Some(7)));
        assert_eq!((slack.delivered, slack.waiting, slack.dead), (20, 0, 0));
        assert_eq!(
            [slack.p50_ms, slack.p95_ms, slack.p99_ms, slack.max_ms],
            [1000, 1900, 2000, 2000].map(Some)
        );
        assert_eq!(report.over_48_hours.count, 0);
    }
}

#[tokio::test]
async fn a_time_without_opt_outs_has_no_percentiles() {
    for Fresh { ledger, .. } in &fresh().await {
        let report = report(ledger, "2026-03-01T00:00:00Z", NOW).await;
        assert_eq!(report.applied, Percentiles::default());
        assert_eq!((report.opt_outs, report.targets.len()), (0, 0));
    }
}

#[tokio::test]
async fn what_does_not_hold_within_two_days_is_named_by_place_oldest_first() {
    const HOUR: i64 = 3_600_000;
    for Fresh { ledger, .. } in &fresh().await {
        let in_time = opt_out(ledger, "2026-03-10T00:00:00Z", 48 * HOUR - 1, &["slack"]).await;
        end(ledger, in_time, "slack", State::Delivered, 48 * HOUR - 1).await;
        let waits = opt_out(ledger, "2026-03-12T12:00:00Z", 5, &["slack"]).await;
        let dead = opt_out(ledger, "2026-03-11T12:00:00Z", 5, &["slack"]).await;
        end(ledger, dead, "slack", State::Dead, 0).await;
        let late = opt_out(ledger, "2026-03-10T00:00:00Z", 50 * HOUR, &["slack"]).await;
        end(ledger, late, "slack", State::Delivered, 49 * HOUR).await;
        opt_out(ledger, "2026-03-15T12:00:00Z", 5, &["slack"]).await;
        let report = report(ledger, "2026-03-01T00:00:00Z", NOW).await;
        let overdue = report.over_48_hours;
        assert_eq!(overdue.count, 4);
        let mut named: Vec<_> = overdue
            .items
            .iter()
            .map(|late| {
                (
                    late.event_id,
                    late.target.as_deref(),
                    late.took_hours,
                    late.state.as_str(),
                )
            })
            .collect();
        // The two of the same event and time come in either order.
        named[..2].sort_by_key(|late| late.1);
        assert_eq!(
            named,
            [
                (late, None, 50.0, "applied"),
                (late, Some("slack"), 49.0, "delivered"),
                (dead, Some("slack"), 120.0, "dead"),
                (waits, Some("slack"), 96.0, "pending"),
            ]
        );
        assert_eq!(overdue.items[3].delivered_at, None);
        assert_eq!(report.over_10_business_days.count, 0);
    }
}

#[tokio::test]
async fn ten_business_days_are_counted_from_the_day_after_the_receipt() {
    for Fresh { ledger, .. } in &fresh().await {
        // Late from Saturday the 14th, from Friday the 13th, and from Tuesday the 17th; today is Monday the 16th.
        let friday = opt_out(ledger, "2026-02-27T23:59:59Z", 5, &["slack"]).await;
        let thursday = opt_out(ledger, "2026-02-26T00:00:00Z", 5, &["slack"]).await;
        opt_out(ledger, "2026-03-02T00:00:00Z", 5, &["slack"]).await;
        let report = report(ledger, "2026-02-26T00:00:00Z", NOW).await;
        let late: Vec<_> = report
            .over_10_business_days
            .items
            .iter()
            .map(|late| late.event_id)
            .collect();
        assert_eq!(late, [thursday, friday]);
        assert_eq!(report.over_48_hours.count, 3);
    }
}

#[tokio::test]
async fn a_replay_does_not_make_late_what_was_in_time() {
    for Fresh { ledger, .. } in &fresh().await {
        let event = opt_out(ledger, "2026-03-10T00:00:00Z", 5, &["slack"]).await;
        end(ledger, event, "slack", State::Delivered, 60_000).await;
        let id = Delivery::id_of(event, "slack");
        ledger.restart(id).await.unwrap();
        let in_between = report(ledger, "2026-03-01T00:00:00Z", NOW).await;
        assert_eq!(in_between.targets[0].delivered, 1);
        let me = Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        ledger
            .finish(&[finished(id, 2, State::Delivered, None)], me)
            .await
            .unwrap();
        let after = report(ledger, "2026-03-01T00:00:00Z", NOW).await;
        for report in [in_between, after] {
            assert_eq!(report.targets[0].max_ms, Some(60_000));
            assert_eq!(report.over_48_hours.count, 0);
        }
    }
}

#[tokio::test]
async fn an_opt_out_that_waits_at_two_targets_is_one_and_what_was_delivered_once_is_none() {
    for Fresh { ledger, .. } in &fresh().await {
        let now = clock::now();
        let ago = |hours: u64| (now - Duration::from_hours(hours)).to_string();
        opt_out(ledger, &ago(30), 5, &["slack", "log"]).await;
        let dead = opt_out(ledger, &ago(50), 5, &["slack"]).await;
        end(ledger, dead, "slack", State::Dead, 0).await;
        let replayed = opt_out(ledger, &ago(50), 5, &["slack"]).await;
        end(ledger, replayed, "slack", State::Delivered, 5).await;
        let id = Delivery::id_of(replayed, "slack");
        ledger.restart(id).await.unwrap();
        opt_out(ledger, &ago(2), 5, &["slack"]).await;
        // They are entered as they are received.
        let text = "UPDATE deliveries SET created_at = (SELECT received_at FROM events WHERE events.id = event_id)";
        ledger.query(text).execute(&ledger.pool).await.unwrap();
        let undelivered = Undelivered {
            over_24_hours: 2,
            over_48_hours: 1,
        };
        assert_eq!(ledger.undelivered(now).await.unwrap(), undelivered);
    }
}
