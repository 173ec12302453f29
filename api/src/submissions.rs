//! Form submissions and what was agreed to in them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use common::{
    clock,
    contact::Contact,
    event::{CLOCK_SKEW, Draft, Kind, Lane, Origin, derived_id, rfc3339},
    http::Problem,
    ledger::{Act, Consent, Standing, Submission, Suppression},
    queue::Priority,
    request::{Request, SOURCE},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, Schema, Type},
};
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    changes::{apply, object, successor},
    error::{Error, Result, asked},
    openapi::PROBLEM,
    query::{Contacts, Id, Query},
};

/// The purposes that stand by themselves; the others are `events.NAME` and `other.NAME`.
const PURPOSES: [&str; 2] = ["general_contact", "primary_purpose"];
const GROUPS: [&str; 2] = ["events", "other"];

const LONGEST_NAME: usize = 64;

/// What a form sends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSubmission)]
pub(crate) struct Filled {
    /// Chosen by the client, so that a repeat is known; else one is made.
    id: Option<Uuid>,
    #[schema(min_length = 1, max_length = 16384)]
    form: Option<String>,
    #[schema(min_length = 1)]
    email: Option<String>,
    #[schema(min_length = 1)]
    phone: Option<String>,
    /// RFC 3339; else now.
    #[schema(format = DateTime)]
    submitted_at: Option<String>,
    /// Purposes and whether each was agreed to: `{"general_contact": true, "events.spring-fair": true}`.
    #[serde(default)]
    #[schema(schema_with = described_consents)]
    consents: Map<String, Value>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// Purposes, some of them in groups.
fn described_consents() -> Schema {
    let agreed = || ObjectBuilder::new().schema_type(Type::Boolean);
    let group = ObjectBuilder::new().additional_properties(Some(agreed()));
    let either = OneOfBuilder::new().item(agreed()).item(group);
    ObjectBuilder::new()
        .additional_properties(Some(Schema::from(either)))
        .into()
}

/// The submissions of a contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Submissions {
    items: Vec<Submission>,
    next_cursor: Option<String>,
}

/// `POST /api/v1/submissions`: enters a submission. What it agrees to and the api had revoked before holds again from
/// then on; what other sources hold stays.
///
/// First the submission, then the events that it causes. If this process dies in between, or the queue is away, the
/// client asks again with the same id or `Idempotency-Key`, and the events are made then, since the registers still say
/// that they are due. A repeat changes nothing.
#[utoipa::path(
    post, path = "/api/v1/submissions", operation_id = "create_submission", tag = "Consents",
    params(("Idempotency-Key" = Option<String>, Header, description = "Chosen by the client, so that a repeat is known.")),
    request_body = Filled,
    responses(
        (status = 200, body = Submission, description = "It was there already."),
        (status = 201, body = Submission),
        (status = 409, body = Problem, content_type = PROBLEM,
            description = "There is another submission with this id."),
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    headers: HeaderMap,
    body::Json(filled): body::Json<Filled>,
) -> Result<(StatusCode, Json<Submission>)> {
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(key) => Some(key.to_str().map_err(|_| {
            Error::parameter("Idempotency-Key", "holds characters that are not ASCII")
        })?),
    };
    let submission = read(filled, key.map(|key| (actor.as_str(), key)))?;
    let act = Act {
        actor: actor.clone(),
        action: "submission.create",
        subject: Some(submission.id.to_string()),
        details: object(json!({ "consents": submission.consents })),
        contact: submission.contacts().into_iter().next(),
        personal: object(json!({ "email": submission.email, "phone": submission.phone })),
    };
    asked(app.ledger.audit(&[act])).await?;
    let new = asked(app.ledger.submit(&submission)).await?;
    let gone = || Error::NotFound {
        what: "submission",
        id: submission.id,
    };
    let kept = asked(app.ledger.submission(submission.id)).await?;
    let kept = kept.ok_or_else(gone)?;
    if (&kept.email, &kept.phone) != (&submission.email, &submission.phone) {
        let why = format!("there is another submission with the id {}", submission.id);
        return Err(Error::Conflict(why));
    }
    let drafts = renewals(&app, &kept).await?;
    if !drafts.is_empty() {
        let request = Request {
            actor,
            action: "submission.create".to_owned(),
            request: json!({ "submission": kept.id }),
            drafts,
        };
        apply(&app, request, &[], Priority::Urgent).await?;
    }
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(kept)))
}

/// `GET /api/v1/submissions/{id}`: with what holds now, and what was revoked when and by which event.
#[utoipa::path(
    get, path = "/api/v1/submissions/{id}", operation_id = "show_submission", tag = "Consents",
    responses((status = 200, body = Submission))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Submission>> {
    query.finish()?;
    let found = asked(app.ledger.submission(id)).await?;
    found.map(Json).ok_or(Error::NotFound {
        what: "submission",
        id,
    })
}

/// `GET /api/v1/submissions?email=&phone=`: all submissions of either contact, oldest first.
#[utoipa::path(
    get, path = "/api/v1/submissions", operation_id = "list_submissions", tag = "Consents",
    params(Contacts), responses((status = 200, body = Submissions))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Submissions>> {
    let contacts: Vec<_> = [query.email()?, query.phone()?]
        .into_iter()
        .flatten()
        .collect();
    query.finish()?;
    if contacts.is_empty() {
        return Err(Error::parameter(
            "email",
            "is missing, and so is phone: at least one of them is needed",
        ));
    }
    let items = asked(app.ledger.submissions(&contacts)).await?;
    Ok(Json(Submissions {
        items,
        next_cursor: None,
    }))
}

