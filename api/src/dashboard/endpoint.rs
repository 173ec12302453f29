//! One endpoint that a user registered: how it fares, leaving it alone for a while, and testing it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use common::{
    delivery::Tested,
    endpoint::{self, Endpoint},
};
use serde::Serialize;

use super::{
    form::{Filters, Form},
    page::render,
    visitor::Visitor,
};
use crate::{
    App, endpoints,
    error::Result,
    query::{Id, Query},
};

#[derive(Serialize)]
struct One<'a> {
    endpoint: Endpoint,
    /// Its name in lists of deliveries.
    target: String,
    done: Option<&'a str>,
    tested: Option<Tested>,
}

/// `GET /endpoints/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    id: Id,
    filters: Filters,
) -> Result<Response> {
    one(&app, &visitor, id, filters.get("done"), None).await
}

async fn one(
    app: &Arc<App>,
    visitor: &Visitor,
    Id(id): Id,
    done: Option<&str>,
    tested: Option<Tested>,
) -> Result<Response> {
    let query = Query::given([])?;
    let Json(endpoint) = endpoints::show(State(Arc::clone(app)), Id(id), query).await?;
    let view = One {
        endpoint,
        target: endpoint::target(id),
        done,
        tested,
    };
    Ok(render(
        app,
        Some(visitor),
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
    State(app): State<Arc<App>>,
    Id(id): Id,
    form: &Form,
    enabled: bool,
) -> Result<Response> {
    endpoints::switch(&app, form.visitor.caller(), id, enabled).await?;
    let done = if enabled { "enabled" } else { "disabled" };
    Ok(Redirect::to(&format!("/endpoints/{id}?done={done}")).into_response())
}

/// `POST /endpoints/{id}/test`: what it answered is shown at once. Each test is another event, of nobody.
pub(super) async fn test(State(app): State<Arc<App>>, Id(id): Id, form: Form) -> Result<Response> {
    let (state, caller) = (State(Arc::clone(&app)), form.visitor.caller());
    let Json(tested) = endpoints::test(state, caller, Id(id), Query::given([])?).await?;
    one(&app, &form.visitor, Id(id), None, Some(tested)).await
}
