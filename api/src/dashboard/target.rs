//! Targets of the configuration: how each fares, and leaving one alone for a while. The endpoints are listed beside them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use common::{delivery::Tested, endpoint::Endpoint};
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
    query::Query,
    targets::{self, Name, Standing},
};

#[derive(Serialize)]
struct List {
    configured: Vec<Standing>,
    endpoints: Vec<Endpoint>,
    turn: Turn,
}

#[derive(Serialize)]
struct One<'a> {
    target: Standing,
    done: Option<&'a str>,
    tested: Option<Tested>,
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

/// `GET /targets/{name}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    name: Name,
    filters: Filters,
) -> Result<Response> {
    one(&app, &visitor, name, filters.get("done"), None).await
}

async fn one(
    app: &Arc<App>,
    visitor: &Visitor,
    name: Name,
    done: Option<&str>,
    tested: Option<Tested>,
) -> Result<Response> {
    let query = Query::given([])?;
    let Json(target) = targets::show(State(Arc::clone(app)), name, query).await?;
    let view = One {
        target,
        done,
        tested,
    };
    Ok(render(app, Some(visitor), "targets", "target.html", &view))
}

/// `POST /targets/{name}/enable`
pub(super) async fn enable(state: State<Arc<App>>, name: Name, form: Form) -> Result<Response> {
    change(state, name, &form, true).await
}

/// `POST /targets/{name}/disable`: what it is to be told waits until it is enabled again.
pub(super) async fn disable(state: State<Arc<App>>, name: Name, form: Form) -> Result<Response> {
    change(state, name, &form, false).await
}

async fn change(
    state: State<Arc<App>>,
    Name(name): Name,
    form: &Form,
    enabled: bool,
) -> Result<Response> {
    let wish = json!({ "enabled": enabled, "reason": form.text("reason") });
    let wish = body::Json(body::read(wish.to_string().as_bytes())?);
    let (caller, query) = (form.visitor.caller(), Query::given([])?);
    let Json(_) = targets::change(state, caller, Name(name.clone()), query, wish).await?;
    let done = if enabled { "enabled" } else { "disabled" };
    Ok(Redirect::to(&format!("/targets/{name}?done={done}")).into_response())
}

/// `POST /targets/{name}/test`: what it answered is shown at once.
pub(super) async fn test(
    State(app): State<Arc<App>>,
    Name(name): Name,
    form: Form,
) -> Result<Response> {
    let (state, caller) = (State(Arc::clone(&app)), form.visitor.caller());
    let name = || Name(name.clone());
    let Json(tested) = targets::test(state, caller, name(), Query::given([])?).await?;
    one(&app, &form.visitor, name(), None, Some(tested)).await
}
