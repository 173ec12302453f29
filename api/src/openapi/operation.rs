//! What operations have in common, added to each: its role, its path's id, and the problems that it may be answered with.

use axum::http::StatusCode;
use common::config::Role;
use serde_json::{Map, Value, json};

use super::{PROBLEM, text};

/// What concerns the key that a request came with.
const OF_THE_KEY: [&str; 3] = ["401", "403", "429"];

const ID: &str = "{id}";

/// Of a target.
const NAME: &str = "{name}";

/// Adds to an operation what all of its kind have.
pub(super) fn complete(operation: &mut Value, path: &str, role: Option<Role>) {
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

    complete_requests(operation, path);
    let expected = role.map(|_| expected(operation, path));
    if let Some(answers) = operation["responses"].as_object_mut() {
        complete_answers(answers, &expected.unwrap_or_default());
    }
}

fn complete_requests(operation: &mut Value, path: &str) {
    let parameters = operation["parameters"].take();
    let mut parameters = parameters.as_array().cloned().unwrap_or_default();
    if path.contains(ID) {
        let schema = json!({ "type": "string", "format": "uuid" });
        let id = json!({ "name": "id", "in": "path", "required": true, "schema": schema });
        parameters.insert(0, id);
    }
    if path.contains(NAME) {
        let name = json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "The name in the configuration." });
        parameters.insert(0, name);
    }
    for parameter in &mut parameters {
        let is_query = parameter["in"] == "query";
        let schema = &mut parameter["schema"];
        forbid_null(schema);
        // What is given empty is refused, lest a value that got lost passes for none.
        let is_free = schema["enum"].is_null() && schema["format"].is_null();
        if is_query && is_free && schema["type"] == "string" {
            schema["minLength"] = json!(1);
        }
    }
    operation["parameters"] = json!(parameters);
    let bodies = operation.pointer_mut("/requestBody/content");
    let bodies = bodies.and_then(Value::as_object_mut);
    for body in bodies.into_iter().flat_map(Map::values_mut) {
        forbid_null(&mut body["schema"]);
    }
}

fn complete_answers(answers: &mut Map<String, Value>, expected: &[&str]) {
    for (status, answer) in answers.iter_mut() {
        if text(&answer["description"]).is_empty() {
            answer["description"] = json!(reason(status));
        }
    }
    let own = answers.get("503").map(|answer| answer["content"].clone());
    for status in expected {
        let problem = match &own {
            Some(content) => {
                let mut problem = problem(status);
                problem["content"] = content.clone();
                problem
            }
            None => json!({ "$ref": format!("#/components/responses/{status}") }),
        };
        if *status == "503" || !answers.contains_key(*status) {
            answers.insert((*status).to_owned(), problem);
        }
    }
}

/// The problems that an operation for keys may be answered with. Where it says itself what a 503 holds, so do all the
/// others; where it says what a 401 is, it says all.
fn expected(operation: &Value, path: &str) -> Vec<&'static str> {
    if !operation["responses"]["401"].is_null() {
        return vec![];
    }
    let mut expected = Vec::from(OF_THE_KEY);
    expected.extend(["400", "500", "503"]);
    if path.contains(ID) || path.contains(NAME) {
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
        expected.extend(["408", "413"]);
    }
    expected
}

/// The problems, by their status.
pub(super) fn problems() -> Map<String, Value> {
    let known = [
        "400", "401", "403", "404", "408", "413", "422", "429", "500", "503",
    ];
    let named = |status: &str| (status.to_owned(), problem(status));
    known.into_iter().map(named).collect()
}

fn problem(status: &str) -> Value {
    let description = match status {
        "400" => "A parameter is wrong or unknown, or the body is no JSON.",
        "401" => "No key was given, or one that is not known.",
        "403" => "The key's role does not allow it.",
        "404" => "There is nothing of this id or name.",
        "408" => "The body did not arrive in time.",
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

/// A parameter or a body that is given has a value.
fn forbid_null(schema: &mut Value) {
    let mut either = schema["oneOf"].as_array().into_iter().flatten();
    let value = either.find(|part| part["type"] != "null").cloned();
    if let Some(value) = value {
        *schema = value;
        return;
    }
    if let Some([kind, _]) = schema["type"].as_array().map(Vec::as_slice) {
        schema["type"] = kind.clone();
    }
}
