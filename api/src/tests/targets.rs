//! The targets of the configuration, as programs see them.

use common::{
    delivery::{Answer, Tested},
    ledger::Level,
};
use serde_json::json;

use super::*;

#[tokio::test]
async fn targets_are_listed_with_how_they_fare_and_where_their_breakers_stand() {
    on_each(async |door| {
        let (_, dead) = door.delivery_to("slack").await;
        door.attempt(dead, 1, State::Dead).await;
        let levels = [("slack".to_owned(), Level::Open)];
        let workers = [Uuid::now_v7(), Uuid::now_v7()];
        door.ledger
            .note_breakers(workers[0], &levels)
            .await
            .unwrap();
        let levels = [("slack".to_owned(), Level::Closed)];
        door.ledger
            .note_breakers(workers[1], &levels)
            .await
            .unwrap();
        let [off, slack] = &door.items("/api/v1/targets").await[..] else {
            panic!("there are two");
        };
        assert_eq!(
            (&off["name"], &off["enabled"]),
            (&"off".into(), &false.into())
        );
        assert_eq!(
            (&off["breaker"], &off["failed_at"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            (&slack["name"], &slack["error"]),
            (&"slack".into(), &"gone".into())
        );
        let breaker = &slack["breaker"];
        assert_eq!(
            (&breaker["level"], &breaker["at"]),
            (&"open".into(), &1.into())
        );
        assert_eq!(breaker["workers"], 2);
    })
    .await;
}

/// Does what a worker does with a test that is asked for.
pub(super) async fn make_a_test(door: &Door) {
    let asked = async {
        loop {
            if let Some((id, target)) = door.ledger.asked_target_tests().await.unwrap().pop() {
                return (id, target);
            }
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
    let (id, target) = asked.expect("a test is asked for");
    assert_eq!(target, "slack");
    assert!(door.ledger.take_target_test(id).await.unwrap());
    let tested = Tested::of(Answer::done("200 ok"), Duration::from_millis(7));
    door.ledger.target_tested(id, &tested).await.unwrap();
}

#[tokio::test]
async fn a_target_is_disabled_for_a_reason_and_enabled_and_the_trail_says_each_once() {
    on_each(async |door| {
        let path = "/api/v1/targets/slack";
        let (disable, enable) = (
            json!({ "enabled": false, "reason": "it is moved" }),
            json!({ "enabled": true }),
        );
        for wish in [&disable, &json!({ "enabled": false })] {
            let slack = door.write("PUT", path, wish).await.body;
            assert_eq!((&slack["enabled"], &slack["enabled_in_configuration"]), (&false.into(), &true.into()));
            assert_eq!(slack["disabled_by"], "the write key");
            assert_eq!(slack["disabled_reason"], "it is moved");
            assert_eq!(door.get(path).await.body, slack);
        }
        // It is told of nothing, by whatever way.
        let (_, delivery) = door.delivery_to("slack").await;
        let retry = format!("/api/v1/deliveries/{delivery}/retry");
        assert_eq!(door.post(&retry).await.status, StatusCode::CONFLICT);
        let replay = json!({ "target": "slack", "since": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z" });
        let replayed = door.write("POST", "/api/v1/replays", &replay).await;
        assert_eq!(replayed.status, StatusCode::CONFLICT);
        for _ in 0..2 {
            let slack = door.write("PUT", path, &enable).await.body;
            assert_eq!((&slack["enabled"], &slack["disabled_at"]), (&true.into(), &Value::Null));
        }
        assert_eq!(door.post(&retry).await.status, StatusCode::ACCEPTED);
        let trail = door.send("GET", "/api/v1/audit?subject=slack", &[("x-api-key", "admin-key-0123")]).await;
        let records = trail.body["items"].as_array().unwrap();
        let said: Vec<_> = records.iter().map(|record| (&record["action"], &record["personal"])).collect();
        assert_eq!(
            said,
            [
                (&json!("target.enable"), &json!({})),
                (&json!("target.disable"), &json!({ "reason": "it is moved" })),
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn what_the_configuration_disables_stays_so_and_what_it_does_not_know_is_not_there() {
    on_each(async |door| {
        let off = door
            .write("PUT", "/api/v1/targets/off", &json!({ "enabled": true }))
            .await;
        assert_eq!(
            (&off.body["enabled"], &off.body["enabled_in_configuration"]),
            (&false.into(), &false.into())
        );
        for (method, path) in [("GET", ""), ("PUT", ""), ("POST", "/test")] {
            let path = format!("/api/v1/targets/nobody{path}");
            let answer = door.write(method, &path, &json!({ "enabled": true })).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
        for (wish, field) in [
            (json!({ "enabled": true, "reason": "because" }), "reason"),
            (json!({ "enabled": false, "reason": " " }), "reason"),
            (json!({ "enabled": "no" }), "enabled"),
        ] {
            let answer = door.write("PUT", "/api/v1/targets/slack", &wish).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wish}");
            assert_eq!(answer.body["field"], field, "{wish}");
        }
        assert!(
            door.items("/api/v1/targets")
                .await
                .iter()
                .all(|one| one["disabled_by"].is_null())
        );
    })
    .await;
}
