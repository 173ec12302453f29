//! The Brevo document: `POST /api/v1/brevo/unsubscribe`, which a webhook of Brevo's calls, answered to the letter.
//!
//! It revokes the general contact consent of whoever it names, and of every submission that matches by either key, and
//! nothing else. What the document says of its answers holds for its errors, too: `{"error", "message"}` in the place
//! of a problem.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use common::{
    contact::Contact,
    event::{Draft, Kind, Lane, Origin},
    ledger::{Act, Standing, Submission, Suppression},
    queue::Priority,
    request::{self, SOURCE},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema, Type,
        schema::{AdditionalProperties, SchemaType},
    },
};

use crate::{
    App,
    auth::Caller,
    body,
    changes::{apply, moment, successor},
    error::{Error, Result, asked},
    routes::Methods,
};

/// The purpose that is revoked.
const PURPOSE: &str = "general_contact";

const ACTION: &str = "brevo.unsubscribe";

/// A problem's body is smaller than this.
const PROBLEM_LIMIT: usize = 64 << 10;

/// The document's success body.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BrevoDone)]
pub(crate) struct Done {
    success: bool,
    message: &'static str,
}

/// The document's error body.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BrevoRefusal)]
pub(crate) struct Refusal {
    error: &'static str,
    message: String,
}

/// What is read of a body, as it is described.
struct Given;

impl ToSchema for Given {
    fn name() -> Cow<'static, str> {
        "BrevoRequest".into()
    }
}

impl PartialSchema for Given {
    fn schema() -> RefOr<Schema> {
        let field = |says| {
            ObjectBuilder::new()
                .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
                .description(Some(says))
        };
        let event = ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some(
                "Of a webhook: what is no unsubscribe changes nothing.",
            ));
        ObjectBuilder::new()
            .property("email", field("An email address."))
            .property("phone", field("A phone number in E.164."))
            .property("event", event)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .into()
    }
}

const DONE: Done = Done {
    success: true,
    message: "Unsubscribe processed successfully",
};

/// `POST /api/v1/brevo/unsubscribe`: synchronous and idempotent. Fields that it does not know are passed over, since
/// Brevo's webhooks have more; a webhook of another event than an unsubscribe changes nothing.
#[utoipa::path(
    post, path = "/api/v1/brevo/unsubscribe", operation_id = "unsubscribe_by_brevo", tag = "Consents",
    request_body = Given,
    responses(
        (status = 200, body = Done),
        (status = 400, body = Refusal),
        (status = 401, body = Refusal),
        (status = 403, body = Refusal),
        (status = 429, body = Refusal),
        (status = 500, body = Refusal),
        (status = 503, body = Refusal),
    )
)]
pub(crate) async fn unsubscribe(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    body: Body,
) -> Result<Json<Done>> {
    let given: Map<String, Value> = body::read(&body::bytes(body).await?)?;
    if !is_unsubscribe(&given) {
        asked(app.ledger.audit(&[act(&actor, None, 0, "ignored")])).await?;
        return Ok(Json(DONE));
    }
    let email = contact(&given, "email", Contact::email)?;
    let phone = contact(&given, "phone", Contact::phone)?;
    let named: Vec<_> = email.into_iter().chain(phone).collect();
    if named.is_empty() {
        let why = "At least one of email or phone must be provided";
        return Err(Error::Body(why.to_owned()));
    }
    let drafts = drafts(&app, &named).await?;
    let changes = drafts.len();
    let acts: Vec<_> = named
        .iter()
        .map(|contact| act(&actor, Some(contact), changes, "processed"))
        .collect();
    let request = request::Request {
        actor,
        action: ACTION.to_owned(),
        request: Value::Object(given),
        drafts,
    };
    apply(&app, request, &acts, Priority::Urgent).await?;
    Ok(Json(DONE))
}

/// Brevo posts whatever events its webhook is set to. One that says that it is no unsubscribe is none.
fn is_unsubscribe(given: &Map<String, Value>) -> bool {
    match given.get("event") {
        None | Some(Value::Null) => true,
        Some(Value::String(event)) => {
            let event = event.trim().to_ascii_lowercase();
            matches!(event.as_str(), "unsubscribe" | "unsubscribed")
                || event.starts_with("list_unsub")
        }
        Some(_) => false,
    }
}

