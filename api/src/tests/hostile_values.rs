//! Texts that mean ill, in the fields that clients fill: each is answered as it was given, is found by itself alone, and
//! changes nothing beside.

use std::fmt::Write;

use hostile::VALUES;
use serde_json::json;

use super::*;

pub(super) const ADMIN: &[(&str, &str)] = &[("x-api-key", "admin-key-0123")];

/// Contacts that are well-formed, and mean ill to statements.
const CONTACTS: [&str; 6] = [
    "o'brien;drop@example.com",
    "{rows}$1{uuid}@example.com",
    "%_%@example.com",
    "\"'; drop table events; --\"@example.com",
    "erased:0123@example.com",
    "`=|{{x}}|'@example.com",
];

/// As a part of a URL.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}

/// The values that a parameter may have: without line breaks.
fn parameters() -> impl Iterator<Item = &'static str> {
    let plain = |text: &&&str| !text.chars().any(char::is_control);
    VALUES.iter().filter(plain).copied()
}

/// What is known of somebody whom none of it concerns. Reading it changes nothing of it.
async fn bystander(door: &Door) -> Value {
    door.get("/api/v1/contacts/bystander@example.com")
        .await
        .body
}

pub(super) async fn with_bystander(door: &Door) -> Value {
    let wish = json!({ "email": "bystander@example.com", "reason": "asked", "note": "by phone" });
    let made = door.write("POST", "/api/v1/suppressions", &wish).await;
    assert_eq!(made.status, StatusCode::CREATED);
    bystander(door).await
}

pub(super) async fn is_unharmed(door: &Door, before: &Value) {
    assert_eq!(bystander(door).await, *before);
    door.audited().await;
}

#[tokio::test]
async fn a_suppression_by_hand_says_what_it_was_told_and_is_found_by_that_alone() {
    on_each(async |door| {
        let before = with_bystander(door).await;
        for (number, text) in VALUES.iter().enumerate() {
            let email = format!("user{number}@example.com");
            // A scope is one line to whoever asks for it.
            let scope: String = text.chars().filter(|c| !c.is_control()).collect();
            let wish = json!({ "email": email, "scope": scope, "reason": text, "note": text });
            let made = door.write("POST", "/api/v1/suppressions", &wish).await;
            assert_eq!(made.status, StatusCode::CREATED, "{text:?}: {made:?}");
            let said = (&made.body["scope"], &made.body["reason"]);
            assert_eq!(said, (&json!(scope), &json!(text)));
            let story = door.get(&format!("/api/v1/contacts/{email}")).await.body;
            assert_eq!(story["events"][0]["metadata"]["note"], *text);
            assert_eq!(story["audit"][0]["personal"]["note"], *text);
        }
        let all = VALUES.len();
        for (number, text) in parameters().enumerate() {
            let text = encoded(text);
            for filter in ["scope", "reason"] {
                let path = format!("/api/v1/suppressions?{filter}={text}");
                let found = door.items(&path).await;
                assert_eq!(found.len(), 1, "{path}: {found:?}");
                assert_eq!(found[0]["contact"], format!("user{number}@example.com"));
            }
            let check = format!("email=user{number}@example.com&scope={text}");
            assert!(door.unsubscribed(&check).await);
            assert!(!door.unsubscribed(&check.replace("user", "other")).await);
            let nobody = door
                .items(&format!("/api/v1/suppressions?source={text}"))
                .await;
            assert_eq!(nobody.len(), 0);
        }
        assert_eq!(
            door.items("/api/v1/suppressions?limit=500").await.len(),
            all + 1
        );
        for listed in door.items("/api/v1/suppressions?limit=500").await {
            let id = text(&listed["id"]);
            if listed["contact"] == "bystander@example.com" {
                continue;
            }
            let why = &listed["reason"];
            let lifted = door
                .write(
                    "DELETE",
                    &format!("/api/v1/suppressions/{id}"),
                    &json!({ "reason": why, "note": why }),
                )
                .await;
            assert_eq!(
                (lifted.status, &lifted.body["reason"]),
                (StatusCode::OK, why)
            );
        }
        is_unharmed(door, &before).await;
    })
    .await;
}

