//! Texts that mean ill, in every parameter and body: what cannot be taken is refused by a client's error that says why,
//! and the rest is no more than a value.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hostile::{LARGE, VALUES};

use super::{
    hostile_values::{ADMIN, encoded, is_unharmed, with_bystander},
    *,
};

/// What no text may hold.
const REFUSED: [&str; 3] = ["a\u{0}b", "\u{1b}[31mred", "a\u{85}b"];

/// Lists with their parameters of text, and those that are texts of a closed set.
const PARAMETERS: [(&str, &[&str]); 12] = [
    ("/api/v1/check", &["email", "phone", "scope"]),
    ("/api/v1/submissions", &["email", "phone"]),
    (
        "/api/v1/suppressions",
        &[
            "email", "phone", "scope", "source", "lane", "kind", "reason", "origin", "state",
            "from", "to", "limit", "cursor",
        ],
    ),
    (
        "/api/v1/suppressions/export",
        &[
            "email", "phone", "scope", "source", "lane", "kind", "reason", "origin", "state",
            "from", "to",
        ],
    ),
    (
        "/api/v1/events",
        &[
            "source", "kind", "email", "phone", "from", "to", "limit", "cursor",
        ],
    ),
    (
        "/api/v1/deliveries",
        &[
            "target", "state", "kind", "event", "from", "to", "limit", "cursor",
        ],
    ),
    (
        "/api/v1/quarantine",
        &["state", "source", "limit", "cursor"],
    ),
    ("/api/v1/replays", &["target", "state", "limit", "cursor"]),
    ("/api/v1/reconciliations", &["limit", "cursor"]),
    ("/api/v1/keys", &["limit", "cursor"]),
    (
        "/api/v1/audit",
        &[
            "actor", "action", "subject", "email", "phone", "from", "to", "limit", "cursor",
        ],
    ),
    ("/api/v1/compliance", &["from", "to"]),
];

#[tokio::test]
async fn no_parameter_is_more_than_a_value_and_what_cannot_be_one_is_a_clients_mistake() {
    on_each(async |door| {
        let before = with_bystander(door).await;
        let long = "'{rows}%".repeat(2000);
        for (path, names) in PARAMETERS {
            for name in names {
                for value in VALUES
                    .iter()
                    .chain(&REFUSED)
                    .copied()
                    .chain([long.as_str()])
                {
                    let query = format!("{path}?{name}={}", encoded(value));
                    let answer = door.send("GET", &query, ADMIN).await;
                    let is_told = matches!(answer.status.as_u16(), 200 | 400 | 422);
                    assert!(is_told, "{name} {value:?}: {answer:?}");
                    let found = answer.body["items"]
                        .as_array()
                        .is_some_and(|items| !items.is_empty());
                    assert!(!found, "{path} {name} {value:?} finds {answer:?}");
                    let harmless = !value.chars().any(char::is_control);
                    assert!(
                        harmless || answer.status != 200,
                        "{path} {name} takes {value:?}"
                    );
                }
            }
        }
        is_unharmed(door, &before).await;
    })
    .await;
}

#[tokio::test]
async fn a_cursor_that_was_made_up_is_refused_as_such() {
    on_each(async |door| {
        let before = with_bystander(door).await;
        let ids = VALUES
            .iter()
            .chain(&REFUSED)
            .map(|text| format!("1775138400000000 {text}"));
        let times = VALUES
            .iter()
            .filter(|text| text.parse::<i64>().is_err())
            .map(|text| format!("{text} 01890a5d-ac96-774b-bcce-b302099a8057"));
        for (path, names) in PARAMETERS {
            if !names.contains(&"cursor") || path == "/api/v1/audit" {
                continue;
            }
            for cursor in ids.clone().chain(times.clone()) {
                let path = format!("{path}?cursor={}", URL_SAFE_NO_PAD.encode(&cursor));
                let answer = door.send("GET", &path, ADMIN).await;
                assert_eq!(
                    answer.status,
                    StatusCode::BAD_REQUEST,
                    "{cursor:?}: {answer:?}"
                );
                let why = "the parameter cursor is none that this list gave out as next_cursor";
                assert_eq!(answer.body["detail"], why);
            }
        }
        is_unharmed(door, &before).await;
    })
    .await;
}

