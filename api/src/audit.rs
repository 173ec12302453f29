//! The audit trail: who asked for what, and whether it is as it was written.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::ledger::{Audited, Page, TrailFilter, Verified};

use crate::{
    App,
    error::{Error, Result, asked},
    query::{Contacts, Paging, Query},
};

/// `GET /api/v1/audit`: newest first, by `actor`, `action`, `subject`, `email` or `phone`, `from`, `to`.
#[utoipa::path(
    get, path = "/api/v1/audit", operation_id = "list_audit_records", tag = "Compliance",
    params(TrailFilter, Contacts, Paging), responses((status = 200, body = Page<Audited>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Audited>>> {
    let (contact, span) = (query.either_contact()?, query.span()?);
    let filter = TrailFilter {
        actor: query.text("actor")?,
        action: query.text("action")?,
        subject: query.text("subject")?,
        contact,
        from: span.from,
        to: span.to,
    };
    let paging = query.paging()?;
    query.finish()?;
    // The records are numbered without gaps, so the number of the last one is the cursor.
    let before = match paging.cursor.map(|cursor| cursor.parse::<i64>()) {
        None => i64::MAX,
        Some(Ok(before)) => before,
        Some(Err(_)) => {
            let why = "is none that this list gave out as next_cursor";
            return Err(Error::parameter("cursor", why));
        }
    };
    let limit = i64::try_from(paging.limit).unwrap_or(i64::MAX);
    let mut items = asked(app.ledger.trail(&filter, limit + 1, before)).await?;
    let more = items.len() > paging.limit;
    items.truncate(paging.limit);
    let last = items.last().filter(|_| more);
    Ok(Json(Page {
        next_cursor: last.map(|last| last.seq.to_string()),
        items,
    }))
}

/// `GET /api/v1/audit/verify`: reads the whole trail, and names the first record that is not as it was written. It takes
/// as long as there are records, so it has no deadline of its own.
#[utoipa::path(
    get, path = "/api/v1/audit/verify", operation_id = "verify_audit_trail", tag = "Compliance",
    responses((status = 200, body = Verified))
)]
pub(crate) async fn verify(State(app): State<Arc<App>>, query: Query) -> Result<Json<Verified>> {
    query.finish()?;
    Ok(Json(app.ledger.verify_audit().await?))
}
