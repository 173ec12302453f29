//! A schema in words, with links to the schemas that it names.

use serde::Serialize;
use serde_json::Value;

use super::{items, text};

/// A few words; a link where they name a schema.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Piece {
    text: String,
    link: bool,
}

/// What a value of this schema is.
pub(super) fn of(schema: &Value) -> Vec<Piece> {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|link| link.rsplit('/').next())
    {
        let text = name.to_owned();
        return vec![Piece { text, link: true }];
    }
    for (parts, between) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if schema[parts].is_array() {
            return joined(items(&schema[parts]).map(of), between);
        }
    }
    if schema["enum"].is_array() {
        let names = items(&schema["enum"]).map(|name| match name.as_str() {
            Some(name) => name.to_owned(),
            None => name.to_string(),
        });
        return vec![words(names.collect::<Vec<_>>().join(", "))];
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        one => text(one).to_owned(),
    };
    match types.as_str() {
        "" => vec![words("anything".to_owned())],
        "array" if schema["items"].is_object() => {
            let mut kind = vec![words("list of ".to_owned())];
            kind.extend(of(&schema["items"]));
            kind
        }
        "object"
            if schema["properties"].is_null() && schema["additionalProperties"].is_object() =>
        {
            let mut kind = vec![words("object of ".to_owned())];
            kind.extend(of(&schema["additionalProperties"]));
            kind
        }
        _ => vec![words(types + &limits(schema))],
    }
}

fn limits(schema: &Value) -> String {
    let said = [
        ("format", ", "),
        ("minimum", ", at least "),
        ("maximum", ", at most "),
        ("maxLength", ", longest "),
        ("maxItems", ", at most "),
        ("default", ", else "),
    ];
    let said = said.iter().filter(|(name, _)| {
        // How many bits a number has says nothing to people.
        let value = &schema[*name];
        !value.is_null() && !text(value).starts_with("int")
    });
    said.map(|(name, before)| match &schema[*name] {
        Value::String(value) => format!("{before}{value}"),
        value => format!("{before}{value}"),
    })
    .collect()
}

fn joined(parts: impl Iterator<Item = Vec<Piece>>, between: &str) -> Vec<Piece> {
    let mut all = vec![];
    for part in parts {
        if !all.is_empty() {
            all.push(words(between.to_owned()));
        }
        all.extend(part);
    }
    all
}

fn words(text: String) -> Piece {
    Piece { text, link: false }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: &Value) -> String {
        of(schema).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn schemas_are_told_in_words() {
        let limit = json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 500, "default": 50 });
        assert_eq!(said(&limit), "integer, at least 1, at most 500, else 50");
        let time = json!({ "type": ["string", "null"], "format": "date-time" });
        assert_eq!(said(&time), "string or null, date-time");
        let kind = json!({ "$ref": "#/components/schemas/Kind" });
        let either = json!({ "oneOf": [kind, { "type": "null" }] });
        assert_eq!(said(&either), "Kind or null");
        assert!(of(&either)[0].link);
        assert_eq!(
            said(&json!({ "type": "array", "items": kind })),
            "list of Kind"
        );
        assert_eq!(
            said(&json!({ "type": "string", "enum": ["a", "b"] })),
            "a, b"
        );
        assert_eq!(said(&json!({})), "anything");
    }
}
