//! The OpenAPI document is true: of the router, of the parameters, and of what is answered.

use std::collections::BTreeMap as Map;

use super::{witness::operations, *};
use crate::{document, routes};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An id of nothing.
const NOTHING: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The paths that a router has, as its debugging output tells them: axum has no other list of them.
fn routed(router: &Router) -> BTreeSet<String> {
    let debug = format!("{router:?}");
    let quoted = debug.split('"').skip(1).step_by(2);
    quoted
        .filter(|text| text.starts_with('/') && !text.contains("{*"))
        .map(str::to_owned)
        .collect()
}

/// A path that can be asked for.
fn filled(path: &str) -> String {
    path.replace("{id}", NOTHING)
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
    assert_eq!(routed(&door.router), described);
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
