//! The OpenAPI document is true: of the router, of the parameters, and of what is answered.

use std::collections::BTreeMap as Map;

use serde_json::json;

use super::{witness::operations, *};
use crate::{dashboard, document, routes};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An id of nothing.
const NOTHING: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The paths that a router has, as its debugging output tells them: axum has no other list of them.
fn routed(router: &Router) -> BTreeSet<String> {
    let debug = format!("{router:?}");
    let quoted = debug.split('"').skip(1).step_by(2);
    quoted
        // What is left out is how axum knows its own fallback.
        .filter(|text| text.starts_with('/') && *text != "/" && !text.contains("{*"))
        .map(str::to_owned)
        .collect()
}

/// A path that can be asked for.
fn filled(path: &str) -> String {
    path.replace("{id}", NOTHING)
        .replace("{name}", "slack")
        .replace("{contact}", "jane@example.com")
}

#[tokio::test]
async fn what_is_described_is_routed_and_what_is_routed_is_described() {
    let ledger = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1);
    let door = Door::new("nothing", ledger.unwrap(), tempfile::tempdir().unwrap());
    let document = document();
    let mut described: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(path, _, _)| path)
        .collect();
    let bare: Vec<_> = described
        .iter()
        .filter_map(|path| path.strip_suffix('/').map(str::to_owned))
        .collect();
    described.extend(bare);
    described.remove("/");
    // The dashboard's paths are for people, and stand beside those of the document.
    let pages = dashboard::paths().into_iter().map(|(path, _, _)| path);
    let open = dashboard::open_paths().into_iter().map(|(path, _)| path);
    let pages: BTreeSet<_> = pages.chain(open).map(str::to_owned).collect();
    let routed: BTreeSet<_> = routed(&door.router).difference(&pages).cloned().collect();
    assert_eq!(routed, described);
    for path in &described {
        for method in METHODS {
            // Without a key nothing is done.
            let path_asked = filled(path);
            let answer = door.send(&method.to_uppercase(), &path_asked, &[]).await;
            let slashed = format!("{path}/");
            let is_described = [path, &slashed]
                .iter()
                .any(|path| !document["paths"][path.as_str()][method].is_null());
            let is_routed = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_routed, is_described, "{method} {path}: {answer:?}");
        }
    }
}

#[test]
fn names_are_given_once_and_references_lead_somewhere() {
    let document = document();
    let mut names: Vec<_> = operations(&document)
        .iter()
        .map(|(_, _, about)| text(&about["operationId"]))
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "an operationId is given twice");

    let mut schemas = Map::new();
    for route in routes() {
        for (name, schema) in route.schemas {
            let schema = serde_json::to_value(&schema).unwrap();
            let before = schemas.insert(name.clone(), schema.clone());
            assert!(
                before.is_none_or(|before| before == schema),
                "two schemas are called {name}"
            );
        }
    }
    let printed = document.to_string();
    for link in printed.split("\"$ref\":\"#").skip(1) {
        let (pointer, _) = link.split_once('"').unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} is nowhere");
    }
    let tags = document["tags"].as_array().unwrap();
    for (path, method, about) in operations(&document) {
        let tag = &about["tags"][0];
        assert!(
            tags.iter().any(|known| known["name"] == *tag),
            "{method} {path}: {tag}"
        );
        for (status, answer) in about["responses"].as_object().unwrap() {
            assert!(
                answer["description"].is_string() || answer["$ref"].is_string(),
                "{method} {path}: {status}"
            );
        }
    }
}

#[tokio::test]
async fn every_operation_wants_the_role_that_it_is_described_with() {
    let ledger = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1);
    let door = Door::new("nothing", ledger.unwrap(), tempfile::tempdir().unwrap());
    for (path, method, about) in operations(&document()) {
        let ask = async |role: &str| {
            let key = format!("{role}-key-0123");
            let method = method.to_uppercase();
            // What is no query string ends each request that is let in before it does anything.
            let path = format!("{}?limit=%ff&limit=1&limit=2", filled(&path));
            door.send(&method, &path, &[("x-api-key", &key)])
                .await
                .status
        };
        let Some(role) = about["x-role"].as_str() else {
            assert!(about["security"].is_null());
            continue;
        };
        let role: Role = role.parse().unwrap();
        assert!(about["security"].is_array());
        for other in Role::ALL {
            let refused = ask(other.as_str()).await == StatusCode::FORBIDDEN;
            assert_eq!(refused, *other < role, "{method} {path} with {other}");
        }
    }
}

