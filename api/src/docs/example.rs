//! An example of a request, as a command for a shell.

use serde_json::{Map, Value, json};

use super::{items, members, resolved, text};

const HOST: &str = "https://optout.internal";

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const EMAIL: &str = "jane@example.com";

/// The command that asks for an operation.
pub(super) fn curl(document: &Value, path: &str, method: &str, about: &Value) -> String {
    let mut words = vec!["curl".to_owned()];
    let body = members(&about["requestBody"]["content"]).next();
    // A body makes a POST of it by itself.
    if method != "get" && (method != "post" || body.is_none()) {
        words.push(format!("-X {}", method.to_uppercase()));
    }
    if !about["security"].is_null() {
        words.push("-H \"X-API-Key: $KEY\"".to_owned());
    }
    words.push(format!("'{HOST}{}{}'", filled(path), query(about)));
    match body {
        Some(("application/json", content)) => {
            let body = value(document, "", &content["schema"]);
            words.push(format!("\\\n  -d '{body}'"));
        }
        Some(("application/x-www-form-urlencoded", content)) => {
            let form = resolved(document, &content["schema"]);
            for (name, field) in members(&form["properties"]) {
                let value = value(document, name, field);
                words.push(format!("\\\n  --data-urlencode '{name}={}'", text(&value)));
            }
        }
        Some(_) => words.push("--data-binary @suppressions.csv".to_owned()),
        None => {}
    }
    words.join(" ")
}

fn filled(path: &str) -> String {
    path.replace("{id}", ID).replace("{contact}", EMAIL)
}

/// The first of the parameters that most requests have.
fn query(about: &Value) -> String {
    let given = [
        ("email", EMAIL),
        ("dry_run", "true"),
        ("limit", "10"),
        ("reason", "by%20phone"),
    ];
    let has = |name: &str| items(&about["parameters"]).any(|parameter| parameter["name"] == name);
    let found = given.into_iter().find(|(name, _)| has(name));
    found
        .map(|(name, value)| format!("?{name}={value}"))
        .unwrap_or_default()
}

/// A value of a schema, as short as one that does something.
fn value(document: &Value, name: &str, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    if let Some(first) = items(&schema["enum"])
        .chain(items(&schema["examples"]))
        .next()
    {
        return first.clone();
    }
    let one = match &schema["type"] {
        Value::Array(types) => types.first().map(text).unwrap_or_default(),
        one => text(one),
    };
    match one {
        "object" => {
            let wanted = |member: &str| {
                items(&schema["required"]).any(|required| required == member)
                    || ["email", "general_contact", "reason"].contains(&member)
            };
            let chosen = members(&schema["properties"]).filter(|(member, _)| wanted(member));
            let object: Map<_, _> = chosen
                .map(|(member, inner)| (member.to_owned(), value(document, member, inner)))
                .collect();
            object.into()
        }
        "array" => json!([value(document, name, &schema["items"])]),
        "boolean" => json!(true),
        "integer" => json!(1),
        _ => json!(match (name, text(&schema["format"])) {
            (_, "date-time") => "2026-04-02T14:30:00Z",
            (_, "uuid") => ID,
            (_, "uri") => "https://yourapp.com/hook",
            ("email" | "contacts" | "EmailAddress", _) => EMAIL,
            ("reason", _) => "by phone",
            ("key", _) => "<key>",
            ("site", _) => "<site>",
            ("payload", _) => "{\"recipient\":{\"email\":\"jane@example.com\"}}",
            _ => "text",
        }),
    }
}
