//! The targets of the configuration: how each fares.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::ledger::{Breaker, LastTold, Page};
use futures_util::future::try_join_all;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    error::{Error, Result, asked},
    query::Query,
};

/// A target of the configuration, and how it fares.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Target)]
pub(crate) struct Standing {
    name: String,
    enabled: bool,
    /// Null where no worker has said of late where it stands.
    breaker: Option<Breaker>,
    #[serde(flatten)]
    last: LastTold,
}

/// `GET /api/v1/targets`: all of the configuration, by name.
#[utoipa::path(
    get, path = "/api/v1/targets", operation_id = "list_targets", tag = "Targets",
    responses((status = 200, body = Page<Standing>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    query: Query,
) -> Result<Json<Page<Standing>>> {
    query.finish()?;
    let mut breakers = asked(app.ledger.breakers()).await?;
    let targets = app.targets.iter().map(|(name, enabled)| {
        let breaker = breakers.remove(name);
        let app = &app;
        async move {
            let (name, enabled) = (name.clone(), *enabled);
            let last = asked(app.ledger.last_told(&name)).await?;
            Ok::<_, Error>(Standing {
                name,
                enabled,
                breaker,
                last,
            })
        }
    });
    let items = try_join_all(targets).await?;
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}
