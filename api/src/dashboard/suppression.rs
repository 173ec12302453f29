//! Suppressions: the list with its filters, one with its history, and adding to and lifting them by hand.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use common::{
    event::{Kind, Lane, Origin},
    ledger::{Standing, Suppression},
};
use serde::Serialize;
use serde_json::json;

use super::{
    form::{Filters, Form},
    page::{Turn, render},
    visitor::Visitor,
};
use crate::{
    App, body,
    error::{Error, Result, asked},
    export,
    query::{Id, Query},
    suppressions,
};

#[derive(Serialize)]
struct List<'a> {
    filters: &'a Filters,
    sources: &'a BTreeSet<String>,
    states: &'static [Standing],
    lanes: &'static [Lane],
    kinds: &'static [Kind],
    origins: &'static [Origin],
    items: Vec<Suppression>,
    turn: Turn,
    /// Where what matches is exported.
    export: String,
}

/// What the form for a new one held, and what was wrong with it.
#[derive(Default, Serialize)]
struct Adding {
    typed: Filters,
    wrong: Option<Wrong>,
}

#[derive(Serialize)]
struct Wrong {
    field: Option<String>,
    detail: String,
}

/// `GET /suppressions`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let query = filters.naming_a_contact().query()?;
    let Json(page) = suppressions::list(State(Arc::clone(&app)), query).await?;
    let mut exported = filters.clone();
    exported.take("cursor");
    exported.take("limit");
    let view = List {
        turn: Turn::of(&filters, page.next_cursor.as_deref()),
        export: format!("/suppressions/export{}", exported.with(&[])),
        filters: &filters,
        sources: &app.sources,
        states: Standing::ALL,
        lanes: Lane::ALL,
        kinds: Kind::ALL,
        origins: Origin::ALL,
        items: page.items,
    };
    Ok(render(
        &app,
        Some(&visitor),
        "suppressions",
        "suppressions.html",
        &view,
    ))
}

/// `POST /suppressions/export`: CSV of what the filters let through, which the audit trail says.
pub(super) async fn export(
    State(app): State<Arc<App>>,
    filters: Filters,
    form: Form,
) -> Result<Response> {
    let query = filters.naming_a_contact().query()?;
    export::export(State(app), form.visitor.caller(), query).await
}

/// `GET /suppressions/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    id: Id,
    filters: Filters,
) -> Result<Response> {
    one(&app, &visitor, id, filters.get("done")).await
}

/// `POST /suppressions/{id}/reveal`
pub(super) async fn reveal(
    State(app): State<Arc<App>>,
    Id(id): Id,
    form: Form,
) -> Result<Response> {
    let visitor = form.reveal(&app, "suppression.reveal", Some(id), None);
    one(&app, &visitor.await?, Id(id), None).await
}

async fn one(app: &Arc<App>, visitor: &Visitor, id: Id, done: Option<&str>) -> Result<Response> {
    let query = Query::given([])?;
    let Json(detail) = suppressions::show(State(Arc::clone(app)), id, query).await?;
    let view = json!({ "suppression": detail, "done": done });
    Ok(render(
        app,
        Some(visitor),
        "suppressions",
        "suppression.html",
        &view,
    ))
}

/// `GET /suppressions/add`
pub(super) async fn form(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    render(
        &app,
        Some(&visitor),
        "suppressions",
        "suppression_add.html",
        &Adding::default(),
    )
}

/// `POST /suppressions/add`: to add what stands already changes nothing.
pub(super) async fn add(State(app): State<Arc<App>>, form: Form) -> Result<Response> {
    let wanted = json!({
        "contact": form.text("contact"), "scope": form.text("scope"),
        "reason": form.text("reason"), "note": form.text("note"),
    });
    let wanted = body::Json(body::read(wanted.to_string().as_bytes())?);
    let added = suppressions::add(State(Arc::clone(&app)), form.visitor.caller(), wanted).await;
    match added {
        Ok((status, Json(added))) => {
            let done = if status == StatusCode::CREATED {
                "added"
            } else {
                "stood"
            };
            Ok(Redirect::to(&format!("/suppressions/{}?done={done}", added.id)).into_response())
        }
        Err(error) => {
            let (status, wrong) = told(error)?;
            let adding = Adding {
                typed: form.fields(),
                wrong: Some(wrong),
            };
            let visitor = Some(&form.visitor);
            let page = render(
                &app,
                visitor,
                "suppressions",
                "suppression_add.html",
                &adding,
            );
            Ok((status, page).into_response())
        }
    }
}

/// What is wrong with a field; whatever else went wrong is no affair of the form's.
fn told(error: Error) -> Result<(StatusCode, Wrong)> {
    let field = match &error {
        Error::Field { name, .. } => Some(name.clone()),
        Error::Contact { name, .. } => Some((*name).to_owned()),
        _ => return Err(error),
    };
    // Without a contact the first of its three names is told.
    let field = field.map(|name| match name.as_str() {
        "email" | "phone" => "contact".to_owned(),
        _ => name,
    });
    let detail = match &error {
        Error::Contact { why, .. } => why.to_string(),
        Error::Field { name, .. } if name == "email" => {
            "an address or a phone number is needed".to_owned()
        }
        Error::Field { why, .. } => why.clone(),
        other => other.to_string(),
    };
    Ok((error.problem().status, Wrong { field, detail }))
}

/// `POST /suppressions/{id}/lift`: for a reason; for a complaint a second page asks again. What is lifted already stays so.
pub(super) async fn lift(State(app): State<Arc<App>>, Id(id): Id, form: Form) -> Result<Response> {
    let missing = || Error::field("reason", "is missing: a suppression is lifted for a reason");
    let reason = form.text("reason").ok_or_else(missing)?;
    let note = form.text("note");
    let what = "suppression";
    let found = asked(app.ledger.suppression(id)).await?;
    let found = found.ok_or(Error::NotFound { what, id })?;
    let is_complaint = found.lane == Lane::Complaint && found.state == Standing::Active;
    if is_complaint && !form.has("confirmed") {
        let view = json!({ "suppression": found, "reason": reason, "note": note });
        let visitor = Some(&form.visitor);
        return Ok(render(
            &app,
            visitor,
            "suppressions",
            "suppression_confirm.html",
            &view,
        ));
    }
    let force = is_complaint.then(|| ("force".to_owned(), "true".to_owned()));
    let why = Body::from(json!({ "reason": reason, "note": note }).to_string());
    let (caller, query) = (form.visitor.caller(), Query::given(force)?);
    let Json(_) = suppressions::lift(State(app), caller, Id(id), query, why).await?;
    Ok(Redirect::to(&format!("/suppressions/{id}?done=lifted")).into_response())
}
