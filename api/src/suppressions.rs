//! The suppression list: seen, added to and lifted by hand. Nothing is deleted: a lift is an event like any other.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::StatusCode};
use common::{
    contact::Contact,
    event::{Draft, GLOBAL, Kind, Lane, Origin, Register},
    http::Problem,
    ledger::{Act, Page, Standing, Suppression, SuppressionFilter},
    queue::Priority,
    request::{Request, SOURCE},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    body,
    changes::{apply, moment, object, successor},
    error::{Error, Result, asked},
    events::Shown,
    openapi::PROBLEM,
    query::{Contacts, Id, Paging, Query},
};

/// Events of its contact that the history of a suppression is sought in, the newest.
const LONGEST_HISTORY: i64 = 1000;

/// A suppression by hand.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSuppression)]
pub(crate) struct Wanted {
    #[schema(min_length = 1)]
    email: Option<String>,
    #[schema(min_length = 1)]
    phone: Option<String>,
    /// Either of the two.
    #[schema(min_length = 1)]
    contact: Option<String>,
    /// Else `global`.
    #[schema(min_length = 1, max_length = 255)]
    scope: Option<String>,
    #[schema(min_length = 1, max_length = 16384)]
    reason: Option<String>,
    #[schema(min_length = 1, max_length = 16384)]
    note: Option<String>,
}

/// Why a suppression is lifted.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LiftReason)]
pub(crate) struct Why {
    #[schema(min_length = 1, max_length = 16384)]
    reason: Option<String>,
    #[schema(min_length = 1, max_length = 16384)]
    note: Option<String>,
}

/// A suppression with what came of it since it was first made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SuppressionDetail)]
pub(crate) struct Detail {
    #[serde(flatten)]
    suppression: Suppression,
    /// The events that set it, or would have if a later one had not: oldest first.
    history: Vec<Shown>,
}

/// A lifted suppression, and what suppresses the contact all the same.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiftedSuppression)]
pub(crate) struct Lifted {
    #[serde(flatten)]
    suppression: Suppression,
    still_suppressed_by: Vec<Suppression>,
}

/// Reads the filters that the list and the export take.
pub(crate) fn filter(query: &mut Query) -> Result<SuppressionFilter> {
    let contact = query.either_contact()?;
    let span = query.span()?;
    Ok(SuppressionFilter {
        contact,
        scope: query.text("scope")?,
        source: query.text("source")?,
        lane: query.named("lane")?,
        kind: query.named("kind")?,
        reason: query.text("reason")?,
        origin: query.named("origin")?,
        state: query.named("state")?,
        from: span.from,
        to: span.to,
    })
}

/// `GET /api/v1/suppressions`: standing and lifted, newest first by when what they say happened, which `from` and `to`
/// speak of, too.
#[utoipa::path(
    get, path = "/api/v1/suppressions", operation_id = "list_suppressions", tag = "Suppressions",
    params(SuppressionFilter, Contacts, Paging), responses((status = 200, body = Page<Suppression>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Suppression>>> {
    let filter = filter(&mut query)?;
    let paging = query.paging()?;
    query.finish()?;
    let page = app
        .ledger
        .suppressions(&filter, paging.limit, paging.cursor.as_deref());
    Ok(Json(asked(page).await?))
}

/// `GET /api/v1/suppressions/{id}`: with the events that made it what it is.
#[utoipa::path(
    get, path = "/api/v1/suppressions/{id}", operation_id = "show_suppression", tag = "Suppressions",
    responses((status = 200, body = Detail))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Detail>> {
    query.finish()?;
    let suppression = find(&app, id).await?;
    let history = asked(app.ledger.history(&suppression, LONGEST_HISTORY)).await?;
    Ok(Json(Detail {
        suppression,
        history: history.into_iter().map(Shown::from).collect(),
    }))
}

/// `POST /api/v1/suppressions`: suppresses by hand. 201 with the suppression, 200 if it stood already.
#[utoipa::path(
    post, path = "/api/v1/suppressions", operation_id = "add_suppression", tag = "Suppressions",
    request_body = Wanted,
    responses(
        (status = 200, body = Suppression, description = "It stood already."),
        (status = 201, body = Suppression),
        (status = 409, body = Problem, content_type = PROBLEM,
            description = "Another change came in between: ask again."),
    )
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    body::Json(wanted): body::Json<Wanted>,
) -> Result<(StatusCode, Json<Suppression>)> {
    let contact = body::one_contact(
        wanted.email.as_deref(),
        wanted.phone.as_deref(),
        wanted.contact.as_deref(),
    )?;
    let text =
        |name, given: &Option<String>| given.clone().map(|text| body::text(name, text)).transpose();
    let scope = wanted.scope.clone().map(body::scope).transpose()?;
    let scope = scope.unwrap_or_else(|| GLOBAL.to_owned());
    let (reason, note) = (text("reason", &wanted.reason)?, text("note", &wanted.note)?);
    let before = by_hand(&app, &contact, &scope).await?;
    let stands = before
        .as_ref()
        .is_some_and(|before| before.state == Standing::Active);
    let mut drafts = vec![];
    if !stands {
        let replaced = before.as_ref().map(|before| before.event_id);
        let identity = successor("suppress", &contact, &scope, replaced);
        let mut draft = Draft::new(Kind::Suppressed, "suppress", identity);
        draft.contact = Some(contact.clone());
        draft.scope = Some(scope.clone());
        draft.occurred_at = Some(moment(before.map(|before| before.occurred_at)));
        draft.reason.clone_from(&reason);
        draft.origin = Origin::Admin;
        draft.metadata = said(&actor, note.as_deref());
        drafts.push(draft);
    }
    let act = Act {
        actor: actor.clone(),
        action: "suppression.add",
        details: object(json!({ "scope": scope, "changes": drafts.len() })),
        contact: Some(contact.clone()),
        personal: object(json!({ "reason": reason, "note": note })),
        ..Act::default()
    };
    let request = Request {
        actor,
        action: act.action.to_owned(),
        request: json!(wanted),
        drafts,
    };
    let applied = apply(&app, request, &[act], Priority::Urgent).await?;
    let made = by_hand(&app, &contact, &scope).await?;
    let made = made
        .ok_or_else(|| Error::Conflict("another change came in between: ask again".to_owned()))?;
    let status = if applied.new.contains(&true) {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(made)))
}

