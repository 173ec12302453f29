//! Stored keys over the api: told once, listed without themselves, and dead the moment that they are revoked.

use common::{
    key::{self, Wanted},
    ledger::TrailFilter,
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::*;

const PATH: &str = "/api/v1/keys";

/// Asks for a key with the configured admin key.
async fn wish(door: &Door, wish: Value) -> Answer {
    let headers = [("x-api-key", "admin-key-0123")];
    let body = Body::from(wish.to_string());
    door.send_body("POST", PATH, &headers, body).await
}

async fn made(door: &Door, name: &str, role: Role) -> Value {
    let answer = wish(door, json!({ "name": name, "role": role })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body
}

/// What the key `made` is answered at `path`.
async fn with(door: &Door, made: &Value, method: &str, path: &str) -> Answer {
    let key = text(&made["key"]);
    door.send(method, path, &[("x-api-key", &key)]).await
}

async fn listed(door: &Door) -> Vec<Value> {
    let answer = door.send("GET", PATH, &[("x-api-key", "admin-key-0123")]);
    answer.await.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_key_is_told_once_and_opens_what_its_role_may() {
    on_each(async |door| {
        for role in Role::ALL {
            let one = made(door, &format!("a-{role}"), *role).await;
            let check = with(door, &one, "GET", "/api/v1/check?email=a@example.com").await;
            assert_eq!(check.status, StatusCode::OK, "{check:?}");
            let list = with(door, &one, "GET", PATH).await;
            let expected = if *role == Role::Admin { 200 } else { 403 };
            assert_eq!(list.status.as_u16(), expected, "{role}");
        }
        let shown = listed(door).await;
        assert_eq!(shown.len(), 4);
        let said = Value::from(shown.clone()).to_string();
        assert!(
            !said.contains("\"key\"") && !said.contains("hash"),
            "{said}"
        );
        let newest = &shown[0];
        assert_eq!(newest["name"], "a-admin");
        assert_eq!(newest["state"], "active");
        assert_eq!(newest["created_by"], "the admin key");
        assert_eq!(text(&newest["hint"]).len(), 11);
        let nothing = ["rate", "expires_at", "revoked_at"];
        assert!(
            nothing.iter().all(|field| newest[field].is_null()),
            "{newest}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_more_and_its_name_is_free() {
    on_each(async |door| {
        let one = made(door, "ci", Role::Read).await;
        let admin = made(door, "boss", Role::Admin).await;
        assert_eq!(with(door, &one, "GET", "/api/v1/events").await.status, 200);
        let path = format!("{PATH}/{}", text(&one["id"]));
        for _ in 0..2 {
            assert_eq!(with(door, &admin, "DELETE", &path).await.status, 204);
            assert_eq!(with(door, &one, "GET", "/api/v1/events").await.status, 401);
        }
        let shown = listed(door).await;
        assert_eq!(
            (&shown[1]["state"], &shown[1]["id"]),
            (&json!("revoked"), &one["id"])
        );
        let again = made(door, "ci", Role::Read).await;
        assert_eq!(
            with(door, &again, "GET", "/api/v1/events").await.status,
            200
        );
        assert_eq!(with(door, &one, "GET", "/api/v1/events").await.status, 401);

        let own = format!("{PATH}/{}", text(&admin["id"]));
        let refused = with(door, &admin, "DELETE", &own).await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(text(&refused.body["detail"]).contains("the key that asks"));
        let missing = with(
            door,
            &admin,
            "DELETE",
            &format!("{PATH}/{}", Uuid::now_v7()),
        )
        .await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_key_that_has_expired_opens_nothing() {
    on_each(async |door| {
        let wanted = Wanted {
            name: "brief".to_owned(),
            role: Role::Read,
            rate: None,
            expires_at: Some(clock::now() - Duration::from_secs(1)),
        };
        let made = door.ledger.create_key(&wanted, "ops").await.unwrap();
        let (_, key) = made.unwrap();
        let headers = [("x-api-key", key.expose_secret())];
        let answer = door.send("GET", "/api/v1/events", &headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(listed(door).await[0]["state"], "expired");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_cannot_be_made_is_told_by_the_field() {
    on_each(async |door| {
        made(door, "taken", Role::Read).await;
        for (wanted, status, named) in [
            (json!({ "name": "taken", "role": "read" }), 409, "this name"),
            (json!({ "name": "two words", "role": "read" }), 422, "name"),
            (
                json!({ "name": "the read key", "role": "read" }),
                422,
                "name",
            ),
            (json!({ "name": Uuid::now_v7(), "role": "read" }), 422, "id"),
            (
                json!({ "name": "a", "role": "owner" }),
                422,
                "check, read, write, admin",
            ),
            (
                json!({ "name": "a", "role": "read", "rate": "often" }),
                422,
                "100/1m",
            ),
            (
                json!({ "name": "a", "role": "read", "expires_at": "2020-01-01T00:00:00Z" }),
                422,
                "has passed",
            ),
            (
                json!({ "name": "a", "role": "read", "expires_at": "soon" }),
                422,
                "expires_at",
            ),
            (json!({ "role": "read" }), 422, "name"),
            (
                json!({ "name": "a", "role": "read", "key": "mine" }),
                422,
                "key",
            ),
        ] {
            let answer = wish(door, wanted.clone()).await;
            assert_eq!(answer.status.as_u16(), status, "{wanted}: {answer:?}");
            let detail = text(&answer.body["detail"]);
            assert!(detail.contains(named), "{wanted}: {detail}");
        }
        assert_eq!(listed(door).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_was_done_to_keys_is_in_the_trail_and_the_keys_are_not() {
    on_each(async |door| {
        let one = made(door, "ci", Role::Write).await;
        let path = format!("{PATH}/{}", text(&one["id"]));
        let headers = [("x-api-key", "admin-key-0123")];
        assert_eq!(door.send("DELETE", &path, &headers).await.status, 204);
        assert_eq!(door.audited().await, 2);
        let filter = TrailFilter::default();
        let acts = door.ledger.trail(&filter, 10, i64::MAX).await.unwrap();
        let actions: Vec<_> = acts.iter().rev().map(|act| act.action.as_str()).collect();
        assert_eq!(actions, ["key.create", "key.revoke"]);
        for act in &acts {
            assert_eq!(act.actor, "the admin key");
            assert_eq!(act.subject, Some(text(&one["id"])));
            assert_eq!(act.details["name"], "ci");
            let said = serde_json::to_string(act).unwrap();
            let secret = text(&one["key"]);
            assert!(!said.contains(&secret) && !said.contains(&key::hash(secret.as_bytes())));
        }
    })
    .await;
}

#[tokio::test]
async fn who_asks_by_a_stored_key_is_told_by_its_name() {
    on_each(async |door| {
        let one = made(door, "importer", Role::Write).await;
        let key = text(&one["key"]);
        let body = Body::from(json!({ "email": "jane@example.com" }).to_string());
        let headers = [("authorization", format!("Bearer {key}"))];
        let headers = [(headers[0].0, headers[0].1.as_str())];
        let added = door
            .send_body("POST", "/api/v1/suppressions", &headers, body)
            .await;
        assert_eq!(added.status, StatusCode::CREATED, "{added:?}");
        let filter = TrailFilter {
            actor: Some("importer".to_owned()),
            ..TrailFilter::default()
        };
        let acts = door.ledger.trail(&filter, 10, i64::MAX).await.unwrap();
        assert_eq!(acts[0].action, "suppression.add");
    })
    .await;
}
