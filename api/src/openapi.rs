//! The OpenAPI description: `GET /openapi.json`, and what `optout openapi` prints.
//!
//! What is special of an operation stands at its handler; what repeats is added here, to all of them alike: the role, the
//! ways to send a key, and the problems that an operation of its kind may be answered with. It holds no secrets, so
//! it is shown without a key.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::{config::Role, http::Problem};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, Ref, RefOr, Schema},
};

use crate::{App, docs::Page, routes};

/// What the operations are about, in the order in which the page shows them.
const TAGS: [(&str, &str); 10] = [
    (
        "Checks",
        "The question before every send: may this contact be written to?",
    ),
    (
        "Consents",
        "Forms that people filled in, and what they agreed to.",
    ),
    (
        "Suppressions",
        "The suppression list, by hand and as a file.",
    ),
    ("Contacts", "All that is known of one contact."),
    ("Events", "What happened, as the providers told of it."),
    ("Deliveries", "Who was told of an event, and telling again."),
    ("Quarantine", "What was accepted and could not be read."),
    (
        "Endpoints",
        "Targets that users register. Each path is served without its final slash, too.",
    ),
    (
        "Compliance",
        "How long opt-outs took, and who asked for what.",
    ),
    ("Description", "This description."),
];

/// The content type of problems.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// What concerns the key that a request came with.
const OF_THE_KEY: [&str; 3] = ["401", "403", "429"];

const ID: &str = "{id}";

/// The description, made once.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) json: Bytes,
    pub(crate) page: Page,
}

impl Description {
    pub(crate) fn new() -> Self {
        let document = document();
        Self {
            json: document.to_string().into(),
            page: Page::of(&document),
        }
    }
}

/// `GET /openapi.json`: this description, as OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", operation_id = "show_openapi", tag = "Description",
    responses((status = 200, body = Object)))]
pub(crate) async fn show(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, app.description.json.clone()).into_response()
}

/// A problem with one member more.
pub(crate) fn problem_with(name: &str, schema: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    let more = ObjectBuilder::new().property(name, schema).required(name);
    AllOfBuilder::new()
        .item(Ref::from_schema_name(Problem::name()))
        .item(more)
        .into()
}

