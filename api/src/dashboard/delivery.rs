//! Deliveries: who is told, what is stuck and why, and telling again.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use common::{delivery::State as Standing, endpoint, event::Kind, ledger::DeliveryRow};
use serde::Serialize;
use serde_json::json;

use super::{
    form::{Filters, Form},
    page::{Turn, render},
    visitor::Visitor,
};
use crate::{
    App, deliveries,
    error::{Result, asked},
    query::{Id, Query},
};

#[derive(Serialize)]
struct List<'a> {
    filters: &'a Filters,
    targets: Vec<String>,
    states: &'static [Standing],
    kinds: &'static [Kind],
    items: Vec<DeliveryRow>,
    turn: Turn,
    /// Where all that match can be told again.
    again: String,
}

/// `GET /deliveries`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let query = filters.query()?;
    let Json(page) = deliveries::list(State(Arc::clone(&app)), query).await?;
    let view = List {
        turn: Turn::of(&filters, page.next_cursor.as_deref()),
        again: format!(
            "/replays{}",
            filters.only(&["target", "state", "kind", "from", "to"])
        ),
        filters: &filters,
        targets: targets(&app).await?,
        states: Standing::ALL,
        kinds: Kind::ALL,
        items: page.items,
    };
    Ok(render(
        &app,
        Some(&visitor),
        "deliveries",
        "deliveries.html",
        &view,
    ))
}

/// The targets by name, configured ones first.
pub(super) async fn targets(app: &App) -> Result<Vec<String>> {
    let endpoints = asked(app.ledger.enabled_endpoints()).await?;
    let endpoints = endpoints.into_iter().map(endpoint::target);
    Ok(app.targets.keys().cloned().chain(endpoints).collect())
}

/// `GET /deliveries/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    id: Id,
    filters: Filters,
) -> Result<Response> {
    let query = Query::given([])?;
    let Json(told) = deliveries::show(State(Arc::clone(&app)), id, query).await?;
    let event = asked(app.ledger.event(told.delivery.event_id)).await?;
    let view = json!({
        "told": told, "event": event, "endpoint": endpoint::id_of(&told.delivery.target),
        "is_retried": filters.get("done") == Some("retried"),
    });
    Ok(render(
        &app,
        Some(&visitor),
        "deliveries",
        "delivery.html",
        &view,
    ))
}

/// `POST /deliveries/{id}/retry`: asked twice it begins again twice, of which the target sees one.
pub(super) async fn retry(State(app): State<Arc<App>>, Id(id): Id, form: Form) -> Result<Response> {
    let (caller, query) = (form.visitor.caller(), Query::given([])?);
    let (_, Json(_)) = deliveries::retry(State(app), caller, Id(id), query).await?;
    Ok(Redirect::to(&format!("/deliveries/{id}?done=retried")).into_response())
}
