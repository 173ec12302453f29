//! The OpenAPI description: `GET /openapi.json`, and what `optout openapi` prints.
//!
//! What is special of an operation stands at its handler; what repeats is added here, to all of them alike: the role, the
//! ways to send a key, and the problems that an operation of its kind may be answered with. It holds no secrets, so
//! it is shown without a key.

mod operation;
mod schemas;

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::http::Problem;
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, Ref, RefOr, Schema},
};

use crate::{App, docs::Page, routes};
use operation::{complete, problems};
use schemas::{join_lines, require_nullable, taken};

/// What the operations are about, in the order in which the page shows them.
const TAGS: [(&str, &str); 14] = [
    (
        "Checks",
        "The question before every send: may this contact be written to?",
    ),
    (
        "Consents",
        "Forms that people filled in, and what they agreed to.",
    ),
    (
        "Links",
        "Links by which recipients unsubscribe with one click.",
    ),
    (
        "Suppressions",
        "The suppression list, by hand and as a file.",
    ),
    ("Contacts", "All that is known of one contact."),
    ("Events", "What happened, as the providers told of it."),
    ("Deliveries", "Who was told of an event, and telling again."),
    ("Quarantine", "What was accepted and could not be read."),
    ("Targets", "The targets of the configuration."),
    (
        "Reconciliations",
        "Whom platforms list as suppressed, compared with the ledger.",
    ),
    (
        "Endpoints",
        "Targets that users register. Each path is served without its final slash, too.",
    ),
    (
        "Compliance",
        "How long opt-outs took, and who asked for what.",
    ),
    ("Keys", "Who may ask for all of this."),
    ("Description", "This description."),
];

/// The content type of problems.
pub(crate) const PROBLEM: &str = "application/problem+json";

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

/// As JSON, each description in one line.
fn value(part: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(part).expect("a description has text keys");
    join_lines(&mut value);
    value
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