#[tokio::test]
async fn the_parameters_that_are_read_are_those_that_are_described() {
    on_each(async |door| {
        for (path, method, about) in operations(&document()) {
            let parameters = about["parameters"].as_array().unwrap().iter();
            let described: BTreeSet<_> = parameters
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| text(&parameter["name"]))
                .collect();
            if method != "get" || described.is_empty() {
                continue;
            }
            let path = format!("{}?nonsense=1", filled(&path));
            let answer = door
                .send("GET", &path, &[("x-api-key", "admin-key-0123")])
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {answer:?}");
            let detail = text(&answer.body["detail"]);
            let (_, known) = detail.split_once("known are: ").unwrap();
            let known: BTreeSet<_> = known.split(", ").map(str::to_owned).collect();
            assert_eq!(known, described, "{path}");
        }
    })
    .await;
}

/// What an operation answers if all goes well, for a walk over all of them.
async fn succeeded(door: &Door, method: &str, path: &str, body: &Value) -> Answer {
    let headers = [("x-api-key", "admin-key-0123")];
    let body = match body {
        Value::Null => Body::empty(),
        Value::String(text) => Body::from(text.clone()),
        body => Body::from(body.to_string()),
    };
    let answer = door.send_body(method, path, &headers, body).await;
    assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    answer
}

/// What an operation answers, if all goes well.
async fn did(door: &Door, method: &str, path: &str, body: Value) -> Value {
    succeeded(door, method, path, &body).await.body
}

async fn seen(door: &Door, path: &str) -> Value {
    did(door, "GET", path, Value::Null).await
}

/// Asks for everything with some of everything in the ledger. What is answered is held against the document by the door.
async fn walk(door: &Door) {
    let (event, delivery) = door.delivery_to("slack").await;
    door.attempt(delivery, 1, State::Dead).await;
    let nobody = Fact {
        contact: None,
        ..fact(Kind::Other)
    };
    door.record(nobody, &[]).await;
    let unreadable = fact(Kind::Other).envelope();
    let held = door.ledger.quarantine(&unreadable, "test", "no JSON").await;
    held.unwrap();
    walk_over_changes(door).await;
    walk_over_what_happened(door, event.id, delivery).await;
    walk_over_targets(door).await;
    walk_over_reconciliations(door).await;
    walk_over_endpoints(door).await;
    walk_over_keys(door).await;

    let all = json!({ "email": "jane@example.com", "force": true });
    did(door, "POST", "/api/v1/contacts/erase", all).await;
    seen(door, "/api/v1/contacts/jane@example.com").await;
    seen(door, &format!("/api/v1/events/{}", event.id)).await;
}

async fn walk_over_changes(door: &Door) {
    let jane = json!({ "email": "jane@example.com" });
    let filled = json!({ "email": "jane@example.com", "consents": { "general_contact": true }, "metadata": { "a": 1 } });
    let submission = did(door, "POST", "/api/v1/submissions", filled).await;
    did(door, "POST", "/api/v1/brevo/unsubscribe", jane).await;
    let by_hand = json!({ "email": "jane@example.com", "reason": "by phone" });
    did(door, "POST", "/api/v1/suppressions", by_hand).await;
    let file = json!("email\njim@example.com\nx\n");
    did(door, "POST", "/api/v1/suppressions/import", file).await;
    let many = json!({ "contacts": ["jane@example.com", "x"] });
    did(door, "POST", "/api/v1/check", many.clone()).await;
    did(door, "POST", "/api/v1/links", many).await;
    let suppressions = seen(door, "/api/v1/suppressions?email=jane@example.com").await;
    let suppression = format!(
        "/api/v1/suppressions/{}",
        text(&suppressions["items"][0]["id"])
    );
    for path in [
        "/api/v1/check?email=jane@example.com",
        "/api/v1/submissions?email=jane@example.com",
        &format!("/api/v1/submissions/{}", text(&submission["id"])),
        &suppression,
        "/api/v1/suppressions/export",
        "/api/v1/contacts/jane@example.com",
    ] {
        seen(door, path).await;
    }
    let lift = format!("{suppression}?force=true&reason=asked");
    did(door, "DELETE", &lift, Value::Null).await;
}

