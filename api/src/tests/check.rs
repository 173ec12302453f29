//! The question before every send.

use common::ledger;
use futures_util::future::join_all;
use secrecy::ExposeSecret;

use super::*;
use crate::Error;

/// Jane left the list `spring` and her phone complained.
async fn fill(door: &Door) {
    let jane = Fact {
        scope: Some("spring"),
        ..fact(Kind::Unsubscribed)
    };
    let phone = Fact {
        contact: Some(Contact::phone("+15551234567").unwrap()),
        ..fact(Kind::Complained)
    };
    door.record(jane, &[]).await;
    door.record(phone, &[]).await;
}

async fn check(door: &Door, query: &str) -> (bool, Vec<String>) {
    let answer = door
        .send(
            "GET",
            &format!("/api/v1/check?{query}"),
            &[("x-api-key", "check-key-0123")],
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {answer:?}");
    let found = answer.body["suppressions"].as_array().unwrap();
    (
        answer.body["unsubscribed"].as_bool().unwrap(),
        found.iter().map(|item| text(&item["scope"])).collect(),
    )
}

#[tokio::test]
async fn a_scope_is_answered_by_itself_and_by_global_and_no_scope_by_anything() {
    on_each(async |door| {
        fill(door).await;
        let spring = (true, vec!["spring".to_owned()]);
        let nothing = (false, vec![]);
        assert_eq!(check(door, "email=jane@example.com").await, spring);
        assert_eq!(
            check(door, "email=jane@example.com&scope=spring").await,
            spring
        );
        assert_eq!(
            check(door, "email=jane@example.com&scope=autumn").await,
            nothing
        );
        assert_eq!(check(door, "email=john@example.com").await, nothing);
        let global = (true, vec!["global".to_owned()]);
        assert_eq!(
            check(door, "phone=%2B15551234567&scope=autumn").await,
            global
        );
    })
    .await;
}

#[tokio::test]
async fn with_both_contacts_either_suppresses() {
    on_each(async |door| {
        fill(door).await;
        let (unsubscribed, scopes) =
            check(door, "email=jane@example.com&phone=%2B15551234567").await;
        assert!(unsubscribed);
        assert_eq!(scopes, ["spring", "global"]);
        assert!(
            check(door, "email=john@example.com&phone=%2B15551234567")
                .await
                .0
        );
        assert!(
            check(door, "email=jane@example.com&phone=%2B15550000000")
                .await
                .0
        );
        assert!(
            !check(door, "email=john@example.com&phone=%2B15550000000")
                .await
                .0
        );
    })
    .await;
}

#[tokio::test]
async fn spellings_of_one_contact_get_one_answer() {
    on_each(async |door| {
        fill(door).await;
        for query in [
            "email=%20JANE@Example.COM.",
            "phone=+15551234567",
            "phone=+1%20(555)%20123-4567",
            "phone=0015551234567",
        ] {
            assert!(check(door, query).await.0, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_suppression_is_told_with_all_that_is_known_of_it() {
    on_each(async |door| {
        let event = door.record(fact(Kind::Complained), &[]).await;
        let answer = door.get("/api/v1/check?email=jane@example.com").await;
        let told = serde_json::json!({
            "unsubscribed": true,
            "suppressions": [{
                "source": "shop", "scope": "global", "lane": "complaint", "kind": "complained", "reason": "no interest",
                "origin": "unknown", "channel": "email", "contact": "jane@example.com",
                "occurred_at": event.occurred_at.to_string(), "event_id": event.id, "state": "active",
                "id": answer.body["suppressions"][0]["id"],
            }],
        });
        assert_eq!(answer.body, told);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_answered_never_reads_as_subscribed() {
    on_each(async |door| {
        let wrong = [
            ("", 400),
            ("scope=spring", 400),
            ("email=jane@example.com&scope=", 400),
            ("emial=jane@example.com", 400),
            ("email=jane@example.com&email=john@example.com", 400),
            ("email=", 422),
            ("email=jane", 422),
            ("email=jane+news@example.com", 422),
            ("email=jane@example.com&phone=", 422),
            ("phone=15551234567", 422),
            ("phone=STOP", 422),
            ("phone=++15551234567", 422),
        ];
        for (query, status) in wrong {
            let answer = door.get(&format!("/api/v1/check?{query}")).await;
            assert_eq!(answer.status.as_u16(), status, "{query}: {answer:?}");
            assert_eq!(answer.body["unsubscribed"], true, "{query}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
    })
    .await;
}

#[tokio::test]
async fn checks_that_come_together_are_each_answered_by_their_own_contact_and_scope() {
    on_each(async |door| {
        fill(door).await;
        let (jane, john) = ("jane@example.com", "john@example.com");
        let contact = |address| Contact::email(address).unwrap();
        let cases = [
            (jane, None, 1),
            (jane, Some("spring"), 1),
            (jane, Some("autumn"), 0),
            (john, None, 0),
            // PostgreSQL refuses the query that this is in; SQLite finds nothing.
            (jane, Some("\0"), 0),
        ];
        let asked = (0..500).map(|n| {
            let (address, scope, expected) = cases[n % cases.len()];
            async move {
                let answer = door.app.checks.ask(&contact(address), scope).await;
                let refused = matches!(&answer, Err(Error::Ledger(ledger::Error::Refused(_))));
                assert!(
                    answer.is_ok() || (refused && scope == Some("\0")),
                    "{answer:?}"
                );
                for suppression in answer.iter().flatten() {
                    assert_eq!(suppression.contact, address);
                }
                assert_eq!(
                    answer.unwrap_or_default().len(),
                    expected,
                    "{address} {scope:?}"
                );
            }
        });
        join_all(asked).await;
    })
    .await;
}

async fn all(door: &Door, body: Value) -> Answer {
    let headers = [("x-api-key", "check-key-0123")];
    let body = Body::from(body.to_string());
    door.send_body("POST", "/api/v1/check", &headers, body)
        .await
}

#[tokio::test]
async fn many_contacts_are_answered_in_their_order_and_what_cannot_be_read_is_not_to_be_sent_to() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        let scoped = Fact {
            contact: Contact::phone("+15551234567").ok(),
            scope: Some("news"),
            ..fact(Kind::Unsubscribed)
        };
        door.record(scoped, &[]).await;
        let contacts = [
            "JANE@example.com",
            "john@example.com",
            "+1 555 123 4567",
            "nobody",
            "jane@example.com",
        ];
        for (scope, expected) in [
            (serde_json::json!(null), [true, false, true, true, true]),
            (serde_json::json!("other"), [true, false, false, true, true]),
            (serde_json::json!("news"), [true, false, true, true, true]),
        ] {
            let answer = all(
                door,
                serde_json::json!({ "contacts": contacts, "scope": scope }),
            )
            .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let items = answer.body["items"].as_array().unwrap();
            for ((item, contact), unsubscribed) in items.iter().zip(contacts).zip(expected) {
                assert_eq!(
                    (&item["contact"], &item["unsubscribed"]),
                    (&contact.into(), &unsubscribed.into())
                );
                assert_eq!(item["error"].is_string(), contact == "nobody");
            }
            assert_eq!(items.len(), contacts.len());
        }
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_contacts_are_the_most_and_no_error_reads_as_subscribed() {
    on_each(async |door| {
        let contacts = |count| {
            (0..count)
                .map(|number| format!("user{number}@example.com"))
                .collect::<Vec<_>>()
        };
        let answer = all(door, serde_json::json!({ "contacts": contacts(10_000) })).await;
        assert_eq!(answer.body["items"].as_array().unwrap().len(), 10_000);
        let empty: [&str; 0] = [];
        assert_eq!(
            all(door, serde_json::json!({ "contacts": empty }))
                .await
                .status,
            200
        );
        for (body, status) in [
            (serde_json::json!({ "contacts": contacts(10_001) }), 422),
            (serde_json::json!({ "contacts": [7] }), 422),
            (serde_json::json!({ "contact": ["a@b.example"] }), 422),
            (serde_json::json!({}), 422),
            (serde_json::json!({ "contacts": [], "scope": "" }), 422),
            (serde_json::json!(null), 422),
        ] {
            let answer = all(door, body).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["unsubscribed"]),
                (status, &true.into())
            );
        }
        let headers = [("x-api-key", "check-key-0123")];
        let answer = door
            .send_body("POST", "/api/v1/check", &headers, Body::from("{"))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["unsubscribed"]),
            (400, &true.into())
        );
    })
    .await;
}

#[tokio::test]
async fn what_concerns_the_key_does_not_read_as_subscribed_either_and_is_described_so() {
    on_each(async |door| {
        let query = "/api/v1/check?email=jane@example.com";
        let document = crate::document();
        for (method, path) in [("GET", query), ("POST", "/api/v1/check")] {
            let unknown = door
                .send(method, path, &[("x-api-key", "no such key")])
                .await;
            let none = door.send(method, path, &[]).await;
            let slow = limits::stored(door, &format!("slow-{method}"), Some("1/1h")).await;
            let slow = [("x-api-key", slow.expose_secret())];
            door.send(method, path, &slow).await;
            let too_often = door.send(method, path, &slow).await;
            for (answer, status, header) in [
                (unknown, 401, "www-authenticate"),
                (none, 401, "www-authenticate"),
                (too_often, 429, "retry-after"),
            ] {
                let told = (answer.status.as_u16(), &answer.body["unsubscribed"]);
                assert_eq!(told, (status, &Value::Bool(true)));
                assert!(answer.headers.contains_key(header));
            }
            let described = &document["paths"]["/api/v1/check"][method.to_lowercase()]["responses"];
            for (status, about) in described.as_object().unwrap() {
                let schema = &about["content"]["application/problem+json"]["schema"]["$ref"];
                let is_doubt = schema == "#/components/schemas/Doubt";
                assert!(is_doubt || status == "200", "{method} {status}: {about}");
            }
        }
    })
    .await;
}
