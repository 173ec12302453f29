//! Targets: those of the configuration, and the endpoints that users registered; how each fares.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use common::endpoint::{self, Endpoint};
use serde::Serialize;
use serde_json::json;

use super::{
    form::{Filters, Form},
    page::{Turn, render},
    visitor::Visitor,
};
use crate::{
    App, body, endpoints,
    error::Result,
    query::{Id, Query},
    targets::{self, Standing},
};

#[derive(Serialize)]
struct List {
    configured: Vec<Standing>,
    endpoints: Vec<Endpoint>,
    turn: Turn,
}

/// `GET /targets`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let state = || State(Arc::clone(&app));
    let (Json(configured), Json(page)) = tokio::try_join!(
        targets::list(state(), Query::given([])?),
        endpoints::list(state(), filters.turning().query()?),
    )?;
    let view = List {
        configured: configured.items,
        turn: Turn::of(&filters.turning(), page.next_cursor.as_deref()),
        endpoints: page.items,
    };
    Ok(render(
        &app,
        Some(&visitor),
        "targets",
        "targets.html",
        &view,
    ))
}

/// `GET /endpoints/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Id(id): Id,
    filters: Filters,
) -> Result<Response> {
    let query = Query::given([])?;
    let Json(endpoint) = endpoints::show(State(Arc::clone(&app)), Id(id), query).await?;
    let view = json!({ "endpoint": endpoint, "target": endpoint::target(id), "done": filters.get("done") });
    Ok(render(
        &app,
        Some(&visitor),
        "targets",
        "endpoint.html",
        &view,
    ))
}

/// `POST /endpoints/{id}/enable`
pub(super) async fn enable(state: State<Arc<App>>, id: Id, form: Form) -> Result<Response> {
    switch(state, id, &form, true).await
}

/// `POST /endpoints/{id}/disable`: what it is to be told waits until it is enabled again.
pub(super) async fn disable(state: State<Arc<App>>, id: Id, form: Form) -> Result<Response> {
    switch(state, id, &form, false).await
}

async fn switch(
    state: State<Arc<App>>,
    Id(id): Id,
    form: &Form,
    enabled: bool,
) -> Result<Response> {
    let query = Query::given([])?;
    let Json(known) = endpoints::show(State(Arc::clone(&state)), Id(id), query).await?;
    let wanted = json!({
        "url": known.url, "events": known.events, "description": known.description, "enabled": enabled,
    });
    let wanted = body::Json(body::read(wanted.to_string().as_bytes())?);
    let (caller, query) = (form.visitor.caller(), Query::given([])?);
    let Json(_) = endpoints::update(state, caller, Id(id), query, wanted).await?;
    let done = if enabled { "enabled" } else { "disabled" };
    Ok(Redirect::to(&format!("/endpoints/{id}?done={done}")).into_response())
}

/// `POST /endpoints/{id}/test`: what it answered is shown at once. Each test is another event, of nobody.
pub(super) async fn test(State(app): State<Arc<App>>, Id(id): Id, form: Form) -> Result<Response> {
    let query = || Query::given([]);
    let state = || State(Arc::clone(&app));
    let Json(tested) = endpoints::test(state(), form.visitor.caller(), Id(id), query()?).await?;
    let Json(endpoint) = endpoints::show(state(), Id(id), query()?).await?;
    let view = json!({ "endpoint": endpoint, "target": endpoint::target(id), "done": null, "tested": tested });
    Ok(render(
        &app,
        Some(&form.visitor),
        "targets",
        "endpoint.html",
        &view,
    ))
}
