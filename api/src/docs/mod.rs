//! `GET /docs`: the OpenAPI document as a page for people.
//!
//! One template renders it once, from the document alone, so the page says what the document says. It fetches nothing, from here or
//! elsewhere, and runs no script. (Swagger UI would be megabytes of script, some of it inline, for the same words.)

mod example;
mod kind;

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{Environment, HtmlEscape, Value as Safe, value::Serde};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::App;
use kind::Piece;

/// The page, rendered.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    html: String,
    /// Allows nothing but the page's own style.
    policy: String,
}

/// What the template shows.
#[derive(Serialize)]
struct View<'a> {
    info: &'a Value,
    groups: Vec<Group<'a>>,
    shapes: Vec<Shape<'a>>,
    style: &'static str,
}

/// A group of operations.
#[derive(Serialize)]
struct Group<'a> {
    name: &'a str,
    says: &'a str,
    operations: Vec<Operation<'a>>,
}

#[derive(Serialize)]
struct Operation<'a> {
    id: &'a str,
    name: &'a str,
    says: &'a str,
    method: String,
    path: &'a str,
    parameters: Vec<Row<'a>>,
    bodies: Vec<Content<'a>>,
    answers: Vec<Answer<'a>>,
    example: String,
}

/// A parameter, or a member of an object.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    /// Where a parameter stands.
    place: &'a str,
    required: bool,
    kind: Vec<Piece>,
    says: &'a str,
}

#[derive(Serialize)]
struct Content<'a> {
    media: &'a str,
    kind: Vec<Piece>,
}

#[derive(Serialize)]
struct Answer<'a> {
    status: &'a str,
    says: &'a str,
    content: Vec<Content<'a>>,
}

/// A named schema.
#[derive(Serialize)]
struct Shape<'a> {
    name: &'a str,
    says: &'a str,
    /// What it is, where it has no members.
    kind: Vec<Piece>,
    rows: Vec<Row<'a>>,
}

/// `GET /docs`: this description, as a page.
#[utoipa::path(
    get, path = "/docs", operation_id = "show_docs", tag = "Description",
    responses((status = 200, body = String, content_type = "text/html"))
)]
pub(crate) async fn show(State(app): State<Arc<App>>) -> Response {
    let page = &app.description.page;
    let policy = [(header::CONTENT_SECURITY_POLICY, page.policy.clone())];
    (policy, Html(page.html.clone())).into_response()
}

impl Page {
    /// Renders the document.
    pub(crate) fn of(document: &Value) -> Self {
        let style = include_str!("page.css");
        let mut templates = Environment::new();
        templates.add_filter("prose", prose);
        let rendered = templates
            .add_template("page.html", include_str!("page.html"))
            .and_then(|()| templates.get_template("page.html"))
            .and_then(|template| {
                template.render(Serde(View {
                    info: &document["info"],
                    groups: groups(document),
                    shapes: shapes(document),
                    style,
                }))
            });
        let digest = STANDARD.encode(Sha256::digest(style));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self {
            html: rendered.expect("the template is a part of the program that a test renders"),
            policy,
        }
    }
}

/// What stands between backticks is code.
fn prose(text: &str) -> Safe {
    let parts = text.split('`').enumerate().map(|(index, part)| {
        let part = HtmlEscape(part);
        if index % 2 == 1 {
            format!("<code>{part}</code>")
        } else {
            part.to_string()
        }
    });
    Safe::from_safe_string(parts.collect())
}

fn groups<'a>(document: &'a Value) -> Vec<Group<'a>> {
    let operations = |tag: &Value| {
        members(&document["paths"])
            .flat_map(|(path, item)| {
                members(item).map(move |(method, about)| (path, method, about))
            })
            .filter(|(_, _, about)| about["tags"][0] == *tag)
            .map(|(path, method, about)| operation(document, path, method, about))
            .collect()
    };
    let group = |tag: &'a Value| Group {
        name: text(&tag["name"]),
        says: text(&tag["description"]),
        operations: operations(&tag["name"]),
    };
    items(&document["tags"]).map(group).collect()
}

fn operation<'a>(
    document: &'a Value,
    path: &'a str,
    method: &str,
    about: &'a Value,
) -> Operation<'a> {
    let parameter = |about: &'a Value| Row {
        name: text(&about["name"]),
        place: text(&about["in"]),
        required: about["required"] == true,
        kind: kind::of(&about["schema"]),
        says: text(&about["description"]),
    };
    let answer = |(status, about): (&'a str, &'a Value)| {
        let about = resolved(document, about);
        Answer {
            status,
            says: text(&about["description"]),
            content: contents(about),
        }
    };
    Operation {
        id: text(&about["operationId"]),
        name: text(&about["summary"]),
        says: text(&about["description"]),
        method: method.to_uppercase(),
        path,
        parameters: items(&about["parameters"]).map(parameter).collect(),
        bodies: contents(&about["requestBody"]),
        answers: members(&about["responses"]).map(answer).collect(),
        example: example::curl(document, path, method, about),
    }
}

fn contents(about: &Value) -> Vec<Content<'_>> {
    let content = |(media, content): (_, &Value)| Content {
        media,
        kind: kind::of(&content["schema"]),
    };
    members(&about["content"]).map(content).collect()
}

fn shapes(document: &Value) -> Vec<Shape<'_>> {
    let shape = |(name, schema)| {
        let mut rows = vec![];
        collect_rows(schema, &mut rows);
        Shape {
            name,
            says: text(&schema["description"]),
            kind: kind::of(schema),
            rows,
        }
    };
    members(&document["components"]["schemas"])
        .map(shape)
        .collect()
}

/// The members that a schema names itself; those of the schemas that it is made of stand with these.
fn collect_rows<'a>(schema: &'a Value, rows: &mut Vec<Row<'a>>) {
    for (name, member) in members(&schema["properties"]) {
        rows.push(Row {
            name,
            place: "",
            required: items(&schema["required"]).any(|required| required == name),
            kind: kind::of(member),
            says: text(&member["description"]),
        });
    }
    for part in items(&schema["allOf"]) {
        collect_rows(part, rows);
    }
}

/// What a reference within the document stands for.
fn resolved<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    let target = part["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix('#'));
    target
        .and_then(|target| document.pointer(target))
        .unwrap_or(part)
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = value.as_object().into_iter().flat_map(Map::iter);
    members.map(|(name, value)| (name.as_str(), value))
}

fn items(value: &Value) -> std::slice::Iter<'_, Value> {
    value
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
