//! What was accepted and could not be read: to be seen, and tried again once the parser is mended.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use common::{
    envelope, fault,
    ledger::{HeldFilter, Page, Quarantined},
    queue::{Priority, QueueName},
};
use serde::Serialize;
use tokio::{sync::oneshot, time::timeout};
use tracing::{error, info};
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    error::{Error, PATIENCE, Result, asked},
    evidence::Evidence,
    query::{Id, Query},
};

/// An entry with the body that could not be read.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    #[serde(flatten)]
    entry: Quarantined,
    #[serde(flatten)]
    evidence: Evidence,
}

/// `GET /api/v1/quarantine`: newest first.
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
    // Marked before it is published, the entry must not be left in between because a client hung up, which ends its
    // request in the middle: so this runs to its end apart from the request.
    let (answer, answered) = oneshot::channel();
    let working = Arc::clone(&app);
    app.lifecycle.spawn_work(async move {
        if let Err(unread) = answer.send(send_again(&working, id).await) {
            unread.err().inspect(Error::log);
        }
    });
    let answered = timeout(PATIENCE * 2, answered)
        .await
        .map_err(|_| Error::Late("ledger"))?;
    let retried = answered.map_err(|_| Error::Late("ledger"))??;
    info!(key, quarantine.id = %id, envelope.id = %retried.envelope_id, "quarantined envelope retried by hand");
    Ok((StatusCode::ACCEPTED, Json(retried)))
}

/// Without a deadline for the ledger: cut off, a change of it may have happened or not. A process that dies in between
/// leaves the entry as retried; it is listed as that, and can be retried again.
async fn send_again(app: &App, id: Uuid) -> Result<Quarantined> {
    let envelope = app.ledger.retry_quarantined(id).await?;
    fault::point("api.unquarantined");
    let published = match envelope {
        Some(envelope) => {
            app.publish(
                QueueName::Inbound(Priority::Urgent),
                envelope::encode([&envelope]),
            )
            .await
        }
        None => Err(Error::Conflict(
            "the request that this was read from is no longer kept".to_owned(),
        )),
    };
    if let Err(why) = published {
        if let Err(error) = app.ledger.hold_again(id).await {
            error!(quarantine.id = %id, %error, "a quarantine entry stands as retried and is not");
        }
        return Err(why);
    }
    entry(app, id).await
}

async fn entry(app: &App, id: Uuid) -> Result<Quarantined> {
    asked(app.ledger.quarantine_entry(id))
        .await?
        .ok_or(Error::NotFound {
            what: "quarantine entry",
            id,
        })
}
