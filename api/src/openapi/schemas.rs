//! What schemas have in common.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The schemas that bodies are made of.
pub(super) fn taken(paths: &Map<String, Value>, schemas: &Map<String, Value>) -> BTreeSet<String> {
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
pub(super) fn require_nullable(schema: &mut Value) {
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

pub(super) fn join_lines(value: &mut Value) {
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