#[tokio::test]
async fn a_contact_that_means_ill_is_one_contact_and_no_pattern() {
    on_each(async |door| {
        let before = with_bystander(door).await;
        for contact in CONTACTS {
            let query = format!("email={}", encoded(contact));
            assert!(!door.unsubscribed(&query).await, "{contact}");
            let made = door
                .write("POST", "/api/v1/suppressions", &json!({ "email": contact }))
                .await;
            assert_eq!(
                (made.status, &made.body["contact"]),
                (StatusCode::CREATED, &json!(contact))
            );
            assert!(door.unsubscribed(&query).await, "{contact}");
            let found = door.items(&format!("/api/v1/suppressions?{query}")).await;
            assert_eq!(found.len(), 1, "{contact}");
            let story = door
                .get(&format!("/api/v1/contacts/{}", encoded(contact)))
                .await;
            assert_eq!(story.body["contact"], contact);
            let many = json!({ "contacts": [contact, "other@example.com"] });
            let answer = door.write("POST", "/api/v1/check", &many).await;
            assert_eq!(answer.body["items"][0]["unsubscribed"], true, "{contact}");
            assert_eq!(answer.body["items"][1]["unsubscribed"], false, "{contact}");
        }
        for contact in CONTACTS {
            let wish = json!({ "contact": contact, "reference": "'; {rows} $1", "force": true })
                .to_string();
            let erased = door
                .send_body("POST", "/api/v1/contacts/erase", ADMIN, Body::from(wish))
                .await;
            assert_eq!(
                (erased.status, &erased.body["suppressions"]),
                (StatusCode::OK, &json!(1))
            );
            assert!(
                door.unsubscribed(&format!("email={}", encoded(contact)))
                    .await
            );
        }
        is_unharmed(door, &before).await;
    })
    .await;
}

#[tokio::test]
async fn a_form_keeps_its_name_its_metadata_and_its_purposes() {
    on_each(async |door| {
        let before = with_bystander(door).await;
        for (number, text) in VALUES.iter().enumerate() {
            let name: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
            let (metadata, email) = (json!({ *text: [text, { *text: text }] }), format!("form{number}@example.com"));
            let purpose = format!("other.{name}");
            let form = json!({ "email": email, "form": text, "metadata": metadata, "consents": { &purpose: true } });
            let headers = [("x-api-key", "write-key-0123"), ("idempotency-key", "'; DROP TABLE submissions; -- {rows}")];
            let repeat = if number == 0 { &headers[..] } else { &headers[..1] };
            for status in [StatusCode::CREATED, StatusCode::OK] {
                let answer = door.send_body("POST", "/api/v1/submissions", repeat, Body::from(form.to_string())).await;
                let expected = if number == 0 { status } else { StatusCode::CREATED };
                assert_eq!(answer.status, expected, "{text:?}: {answer:?}");
                assert_eq!((&answer.body["form"], &answer.body["metadata"]), (&json!(text), &metadata));
                assert_eq!(answer.body["consents"], json!({ &purpose: true }));
                let path = format!("/api/v1/submissions/{}", super::text(&answer.body["id"]));
                assert_eq!(door.get(&path).await.body, answer.body);
            }
        }
        is_unharmed(door, &before).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_keeps_its_description_and_its_url() {
    on_each(async |door| {
        let before = with_bystander(door).await;
        for text in VALUES {
            let url = format!("https://example.com/{}?x={}", encoded(text), encoded(text));
            let wish = json!({ "url": url, "events": ["*"], "description": text });
            let made = door
                .write("POST", "/api/emails/webhook-endpoints/", &wish)
                .await;
            assert_eq!(made.status, StatusCode::CREATED, "{text:?}: {made:?}");
            let one = format!(
                "/api/emails/webhook-endpoints/{}",
                super::text(&made.body["id"])
            );
            let changed = door.write("PUT", &one, &wish).await.body;
            let shown = door.get(&one).await.body;
            assert_eq!(changed, shown);
            assert_eq!(
                (&shown["description"], &shown["url"]),
                (&json!(text), &json!(url))
            );
            let events = json!({ "url": url, "events": [text] });
            let refused = door
                .write("POST", "/api/emails/webhook-endpoints/", &events)
                .await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{text:?}");
        }
        is_unharmed(door, &before).await;
    })
    .await;
}
