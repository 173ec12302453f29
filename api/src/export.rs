//! The suppression list as CSV, page by page: a list of any length takes the memory of one page.
//!
//! Fields are quoted where they need it and otherwise left as they are, so that an import elsewhere reads what stood
//! here; whoever opens the file in a spreadsheet opens texts that strangers have written.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::ledger::{Act, Suppression, SuppressionFilter};
use futures_util::stream;
use serde_json::json;

use crate::{
    App,
    auth::Caller,
    changes::object,
    error::{Error, Result, asked},
    query::Query,
    suppressions::filter,
};

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

/// `GET /api/v1/suppressions/export`: CSV with the filters of the list. If the ledger fails in the middle the answer is
/// cut off, so that a part never looks like the whole.
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    mut query: Query,
) -> Result<Response> {
    let filter = filter(&mut query)?;
    query.finish()?;
    let act = Act {
        actor,
        action: "suppressions.export",
        details: object(
            json!({ "scope": filter.scope, "source": filter.source, "state": filter.state }),
        ),
        contact: filter.contact.clone(),
        ..Act::default()
    };
    asked(app.ledger.audit(&[act])).await?;
    let begin = Some((app, filter, None));
    let pages = stream::try_unfold(begin, async |at| match at {
        None => Ok::<_, Error>(None),
        Some((app, filter, cursor)) => page(app, filter, cursor).await.map(Some),
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"suppressions.csv\"",
        ),
    ];
    Ok((headers, Body::from_stream(Box::pin(pages))).into_response())
}

/// Where an export has come to: the cursor of the next page.
type Place = (Arc<App>, SuppressionFilter, Option<String>);

/// One page as text, the first with the header, and where to go on.
async fn page(
    app: Arc<App>,
    filter: SuppressionFilter,
    cursor: Option<String>,
) -> Result<(Bytes, Option<Place>)> {
    let found = asked(app.ledger.suppressions(&filter, PAGE, cursor.as_deref())).await;
    let found = found.inspect_err(Error::log)?;
    let mut text = csv::Writer::from_writer(vec![]);
    let written = (|| {
        if cursor.is_none() {
            text.write_record(HEADER)?;
        }
        found
            .items
            .iter()
            .try_for_each(|item| text.write_record(record(item)))
    })();
    written.expect("a record is written to memory");
    let text = text.into_inner().expect("a record is written to memory");
    let next = found.next_cursor.map(|cursor| (app, filter, Some(cursor)));
    Ok((text.into(), next))
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
