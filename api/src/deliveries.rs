//! Who was told of an event, with every attempt, and telling them again.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use common::{
    delivery::{Attempt, Delivery},
    endpoint, fault,
    http::Problem,
    ledger::{DeliveryFilter, DeliveryRow, Page},
    queue::{Feed, Message, QueueName},
};
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    error::{Error, Result, asked, queued},
    openapi::PROBLEM,
    query::{Id, Paging, Query},
};

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
pub(crate) struct Told {
    #[serde(flatten)]
    pub(crate) delivery: DeliveryRow,
    pub(crate) attempts: Vec<Attempt>,
}

/// `GET /api/v1/deliveries`: newest first by when they were made, which `from` and `to` speak of, too.
#[utoipa::path(
    get, path = "/api/v1/deliveries", operation_id = "list_deliveries", tag = "Deliveries",
    params(DeliveryFilter, Paging), responses((status = 200, body = Page<DeliveryRow>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<DeliveryRow>>> {
    let target = query.text("target")?;
    let state = query.named("state")?;
    let kind = query.named("kind")?;
    let event = query.id("event")?;
    let span = query.span()?;
    let paging = query.paging()?;
    query.finish()?;
    let filter = DeliveryFilter {
        target,
        state,
        kind,
        event,
        from: span.from,
        to: span.to,
    };
    Ok(Json(
        asked(
            app.ledger
                .deliveries(&filter, paging.limit, paging.cursor.as_deref()),
        )
        .await?,
    ))
}

/// `GET /api/v1/deliveries/{id}`
#[utoipa::path(
    get, path = "/api/v1/deliveries/{id}", operation_id = "show_delivery", tag = "Deliveries",
    responses((status = 200, body = Told))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Told>> {
    query.finish()?;
    let delivery = asked(app.ledger.delivery(id))
        .await?
        .ok_or(Error::NotFound {
            what: "delivery",
            id,
        })?;
    let attempts = asked(app.ledger.attempts(id)).await?;
    Ok(Json(Told { delivery, attempts }))
}

/// `POST /api/v1/deliveries/{id}/retry`: begins a delivery again, whatever its state, with a full schedule.
///
/// First the ledger, then the queue: the worker that gets the message has to find the delivery pending. If the publish
/// fails, or this process dies in between, nothing is lost: the delivery stands as pending and does not move, and that
/// is what the worker's sweep looks for. So a 503 of the queue means "later", not "never", and asking again is harmless.
#[utoipa::path(
    post, path = "/api/v1/deliveries/{id}/retry", operation_id = "retry_delivery", tag = "Deliveries",
    responses(
        (status = 202, body = DeliveryRow),
        (status = 409, body = Problem, content_type = PROBLEM,
            description = "Its target is disabled, or not there any more."),
    )
)]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    Caller(key): Caller,
    Id(id): Id,
    query: Query,
) -> Result<(StatusCode, Json<DeliveryRow>)> {
    query.finish()?;
    let gone = Error::NotFound {
        what: "delivery",
        id,
    };
    let Some(before) = asked(app.ledger.delivery(id)).await? else {
        return Err(gone);
    };
    if before.erased {
        let why = "its contact was erased: there is nobody to tell of".to_owned();
        return Err(Error::Conflict(why));
    }
    sendable(&app, &before.target).await?;
    let Some(delivery) = asked(app.ledger.restart(id)).await? else {
        return Err(gone);
    };
    let Some(restarted) = asked(app.ledger.delivery(id)).await? else {
        return Err(gone);
    };
    fault::point("api.restarted");
    queued(app.queue.publish(vec![message(&delivery)])).await?;
    info!(key, delivery.id = %id, target = restarted.target, "delivery retried by hand");
    Ok((StatusCode::ACCEPTED, Json(restarted)))
}

/// A target that nobody takes deliveries for is not sent any: they would lie in its queue, or find none.
async fn sendable(app: &App, target: &str) -> Result<()> {
    match app.is_enabled(target).await? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::Conflict(format!(
            "the target {target} is disabled: its deliveries wait, and are sent once it is enabled"
        ))),
        None if endpoint::id_of(target).is_some() => {
            Err(Error::Conflict(format!("the target {target} was deleted")))
        }
        None => Err(Error::Conflict(format!(
            "the target {target} is not there any more"
        ))),
    }
}

/// The message by which a delivery that begins again comes to its target.
pub(crate) fn message(delivery: &Delivery) -> Message {
    Message {
        queue: retried(&delivery.target),
        body: delivery.encode(),
        delay: Duration::ZERO,
    }
}

/// Where what is told again waits for a target.
pub(crate) fn retried(target: &str) -> QueueName {
    endpoint::queue_of(target, Feed::Retried)
}
