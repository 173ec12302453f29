//! Reconciliations: whom platforms list as suppressed, compared with whom the ledger holds to be. A request asks for one; a
//! worker does it, who alone knows how to read a platform's lists, and what came of it is read from the ledger.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use common::{
    endpoint,
    http::Problem,
    ledger::{Act, Difference, DifferenceFilter, Page, Reconciliation},
};
use serde::Deserialize;
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    error::{Error, Result, asked, reported},
    export,
    openapi::PROBLEM,
    query::{Id, Paging, Query},
};

/// Differences that are read together for a file.
const PAGE: usize = 1000;

/// The names that a difference's members have in JSON.
const HEADER: [&str; 17] = [
    "id",
    "found_at",
    "target",
    "list",
    "difference",
    "channel",
    "contact",
    "listed_since",
    "listed_lane",
    "listed_reason",
    "scope",
    "source",
    "lane",
    "occurred_at",
    "event_id",
    "delivery",
    "repaired",
];

/// What is to be compared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReconciliation)]
pub(crate) struct Wish {
    /// A configured target; without one, all whose platforms can be read.
    target: Option<String>,
    /// Make what differs suppressed on both sides. It never lifts anything.
    #[serde(default)]
    repair: bool,
}

/// `POST /api/v1/reconciliations`: compares whom platforms list as suppressed with the ledger, list by list; 202 with the job,
/// which a worker does. A target that is not configured is 422, one that is disabled 409.
///
/// Asked twice it is two jobs, which is harmless: the second finds what the first has left.
#[utoipa::path(
    post, path = "/api/v1/reconciliations", operation_id = "start_reconciliation", tag = "Reconciliations",
    request_body = Wish,
    responses(
        (status = 202, body = Reconciliation, description = "The job, which a worker is about to begin."),
        (status = 409, body = Problem, content_type = PROBLEM, description = "The target is disabled."),
    )
)]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Caller(key): Caller,
    query: Query,
    body::Json(wish): body::Json<Wish>,
) -> Result<(StatusCode, Json<Reconciliation>)> {
    query.finish()?;
    if let Some(target) = &wish.target {
        can_be_read(&app, target).await?;
    }
    let target = wish.target.as_deref();
    let asked_for = app.ledger.ask_reconciliation(target, wish.repair, &key);
    let asked_for = asked(asked_for).await?;
    info!(key, reconciliation.id = %asked_for.id, repair = wish.repair, "reconciliation asked for");
    Ok((StatusCode::ACCEPTED, Json(asked_for)))
}

/// `GET /api/v1/reconciliations`: newest first, those of the schedule among them.
#[utoipa::path(
    get, path = "/api/v1/reconciliations", operation_id = "list_reconciliations", tag = "Reconciliations",
    params(Paging), responses((status = 200, body = Page<Reconciliation>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Reconciliation>>> {
    let paging = query.paging()?;
    query.finish()?;
    let found = app
        .ledger
        .reconciliations(paging.limit, paging.cursor.as_deref());
    Ok(Json(asked(found).await?))
}

/// `GET /api/v1/reconciliations/{id}`: how far it has come, list by list.
#[utoipa::path(
    get, path = "/api/v1/reconciliations/{id}", operation_id = "show_reconciliation", tag = "Reconciliations",
    responses((status = 200, body = Reconciliation))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Reconciliation>> {
    query.finish()?;
    find(&app, id).await.map(Json)
}

/// `GET /api/v1/reconciliations/{id}/differences`: contact by contact, newest first; what was found so far while it runs.
#[utoipa::path(
    get, path = "/api/v1/reconciliations/{id}/differences", operation_id = "list_differences", tag = "Reconciliations",
    params(DifferenceFilter, Paging),
    responses((status = 200, body = Page<Difference>))
)]
pub(crate) async fn differences(
    State(app): State<Arc<App>>,
    Id(id): Id,
    mut query: Query,
) -> Result<Json<Page<Difference>>> {
    let filter = DifferenceFilter {
        target: query.text("target")?,
        list: query.text("list")?,
        difference: query.named("difference")?,
    };
    let paging = query.paging()?;
    query.finish()?;
    find(&app, id).await?;
    let found = app
        .ledger
        .differences(id, &filter, paging.limit, paging.cursor.as_deref());
    Ok(Json(asked(found).await?))
}

/// `GET /api/v1/reconciliations/{id}/export`: all of its differences as CSV, newest first. If the ledger fails in the middle the
/// answer is cut off, so that a part never looks like the whole.
#[utoipa::path(
    get, path = "/api/v1/reconciliations/{id}/export", operation_id = "export_differences", tag = "Reconciliations",
    responses((status = 200, body = String, content_type = "text/csv",
        headers(("Content-Disposition" = String, description = "A name for the file."))))
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
) -> Result<Response> {
    query.finish()?;
    find(&app, id).await?;
    let act = Act {
        actor,
        action: "reconciliation.export",
        subject: Some(id.to_string()),
        ..Act::default()
    };
    asked(app.ledger.audit(&[act])).await?;
    let first = page((app, id, None)).await?;
    Ok(export::file("differences", first, page))
}

/// Where a file has come to: the cursor of its next page.
type Place = (Arc<App>, Uuid, Option<String>);

async fn page((app, id, cursor): Place) -> Result<export::Step<Place>> {
    let all = DifferenceFilter::default();
    let found = reported(app.ledger.differences(id, &all, PAGE, cursor.as_deref())).await;
    let found = found.inspect_err(Error::log)?;
    let header = cursor.is_none().then_some(HEADER);
    let text = export::text(header, found.items.iter().map(record));
    let next = found.next_cursor.map(|cursor| (app, id, Some(cursor)));
    Ok((text, next))
}

fn record(item: &Difference) -> [String; 17] {
    fn shown(value: Option<&impl ToString>) -> String {
        value.map(ToString::to_string).unwrap_or_default()
    }
    [
        item.id.to_string(),
        item.found_at.to_string(),
        item.target.clone(),
        item.list.clone(),
        item.difference.to_string(),
        item.channel.to_string(),
        item.contact.clone(),
        shown(item.listed_since.as_ref()),
        shown(item.listed_lane.as_ref()),
        shown(item.listed_reason.as_ref()),
        shown(item.scope.as_ref()),
        shown(item.source.as_ref()),
        shown(item.lane.as_ref()),
        shown(item.occurred_at.as_ref()),
        shown(item.event_id.as_ref()),
        shown(item.delivery.as_ref()),
        item.repaired.to_string(),
    ]
}

/// That it is a target of the configuration, and enabled. An endpoint is told of things, and lists nobody.
async fn can_be_read(app: &App, target: &str) -> Result<()> {
    let is_enabled = match endpoint::id_of(target) {
        Some(_) => None,
        None => app.is_enabled(target).await?,
    };
    match is_enabled {
        Some(true) => Ok(()),
        Some(false) => Err(Error::Conflict(format!(
            "the target {target} is disabled: enable it first"
        ))),
        None => Err(Error::field("target", "is no target of the configuration")),
    }
}

async fn find(app: &App, id: Uuid) -> Result<Reconciliation> {
    let what = "reconciliation";
    let found = asked(app.ledger.reconciliation(id)).await?;
    found.ok_or(Error::NotFound { what, id })
}