/// Reads a form; `repeat` is who sent it and the key by which a repeat is known.
fn read(filled: Filled, repeat: Option<(&str, &str)>) -> Result<Submission> {
    let email = filled
        .email
        .map(|raw| body::contact("email", &raw, Contact::email))
        .transpose()?;
    let phone = filled
        .phone
        .map(|raw| body::contact("phone", &raw, Contact::phone))
        .transpose()?;
    if email.is_none() && phone.is_none() {
        return Err(Error::field(
            "email",
            "is missing, and so is phone: at least one of them is needed",
        ));
    }
    let now = clock::now();
    let id = match (filled.id, repeat) {
        (Some(id), _) => id,
        (None, Some((actor, key))) => derived_id("submission", actor, [key]),
        (None, None) => Uuid::now_v7(),
    };
    let times = (submitted_at(filled.submitted_at.as_deref(), now)?, now);
    let consents = consents(filled.consents)?;
    let metadata = Value::Object(filled.metadata);
    if holds_nul(&metadata) {
        return Err(Error::field("metadata", "holds a NUL character"));
    }
    let mut submission = Submission::new(id, (email.as_ref(), phone.as_ref()), times, consents);
    submission.form = filled
        .form
        .map(|form| body::text("form", form))
        .transpose()?;
    submission.metadata = object(metadata);
    Ok(submission)
}

/// Whether a text or a key of it holds a NUL, which PostgreSQL could not compare.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.contains('\0') || holds_nul(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn submitted_at(stated: Option<&str>, now: Timestamp) -> Result<Timestamp> {
    let Some(stated) = stated else { return Ok(now) };
    let wrong = |why: &str| Error::field("submitted_at", why);
    let at = rfc3339(stated)
        .map(clock::truncate)
        .ok_or_else(|| wrong("is no time in RFC 3339, such as 2026-04-02T14:30:00Z"))?;
    if at <= Timestamp::UNIX_EPOCH {
        return Err(wrong("lies before 1970"));
    }
    if now
        .saturating_add(CLOCK_SKEW)
        .is_ok_and(|latest| at > latest)
    {
        return Err(wrong("lies in the future"));
    }
    Ok(at)
}

/// Flattens groups: `{"events": {"fair": true}}` and `{"events.fair": true}` are the same.
fn consents(given: Map<String, Value>) -> Result<Vec<Consent>> {
    let mut flat = BTreeMap::new();
    let mut take = |purpose: String, agreed: &Value| -> Result<()> {
        let granted = agreed.as_bool().ok_or_else(|| {
            let name = format!("consents.{purpose}");
            Error::field(&name, "is neither true nor false")
        })?;
        flat.insert(purpose, granted);
        Ok(())
    };
    for (key, agreed) in given {
        match agreed {
            Value::Object(names) if GROUPS.contains(&key.as_str()) => {
                for (name, agreed) in names {
                    take(format!("{key}.{name}"), &agreed)?;
                }
            }
            agreed => take(key, &agreed)?,
        }
    }
    flat.into_iter()
        .map(|(purpose, granted)| {
            let named = purpose
                .split_once('.')
                .is_some_and(|(group, name)| GROUPS.contains(&group) && is_name(name));
            if !named && !PURPOSES.contains(&purpose.as_str()) {
                let why = "is none of general_contact, primary_purpose, events.NAME and other.NAME";
                return Err(Error::field(&format!("consents.{purpose}"), why));
            }
            Ok(Consent {
                purpose,
                granted,
                revoked_at: None,
                revoked_by: None,
            })
        })
        .collect()
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

/// The events by which the submission takes back what the api had revoked before it.
async fn renewals(app: &App, submission: &Submission) -> Result<Vec<Draft>> {
    let contacts = submission.contacts();
    let registers = asked(app.ledger.registers(&contacts)).await?;
    let renewed = |suppression: &&Suppression| {
        suppression.source == SOURCE
            && suppression.state == Standing::Active
            && matches!(suppression.lane, Lane::Consent | Lane::Manual)
            && suppression.occurred_at < submission.submitted_at
            && submission.consents.get(&suppression.scope) == Some(&true)
    };
    let mut drafts: Vec<Draft> = vec![];
    for suppression in registers.iter().filter(renewed) {
        let of_it = |contact: &&Contact| {
            contact.channel == suppression.channel && contact.address == suppression.contact
        };
        let Some(contact) = contacts.iter().find(of_it) else {
            continue;
        };
        let identity = successor(
            "submission",
            contact,
            &suppression.scope,
            Some(suppression.event_id),
        );
        let mut draft = Draft::new(Kind::Resubscribed, "submission", identity);
        draft.contact = Some(contact.clone());
        draft.scope = Some(suppression.scope.clone());
        draft.occurred_at = Some(submission.submitted_at);
        draft.origin = Origin::Recipient;
        draft.reason = Some(format!("agreed to in the submission {}", submission.id));
        drafts.push(draft);
    }
    // One event clears both lanes of its scope.
    drafts.dedup_by(|one, other| one.contact == other.contact && one.scope == other.scope);
    Ok(drafts)
}
