//! Keys and roles.

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
async fn without_configured_keys_nobody_gets_in() {
    on_each(async |door| {
        let queue = Arc::<Recorder>::clone(&door.queue);
        let config = Loaded::from_text("", BTreeMap::new()).unwrap().config;
        let app = App::new(&config, door.ledger.clone(), queue, Trail::new().0).unwrap();
        let router = router(Arc::new(app));
        for key in ["", "admin-key-0123"] {
            let request = Request::builder()
                .uri("/api/v1/events")
                .header("x-api-key", key)
                .body(Body::empty())
                .unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
    })
    .await;
}