/// Requests with a text each in the place of `TEXT`: the method, the path, the body.
const BODIES: [(&str, &str, &str); 17] = [
    ("POST", "/api/v1/suppressions", r#"{"email": "TEXT"}"#),
    (
        "POST",
        "/api/v1/suppressions",
        r#"{"email": "TEXT@example.com"}"#,
    ),
    (
        "POST",
        "/api/v1/suppressions",
        r#"{"email": "x@TEXT.example.com"}"#,
    ),
    ("POST", "/api/v1/suppressions", r#"{"phone": "TEXT"}"#),
    (
        "POST",
        "/api/v1/suppressions",
        r#"{"email": "large@example.com", "scope": "TEXT"}"#,
    ),
    (
        "POST",
        "/api/v1/suppressions",
        r#"{"email": "large@example.com", "reason": "TEXT"}"#,
    ),
    (
        "POST",
        "/api/v1/suppressions",
        r#"{"email": "large@example.com", "note": "TEXT"}"#,
    ),
    (
        "POST",
        "/api/v1/submissions",
        r#"{"email": "large@example.com", "form": "TEXT"}"#,
    ),
    (
        "POST",
        "/api/v1/submissions",
        r#"{"email": "large@example.com", "metadata": {"TEXT": "TEXT"}}"#,
    ),
    (
        "POST",
        "/api/v1/submissions",
        r#"{"email": "large@example.com", "consents": {"other.TEXT": true}}"#,
    ),
    (
        "POST",
        "/api/v1/check",
        r#"{"contacts": ["TEXT", "TEXT@example.com"], "scope": "TEXT"}"#,
    ),
    (
        "POST",
        "/api/v1/links",
        r#"{"contacts": ["TEXT", "a@b.example"], "scope": "TEXT"}"#,
    ),
    (
        "POST",
        "/api/v1/contacts/erase",
        r#"{"email": "nobody@example.com", "reference": "TEXT"}"#,
    ),
    (
        "POST",
        "/api/v1/keys",
        r#"{"name": "TEXT", "role": "read"}"#,
    ),
    (
        "POST",
        "/api/v1/replays",
        r#"{"target": "TEXT", "since": "2026-01-01T00:00:00Z"}"#,
    ),
    ("POST", "/api/v1/brevo/unsubscribe", r#"{"email": "TEXT"}"#),
    (
        "POST",
        "/api/emails/webhook-endpoints/",
        r#"{"url": "https://example.com/", "events": ["*"], "description": "TEXT"}"#,
    ),
];

/// As JSON has a control character that databases take, and terminals obey.
const ESCAPE: &str = "\\u001b[31m";

#[tokio::test]
async fn what_no_field_may_hold_is_refused_with_a_reason_and_what_is_very_long_is_kept_or_refused()
{
    on_each(async |door| {
        let before = with_bystander(door).await;
        let large = LARGE.replace('\\', "\\\\").replace('"', "\\\"");
        // Escapes as JSON has them: NUL, half of a character from above the first plane, in either order.
        let escapes = [
            "a\\u0000b",
            ESCAPE,
            "\\ud800",
            "\\udc00\\ud800x",
            "\\ud800\\u0041",
        ];
        for (method, path, body) in BODIES {
            for text in escapes.into_iter().chain([large.as_str()]) {
                let body = Body::from(body.replace("TEXT", text));
                let answer = door.send_body(method, path, ADMIN, body).await;
                let why = [&answer.body["detail"], &answer.body["message"]];
                let is_told = match answer.status.as_u16() {
                    400 | 413 | 422 => why.iter().any(|why| why.is_string()),
                    // Of many contacts each is answered by itself; what holds JSON holds what JSON can.
                    200 | 201 => text == large || path == "/api/v1/check" || text == ESCAPE,
                    _ => false,
                };
                let shown = &text[..text.len().min(30)];
                assert!(is_told, "{path} {shown}: {} {why:?}", answer.status);
            }
        }
        is_unharmed(door, &before).await;
    })
    .await;
}
