//! The suppression list: seen, added to, lifted.

use common::event::{Lane, Register};
use serde_json::json;

use super::*;

const PATH: &str = "/api/v1/suppressions";

async fn only(door: &Door) -> Value {
    let mut items = door.items(PATH).await;
    assert_eq!(items.len(), 1);
    items.remove(0)
}

async fn lift(door: &Door, suppression: &Value, query: &str) -> Answer {
    let path = format!("{PATH}/{}{query}", text(&suppression["id"]));
    door.send("DELETE", &path, &[("x-api-key", "write-key-0123")])
        .await
}

#[tokio::test]
async fn a_suppression_by_hand_stands_at_once_and_is_told_to_the_targets_once() {
    on_each(async |door| {
        let body = json!({ "email": "Jane@Example.com", "scope": "news", "reason": "asked by phone", "note": "case 7" });
        for status in [201, 200, 200] {
            let answer = door.write("POST", PATH, &body).await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.body["contact"], "jane@example.com");
            assert_eq!((&answer.body["lane"], &answer.body["source"]), (&json!("manual"), &json!("api")));
        }
        assert!(door.unsubscribed("email=jane@example.com&scope=news").await);
        assert!(!door.unsubscribed("email=jane@example.com&scope=other").await);
        assert_eq!(door.audited().await, 3);
        let asked = door.asked();
        assert_eq!(asked.len(), 1);
        let draft = &asked[0].drafts[0];
        assert_eq!((draft.kind, &draft.metadata["actor"]), (Kind::Suppressed, &json!("the write key")));
        assert_eq!((&draft.metadata["note"], draft.reason.as_deref()), (&json!("case 7"), Some("asked by phone")));
        let mut shown = door.get(&format!("{PATH}/{}", text(&only(door).await["id"]))).await.body;
        let history = shown.as_object_mut().unwrap().remove("history").unwrap();
        assert_eq!(shown, only(door).await);
        assert_eq!((history.as_array().unwrap().len(), &history[0]["id"]), (1, &shown["event_id"]));
    })
    .await;
}

#[tokio::test]
async fn twenty_requests_at_once_make_one_event() {
    on_each(async |door| {
        let body = json!({ "phone": "+15551234567" });
        let calls = (0..20).map(|_| door.write("POST", PATH, &body));
        for answer in futures_util::future::join_all(calls).await {
            assert!(answer.status.is_success(), "{answer:?}");
        }
        assert_eq!(door.items("/api/v1/events").await.len(), 1);
        assert_eq!(door.audited().await, 20);
    })
    .await;
}

#[tokio::test]
async fn twenty_lifts_at_once_are_one_event() {
    on_each(async |door| {
        door.record(fact(Kind::Complained), &[]).await;
        let complaint = only(door).await;
        let calls = (0..20).map(|_| lift(door, &complaint, "?force=true&reason=asked"));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let path = format!("{PATH}/{}", text(&complaint["id"]));
        let shown = door.get(&path).await.body;
        let history = shown["history"].as_array().unwrap();
        let kinds: Vec<_> = history.iter().map(|event| text(&event["kind"])).collect();
        assert_eq!(kinds, ["complained", "resubscribed"]);
        assert_eq!(
            lift(door, &complaint, "").await.status,
            200,
            "no force for what is so"
        );
        assert_eq!(door.audited().await, 21);
    })
    .await;
}

#[tokio::test]
async fn why_something_is_lifted_may_stand_in_the_body() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        let path = format!("{PATH}/{}", text(&only(door).await["id"]));
        for (body, status) in [
            (json!({ "colour": "blue" }), 422),
            (json!({ "reason": "" }), 422),
            (json!({ "reason": "by mistake", "note": "case 7" }), 200),
        ] {
            let answer = door.write("DELETE", &path, &body).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
        let mut asked = door.asked();
        assert_eq!(asked.len(), 1);
        let draft = asked.remove(0).drafts.remove(0);
        assert_eq!(draft.reason.as_deref(), Some("by mistake"));
        assert_eq!(draft.metadata["note"], "case 7");
        assert_eq!(only(door).await["reason"], "by mistake");
    })
    .await;
}

#[tokio::test]
async fn a_lift_clears_the_one_register_keeps_the_history_and_says_what_still_suppresses() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        let before = only(door).await;
        door.write("POST", PATH, &json!({ "contact": "jane@example.com" }))
            .await;
        door.asked();
        for number in 0..2 {
            let answer = lift(door, &before, "?reason=by%20mistake").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(
                (&answer.body["state"], &answer.body["id"]),
                (&json!("lifted"), &before["id"])
            );
            let still = answer.body["still_suppressed_by"].as_array().unwrap();
            assert_eq!((still.len(), &still[0]["source"]), (1, &json!("api")));
            assert_eq!(door.asked().len(), 1 - number, "told once");
        }
        assert_eq!(
            door.items("/api/v1/events?email=jane@example.com")
                .await
                .len(),
            3
        );
        for (query, count) in [
            ("state=lifted", 1),
            ("state=active", 1),
            ("source=shop", 1),
            ("lane=manual", 1),
            ("email=jane@example.com", 2),
            ("email=john@example.com", 0),
            ("scope=news", 0),
            ("origin=admin", 2),
            ("limit=1", 1),
        ] {
            assert_eq!(
                door.items(&format!("{PATH}?{query}")).await.len(),
                count,
                "{query}"
            );
        }
        assert_eq!(door.all_pages(&format!("{PATH}?limit=1")).await.0.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_complaint_is_lifted_only_by_force_and_for_a_reason() {
    on_each(async |door| {
        door.record(fact(Kind::Complained), &[]).await;
        let complaint = only(door).await;
        assert_eq!(lift(door, &complaint, "").await.status, 409);
        assert_eq!(lift(door, &complaint, "?force=true").await.status, 422);
        assert!(door.unsubscribed("email=jane@example.com").await);
        assert_eq!(
            lift(door, &complaint, "?force=true&reason=she%20asked")
                .await
                .status,
            200
        );
        assert!(!door.unsubscribed("email=jane@example.com").await);
        let lifted = door.asked().remove(0).drafts.remove(0);
        let register = Register {
            source: "shop".to_owned(),
            lane: Lane::Complaint,
        };
        assert_eq!(lifted.register, Some(register));
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_suppression_is_told_and_nothing_changes() {
    on_each(async |door| {
        for body in [
            json!({}),
            json!({ "email": "nobody" }),
            json!({ "email": "a@b.example", "phone": "+15551234567" }),
            json!({ "email": "a@b.example", "scope": "" }),
            json!({ "email": "a@b.example", "scope": "x".repeat(256) }),
            json!({ "email": "a@b.example", "reason": "a\u{0}" }),
            json!({ "email": "a@b.example", "colour": "blue" }),
        ] {
            assert_eq!(door.write("POST", PATH, &body).await.status, 422, "{body}");
        }
        let unknown = json!({ "id": Uuid::nil() });
        assert_eq!(lift(door, &unknown, "").await.status, 404);
        door.queue.refuses.store(true, Ordering::SeqCst);
        let answer = door
            .write("POST", PATH, &json!({ "email": "a@b.example" }))
            .await;
        assert_eq!(answer.status, 503);
        assert!(!door.unsubscribed("email=a@b.example").await);
    })
    .await;
}
