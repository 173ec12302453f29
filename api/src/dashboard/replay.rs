//! Telling all that match again: first how many that would be, then the job, with how far it has come.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use common::{clock, delivery::State as Standing, event::Kind, ledger::Replay};
use jiff::ToSpan;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    delivery::targets,
    form::{Filters, Form, utc},
    page::{Turn, render},
    visitor::Visitor,
};
use crate::{
    App, body,
    error::{Error, Result},
    query::{Id, Query},
    replays,
};

/// What may be told again; what is parked is told by itself.
const STATES: [Standing; 4] = [
    Standing::Dead,
    Standing::Retrying,
    Standing::Pending,
    Standing::Delivered,
];

/// How far back it is looked where nobody says.
const DAYS: i64 = 30;

#[derive(Serialize)]
struct List {
    items: Vec<Replay>,
    turn: Turn,
    /// What the form begins with.
    wish: Value,
    targets: Vec<String>,
    states: [Standing; 4],
    kinds: &'static [Kind],
}

/// `GET /replays`: those that there were, and the form for another, filled in by the filters of the list of deliveries.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let Json(page) = replays::list(State(Arc::clone(&app)), filters.turning().query()?).await?;
    let now = clock::now();
    let ago = now.checked_sub((24 * DAYS).hours()).unwrap_or(now);
    let minute = |at: jiff::Timestamp| at.strftime("%Y-%m-%dT%H:%M").to_string();
    let or = |name, otherwise: String| filters.get(name).map_or(otherwise, str::to_owned);
    let until = now.checked_add(1.minute()).unwrap_or(now);
    let wish = json!({
        "target": filters.get("target"), "state": or("state", "dead".to_owned()), "kind": filters.get("kind"),
        "since": or("from", minute(ago)), "until": or("to", minute(until)),
    });
    let view = List {
        turn: Turn::of(&filters.turning(), page.next_cursor.as_deref()),
        items: page.items,
        wish,
        targets: targets(&app).await?,
        states: STATES,
        kinds: Kind::ALL,
    };
    Ok(render(
        &app,
        Some(&visitor),
        "replays",
        "replays.html",
        &view,
    ))
}

/// `POST /replays/start`: counts what matches; with `start`, begins. Asked twice it is two jobs, of which the second leaves out
/// what the first has begun again.
pub(super) async fn start(State(app): State<Arc<App>>, form: Form) -> Result<Response> {
    let needed = |name| {
        let missing = || Error::field(name, "is missing: a time in UTC is needed");
        form.text(name).map(|time| utc(&time)).ok_or_else(missing)
    };
    let starts = form.has("start");
    let wish = json!({
        "target": form.text("target"), "state": form.text("state"), "kind": form.text("kind"),
        "since": needed("since")?, "until": needed("until")?, "dry_run": !starts,
    });
    let read = body::Json(body::read(wish.to_string().as_bytes())?);
    let (state, caller) = (State(Arc::clone(&app)), form.visitor.caller());
    let (_, Json(replay)) = replays::start(state, caller, Query::given([])?, read).await?;
    if starts {
        return Ok(Redirect::to(&format!("/replays/{}", replay.id)).into_response());
    }
    let view = json!({ "replay": replay, "wish": wish });
    Ok(render(
        &app,
        Some(&form.visitor),
        "replays",
        "replay_confirm.html",
        &view,
    ))
}

/// `GET /replays/{id}`: how far it has come.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    id: Id,
) -> Result<Response> {
    let query = Query::given([])?;
    let Json(replay) = replays::show(State(Arc::clone(&app)), id, query).await?;
    Ok(render(
        &app,
        Some(&visitor),
        "replays",
        "replay.html",
        &json!({ "replay": replay }),
    ))
}
