//! Pages for what goes wrong: what it is, and what to do next.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::http::Problem;
use serde::Serialize;

use super::{page, visitor::Visitor};
use crate::{App, error::Error};

/// What the page says.
#[derive(Serialize)]
struct View<'a> {
    status: u16,
    title: &'static str,
    detail: &'a str,
    /// The field that is wrong, where one is.
    field: Option<&'a str>,
    advice: &'static str,
}

/// The answer as it is; a problem, as a page.
pub(super) fn page(app: &App, visitor: Option<&Visitor>, response: Response) -> Response {
    let Some(problem) = response.extensions().get::<Problem>() else {
        return response;
    };
    let (title, advice) = words(problem.status);
    let view = View {
        status: problem.status.as_u16(),
        title,
        detail: &problem.detail,
        field: problem.extra.get("field").and_then(|field| field.as_str()),
        advice,
    };
    let rendered = page::render(app, visitor, "", "failure.html", &view);
    let mut page = (problem.status, rendered).into_response();
    for name in [header::RETRY_AFTER, header::ALLOW] {
        if let Some(value) = response.headers().get(&name) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

/// What is at none of the paths: a page for who looks, a problem for a program.
pub(crate) async fn nothing(State(app): State<Arc<App>>, request: Request) -> Response {
    let response = Error::NoSuchPath.into_response();
    if *request.method() != Method::GET || !is_shown(request.headers()) {
        return response;
    }
    // Whoever is signed in sees it among their pages; whoever is not, or cannot be told now, as a bare one.
    let visitor = Visitor::of(&app, request.headers()).await.ok().flatten();
    page(&app, visitor.as_ref(), response)
}

/// Whether a browser wants to show it.
fn is_shown(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::NOT_FOUND => (
            "Not found",
            "It may never have been here, or is no longer kept.",
        ),
        StatusCode::FORBIDDEN => (
            "Not allowed",
            "Nothing was changed. Whoever keeps the keys can give you one with another role.",
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "Not available at the moment",
            "Nothing is lost: webhooks are accepted meanwhile and wait. Load this page again in a moment.",
        ),
        StatusCode::CONFLICT => ("Not possible as things are", "Nothing was changed."),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => (
            "Something is wrong with what was asked",
            "Nothing was changed. Go back, correct it and try again.",
        ),
        StatusCode::TOO_MANY_REQUESTS => ("Too often", "Wait a moment, then try again."),
        StatusCode::PAYLOAD_TOO_LARGE => (
            "Too large",
            "Larger files are imported over the api, or by optout suppressions import.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => ("Not found", "This address takes no such request."),
        status if status.is_server_error() => (
            "Something is wrong in here",
            "Nothing is lost. The log says more.",
        ),
        _ => ("That did not work", "Nothing was changed."),
    }
}
