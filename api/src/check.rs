//! The question before every send: may this contact be written to?
//!
//! Whatever keeps it from being answered, be it the key, the question or the ledger, the answer does not read as
//! "subscribed": beside the status every problem of this path holds `"unsubscribed": true`, for a client that looks at
//! nothing else.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::header::CONTENT_LENGTH,
    middleware::Next,
    response::{IntoResponse, Response},
};
use common::{
    contact::{Contact, Invalid},
    http::Problem,
    ledger::Suppression,
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{
    App, body,
    error::{Error, Result, asked},
    openapi::{PROBLEM, problem_with},
    query::{self, Query},
};

/// Where both questions are asked.
pub(crate) const PATH: &str = "/api/v1/check";

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckAnswer)]
pub(crate) struct Answer {
    unsubscribed: bool,
    suppressions: Vec<Suppression>,
}

/// A problem that does not read as "subscribed", as it is described.
struct Doubt;

impl ToSchema for Doubt {}

impl PartialSchema for Doubt {
    fn schema() -> RefOr<Schema> {
        let stop = ObjectBuilder::new().schema_type(Type::Boolean);
        problem_with("unsubscribed", stop.enum_values(Some([true])))
    }
}

/// `GET /api/v1/check?email=&phone=&scope=`: with both contacts, what suppresses either.
#[utoipa::path(
    get, path = "/api/v1/check", operation_id = "check_contact", tag = "Checks",
    params(
        query::Contacts,
        ("scope" = Option<String>, Query, description = "Ask of this scope and `global`; without it the strictest answer."),
    ),
    responses(
        (status = 200, body = Answer),
        (status = 503, body = Doubt, content_type = PROBLEM),
    )
)]
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    query: Result<Query>,
) -> Result<Json<Answer>> {
    answer(&app, query).await.map(Json)
}

/// The most contacts of one question.
const MOST: usize = 10_000;

/// Contacts to be checked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContactsToCheck)]
pub(crate) struct Contacts {
    #[schema(min_length = 1)]
    scope: Option<String>,
    /// Email addresses and phone numbers, at most 10,000.
    #[schema(max_items = 10000)]
    contacts: Vec<String>,
}

/// The answers, in the order of the contacts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckAnswers)]
pub(crate) struct Answers {
    items: Vec<Item>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckedContact)]
pub(crate) struct Item {
    /// As it was given.
    contact: String,
    unsubscribed: bool,
    /// Why it cannot be read; then it is not to be sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

/// `POST /api/v1/check`: many contacts by one query. One that cannot be read counts as unsubscribed, and says why.
#[utoipa::path(
    post, path = "/api/v1/check", operation_id = "check_contacts", tag = "Checks",
    request_body = Contacts,
    responses(
        (status = 200, body = Answers),
        (status = 503, body = Doubt, content_type = PROBLEM),
    )
)]
pub(crate) async fn check_all(
    State(app): State<Arc<App>>,
    contacts: Result<body::Json<Contacts>>,
) -> Result<Json<Answers>> {
    answers(&app, contacts).await.map(Json)
}

async fn answers(app: &App, contacts: Result<body::Json<Contacts>>) -> Result<Answers> {
    let body::Json(Contacts { scope, contacts }) = contacts?;
    let scope = scope.map(|scope| body::text("scope", scope)).transpose()?;
    if contacts.len() > MOST {
        let why = format!("has {} entries, but {MOST} are the most", contacts.len());
        return Err(Error::field("contacts", why));
    }
    let read: Vec<_> = contacts.iter().map(|raw| Contact::parse(raw)).collect();
    let readable: Vec<_> = read.iter().flatten().cloned().collect();
    let mut known = asked(app.ledger.check_all(&readable, scope.as_deref()))
        .await?
        .into_iter();
    let item = |(contact, read): (String, std::result::Result<Contact, Invalid>)| match read {
        // One without an answer would be one in doubt.
        Ok(_) => Item {
            contact,
            unsubscribed: known.next().unwrap_or(true),
            error: None,
        },
        Err(why) => Item {
            contact,
            unsubscribed: true,
            error: Some(why.to_string()),
        },
    };
    let items = contacts.into_iter().zip(read).map(item).collect();
    Ok(Answers { items })
}

/// Lets no problem of this path read as "subscribed", whoever made it.
pub(crate) async fn in_doubt(request: Request, next: Next) -> Response {
    let is_check = request.uri().path() == PATH;
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    match problem.filter(|_| is_check) {
        None => response,
        Some(problem) => {
            let (mut head, _) = response.into_parts();
            head.headers.remove(CONTENT_LENGTH);
            let body = problem
                .with("unsubscribed", true)
                .into_response()
                .into_body();
            Response::from_parts(head, body)
        }
    }
}

async fn answer(app: &App, query: Result<Query>) -> Result<Answer> {
    let mut query = query?;
    let (email, phone, scope) = (query.email()?, query.phone()?, query.text("scope")?);
    query.finish()?;
    if email.is_none() && phone.is_none() {
        return Err(Error::parameter(
            "email",
            "is missing, and so is phone: at least one of them is needed",
        ));
    }
    let contacts = [email, phone];
    let asked = contacts
        .iter()
        .flatten()
        .map(|contact| app.checks.ask(contact, scope.as_deref()));
    let suppressions = try_join_all(asked).await?.concat();
    Ok(Answer {
        unsubscribed: !suppressions.is_empty(),
        suppressions,
    })
}
