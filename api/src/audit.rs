//! The audit trail: who asked for what, and whether it is as it was written.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::ledger::{Audited, Page, TrailFilter, Verified};

use crate::{
    App,
    error::{Error, Result, asked, reported},
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

/// Records that are verified by one request.
const MOST: i64 = 100_000;

/// `GET /api/v1/audit/verify?after=NUMBER:HASH`: reads the trail, from its beginning or after a head that was answered
/// before, and names the first record that is not as it was written. A long trail takes several requests: it is read
/// to its end when `complete` is true.
#[utoipa::path(
    get, path = "/api/v1/audit/verify", operation_id = "verify_audit_trail", tag = "Compliance",
    params(("after" = Option<String>, Query, description = "NUMBER:HASH, the `records` and the `head` that were answered before.")),
    responses((status = 200, body = Verified))
)]
pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Verified>> {
    let after = query.text("after")?.map(|text| head(&text)).transpose()?;
    query.finish()?;
    let verified = app.ledger.verify_audit_after(after, MOST);
    Ok(Json(reported(verified).await?))
}

/// A record's number and hash.
fn head(text: &str) -> Result<(i64, String)> {
    let parts = text.split_once(':');
    let read = parts.and_then(|(number, hash)| {
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some((number, hash.to_owned()))
    });
    let why = "is no head: NUMBER:HASH, the `records` and the `head` that were answered before";
    read.ok_or_else(|| Error::parameter("after", why))
}
