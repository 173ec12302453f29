//! The import of a list of suppressions: first what it would change, then the change.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use super::{form::Form, page::render, visitor::Visitor};
use crate::{
    App,
    error::{Error, Result},
    import::{self, Imported},
    query::Query,
};

/// The largest file that a page takes: it goes to the browser and back between preview and import.
const LARGEST: usize = 2 << 20;

/// How much of the file the preview shows.
const SHOWN: usize = 12;

#[derive(Serialize)]
struct View {
    report: Imported,
    /// The first lines.
    head: Vec<String>,
    /// The file, to be sent once more.
    csv: Option<String>,
}

/// `GET /suppressions/import`
pub(super) async fn form(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    render(
        &app,
        Some(&visitor),
        "suppressions",
        "import.html",
        &json!({}),
    )
}

/// `POST /suppressions/import`: says what the file would change, and with `apply` changes it. To import the same again
/// changes nothing more, so the page may be loaded anew.
pub(super) async fn import(State(app): State<Arc<App>>, mut form: Form) -> Result<Response> {
    let csv = form.take("file").or_else(|| form.take("csv"));
    let csv =
        csv.ok_or_else(|| Error::field("file", "is missing: choose a file, or paste its lines"))?;
    if csv.len() > LARGEST {
        return Err(Error::TooLarge {
            limit: LARGEST >> 10,
        });
    }
    let apply = form.has("apply");
    let dry_run = ("dry_run".to_owned(), (!apply).to_string());
    let (state, caller) = (State(Arc::clone(&app)), form.visitor.caller());
    let imported = import::import(
        state,
        caller,
        Query::given([dry_run]),
        Body::from(csv.clone()),
    );
    let report = match imported.await {
        Ok(Json(report)) => report,
        Err(problem) => {
            let mut response = problem.clone().into_response();
            response.extensions_mut().insert(problem);
            return Ok(response);
        }
    };
    let view = View {
        report,
        head: csv.lines().take(SHOWN).map(str::to_owned).collect(),
        csv: (!apply).then_some(csv),
    };
    Ok(render(
        &app,
        Some(&form.visitor),
        "suppressions",
        "imported.html",
        &view,
    ))
}
