//! What people ask of the targets of the configuration: heeded, recorded, and made once.

use serde_json::json;

use super::{plans::plan, *};
use crate::{
    delivery::{Answer, Tested},
    ledger::aside::WAITING,
};

fn act(action: &'static str) -> Act {
    Act {
        actor: "ops".to_owned(),
        action,
        subject: Some("slack".to_owned()),
        ..Act::default()
    }
}

async fn audited(ledger: &Ledger) -> Vec<String> {
    let filter = TrailFilter::default();
    let records = ledger.trail(&filter, 100, i64::MAX).await.unwrap();
    records.into_iter().rev().map(|one| one.action).collect()
}

#[tokio::test]
async fn a_target_is_disabled_and_enabled_once_with_a_record_of_each_and_a_new_version() {
    for Fresh { ledger, .. } in &fresh().await {
        let (disable, enable) = (act("target.disable"), act("target.enable"));
        let mut versions = vec![ledger.endpoints_version().await.unwrap()];
        assert!(!ledger.enable_target("slack", &enable).await.unwrap());
        for (reason, is_new) in [(Some("it is moved"), true), (None, false)] {
            let disabled = ledger.disable_target("slack", reason, &disable).await;
            assert_eq!(disabled.unwrap(), is_new);
            versions.push(ledger.endpoints_version().await.unwrap());
        }
        let disabled = ledger.disabled_targets().await.unwrap();
        assert_eq!(disabled.len(), 1);
        let slack = &disabled["slack"];
        assert_eq!(
            (slack.by.as_str(), slack.reason.as_deref()),
            ("ops", Some("it is moved"))
        );
        for is_new in [true, false] {
            let enabled = ledger.enable_target("slack", &enable).await;
            assert_eq!(enabled.unwrap(), is_new);
            versions.push(ledger.endpoints_version().await.unwrap());
        }
        assert_eq!(ledger.disabled_targets().await.unwrap(), [].into());
        let first = versions[0];
        let raised: Vec<_> = versions.iter().map(|version| version - first).collect();
        assert_eq!(raised, [0, 1, 1, 2, 2]);
        assert_eq!(audited(ledger).await, ["target.disable", "target.enable"]);
    }
}

#[tokio::test]
async fn what_waits_for_a_target_is_parked_in_steps_but_for_what_is_in_somebody_s_hands() {
    for Fresh { ledger, .. } in &fresh().await {
        let mut ids = vec![];
        for _ in 0..5 {
            ids.push(one_delivery(ledger).await.1);
        }
        let (me, again) = (Uuid::now_v7(), Some(HOUR));
        ledger.take(&ids[..3], me, LEASE).await.unwrap();
        let [_, retried, delivered] = [ids[0], ids[1], ids[2]];
        let finished = [
            finished(retried, 1, State::Retrying, again),
            finished(delivered, 1, State::Delivered, None),
        ];
        ledger.finish(&finished, me).await.unwrap();
        assert_eq!(ledger.park_all("users", 10).await.unwrap(), 0);
        let mut steps = vec![];
        loop {
            let parked = ledger.park_all("slack", 1).await.unwrap();
            steps.push(parked);
            if parked == 0 {
                break;
            }
        }
        assert_eq!(
            steps,
            [2, 1, 0],
            "one that is pending and one that is retried, then the other"
        );
        let mut states = vec![];
        for id in &ids {
            states.push(ledger.delivery(*id).await.unwrap().unwrap().state);
        }
        let parked = State::Parked;
        assert_eq!(
            states,
            [State::Pending, parked, State::Delivered, parked, parked]
        );
        let leaves = ledger.take(&ids[1..2], me, LEASE).await.unwrap();
        assert_eq!(leaves, [Leave::Finished], "its message is a leftover");
        // In hand, until its worker has died.
        age(ledger, jiff::SignedDuration::from_secs(31)).await;
        assert_eq!(ledger.park_all("slack", 1).await.unwrap(), 1);
        assert_eq!(ledger.stuck("slack", HOUR, 10).await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn what_is_to_be_parked_is_found_by_an_index_in_its_order_however_much_waits() {
    for Fresh { ledger, .. } in &fresh().await {
        let text = "
            INSERT INTO deliveries (id, event_id, target, kind, state, attempts, attempts_ever, created_at, moved_at)
            SELECT rows.value->>'id', rows.value->>'id', 'slack', 'opened', 'pending', 0, 0, 0, 0 FROM {rows} WHERE TRUE";
        let many: Vec<_> = (0..20_000)
            .map(|_| json!({ "id": Uuid::now_v7() }))
            .collect();
        let insert = ledger.query(text).bind(rows(&many));
        insert.execute(&ledger.pool).await.unwrap();
        sqlx::raw_sql("ANALYZE")
            .execute(&ledger.pool)
            .await
            .unwrap();
        let plan = plan(ledger, WAITING, |query| {
            query.bind("slack").bind("pending").bind(500_i64)
        });
        let plan = plan.await.to_lowercase();
        assert!(plan.contains("deliveries_unfinished"), "{plan}");
        for costly in ["seq scan", "scan deliveries", "b-tree", "sort"] {
            assert!(!plan.contains(costly), "{plan}");
        }
    }
}

#[tokio::test]
async fn a_test_is_taken_once_and_told_of_and_forgotten_in_the_end() {
    for Fresh { ledger, .. } in &fresh().await {
        let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
        let asks = act("target.test");
        ledger.ask_target_test(id, "slack", &asks).await.unwrap();
        assert_eq!(
            ledger.asked_target_tests().await.unwrap(),
            [(id, "slack".to_owned())]
        );
        assert_eq!(ledger.target_test(id).await.unwrap(), TestState::Asked);
        assert!(ledger.take_target_test(id).await.unwrap());
        assert!(!ledger.take_target_test(id).await.unwrap());
        assert_eq!(ledger.target_test(id).await.unwrap(), TestState::Taken);
        let tested = Tested::of(Answer::dead("refused"), Duration::from_millis(7));
        ledger.target_tested(id, &tested).await.unwrap();
        assert_eq!(
            ledger.target_test(id).await.unwrap(),
            TestState::Made(tested)
        );
        // One that nobody began in time, and is a day old in the end.
        for (age, known) in [(TEST_WAITS, 2), (Duration::from_hours(24), 1)] {
            ledger.ask_target_test(other, "slack", &asks).await.ok();
            let text = "UPDATE target_tests SET asked_at = asked_at - $1";
            let query = ledger.query(text).bind(period(age));
            query.execute(&ledger.pool).await.unwrap();
            assert_eq!(ledger.asked_target_tests().await.unwrap(), []);
            assert!(!ledger.take_target_test(other).await.unwrap());
            if known == 1 {
                ledger
                    .ask_target_test(Uuid::now_v7(), "slack", &asks)
                    .await
                    .unwrap();
            }
            let count = ledger.query("SELECT COUNT(*) FROM target_tests");
            let count = count.fetch_one(&ledger.pool).await.unwrap();
            assert_eq!(sqlx::Row::try_get::<i64, _>(&count, 0).unwrap(), known);
        }
    }
}
