//! What was accepted and could not be read: to be seen, and tried again once the parser is mended.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use common::{
    envelope, fault,
    http::Problem,
    ledger::{HeldFilter, Page, Quarantined},
    queue::{Priority, QueueName},
};
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    error::{Error, Result, asked},
    evidence::Evidence,
    openapi::PROBLEM,
    query::{Id, Paging, Query},
};

/// An entry with the body that could not be read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuarantineDetail)]
pub(crate) struct Detail {
    #[serde(flatten)]
    entry: Quarantined,
    #[serde(flatten)]
    evidence: Evidence,
}

/// `GET /api/v1/quarantine`: newest first.
#[utoipa::path(
    get, path = "/api/v1/quarantine", operation_id = "list_quarantine", tag = "Quarantine",
    params(HeldFilter, Paging), responses((status = 200, body = Page<Quarantined>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Quarantined>>> {
    let state = query.named("state")?;
    let source = query.text("source")?;
    let paging = query.paging()?;
    query.finish()?;
    let filter = HeldFilter { state, source };
    Ok(Json(
        asked(
            app.ledger
                .quarantined(&filter, paging.limit, paging.cursor.as_deref()),
        )
        .await?,
    ))
}

/// `GET /api/v1/quarantine/{id}`
#[utoipa::path(
    get, path = "/api/v1/quarantine/{id}", operation_id = "show_quarantine_entry", tag = "Quarantine",
    responses((status = 200, body = Detail))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Detail>> {
    query.finish()?;
    let entry = entry(&app, id).await?;
    let evidence = Evidence::of(&app, entry.envelope_id).await?;
    Ok(Json(Detail { entry, evidence }))
}

/// `POST /api/v1/quarantine/{id}/retry`: sends the envelope through the route stage again, as a whole. What of it was
/// read before is a duplicate then; what still cannot be read is held again.
///
/// First the queue, then the ledger: if this process dies in between, or the client hangs up, the entry stands as held
/// although it was sent, and asking again is harmless.
#[utoipa::path(
    post, path = "/api/v1/quarantine/{id}/retry", operation_id = "retry_quarantine_entry", tag = "Quarantine",
    responses(
        (status = 202, body = Quarantined),
        (status = 409, body = Problem, content_type = PROBLEM,
            description = "Its source is not configured any more, or the request is no longer kept."),
    )
)]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    Caller(key): Caller,
    Id(id): Id,
    query: Query,
) -> Result<(StatusCode, Json<Quarantined>)> {
    query.finish()?;
    let before = entry(&app, id).await?;
    if !app.sources.contains(&before.source) {
        let why = format!(
            "the source {} is not configured any more: nobody knows how to read this",
            before.source
        );
        return Err(Error::Conflict(why));
    }
    let Some((envelope, asked_at)) = asked(app.ledger.retry_quarantined(id)).await? else {
        let why = "the request that this was read from is no longer kept".to_owned();
        return Err(Error::Conflict(why));
    };
    let message = envelope::encode([&envelope]);
    app.publish(QueueName::Inbound(Priority::Urgent), message)
        .await?;
    fault::point("api.unquarantined");
    asked(app.ledger.retried(id, asked_at)).await?;
    info!(key, quarantine.id = %id, envelope.id = %envelope.id, "quarantined envelope retried by hand");
    Ok((StatusCode::ACCEPTED, Json(entry(&app, id).await?)))
}

async fn entry(app: &App, id: Uuid) -> Result<Quarantined> {
    asked(app.ledger.quarantine_entry(id))
        .await?
        .ok_or(Error::NotFound {
            what: "quarantine entry",
            id,
        })
}
