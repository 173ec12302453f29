//! Lists as CSV, page by page: one of any length takes the memory of one page. The suppression list is exported here.
//!
//! What a spreadsheet would take for a formula is written as text ([`formula`]), which an import reads as what stood here.

use std::{future::ready, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::ledger::{Act, Suppression, SuppressionFilter};
use futures_util::{StreamExt, stream};
use serde_json::json;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    changes::object,
    error::{Error, Result, asked, reported},
    formula,
    query::{Contacts, Query},
    suppressions::filter,
};

/// Suppressions that are read together.
const PAGE: usize = 1000;

const HEADER: [&str; 12] = [
    "channel",
    "contact",
    "scope",
    "source",
    "lane",
    "state",
    "kind",
    "reason",
    "origin",
    "occurred_at",
    "event_id",
    "id",
];

/// `GET /api/v1/suppressions/export`: CSV with the filters of the list, in the order of the ids. If the ledger fails in
/// the middle the answer is cut off, so that a part never looks like the whole.
#[utoipa::path(
    get, path = "/api/v1/suppressions/export", operation_id = "export_suppressions", tag = "Suppressions",
    params(SuppressionFilter, Contacts),
    responses((status = 200, body = String, content_type = "text/csv",
        headers(("Content-Disposition" = String, description = "A name for the file."))))
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    mut query: Query,
) -> Result<Response> {
    let filter = filter(&mut query)?;
    query.finish()?;
    asked(app.ledger.audit(&[act(actor, &filter)])).await?;
    let first = page((app, filter, None)).await?;
    Ok(file("suppressions", first, page))
}

/// A page of a file, and where the next one begins; None on the last.
pub(crate) type Step<P> = (Bytes, Option<P>);

/// A file of that name. Its first page is read before the answer begins, so that a ledger that is away is still told by the
/// status; the others as they are taken.
pub(crate) fn file<P, F>(
    name: &str,
    (first, rest): Step<P>,
    next: impl Fn(P) -> F + Send + 'static,
) -> Response
where
    P: Send + 'static,
    F: Future<Output = Result<Step<P>>> + Send + 'static,
{
    let rest = stream::try_unfold(rest, move |place| {
        let page = place.map(&next);
        async move {
            match page {
                None => Ok(None),
                Some(page) => page.await.map(Some),
            }
        }
    });
    let pages = stream::once(ready(Ok(first))).chain(rest);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.csv\""),
        ),
    ];
    (headers, Body::from_stream(Box::pin(pages))).into_response()
}

/// Records as text, after the header if they are the first.
pub(crate) fn text<const N: usize>(
    header: Option<[&str; N]>,
    records: impl Iterator<Item = [String; N]>,
) -> Bytes {
    let mut text = csv::Writer::from_writer(vec![]);
    let header = header.map(|names| names.map(str::to_owned));
    for record in header.into_iter().chain(records) {
        text.write_record(record.map(formula::disarmed))
            .expect("a record is written to memory");
    }
    let text = text.into_inner().expect("a record is written to memory");
    text.into()
}

fn act(actor: String, filter: &SuppressionFilter) -> Act {
    Act {
        actor,
        action: "suppressions.export",
        details: object(
            json!({ "scope": filter.scope, "source": filter.source, "lane": filter.lane, "kind": filter.kind,
                "origin": filter.origin, "state": filter.state, "from": filter.from, "to": filter.to }),
        ),
        contact: filter.contact.clone(),
        personal: object(json!({ "reason": filter.reason })),
        ..Act::default()
    }
}

/// Where an export has come to: the last suppression that was told.
type Place = (Arc<App>, SuppressionFilter, Option<Uuid>);

async fn page((app, filter, last): Place) -> Result<Step<Place>> {
    // A filter may leave much out, and is looked for in all of the list.
    let found = reported(app.ledger.every_suppression(&filter, PAGE, last)).await;
    let found = found.inspect_err(Error::log)?;
    let header = last.is_none().then_some(HEADER);
    let text = text(header, found.iter().map(record));
    let next = found.last().filter(|_| found.len() == PAGE);
    let next = next.map(|last| (app, filter, Some(last.id)));
    Ok((text, next))
}

fn record(item: &Suppression) -> [String; 12] {
    [
        item.channel.to_string(),
        item.contact.clone(),
        item.scope.clone(),
        item.source.clone(),
        item.lane.to_string(),
        item.state.to_string(),
        item.kind.to_string(),
        item.reason.clone().unwrap_or_default(),
        item.origin.to_string(),
        item.occurred_at.to_string(),
        item.event_id.to_string(),
        item.id.to_string(),
    ]
}
