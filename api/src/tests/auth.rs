//! Keys and roles.

use common::key::Wanted;
use secrecy::ExposeSecret;
use serde_json::json;

use super::*;

/// Every path, its method, and the least role that it wants.
const PATHS: &[(&str, &str, Role)] = &[
    ("GET", "/api/v1/check?email=jane@example.com", Role::Check),
    ("GET", "/api/v1/events", Role::Read),
    (
        "GET",
        "/api/v1/events/01890a5d-ac96-774b-bcce-b302099a8057",
        Role::Read,
    ),
    ("GET", "/api/v1/deliveries", Role::Read),
    (
        "GET",
        "/api/v1/deliveries/01890a5d-ac96-774b-bcce-b302099a8057",
        Role::Read,
    ),
    (
        "POST",
        "/api/v1/deliveries/01890a5d-ac96-774b-bcce-b302099a8057/retry",
        Role::Write,
    ),
    ("GET", "/api/v1/quarantine", Role::Read),
    (
        "GET",
        "/api/v1/quarantine/01890a5d-ac96-774b-bcce-b302099a8057",
        Role::Read,
    ),
    (
        "POST",
        "/api/v1/quarantine/01890a5d-ac96-774b-bcce-b302099a8057/retry",
        Role::Write,
    ),
    ("GET", "/api/v1/keys", Role::Admin),
    (
        "DELETE",
        "/api/v1/keys/01890a5d-ac96-774b-bcce-b302099a8057",
        Role::Admin,
    ),
];

