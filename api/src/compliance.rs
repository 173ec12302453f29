//! The deadlines: how long opt-outs took to hold everywhere, and which of them did not hold in time.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{clock, ledger::Compliance};
use jiff::SignedDuration;

use crate::{
    App,
    error::{Error, Result, reported},
    query::{Query, Span},
};

/// The time span of a report that names none.
const DEFAULT_DAYS: i64 = 30;

/// The longest time span of a report.
const MAX_DAYS: i64 = 366;

/// `GET /api/v1/compliance`: the opt-outs received from `from` until `to`, by default in the last 30 days. It names no
/// contacts. A time span of more than 366 days is 400.
#[utoipa::path(
    get, path = "/api/v1/compliance", operation_id = "report_compliance", tag = "Compliance",
    params(Span), responses((status = 200, body = Compliance))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Compliance>> {
    let span = query.span()?;
    query.finish()?;
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let now = clock::now();
    let to = span.to.unwrap_or(now);
    let from = match span.from {
        Some(from) => from,
        None => to
            .checked_sub(days(DEFAULT_DAYS))
            .map_err(|_| Error::parameter("to", "is too long ago"))?,
    };
    if from > to {
        return Err(Error::parameter(
            "from",
            "is in the future, and no to is given",
        ));
    }
    if to.duration_since(from) > days(MAX_DAYS) {
        let why = format!("is more than {MAX_DAYS} days before to: ask for less at a time");
        return Err(Error::parameter("from", why));
    }
    Ok(Json(reported(app.ledger.compliance(from, to, now)).await?))
}
