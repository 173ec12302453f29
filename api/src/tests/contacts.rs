//! The story of a contact, and the audit trail.

use serde_json::json;

use super::*;

#[tokio::test]
async fn one_request_tells_everything_about_a_contact_in_order_of_time() {
    on_each(async |door| {
        let form = json!({ "email": "jane@example.com", "submitted_at": "2024-01-01T00:00:00Z",
            "consents": { "general_contact": true } });
        door.write("POST", "/api/v1/submissions", &form).await;
        let (event, id) = door.delivery_to("slack").await;
        door.attempt(id, 1, State::Delivered).await;
        let unsubscribe = json!({ "email": "jane@example.com" });
        door.write("POST", "/api/v1/brevo/unsubscribe", &unsubscribe)
            .await;
        let answer = door.get("/api/v1/contacts/Jane@Example.com").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let story = answer.body;
        assert_eq!(
            (
                &story["contact"],
                &story["unsubscribed"],
                &story["truncated"]
            ),
            (&json!("jane@example.com"), &json!(true), &json!(false))
        );
        let count = |key: &str| story[key].as_array().unwrap().len();
        assert_eq!(
            [
                "suppressions",
                "submissions",
                "events",
                "deliveries",
                "audit"
            ]
            .map(count),
            [2, 1, 2, 1, 2]
        );
        assert_eq!(story["deliveries"][0]["event_id"], json!(event.id));
        assert_eq!(
            story["deliveries"][0]["attempts"].as_array().unwrap().len(),
            1
        );
        is_in_order(&story["timeline"]);
    })
    .await;
}

#[tokio::test]
async fn a_contact_that_nobody_knows_has_an_empty_story_and_one_that_cannot_be_read_is_422() {
    on_each(async |door| {
        let story = door.get("/api/v1/contacts/%2B15551234567").await;
        assert_eq!(
            (story.status.as_u16(), &story.body["unsubscribed"]),
            (200, &json!(false))
        );
        assert_eq!(story.body["timeline"], json!([]));
        assert_eq!(door.get("/api/v1/contacts/nobody").await.status, 422);
    })
    .await;
}

#[tokio::test]
async fn the_trail_is_listed_newest_first_and_verified() {
    on_each(async |door| {
        for number in 0..3 {
            let body = json!({ "email": format!("user{number}@example.com"), "note": "by phone" });
            door.write("POST", "/api/v1/suppressions", &body).await;
        }
        let admin = [("x-api-key", "admin-key-0123")];
        let list = async |query: &str| {
            door.send("GET", &format!("/api/v1/audit{query}"), &admin)
                .await
        };
        let page = list("?limit=2").await;
        let seqs = |answer: &Answer| {
            answer.body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["seq"].as_i64().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(seqs(&page), [3, 2]);
        let rest = list(&format!(
            "?limit=2&cursor={}",
            text(&page.body["next_cursor"])
        ))
        .await;
        assert_eq!(
            (seqs(&rest), &rest.body["next_cursor"]),
            (vec![1], &json!(null))
        );
        let one = list("?email=user1@example.com&action=suppression.add").await;
        assert_eq!(
            (seqs(&one), &one.body["items"][0]["personal"]["note"]),
            (vec![2], &json!("by phone"))
        );
        let verified = list("/verify").await;
        assert_eq!(
            (&verified.body["records"], &verified.body["broken"]),
            (&json!(3), &json!(null))
        );
        assert_eq!(verified.body["head"], page.body["items"][0]["hash"]);
        let head = format!("3:{}", text(&verified.body["head"]));
        for (after, broken) in [(head.as_str(), &json!(null)), ("3:another", &json!(3))] {
            let rest = list(&format!("/verify?after={after}")).await.body;
            let found = (&rest["records"], &rest["complete"], &rest["broken"]["seq"]);
            assert_eq!(found, (&json!(3), &json!(broken.is_null()), broken));
        }
        for none in ["3", "0:x", "x:y"] {
            assert_eq!(list(&format!("/verify?after={none}")).await.status, 400);
        }
        assert_eq!(door.get("/api/v1/audit").await.status, 403);
    })
    .await;
}

/// The timeline of the story above.
fn is_in_order(timeline: &Value) {
    let timeline = timeline.as_array().unwrap();
    let times: Vec<Timestamp> = timeline
        .iter()
        .map(|moment| text(&moment["at"]).parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{timeline:?}");
    let mut whats: Vec<_> = timeline
        .iter()
        .map(|moment| text(&moment["what"]))
        .collect();
    assert_eq!(whats[0], "submission");
    whats.sort();
    assert_eq!(
        whats,
        [
            "attempt",
            "audit",
            "audit",
            "delivery",
            "event",
            "event",
            "revocation",
            "submission"
        ]
    );
}
