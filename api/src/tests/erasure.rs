//! Erasing a contact over the api.

use serde_json::json;

use super::*;

const ERASE: &str = "/api/v1/contacts/erase";

async fn erase(door: &Door, body: &Value) -> Answer {
    let headers = [("x-api-key", "admin-key-0123")];
    let body = Body::from(body.to_string());
    door.send_body("POST", ERASE, &headers, body).await
}

#[tokio::test]
async fn an_erased_contact_is_suppressed_still_and_its_story_names_nobody() {
    on_each(async |door| {
        let form = json!({ "email": "jane@example.com", "phone": "+15551234567", "metadata": { "name": "Jane" },
            "consents": { "general_contact": true } });
        door.write("POST", "/api/v1/submissions", &form).await;
        let (event, delivery) = door.delivery_to("slack").await;
        door.attempt(delivery, 1, State::Delivered).await;

        let answer = erase(door, &json!({ "email": " Jane@Example.com", "reference": "case 7" })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["linked"], json!(["+15551234567"]));
        assert_eq!(
            ["events", "submissions", "deliveries"].map(|key| answer.body[key].as_u64()),
            [Some(1), Some(1), Some(1)]
        );

        assert!(door.unsubscribed("email=jane@example.com").await);
        let story = door.get("/api/v1/contacts/jane@example.com").await.body;
        assert_eq!(story["unsubscribed"], true);
        let told = json!([story["events"], story["audit"], story["submissions"], story["deliveries"]]);
        assert!(!told.to_string().to_lowercase().contains("jane"), "{told}");
        let shown = door.get(&format!("/api/v1/events/{}", event.id)).await.body;
        assert_eq!((&shown["payload"], &shown["envelope"]["erased"]), (&Value::Null, &json!(true)));
        assert!(!shown.to_string().to_lowercase().contains("jane"), "{shown}");
        let retry = door.post(&format!("/api/v1/deliveries/{delivery}/retry")).await;
        assert_eq!(retry.status, 409);
        assert!(door.audited().await > 0);
        let trail = door.send("GET", "/api/v1/audit?action=contact.erase", &[("x-api-key", "admin-key-0123")]).await;
        assert_eq!(trail.body["items"][0]["details"]["reference"], "case 7");
    })
    .await;
}

#[tokio::test]
async fn a_suppression_of_an_erased_contact_is_lifted_by_hand() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        assert_eq!(
            erase(door, &json!({ "contact": "jane@example.com" }))
                .await
                .status,
            200
        );
        let listed = door
            .items("/api/v1/suppressions?email=jane@example.com")
            .await;
        let lift = door
            .write(
                "DELETE",
                &format!("/api/v1/suppressions/{}", text(&listed[0]["id"])),
                &json!({}),
            )
            .await;
        assert_eq!(lift.status, 200, "{lift:?}");
        assert!(!door.unsubscribed("email=jane@example.com").await);
    })
    .await;
}

#[tokio::test]
async fn what_stands_in_the_way_is_named_and_force_does_it_all_the_same() {
    on_each(async |door| {
        let (_, delivery) = door.delivery_to("slack").await;
        let body = json!({ "email": "jane@example.com" });
        let answer = erase(door, &body).await;
        assert_eq!(answer.status, 409);
        let detail = text(&answer.body["detail"]);
        assert!(
            detail.contains(&delivery.to_string()) && detail.contains("force"),
            "{detail}"
        );
        let forced = erase(door, &json!({ "email": "jane@example.com", "force": true })).await;
        assert_eq!(forced.status, 200, "{forced:?}");
        assert!(door.unsubscribed("email=jane@example.com").await);
        let row = door
            .get(&format!("/api/v1/deliveries/{delivery}"))
            .await
            .body;
        assert_eq!(
            (&row["state"], &row["erased"]),
            (&json!("dead"), &json!(true))
        );
    })
    .await;
}

#[tokio::test]
async fn erasing_wants_an_admin_a_contact_and_a_pepper() {
    on_each(async |door| {
        let body = json!({ "email": "jane@example.com" });
        assert_eq!(door.write("POST", ERASE, &body).await.status, 403);
        for (wrong, field) in [
            (json!({}), "email"),
            (json!({ "email": "nobody" }), ""),
            (
                json!({ "email": "a@b.example", "phone": "+15551234567" }),
                "contact",
            ),
            (
                json!({ "email": "a@b.example", "reference": " " }),
                "reference",
            ),
        ] {
            let answer = erase(door, &wrong).await;
            assert_eq!(answer.status, 422, "{wrong}");
            if !field.is_empty() {
                assert_eq!(answer.body["field"], field, "{answer:?}");
            }
        }
        assert_eq!(
            erase(door, &json!({ "emial": "a@b.example" })).await.status,
            422
        );

        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let bare = Door::new("without", Ledger::connect(&url, 2).await.unwrap(), folder);
        let answer = erase(&bare, &body).await;
        assert_eq!(answer.status, 409);
        assert!(text(&answer.body["detail"]).contains("ledger.pepper"));
    })
    .await;
}