#[tokio::test]
async fn each_role_may_what_its_path_wants_and_all_that_smaller_roles_may() {
    on_each(async |door| {
        for (method, path, needed) in PATHS {
            for role in Role::ALL {
                let key = format!("{role}-key-0123");
                let answer = door.send(method, path, &[("x-api-key", &key)]).await;
                if role >= needed {
                    // The ids are of nothing.
                    assert!(
                        matches!(answer.status.as_u16(), 200 | 404),
                        "{role} at {path}: {answer:?}"
                    );
                } else {
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{role} at {path}");
                    assert!(
                        text(&answer.body["detail"]).contains(&format!("the role {needed}")),
                        "{answer:?}"
                    );
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_comes_in_either_header_and_an_old_one_holds_while_it_is_rotated() {
    on_each(async |door| {
        let good = [
            ("x-api-key", "check-key-0123"),
            ("X-API-Key", "check-old-key"),
            ("authorization", "Bearer check-key-0123"),
            ("authorization", "bEaReR   check-key-0123"),
        ];
        for header in good {
            let answer = door
                .send("GET", "/api/v1/check?email=jane@example.com", &[header])
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{header:?}");
        }
        let both = [
            ("authorization", "Basic cHJveHk6cHJveHk="),
            ("x-api-key", "check-key-0123"),
        ];
        let answer = door
            .send("GET", "/api/v1/check?email=jane@example.com", &both)
            .await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "a proxy may use the other header"
        );
    })
    .await;
}

#[tokio::test]
async fn a_missing_or_unknown_key_is_401_and_says_how_to_send_one() {
    on_each(async |door| {
        let bad: &[&[(&str, &str)]] = &[
            &[],
            &[("x-api-key", "")],
            &[("x-api-key", "check-key-012")],
            &[("authorization", "check-key-0123")],
            &[("authorization", "Basic check-key-0123")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer other")],
            &[
                ("x-api-key", "wrong"),
                ("authorization", "Bearer admin-key-0123"),
            ],
        ];
        for (method, path, _) in PATHS {
            for headers in bad {
                let answer = door.send(method, path, headers).await;
                assert_eq!(
                    answer.status,
                    StatusCode::UNAUTHORIZED,
                    "{headers:?} at {path}"
                );
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
                assert_eq!(answer.headers["content-type"], "application/problem+json");
                assert_eq!(answer.body["status"], 401);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn without_configured_keys_nobody_gets_in_but_by_a_stored_one() {
    on_each(async |door| {
        let router = router(Arc::new(door.configured("")));
        for key in ["", "admin-key-0123"] {
            let headers = [("x-api-key", key)];
            let answer = ask(&router, "GET", "/api/v1/events", &headers, Body::empty()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        let wanted = Wanted {
            name: "first".to_owned(),
            role: Role::Read,
            rate: None,
            expires_at: None,
        };
        let made = door.ledger.create_key(&wanted, "command line").await;
        let (_, key) = made.unwrap().unwrap();
        let headers = [("x-api-key", key.expose_secret())];
        let answer = ask(&router, "GET", "/api/v1/events", &headers, Body::empty()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn every_key_that_opens_nothing_is_answered_alike() {
    on_each(async |door| {
        let admin = [("x-api-key", "admin-key-0123")];
        let make = async |name: &str| {
            let wish = json!({ "name": name, "role": "admin" }).to_string();
            let made = door.send_body("POST", "/api/v1/keys", &admin, Body::from(wish));
            made.await.body
        };
        let (revoked, right) = (make("revoked").await, make("right").await);
        let path = format!("/api/v1/keys/{}", text(&revoked["id"]));
        assert_eq!(door.send("DELETE", &path, &admin).await.status, 204);
        let never = common::key::generate();
        let right = text(&right["key"]);
        let wrong = [
            "",
            "check-key-012",
            "optout_",
            never.expose_secret(),
            &text(&revoked["key"]),
            &right[..right.len() - 1],
            &format!("{right} "),
        ];
        let ask = async |key: &str| {
            door.send("GET", "/api/v1/keys", &[("x-api-key", key)])
                .await
        };
        assert_eq!(ask(&right).await.status, StatusCode::OK);
        let expected = ask("other-key-0123").await;
        assert_eq!(expected.status, StatusCode::UNAUTHORIZED);
        for key in wrong {
            let answer = ask(key).await;
            assert_eq!(
                (answer.status, &answer.headers, &answer.body),
                (expected.status, &expected.headers, &expected.body),
                "{key}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_stored_key_is_not_called_wrong_while_the_ledger_is_away() {
    let ledger = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1);
    let door = Door::new("nothing", ledger.unwrap(), tempfile::tempdir().unwrap());
    let key = common::key::generate();
    let path = "/api/v1/check?email=jane@example.com";
    let ask = async |key: &str| door.send("GET", path, &[("x-api-key", key)]).await;
    let answer = ask(key.expose_secret()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert_eq!(answer.headers["retry-after"], "5");
    // What cannot be one is refused without a look.
    assert_eq!(ask("other-key-0123").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_check_that_is_not_let_in_does_not_read_as_subscribed() {
    on_each(async |door| {
        let app = door.configured(
            "[api]\nkeys = [{ name = 'slow', key = 'slow-key-0123', role = 'check', rate = '1/1h' }]",
        );
        let router = router(Arc::new(app));
        let path = "/api/v1/check?email=jane@example.com";
        for (method, key, status) in [
            ("GET", "slow-key-0123", 200),
            ("GET", "slow-key-0123", 429),
            ("POST", "slow-key-0123", 429),
            ("GET", "other-key-0123", 401),
            ("GET", common::key::generate().expose_secret(), 401),
            ("PUT", "slow-key-0123", 405),
        ] {
            let headers = [("x-api-key", key)];
            let answer = ask(&router, method, path, &headers, Body::empty()).await;
            assert_eq!(answer.status.as_u16(), status, "{answer:?}");
            assert_eq!(answer.body["unsubscribed"], status != 200, "{answer:?}");
        }
        let elsewhere = ask(&router, "GET", "/api/v1/events", &[], Body::empty()).await;
        assert_eq!(elsewhere.body["unsubscribed"], Value::Null);
    })
    .await;
}