async fn walk_over_what_happened(door: &Door, event: Uuid, delivery: Uuid) {
    let always = json!({ "since": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z", "target": "slack" });
    let replay = did(door, "POST", "/api/v1/replays", always).await;
    let held = seen(door, "/api/v1/quarantine").await["items"][0].clone();
    let held = format!("/api/v1/quarantine/{}", text(&held["id"]));
    for path in [
        "/api/v1/events",
        &format!("/api/v1/events/{event}"),
        "/api/v1/deliveries",
        &format!("/api/v1/deliveries/{delivery}"),
        &held,
        "/api/v1/replays",
        &format!("/api/v1/replays/{}", text(&replay["id"])),
        "/api/v1/compliance",
        "/api/v1/targets",
        "/api/v1/audit",
        "/api/v1/audit/verify",
        "/openapi.json",
        "/docs",
    ] {
        seen(door, path).await;
    }
    for path in [
        format!("/api/v1/deliveries/{delivery}/retry"),
        format!("{held}/retry"),
    ] {
        did(door, "POST", &path, Value::Null).await;
    }
    seen(door, "/api/v1/events").await;
}

async fn walk_over_targets(door: &Door) {
    for wish in [
        json!({ "enabled": false, "reason": "it is moved" }),
        json!({ "enabled": true }),
    ] {
        did(door, "PUT", "/api/v1/targets/slack", wish).await;
        seen(door, "/api/v1/targets").await;
    }
    seen(door, "/api/v1/targets/slack").await;
    let test = did(door, "POST", "/api/v1/targets/slack/test", Value::Null);
    let (tested, ()) = tokio::join!(test, super::targets::make_a_test(door));
    assert_eq!(tested["delivered"], true);
}

async fn walk_over_reconciliations(door: &Door) {
    let id = super::reconciliations::done(door).await;
    seen(door, "/api/v1/reconciliations").await;
    for part in ["", "/differences", "/export"] {
        seen(door, &format!("/api/v1/reconciliations/{id}{part}")).await;
    }
}

async fn walk_over_endpoints(door: &Door) {
    let endpoints = "/api/emails/webhook-endpoints/";
    let wish = json!({ "url": "http://127.0.0.1:1/", "events": ["*"] });
    let endpoint = did(door, "POST", endpoints, wish.clone()).await;
    let one = format!("{endpoints}{}/", text(&endpoint["id"]));
    seen(door, endpoints).await;
    seen(door, &one).await;
    did(door, "PUT", &one, wish).await;
    did(door, "POST", &format!("{one}rotate/"), Value::Null).await;
    did(door, "POST", &format!("{one}test/"), Value::Null).await;
    did(door, "DELETE", &one, Value::Null).await;
}

async fn walk_over_keys(door: &Door) {
    let wish = json!({ "name": "walk", "role": "read", "rate": "100/1m" });
    let key = did(door, "POST", "/api/v1/keys", wish).await;
    seen(door, "/api/v1/keys").await;
    let key = format!("/api/v1/keys/{}", text(&key["id"]));
    did(door, "DELETE", &key, Value::Null).await;
}

#[tokio::test]
async fn every_operation_answers_as_it_is_described() {
    on_each(async |door| {
        walk(door).await;
        let answered = door.answered.lock().unwrap().clone();
        for (path, method, about) in operations(&document()) {
            let name = text(&about["operationId"]);
            // Who asks Talkable's question is a source, which the door has none of; its own tests do.
            let is_answered = answered.iter().any(|answered| {
                answered
                    .strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with(" 2"))
            });
            assert!(
                is_answered || name == "answer_talkable",
                "{method} {path} was not answered"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn the_page_shows_every_operation_and_fetches_nothing() {
    let ledger = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1);
    let door = Door::new("nothing", ledger.unwrap(), tempfile::tempdir().unwrap());
    let request = Request::get("/docs").body(Body::empty()).unwrap();
    let response = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let page = to_bytes(response.into_body(), 8 << 20).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    for (path, method, about) in operations(&document()) {
        // The template escapes slashes.
        let path = path.replace('/', "&#x2f;");
        let line = format!("<code>{} {path}</code>", method.to_uppercase());
        assert!(page.contains(&line), "{line} is not shown");
        let anchor = format!("<article id=\"{}\">", text(&about["operationId"]));
        assert_eq!(page.matches(&anchor).count(), 1, "{anchor}");
    }
    assert_eq!(page.matches("<h1").count(), 1);
    for foreign in ["<script", "src=", "<link", "@import", "url(", "href=\"http"] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
    let ids: BTreeSet<_> = page
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    for link in page
        .split("href=\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        assert!(ids.contains(link), "#{link} leads nowhere");
    }
    assert!(page.contains("role <code>read</code> or more"));
}
