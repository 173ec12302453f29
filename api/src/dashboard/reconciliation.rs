//! Whom platforms list, compared with whom the ledger holds to be suppressed: asking for it, and what came of it.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use common::ledger::{Difference, Gap, Reconciliation};
use serde::Serialize;
use serde_json::json;

use super::{
    form::{Filters, Form},
    page::{Turn, render},
    visitor::Visitor,
};
use crate::{
    App, body,
    error::Result,
    query::{Id, Query},
    reconciliations,
};

#[derive(Serialize)]
struct List<'a> {
    items: Vec<Run>,
    turn: Turn,
    /// The targets that may be chosen.
    targets: Vec<&'a String>,
}

/// A reconciliation, and what came of all of its lists together.
#[derive(Serialize)]
struct Run {
    #[serde(flatten)]
    of: Reconciliation,
    listed: i64,
    different: i64,
    repaired: i64,
    /// How many lists are looked through, and how many of them could not be.
    done: usize,
    failed: usize,
}

#[derive(Serialize)]
struct One<'a> {
    run: Run,
    filters: &'a Filters,
    /// What the filters can be.
    targets: BTreeSet<String>,
    lists: BTreeSet<String>,
    gaps: &'static [Gap],
    items: Vec<Difference>,
    turn: Turn,
}

impl Run {
    fn new(of: Reconciliation) -> Self {
        let sum = |count: fn(&_) -> i64| of.lists.iter().map(count).sum();
        let finished = of.lists.iter().filter(|list| list.finished_at.is_some());
        let failed = of.lists.iter().filter(|list| list.error.is_some());
        Self {
            listed: sum(|list| list.listed),
            different: sum(|list| list.only_theirs + list.only_ours + list.differs),
            repaired: sum(|list| list.repaired),
            done: finished.count(),
            failed: failed.count(),
            of,
        }
    }
}

/// `GET /reconciliations`: those that there were, and the form for another.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let query = filters.turning().query()?;
    let Json(page) = reconciliations::list(State(Arc::clone(&app)), query).await?;
    let enabled = app.targets.iter().filter(|(_, enabled)| **enabled);
    let view = List {
        turn: Turn::of(&filters.turning(), page.next_cursor.as_deref()),
        items: page.items.into_iter().map(Run::new).collect(),
        targets: enabled.map(|(name, _)| name).collect(),
    };
    Ok(render(
        &app,
        Some(&visitor),
        "reconciliations",
        "reconciliations.html",
        &view,
    ))
}

/// `POST /reconciliations/start`
pub(super) async fn start(State(app): State<Arc<App>>, form: Form) -> Result<Response> {
    let wish = json!({ "target": form.text("target"), "repair": form.has("repair") });
    let wish = body::Json(body::read(wish.to_string().as_bytes())?);
    let (caller, query) = (form.visitor.caller(), Query::given([])?);
    let (_, Json(asked_for)) = reconciliations::start(State(app), caller, query, wish).await?;
    Ok(Redirect::to(&format!("/reconciliations/{}", asked_for.id)).into_response())
}

/// `GET /reconciliations/{id}`: each list, and the differences that the filters let through.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Id(id): Id,
    filters: Filters,
) -> Result<Response> {
    let state = || State(Arc::clone(&app));
    let (Json(of), Json(page)) = tokio::try_join!(
        reconciliations::show(state(), Id(id), Query::given([])?),
        reconciliations::differences(state(), Id(id), filters.query()?),
    )?;
    let view = One {
        targets: of.lists.iter().map(|list| list.target.clone()).collect(),
        lists: of.lists.iter().map(|list| list.list.clone()).collect(),
        gaps: Gap::ALL,
        run: Run::new(of),
        turn: Turn::of(&filters, page.next_cursor.as_deref()),
        filters: &filters,
        items: page.items,
    };
    Ok(render(
        &app,
        Some(&visitor),
        "reconciliations",
        "reconciliation.html",
        &view,
    ))
}

/// `POST /reconciliations/{id}/export`: CSV of all differences, which the audit trail says.
pub(super) async fn export(state: State<Arc<App>>, id: Id, form: Form) -> Result<Response> {
    let query = Query::given([])?;
    reconciliations::export(state, form.visitor.caller(), id, query).await
}