/// `DELETE /api/v1/suppressions/{id}`: lifts it; the history stays. `reason` and `note` are parameters, or fields of a JSON
/// body. A complaint needs `force=true` and a reason. What is lifted already is answered alike.
#[utoipa::path(
    delete, path = "/api/v1/suppressions/{id}", operation_id = "lift_suppression", tag = "Suppressions",
    params(
        ("force" = Option<bool>, Query, description = "Lift a complaint, too."),
        ("reason" = Option<String>, Query),
        ("note" = Option<String>, Query),
    ),
    request_body = Option<Why>,
    responses(
        (status = 200, body = Lifted),
        (status = 409, body = Problem, content_type = PROBLEM,
            description = "It is a complaint, and `force` is not given."),
    )
)]
pub(crate) async fn lift(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    mut query: Query,
    body: Body,
) -> Result<Json<Lifted>> {
    let force = query.named::<bool>("force")?.unwrap_or(false);
    let given = (query.text("reason")?, query.text("note")?);
    query.finish()?;
    let why = why(given, &body::bytes(body).await?)?;
    let before = find(&app, id).await?;
    may_be_lifted(&before, force, &why)?;
    let contact = Contact {
        channel: before.channel,
        address: before.contact.clone(),
        raw: before.contact.clone(),
    };
    let stands = before.state == Standing::Active;
    let drafts: Vec<_> = stands
        .then(|| lifting(&before, &contact, &actor, &why))
        .into_iter()
        .collect();
    let act = Act {
        actor: actor.clone(),
        action: "suppression.lift",
        subject: Some(id.to_string()),
        details: object(
            json!({ "scope": before.scope, "source": before.source, "lane": before.lane,
            "force": force, "changes": drafts.len() }),
        ),
        contact: Some(contact.clone()),
        personal: object(json!(why)),
    };
    let request = Request {
        actor,
        action: act.action.to_owned(),
        request: json!({ "suppression": id, "reason": why.reason, "note": why.note }),
        drafts,
    };
    apply(&app, request, &[act], Priority::Urgent).await?;
    Ok(Json(Lifted {
        suppression: find(&app, id).await?,
        still_suppressed_by: asked(app.ledger.check(&contact, None)).await?,
    }))
}

fn lifting(before: &Suppression, contact: &Contact, actor: &str, why: &Why) -> Draft {
    let action = format!("lift {} {}", before.source, before.lane);
    let identity = successor(&action, contact, &before.scope, Some(before.event_id));
    let mut draft = Draft::new(Kind::Resubscribed, "lift", identity);
    draft.contact = Some(contact.clone());
    draft.scope = Some(before.scope.clone());
    draft.occurred_at = Some(moment(Some(before.occurred_at)));
    draft.reason.clone_from(&why.reason);
    draft.origin = Origin::Admin;
    draft.register = Some(Register {
        source: before.source.clone(),
        lane: before.lane,
    });
    draft.metadata = said(actor, why.note.as_deref());
    draft
}

fn may_be_lifted(before: &Suppression, force: bool, why: &Why) -> Result<()> {
    if before.state == Standing::Lifted {
        return Ok(());
    }
    match (before.lane, force, &why.reason) {
        (Lane::Complaint, false, _) => Err(Error::Conflict(
            "this is a complaint, which only a person clears: give force=true and a reason"
                .to_owned(),
        )),
        (Lane::Complaint, true, None) => Err(Error::field(
            "reason",
            "is missing: a complaint is lifted for a reason",
        )),
        _ => Ok(()),
    }
}

fn why((reason, note): (Option<String>, Option<String>), body: &[u8]) -> Result<Why> {
    let said: Why = if body.is_empty() {
        Why::default()
    } else {
        body::read(body)?
    };
    let text = |name, text: Option<String>| text.map(|text| body::text(name, text)).transpose();
    Ok(Why {
        reason: reason.map_or_else(|| text("reason", said.reason), |reason| Ok(Some(reason)))?,
        note: note.map_or_else(|| text("note", said.note), |note| Ok(Some(note)))?,
    })
}

/// What the api itself holds by hand.
async fn by_hand(app: &App, contact: &Contact, scope: &str) -> Result<Option<Suppression>> {
    let registers = asked(app.ledger.registers(std::slice::from_ref(contact))).await?;
    Ok(registers.into_iter().find(|register| {
        (
            register.source.as_str(),
            register.lane,
            register.scope.as_str(),
        ) == (SOURCE, Lane::Manual, scope)
    }))
}

async fn find(app: &App, id: uuid::Uuid) -> Result<Suppression> {
    let what = "suppression";
    let found = asked(app.ledger.suppression(id)).await?;
    found.ok_or(Error::NotFound { what, id })
}

/// What a change by hand says of itself.
fn said(actor: &str, note: Option<&str>) -> Map<String, Value> {
    let note = note.map(|note| ("note".to_owned(), note.into()));
    [("actor".to_owned(), actor.into())]
        .into_iter()
        .chain(note)
        .collect()
}