/// The OpenAPI document.
pub fn document() -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    schemas.insert(Problem::name().into_owned(), value(&Problem::schema()));
    for route in routes() {
        for (path, item) in &route.paths.paths {
            let known = paths.entry(path.clone()).or_insert_with(|| json!({}));
            for (method, mut operation) in object(value(item)) {
                complete(&mut operation, path, route.role);
                known[method] = operation;
            }
        }
        let own = route.schemas.iter();
        schemas.extend(own.map(|(name, schema)| (name.clone(), value(schema))));
    }
    let taken = taken(&paths, &schemas);
    for (name, schema) in &mut schemas {
        if !taken.contains(name) {
            require_nullable(schema);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Optout",
            "description": "Makes every opt-out hold everywhere, and answers before each send whether a person has opted out.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems(),
            "securitySchemes": {
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

/// Adds to an operation what all of its kind have.
fn complete(operation: &mut Value, path: &str, role: Option<Role>) {
    let id = text(&operation["operationId"]);
    let name = sentence(&id.replace('_', " "));
    // A handler's documentation begins with what its callers want to know; the rest is for those who work on it.
    let documented = text(&operation["summary"]);
    let mut says = said(documented);
    if let Some(role) = role {
        says = format!("{says} Needs a key with the role `{role}` or more.");
        operation["security"] = json!([{ "key": [] }, { "bearer": [] }]);
        operation["x-role"] = json!(role);
    }
    operation["summary"] = json!(name);
    operation["description"] = json!(says.trim());

    let parameters = operation["parameters"].take();
    let mut parameters = parameters.as_array().cloned().unwrap_or_default();
    if path.contains(ID) {
        let schema = json!({ "type": "string", "format": "uuid" });
        parameters.insert(
            0,
            json!({ "name": "id", "in": "path", "required": true, "schema": schema }),
        );
    }
    for parameter in &mut parameters {
        forbid_null(&mut parameter["schema"]);
    }
    operation["parameters"] = json!(parameters);
    let expected: Vec<_> = role.map(|_| expected(operation, path)).unwrap_or_default();
    let Some(answers) = operation["responses"].as_object_mut() else {
        return;
    };
    for (status, answer) in answers.iter_mut() {
        if text(&answer["description"]).is_empty() {
            answer["description"] = json!(reason(status));
        }
    }
    let own = answers.get("503").map(|answer| answer["content"].clone());
    for status in expected {
        let problem = match &own {
            Some(content) if !OF_THE_KEY.contains(&status) => {
                let mut problem = problem(status);
                problem["content"] = content.clone();
                problem
            }
            _ => json!({ "$ref": format!("#/components/responses/{status}") }),
        };
        if status == "503" || !answers.contains_key(status) {
            answers.insert(status.to_owned(), problem);
        }
    }
}

/// The problems that an operation for keys may be answered with. Where it says itself what a 503 holds, so do the
/// others that do not concern the key; where it says what a 401 is, it says all.
fn expected(operation: &Value, path: &str) -> Vec<&'static str> {
    if !operation["responses"]["401"].is_null() {
        return vec![];
    }
    let mut expected = Vec::from(OF_THE_KEY);
    expected.extend(["400", "500", "503"]);
    if path.contains(ID) {
        expected.push("404");
    }
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let takes_contact = parameters
        .map(|parameter| &parameter["name"])
        .any(|name| name == "email" || name == "phone" || name == "contact");
    let takes_body = !operation["requestBody"].is_null();
    if takes_contact || takes_body {
        expected.push("422");
    }
    if takes_body {
        expected.push("413");
    }
    expected
}

/// The problems, by their status.
fn problems() -> Map<String, Value> {
    let known = [
        "400", "401", "403", "404", "413", "422", "429", "500", "503",
    ];
    let named = |status: &str| (status.to_owned(), problem(status));
    known.into_iter().map(named).collect()
}

fn problem(status: &str) -> Value {
    let description = match status {
        "400" => "A parameter is wrong or unknown, or the body is no JSON.",
        "401" => "No key was given, or one that is not known.",
        "403" => "The key's role does not allow it.",
        "404" => "There is nothing with this id.",
        "413" => "The body is too large.",
        "422" => "A contact or a field of the body cannot be taken.",
        "429" => "The key has asked too often.",
        "500" => "The ledger holds a value that cannot be read.",
        _ => "A store is away: try again.",
    };
    let header = |says: &str, kind: &str| json!({ "description": says, "required": true, "schema": { "type": kind } });
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut problem =
        json!({ "description": description, "content": { PROBLEM: { "schema": schema } } });
    match status {
        "401" => {
            problem["headers"] =
                json!({ "WWW-Authenticate": header("How to send a key.", "string") });
        }
        "429" | "503" => {
            problem["headers"] = json!({ "Retry-After": header("Seconds to wait.", "integer") });
        }
        _ => {}
    }
    problem
}

/// The first words of a handler's documentation, without its method and path.
fn said(documented: &str) -> String {
    let line = documented.replace('\n', " ");
    let said = match line.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        Some((_, said)) => said.trim_start_matches(':').trim(),
        None => line.as_str(),
    };
    sentence(said)
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn reason(status: &str) -> &'static str {
    let status = status.parse::<StatusCode>().ok();
    status
        .and_then(|status| status.canonical_reason())
        .unwrap_or("An answer")
}

/// The schemas that bodies are made of.
fn taken(paths: &Map<String, Value>, schemas: &Map<String, Value>) -> BTreeSet<String> {
    let operations = paths
        .values()
        .filter_map(Value::as_object)
        .flat_map(Map::values);
    let mut open: Vec<_> = operations
        .flat_map(|operation| named(&operation["requestBody"]))
        .collect();
    let mut taken = BTreeSet::new();
    while let Some(name) = open.pop() {
        open.extend(schemas.get(&name).map(named).unwrap_or_default());
        taken.insert(name);
    }
    taken
}

/// The schemas that are referred to.
fn named(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|text| text.strip_prefix("#/components/schemas/"));
            let inner = members.values().flat_map(named);
            own.map(str::to_owned).into_iter().chain(inner).collect()
        }
        Value::Array(items) => items.iter().flat_map(named).collect(),
        _ => vec![],
    }
}

/// In answers, what may be null is always there; what may be left out is never null.
fn require_nullable(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let properties = members.get("properties").and_then(Value::as_object);
            let nullable = properties
                .into_iter()
                .flatten()
                .filter(|(_, property)| is_nullable(property));
            let mut required: BTreeSet<_> = nullable.map(|(name, _)| name.clone()).collect();
            let before = members.get("required").and_then(Value::as_array);
            required.extend(
                before
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(str::to_owned),
            );
            if !required.is_empty() {
                members.insert("required".to_owned(), json!(required));
            }
            members.values_mut().for_each(require_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(require_nullable),
        _ => {}
    }
}

fn is_nullable(schema: &Value) -> bool {
    let is_null = |schema: &Value| schema["type"] == "null";
    let any = |list: &Value| list.as_array().into_iter().flatten().any(is_null);
    let types = schema["type"].as_array().into_iter().flatten();
    types.into_iter().any(|kind| kind == "null") || any(&schema["oneOf"])
}

/// A parameter that is given has a value.
fn forbid_null(schema: &mut Value) {
    if let Some([kind, _]) = schema["type"].as_array().map(Vec::as_slice) {
        schema["type"] = kind.clone();
    }
}

/// As JSON, each description in one line.
fn value(part: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(part).expect("a description has text keys");
    join_lines(&mut value);
    value
}

fn join_lines(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            members.values_mut().for_each(join_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        _ => {}
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
