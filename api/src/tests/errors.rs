//! What is refused, and how it is said.

use super::*;

/// A path, and what the answer has to name: the parameter, and what would be right.
const WRONG: &[(&str, &str, &str)] = &[
    ("events?limit=0", "limit", "1 to 500"),
    ("events?limit=501", "limit", "1 to 500"),
    ("events?limit=-1", "limit", "1 to 500"),
    ("events?limit=ten", "limit", "1 to 500"),
    ("events?limit=", "limit", "empty"),
    ("events?kind=vanished", "kind", "unsubscribed, resubscribed"),
    ("events?from=yesterday", "from", "RFC 3339"),
    ("events?from=2026-01-01", "from", "RFC 3339"),
    ("events?to=2026-02-30T00:00:00Z", "to", "RFC 3339"),
    (
        "events?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from",
        "later than to",
    ),
    ("events?cursor=x", "cursor", "next_cursor"),
    ("events?cursor=NSAA", "cursor", "next_cursor"),
    ("events?source=%00", "source", "control characters"),
    (
        "events?colour=blue",
        "\"colour\"",
        "source, kind, email, phone, from, to, limit, cursor",
    ),
    (
        "events?kind=opened&kind=clicked",
        "\"kind\"",
        "more than once",
    ),
    (
        "events?email=jane@example.com&phone=%2B15551234567",
        "phone",
        "one of them",
    ),
    (
        "deliveries?state=lost",
        "state",
        "pending, retrying, parked, delivered, dead",
    ),
    ("deliveries?event=x", "event", "UUID"),
    (
        "deliveries?source=shop",
        "\"source\"",
        "target, state, kind, event",
    ),
    ("quarantine?state=free", "state", "held, retried"),
    (
        "quarantine?kind=opened",
        "\"kind\"",
        "state, source, limit, cursor",
    ),
];

#[tokio::test]
async fn a_bad_parameter_is_400_and_the_answer_names_it_and_what_would_be_right() {
    on_each(async |door| {
        for (path, parameter, right) in WRONG {
            let answer = door.get(&format!("/api/v1/{path}")).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {answer:?}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            let detail = text(&answer.body["detail"]);
            assert!(
                detail.contains(*parameter) && detail.contains(*right),
                "{path}: {detail}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_list_is_not_filtered_by_what_is_no_contact() {
    on_each(async |door| {
        for query in ["email=jane", "email=", "phone=5551234567", "phone="] {
            let answer = door.get(&format!("/api/v1/events?{query}")).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
            assert!(!text(&answer.body["detail"]).contains("jane"));
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_of_nothing_is_404_and_one_that_is_none_is_400() {
    on_each(async |door| {
        for (what, action) in [
            ("events", ""),
            ("deliveries", ""),
            ("deliveries", "/retry"),
            ("quarantine", ""),
            ("quarantine", "/retry"),
        ] {
            let method = if action.is_empty() { "GET" } else { "POST" };
            for (id, status) in [
                (Uuid::now_v7().to_string().as_str(), 404),
                ("x", 400),
                ("01890a5d-ac96", 400),
                ("%ff", 400),
            ] {
                let path = format!("/api/v1/{what}/{id}{action}");
                let answer = door
                    .send(method, &path, &[("x-api-key", "admin-key-0123")])
                    .await;
                assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
                assert!(!text(&answer.body["detail"]).is_empty());
            }
        }
        assert_eq!(door.queue.take(), []);
    })
    .await;
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems_too() {
    on_each(async |door| {
        for (method, path, status) in [
            ("GET", "/nothing", 404),
            ("GET", "/api/v1/nothing", 404),
            ("GET", "/api/v1/deliveries/x/retry/now", 404),
            ("DELETE", "/api/v1/events", 405),
            ("PUT", "/api/v1/check", 405),
            (
                "GET",
                "/api/v1/quarantine/01890a5d-ac96-774b-bcce-b302099a8057/retry",
                405,
            ),
        ] {
            let answer = door.send(method, path, &[]).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(answer.body["status"], status);
            assert_eq!(answer.headers.contains_key("allow"), status == 405);
        }
    })
    .await;
}

#[tokio::test]
async fn no_answer_is_stored_or_guessed_at() {
    on_each(async |door| {
        for path in [
            "/api/v1/events",
            "/api/v1/events?limit=0",
            "/nothing",
            "/api/v1/check?email=jane@example.com",
        ] {
            let answer = door.get(path).await;
            assert_eq!(
                (
                    &answer.headers["cache-control"],
                    &answer.headers["x-content-type-options"]
                ),
                (&"no-store".parse().unwrap(), &"nosniff".parse().unwrap())
            );
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_ledger_every_answer_is_503_and_a_check_says_do_not_send() {
    let ledger = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1);
    let door = Door::new("nothing", ledger.unwrap(), tempfile::tempdir().unwrap());
    for path in ["/api/v1/check?email=jane@example.com", "/api/v1/events"] {
        let answer = door.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.headers["retry-after"], "5");
        assert!(
            !text(&answer.body["detail"]).contains("127.0.0.1"),
            "what is inside stays inside"
        );
        assert_eq!(answer.body["unsubscribed"] == true, path.contains("check"));
    }
}

async fn sent(door: &Door, path: &str, body: &'static str) -> Answer {
    let headers = [("x-api-key", "write-key-0123")];
    door.send_body("POST", path, &headers, Body::from(body))
        .await
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_by_the_path_of_its_field() {
    on_each(async |door| {
        let endpoints = "/api/emails/webhook-endpoints/";
        let check = "/api/v1/check";
        for (path, body, field, reason) in [
            (
                check,
                r#"{"contacts":["a@b.example",7]}"#,
                "contacts[1]",
                "integer `7`, expected a string",
            ),
            (
                check,
                r#"{"contacts":7}"#,
                "contacts",
                "expected a sequence",
            ),
            (
                endpoints,
                r#"{"url":"https://a.example","events":["opened","*",null]}"#,
                "events[2]",
                "null, expected a string",
            ),
            (
                endpoints,
                r#"{"url":"https://a.example","events":["*"],"enabled":"no"}"#,
                "enabled",
                "expected a boolean",
            ),
        ] {
            let answer = sent(door, path, body).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
            assert_eq!(answer.body["field"], field, "{body}");
            let detail = text(&answer.body["detail"]);
            assert!(
                detail.contains(field) && detail.contains(reason),
                "{body}: {detail}"
            );
        }
        for (body, status, detail) in [
            (r#"{"scope":"news"}"#, 422, "missing field `contacts`"),
            (r#"{"contacts":[]} x"#, 400, "trailing characters"),
            (r#"{"contacts":["a@b.example""#, 400, "is no JSON"),
        ] {
            let answer = sent(door, check, body).await;
            assert_eq!(answer.status.as_u16(), status, "{body}");
            assert_eq!(answer.body["field"], Value::Null, "{body}");
            assert!(text(&answer.body["detail"]).contains(detail), "{answer:?}");
        }
    })
    .await;
}