/// A contact, if there is one: null and blank count as not given.
fn contact(
    given: &Map<String, Value>,
    name: &'static str,
    read: impl Fn(&str) -> std::result::Result<Contact, common::contact::Invalid>,
) -> Result<Option<Contact>> {
    match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => read(text)
            .map(Some)
            .map_err(|why| Error::Contact { name, why }),
        Some(_) => Err(Error::field(name, "is no string")),
    }
}

/// One opt-out for each contact that is not opted out already: those that are named, and those of the submissions that
/// match, since the document says that whoever made them is contacted by neither way any more.
async fn drafts(app: &App, named: &[Contact]) -> Result<Vec<Draft>> {
    let submissions = asked(app.ledger.submissions(named)).await?;
    let matching = submissions.iter().filter(|submission| {
        let mut records = submission.consent_records.iter();
        records.any(|consent| consent.purpose == PURPOSE && consent.granted)
    });
    let mut contacts = named.to_vec();
    for contact in matching.flat_map(Submission::contacts) {
        if !contacts.iter().any(|known| same(known, &contact)) {
            contacts.push(contact);
        }
    }
    let registers = asked(app.ledger.registers(&contacts)).await?;
    let draft = |contact: &Contact| {
        let register = registers.iter().find(|register| is_of(register, contact));
        let stands = register.is_some_and(|register| register.state == Standing::Active);
        let holds = |submission: &Submission| {
            let of_it = submission.contacts().iter().any(|own| same(own, contact));
            of_it && submission.consents.get(PURPOSE) == Some(&true)
        };
        if stands && !submissions.iter().any(holds) {
            return None;
        }
        let replaced = register.map(|register| register.event_id);
        let identity = successor(ACTION, contact, PURPOSE, replaced);
        let mut draft = Draft::new(Kind::Unsubscribed, "unsubscribe", identity);
        draft.occurred_at = Some(moment(register.map(|register| register.occurred_at)));
        draft.scope = Some(PURPOSE.to_owned());
        draft.origin = Origin::Recipient;
        draft.reason = (!named.contains(contact))
            .then(|| "the other contact of a submission that was unsubscribed".to_owned());
        draft.contact = Some(contact.clone());
        Some(draft)
    };
    Ok(contacts.iter().filter_map(draft).collect())
}

fn same(one: &Contact, other: &Contact) -> bool {
    (one.channel, &one.address) == (other.channel, &other.address)
}

/// Whether it is the register that this endpoint sets.
fn is_of(register: &Suppression, contact: &Contact) -> bool {
    (register.source.as_str(), register.lane) == (SOURCE, Lane::Consent)
        && register.scope == PURPOSE
        && (register.channel, &register.contact) == (contact.channel, &contact.address)
}

fn act(actor: &str, contact: Option<&Contact>, changes: usize, outcome: &str) -> Act {
    Act {
        actor: actor.to_owned(),
        action: ACTION,
        details: [
            ("changes".to_owned(), changes.into()),
            ("outcome".to_owned(), outcome.into()),
        ]
        .into_iter()
        .collect(),
        contact: contact.cloned(),
        ..Act::default()
    }
}

/// Has all answers pass through [`in_its_words`], those to a missing key among them.
pub(crate) fn around(methods: Methods) -> Methods {
    methods.route_layer(from_fn(in_its_words))
}

/// Says what is wrong in the document's form.
async fn in_its_words(request: Request, next: Next) -> Response {
    let (mut head, body) = next.run(request).await.into_parts();
    let (status, error) = match head.status {
        status if status.is_success() => return Response::from_parts(head, body),
        StatusCode::BAD_REQUEST
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::BAD_REQUEST, "ValidationError"),
        StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        StatusCode::FORBIDDEN => (StatusCode::FORBIDDEN, "Forbidden"),
        StatusCode::TOO_MANY_REQUESTS => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        StatusCode::SERVICE_UNAVAILABLE => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        other => (other, "Error"),
    };
    let problem: Value = match to_bytes(body, PROBLEM_LIMIT).await {
        Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    let detail = problem["detail"].as_str().unwrap_or_default();
    let message = detail.strip_prefix("the body is wrong: ").unwrap_or(detail);
    let message = message.to_owned();
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::CONTENT_LENGTH);
    let mut response = (status, Json(Refusal { error, message })).into_response();
    response.headers_mut().extend(head.headers);
    response
}
