//! `GET /docs`: the description as a page for people.
use std::sync::Arc;

use axum::{
    extract::State,
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;

use crate::App;

/// `GET /docs`: this description, as a page.
#[utoipa::path(get, path = "/docs", operation_id = "show_docs", tag = "Description",
    responses((status = 200, body = String, content_type = "text/html")))]
pub(crate) async fn show(State(app): State<Arc<App>>) -> Response {
    Html(app.description.page.clone()).into_response()
}

pub(crate) fn page(document: &Value) -> String {
    document.to_string()
}
