//! Forms and what was agreed to in them.

use serde_json::json;

use super::*;

const PATH: &str = "/api/v1/submissions";

async fn submit(door: &Door, body: Value) -> Answer {
    door.write("POST", PATH, &body).await
}

#[tokio::test]
async fn a_submission_is_kept_as_it_was_given_with_its_contacts_normalised() {
    on_each(async |door| {
        let body = json!({ "form": "spring", "email": "Jane@Example.com", "phone": "+1 555 123 4567",
            "submitted_at": "2026-04-02T14:30:00+02:00", "metadata": { "page": "/fair" },
            "consents": { "general_contact": true, "events": { "spring-fair": false } } });
        let made = submit(door, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let shown = door.get(&format!("{PATH}/{}", text(&made.body["id"]))).await;
        assert_eq!(shown.body, made.body);
        let submission = shown.body;
        assert_eq!(submission["email"], "jane@example.com");
        assert_eq!(submission["email_raw"], "Jane@Example.com");
        assert_eq!(submission["phone"], "+15551234567");
        assert_eq!(submission["submitted_at"], "2026-04-02T12:30:00Z");
        assert_eq!(submission["consents"], json!({ "general_contact": true, "events.spring-fair": false }));
        assert_eq!(door.asked().len(), 0, "nothing was revoked, so nothing is renewed");
        for query in ["email=jane@example.com", "phone=%2B15551234567"] {
            assert_eq!(door.items(&format!("{PATH}?{query}")).await.len(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_told_by_the_field() {
    on_each(async |door| {
        let wrong = [
            (json!({ "consents": {} }), "email"),
            (json!({ "email": "nobody" }), "email"),
            (json!({ "phone": "12" }), "phone"),
            (
                json!({ "email": "a@b.example", "consents": { "everything": true } }),
                "everything",
            ),
            (
                json!({ "email": "a@b.example", "consents": { "events.": true } }),
                "events.",
            ),
            (
                json!({ "email": "a@b.example", "consents": { "general_contact": "yes" } }),
                "consents",
            ),
            (
                json!({ "email": "a@b.example", "submitted_at": "yesterday" }),
                "submitted_at",
            ),
            (
                json!({ "email": "a@b.example", "submitted_at": "2999-01-01T00:00:00Z" }),
                "submitted_at",
            ),
            (
                json!({ "email": "a@b.example", "colour": "blue" }),
                "colour",
            ),
            (json!({ "email": "a@b.example", "form": "a\u{0}b" }), "form"),
            (
                json!({ "email": "a@b.example", "metadata": { "a": "\u{0}" } }),
                "metadata",
            ),
        ];
        for (body, about) in wrong {
            let answer = submit(door, body.clone()).await;
            assert_eq!(answer.status, 422, "{body}: {answer:?}");
            assert!(
                answer.body.to_string().contains(about),
                "{body}: {answer:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeat_by_its_key_or_its_id_has_no_second_effect() {
    on_each(async |door| {
        let body = json!({ "email": "jane@example.com", "consents": { "general_contact": true } });
        let headers = [
            ("x-api-key", "write-key-0123"),
            ("idempotency-key", "form-7"),
        ];
        let mut ids = vec![];
        for status in [201, 200, 200] {
            let sent = Body::from(body.to_string());
            let answer = door.send_body("POST", PATH, &headers, sent).await;
            assert_eq!(answer.status, status);
            ids.push(text(&answer.body["id"]));
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        let id = json!({ "id": ids[0], "email": "john@example.com" });
        assert_eq!(
            submit(door, id).await.status,
            409,
            "another one by the same id"
        );
    })
    .await;
}

#[tokio::test]
async fn a_new_consent_clears_what_the_api_revoked_and_not_what_others_hold() {
    on_each(async |door| {
        let scope = "email=jane@example.com&scope=general_contact";
        door.write(
            "POST",
            "/api/v1/brevo/unsubscribe",
            &json!({ "email": "jane@example.com" }),
        )
        .await;
        assert!(door.unsubscribed(scope).await);
        door.asked();
        let agreed =
            json!({ "email": "jane@example.com", "consents": { "general_contact": true } });
        assert_eq!(submit(door, agreed.clone()).await.status, 201);
        assert!(!door.unsubscribed(scope).await);
        let asked = door.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].drafts[0].kind, Kind::Resubscribed);

        door.record(
            Fact {
                scope: Some("general_contact"),
                ..fact(Kind::Unsubscribed)
            },
            &[],
        )
        .await;
        assert_eq!(submit(door, agreed).await.status, 201);
        assert!(door.unsubscribed(scope).await, "another source holds it");
    })
    .await;
}

#[tokio::test]
async fn a_submission_that_comes_late_does_not_undo_a_later_revocation() {
    on_each(async |door| {
        door.write(
            "POST",
            "/api/v1/brevo/unsubscribe",
            &json!({ "email": "jane@example.com" }),
        )
        .await;
        let late = json!({ "email": "jane@example.com", "submitted_at": "2026-01-01T00:00:00Z",
            "consents": { "general_contact": true, "primary_purpose": true } });
        let answer = submit(door, late).await;
        assert_eq!(
            answer.body["consents"],
            json!({ "general_contact": false, "primary_purpose": true })
        );
        assert!(answer.body["consent_records"][0]["revoked_by"].is_string());
        assert!(
            door.unsubscribed("email=jane@example.com&scope=general_contact")
                .await
        );
    })
    .await;
}
