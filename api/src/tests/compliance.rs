//! The report on deadlines.

use super::*;

#[tokio::test]
async fn the_report_says_how_long_opt_outs_took_and_names_nobody() {
    on_each(async |door| {
        let (_, id) = door.delivery_to("slack").await;
        door.attempt(id, 1, State::Delivered).await;
        let mut old = fact(Kind::Complained);
        old.received_at = clock::now() - jiff::SignedDuration::from_hours(24 * 20);
        let old = door.record(old, &["slack"]).await;
        door.record(fact(Kind::Opened), &["slack"]).await;
        let answer = door.get("/api/v1/compliance").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let body = answer.body;
        assert_eq!(
            (&body["opt_outs"], &body["applied"]["count"]),
            (&2.into(), &2.into())
        );
        let slack = &body["targets"][0];
        assert_eq!(
            (&slack["target"], &slack["delivered"], &slack["waiting"]),
            (&"slack".into(), &1.into(), &1.into())
        );
        assert!(slack["p99_ms"].is_i64());
        for late in ["over_48_hours", "over_10_business_days"] {
            assert_eq!(body[late]["count"], 2, "recorded late, and not told yet");
            let item = &body[late]["items"][0];
            assert_eq!(text(&item["event_id"]), old.id.to_string());
            let took = item["took_hours"].as_f64().unwrap();
            assert!((480.0..480.1).contains(&took), "{took}");
        }
        assert!(!body.to_string().to_lowercase().contains("jane"));
        let an_hour_ago = clock::now() - jiff::SignedDuration::from_hours(1);
        let path = format!("/api/v1/compliance?from={an_hour_ago}");
        assert_eq!(door.get(&path).await.body["opt_outs"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_time_span_that_is_too_long_or_in_the_future_is_refused() {
    on_each(async |door| {
        for query in [
            "from=2020-01-01T00:00:00Z",
            "from=2999-01-01T00:00:00Z",
            "from=-009999-01-02T00:00:00Z",
            "to=-009999-01-03T00:00:00Z",
            "from=2026-01-01",
            "since=2026-01-01T00:00:00Z",
        ] {
            let answer = door.get(&format!("/api/v1/compliance?{query}")).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{query}: {answer:?}"
            );
        }
        let long_ago = "from=2001-01-01T00:00:00Z&to=2002-01-01T00:00:00Z";
        let answer = door.get(&format!("/api/v1/compliance?{long_ago}")).await;
        assert_eq!(
            (answer.status, &answer.body["opt_outs"]),
            (StatusCode::OK, &0.into())
        );
    })
    .await;
}
