//! One contact's story: what it asked for, what was received, what that changed, who was told and when, and who did what
//! about it, in order of time.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::{clock, contact::Contact, ledger::Act};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    event::changes,
    evidence::pretty,
    form::{Filters, Form},
    page::render,
    visitor::Visitor,
};
use crate::{
    App,
    changes::object,
    contacts::{Story, story},
    deliveries::Told,
    error::{Error, Result, asked},
    evidence::Evidence,
};

/// The newest events that are shown with the request that brought them; of the others a click away.
const EVIDENCED: usize = 20;

#[derive(Serialize)]
struct View<'a> {
    /// Names the contact in the addresses of forms.
    asked: String,
    typed: Option<&'a str>,
    story: Option<&'a Story>,
    /// Whether an export of it is signed.
    is_signed: bool,
    moments: Vec<Moment<'a>>,
}

/// Something that happened at a time.
#[derive(Serialize)]
struct Moment<'a> {
    at: Timestamp,
    what: &'static str,
    /// The event, the submission or the record of the trail.
    of: Value,
    /// What an event set.
    changes: Vec<Value>,
    /// Who was told of an event.
    told: Vec<&'a Told>,
    /// What brought an event.
    evidence: Option<Value>,
}

/// `GET /contacts`: by `contact`, an address or a number, or by `event`, one that it had.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    filters: Filters,
) -> Result<Response> {
    let contact = find(&app, &filters).await?;
    page(&app, &visitor, &filters, contact).await
}

/// `POST /contacts/reveal`
pub(super) async fn reveal(
    State(app): State<Arc<App>>,
    filters: Filters,
    form: Form,
) -> Result<Response> {
    let contact = find(&app, &filters).await?;
    let visitor = form.reveal(&app, "contact.reveal", None, contact.clone());
    page(&app, &visitor.await?, &filters, contact).await
}

/// `POST /contacts/export`: the whole story as a JSON file, signed where a key is set, so that anybody can tell later that
/// it is what was exported. The audit trail holds the file's SHA-256, and no record of the trail can be changed unseen:
/// so it tells the same of a file that is not signed, to whoever has the ledger.
pub(super) async fn export(
    State(app): State<Arc<App>>,
    filters: Filters,
    form: Form,
) -> Result<Response> {
    let contact = find(&app, &filters).await?.ok_or_else(nobody)?;
    let story = story(&app, contact.clone()).await?;
    let exported = object(
        json!({ "exported_at": clock::now(), "exported_by": form.visitor.key, "story": story }),
    );
    let file = match &app.dashboard.sealer {
        Some(sealer) => sealer.seal(&exported),
        None => format!("{:#}\n", Value::Object(exported)),
    };
    let digest = format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(&file)));
    let act = Act {
        actor: form.visitor.key.clone(),
        action: "contact.export",
        details: object(json!({ "sha256": digest })),
        contact: Some(contact),
        ..Act::default()
    };
    asked(app.ledger.audit(&[act])).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"contact.json\"",
        ),
    ];
    Ok((headers, file).into_response())
}

/// The contact that is asked for; None if none is.
async fn find(app: &App, filters: &Filters) -> Result<Option<Contact>> {
    if let Some(event) = filters.get("event") {
        let id: Uuid = event
            .parse()
            .map_err(|_| Error::parameter("event", "is not a UUID"))?;
        let what = "event";
        let event = asked(app.ledger.event(id)).await?;
        let event = event.ok_or(Error::NotFound { what, id })?;
        return event.contact.map(Some).ok_or_else(nobody);
    }
    let name = "contact";
    let typed = filters.get(name).map(Contact::parse).transpose();
    typed.map_err(|why| Error::Contact { name, why })
}

fn nobody() -> Error {
    Error::Conflict("this names nobody, so there is no contact to show".to_owned())
}

async fn page(
    app: &App,
    visitor: &Visitor,
    filters: &Filters,
    contact: Option<Contact>,
) -> Result<Response> {
    let story = match contact {
        Some(contact) => Some(story(app, contact).await?),
        None => None,
    };
    let moments = match &story {
        Some(story) => moments(app, story, visitor.sees).await?,
        None => vec![],
    };
    let view = View {
        asked: filters.only(&["contact", "event"]),
        typed: filters.get("contact"),
        story: story.as_ref(),
        is_signed: app.dashboard.sealer.is_some(),
        moments,
    };
    Ok(render(
        app,
        Some(visitor),
        "contacts",
        "contact.html",
        &view,
    ))
}

/// The story, oldest first. Evidence is fetched for those alone who may see it.
async fn moments<'a>(app: &App, story: &'a Story, sees: bool) -> Result<Vec<Moment<'a>>> {
    let mut told: HashMap<Uuid, Vec<&Told>> = HashMap::new();
    for one in &story.deliveries {
        told.entry(one.delivery.event_id).or_default().push(one);
    }
    let newest = story
        .events
        .iter()
        .rev()
        .take(if sees { EVIDENCED } else { 0 });
    let evidence = newest.map(async |shown| {
        let mut evidence = json!(Evidence::of(app, shown.event.envelope_id).await?);
        pretty(&mut evidence);
        Ok::<_, Error>((shown.event.id, evidence))
    });
    let mut evidence: HashMap<_, _> = try_join_all(evidence).await?.into_iter().collect();
    let plain = |at, what, of| Moment {
        at,
        what,
        of,
        changes: vec![],
        told: vec![],
        evidence: None,
    };
    let events = story.events.iter().map(|shown| Moment {
        changes: changes(&shown.event),
        told: told.remove(&shown.event.id).unwrap_or_default(),
        evidence: evidence.remove(&shown.event.id),
        ..plain(shown.event.occurred_at, "event", json!(shown))
    });
    let mut moments: Vec<_> = events.collect();
    for submission in &story.submissions {
        moments.push(plain(
            submission.submitted_at,
            "submission",
            json!(submission),
        ));
        for consent in &submission.consent_records {
            if let Some(at) = consent.revoked_at {
                moments.push(plain(at, "revocation", json!(consent)));
            }
        }
    }
    let records = story.audit.iter();
    moments.extend(records.map(|record| plain(record.at, "audit", json!(record))));
    moments.sort_by_key(|moment| moment.at);
    Ok(moments)
}
