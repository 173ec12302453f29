//! Quarantine: what was accepted and could not be read, with the reason, and trying it again.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use common::ledger::{Held, Quarantined};
use serde::Serialize;
use serde_json::json;

use super::{
    evidence::pretty,
    form::{Filters, Form},
    page::{Turn, render},
    visitor::Visitor,
};
use crate::{
    App,
    error::Result,
    quarantine,
    query::{Id, Query},
};

#[derive(Serialize)]
struct List<'a> {
    filters: &'a Filters,
    sources: &'a BTreeSet<String>,
    states: &'static [Held],
    items: Vec<Quarantined>,
    turn: Turn,
}

/// `GET /quarantine`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let Json(page) = quarantine::list(State(Arc::clone(&app)), filters.query()?).await?;
    let view = List {
        turn: Turn::of(&filters, page.next_cursor.as_deref()),
        filters: &filters,
        sources: &app.sources,
        states: Held::ALL,
        items: page.items,
    };
    Ok(render(
        &app,
        Some(&visitor),
        "quarantine",
        "quarantine.html",
        &view,
    ))
}

/// `GET /quarantine/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Id(id): Id,
    filters: Filters,
) -> Result<Response> {
    let is_retried = filters.get("done") == Some("retried");
    one(&app, &visitor, Id(id), is_retried).await
}

/// `POST /quarantine/{id}/reveal`
pub(super) async fn reveal(
    State(app): State<Arc<App>>,
    Id(id): Id,
    form: Form,
) -> Result<Response> {
    let visitor = form.reveal(&app, "quarantine.reveal", Some(id), None);
    one(&app, &visitor.await?, Id(id), false).await
}

async fn one(app: &Arc<App>, visitor: &Visitor, id: Id, is_retried: bool) -> Result<Response> {
    let query = Query::given([])?;
    let Json(detail) = quarantine::show(State(Arc::clone(app)), id, query).await?;
    let mut detail = json!(detail);
    pretty(&mut detail);
    let view = json!({ "entry": detail, "is_retried": is_retried });
    Ok(render(
        app,
        Some(visitor),
        "quarantine",
        "quarantined.html",
        &view,
    ))
}

/// `POST /quarantine/{id}/retry`
pub(super) async fn retry(State(app): State<Arc<App>>, Id(id): Id, form: Form) -> Result<Response> {
    let (caller, query) = (form.visitor.caller(), Query::given([])?);
    let (_, Json(_)) = quarantine::retry(State(app), caller, Id(id), query).await?;
    Ok(Redirect::to(&format!("/quarantine/{id}?done=retried")).into_response())
}
