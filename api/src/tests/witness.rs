//! Holds what the api answers, in every test, against its description.

use std::{collections::HashMap, sync::LazyLock};

use axum::http::header;
use jsonschema::Validator;
use serde_json::json;

use super::*;
use crate::document;

static WITNESS: LazyLock<Witness> = LazyLock::new(Witness::new);

/// Objects in answers that may have more members than are described.
const OPEN: [&str; 3] = ["Problem", "Doubt", "TalkableRefusal"];

const SCHEMAS: &str = "#/components/schemas/";

struct Witness {
    /// With a closed schema beside each, by which an answer that says more than is described is told.
    document: Value,
    /// By where their schemas are.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// The described operations: path, method, and what is said of each.
pub(super) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone().into_iter();
        let path = path.clone();
        item.map(move |(method, about)| (path.clone(), method, about))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// Fails if a described operation answers otherwise than is described. Says what was answered; None for what is no
/// operation.
pub(super) fn hold(method: &str, path: &str, answer: &Answer) -> Option<String> {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    let method = method.to_lowercase();
    let status = answer.status.as_u16().to_string();
    let paths = WITNESS.document["paths"].as_object().unwrap();
    let described = paths.keys().filter(|described| is_at(described, path));
    // A path without parts that stand for others comes first.
    let described = described.min_by_key(|described| described.matches('{').count())?;
    let operation = &paths[described][&method];
    let name = operation["operationId"].as_str()?;
    let mut place = format!("/paths/{}/{method}/responses/{status}", escaped(described));
    if let Some(link) = WITNESS.part(&place)["$ref"].as_str() {
        place = link[1..].to_owned();
    }
    let said = WITNESS.part(&place);
    let what = format!("{method} {path}: {status}");
    assert!(said.is_object(), "{what} is not described: {answer:?}");
    for (header, about) in said["headers"].as_object().into_iter().flatten() {
        let given = answer.headers.contains_key(header);
        assert!(given || about["required"] != true, "{what} lacks {header}");
    }
    match answer.headers.get(header::CONTENT_TYPE) {
        None => assert!(said["content"].is_null(), "{what} has no content type"),
        Some(kind) => {
            let kind = kind.to_str().unwrap().split(';').next().unwrap();
            assert!(
                said["content"][kind].is_object(),
                "{what} is {kind}, which is not described"
            );
            if !answer.body.is_null() {
                let place = format!("{place}/content/{}/schema", escaped(kind));
                WITNESS.holds(&place, &what, &answer.body);
            }
        }
    }
    Some(format!("{name} {status}"))
}

/// Whether a request for `path` is one for the described path.
fn is_at(described: &str, path: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        let bare = path.strip_suffix('/').unwrap_or(path);
        bare.split('/').map(str::to_owned).collect()
    };
    let (described, path) = (parts(described), parts(path));
    described.len() == path.len()
        && described
            .iter()
            .zip(&path)
            .all(|(described, part)| described.starts_with('{') || described == part)
}

/// A part of a JSON pointer.
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

impl Witness {
    fn new() -> Self {
        let mut document = document();
        let schemas = document["components"]["schemas"]
            .as_object()
            .unwrap()
            .clone();
        close(&mut document);
        let closed = schemas.keys().map(|name| {
            let open = json!(OPEN.contains(&name.as_str()));
            let schema = json!({ "allOf": [{ "$ref": format!("{SCHEMAS}{name}") }], "unevaluatedProperties": open });
            (name.clone(), schema)
        });
        document["closed"] = Value::Object(closed.collect());
        Self {
            document,
            validators: Mutex::default(),
        }
    }

    fn part(&self, place: &str) -> &Value {
        self.document.pointer(place).unwrap_or(&Value::Null)
    }

    fn holds(&self, place: &str, what: &str, body: &Value) {
        let known = self.validators.lock().unwrap().get(place).cloned();
        let validator = known.unwrap_or_else(|| {
            // Not by a reference: a path's braces have no place in one.
            let (components, closed) = (&self.document["components"], &self.document["closed"]);
            let schema =
                json!({ "components": components, "closed": closed, "allOf": [self.part(place)] });
            let options = jsonschema::draft202012::options().should_validate_formats(true);
            let validator = Arc::new(options.build(&schema).unwrap());
            let mut known = self.validators.lock().unwrap();
            known.insert(place.to_owned(), Arc::clone(&validator));
            validator
        });
        let wrong: Vec<_> = validator
            .iter_errors(body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?} in {body:#}");
    }
}

/// Has each reference lead to the closed schema, but where a schema is made of others, which close nothing by themselves.
fn close(part: &mut Value) {
    match part {
        Value::Object(members) => {
            if let Some(Value::String(link)) = members.get_mut("$ref") {
                *link = link.replace(SCHEMAS, "#/closed/");
            }
            for (name, member) in members {
                if name != "allOf" {
                    close(member);
                    continue;
                }
                for item in member.as_array_mut().unwrap() {
                    if item["$ref"].is_null() {
                        close(item);
                    }
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
