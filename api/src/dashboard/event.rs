//! Events: the log with its filters, and one event with the request that brought it and what became of it.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State, response::Response};
use common::event::{Event, Kind};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    evidence::pretty,
    form::{Filters, Form},
    page::{Turn, render},
    visitor::Visitor,
};
use crate::{
    App,
    error::{Result, asked},
    events::{self, Shown},
    query::{Id, Query},
};

#[derive(Serialize)]
struct List<'a> {
    filters: &'a Filters,
    sources: &'a BTreeSet<String>,
    kinds: &'static [Kind],
    items: Vec<Shown>,
    turn: Turn,
}

/// `GET /events`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let query = filters.naming_a_contact().query()?;
    let Json(page) = events::list(State(Arc::clone(&app)), query).await?;
    let view = List {
        turn: Turn::of(&filters, page.next_cursor.as_deref()),
        filters: &filters,
        sources: &app.sources,
        kinds: Kind::ALL,
        items: page.items,
    };
    Ok(render(&app, Some(&visitor), "events", "events.html", &view))
}

/// `GET /events/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    id: Id,
) -> Result<Response> {
    one(&app, &visitor, id).await
}

/// `POST /events/{id}/reveal`: the same with the address and the payload, for who may not see them without more ado. What is
/// shown is shown this once; loading the page anew asks again.
pub(super) async fn reveal(
    State(app): State<Arc<App>>,
    Id(id): Id,
    form: Form,
) -> Result<Response> {
    let event = asked(app.ledger.event(id)).await?;
    let contact = event.and_then(|event| event.contact);
    let visitor = form.reveal(&app, "event.reveal", Some(id), contact).await?;
    one(&app, &visitor, Id(id)).await
}

async fn one(app: &Arc<App>, visitor: &Visitor, Id(id): Id) -> Result<Response> {
    let query = Query::given([])?;
    let Json(detail) = events::show(State(Arc::clone(app)), Id(id), query).await?;
    let changes = changes(&detail.event.event);
    let mut detail = json!(detail);
    pretty(&mut detail);
    let view = json!({ "event": detail, "changes": changes });
    Ok(render(app, Some(visitor), "events", "event.html", &view))
}

/// What an event sets in the list of suppressions, unless a newer one did before.
pub(super) fn changes(event: &Event) -> Vec<Value> {
    let changes = event.changes().into_iter();
    changes
        .map(|change| {
            json!({ "source": change.source, "scope": change.scope, "lane": change.lane, "suppressed": change.suppressed })
        })
        .collect()
}
