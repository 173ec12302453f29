//! Endpoints: targets that users register, by SentinMail's management API.
//!
//! A secret is shown once, when it is made. Each change is one transaction with its audit record; workers see it at the
//! next webhook.

use std::{sync::Arc, time::Instant};

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use common::{
    clock,
    config::Filter,
    contact::Contact,
    delivery::{Delivery, Outcome},
    endpoint::{self, Endpoint, Wanted},
    envelope::Envelope,
    event::{Draft, Identity, Kind, Origin, Undetermined},
    ledger::{Act, Page},
    request::SOURCE,
    webhook::{self, Payload},
};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    changes::object,
    error::{Error, Result, asked},
    query::{Id, Query},
};

const LONGEST_URL: usize = 2048;

/// What a user registers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// HTTPS.
    url: String,
    /// Kinds of event, or `["*"]`.
    events: Vec<String>,
    description: Option<String>,
    enabled: Option<bool>,
}

/// An endpoint with its new secret.
#[derive(Debug, Serialize)]
pub(crate) struct WithSecret {
    #[serde(flatten)]
    endpoint: Endpoint,
    /// Shown this once.
    secret: String,
}

/// What came of a test event.
#[derive(Debug, Serialize)]
pub(crate) struct Tested {
    delivered: bool,
    status: Option<u16>,
    duration_ms: u64,
    error: Option<String>,
    /// The beginning of the answer.
    answer: Option<String>,
}

/// `POST /api/emails/webhook-endpoints/`: registers an endpoint; the answer shows its secret, once.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    body::Json(registration): body::Json<Registration>,
) -> Result<(StatusCode, Json<WithSecret>)> {
    let wanted = read(&app, registration)?;
    let (id, secret) = (Uuid::now_v7(), secret());
    let act = act(actor, "endpoint.create", id, Some(&wanted.url));
    let made = asked(app.ledger.create_endpoint(id, &wanted, &secret, &act)).await?;
    Ok((StatusCode::CREATED, shown(made, &secret)))
}

/// `GET /api/emails/webhook-endpoints/`: newest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Endpoint>>> {
    let paging = query.paging()?;
    query.finish()?;
    let page = app.ledger.endpoints(paging.limit, paging.cursor.as_deref());
    Ok(Json(asked(page).await?))
}

/// `GET /api/emails/webhook-endpoints/{id}/`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Endpoint>> {
    query.finish()?;
    let found = asked(app.ledger.endpoint(id)).await?;
    found.map(Json).ok_or(gone(id))
}

/// `PUT /api/emails/webhook-endpoints/{id}/`: another URL, other events; `enabled` as it was unless it is given.
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    body::Json(registration): body::Json<Registration>,
) -> Result<Json<Endpoint>> {
    let wanted = read(&app, registration)?;
    let act = act(actor, "endpoint.update", id, Some(&wanted.url));
    let updated = asked(app.ledger.update_endpoint(id, &wanted, &act)).await?;
    updated.map(Json).ok_or(gone(id))
}

/// `DELETE /api/emails/webhook-endpoints/{id}/`: what was not delivered to it is dead.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
) -> Result<StatusCode> {
    query.finish()?;
    let act = act(actor, "endpoint.delete", id, None);
    if asked(app.ledger.delete_endpoint(id, &act)).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(gone(id))
    }
}

/// `POST /api/emails/webhook-endpoints/{id}/rotate/`: a new secret, shown this once. The one before is signed with as
/// well for `endpoints.rotation`.
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<WithSecret>> {
    query.finish()?;
    let secret = secret();
    let act = act(actor, "endpoint.rotate", id, None);
    let overlap = app.endpoints.rotation;
    let rotated = asked(app.ledger.rotate_endpoint(id, &secret, overlap, &act)).await?;
    rotated
        .map(|endpoint| shown(endpoint, &secret))
        .ok_or(gone(id))
}

/// `POST /api/emails/webhook-endpoints/{id}/test/`: sends a signed event about nobody real, to a disabled endpoint, too,
/// and tells what came back. It is in no list, and is not tried again.
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Tested>> {
    query.finish()?;
    let found = asked(app.ledger.sendable_endpoints(Some(id))).await?;
    let endpoint = found.into_iter().next().ok_or(gone(id))?;
    let url = Url::parse(&endpoint.url).map_err(|_| gone(id))?;
    let act = act(actor, "endpoint.test", id, Some(&url));
    asked(app.ledger.audit(&[act])).await?;
    let delivery = sample(id);
    let request = app.outbound.request(Method::POST, url);
    let request = request.header("content-type", "application/json");
    let body = Payload::from(&delivery).to_json();
    let signed = webhook::sign(request, &endpoint.keys, delivery.id, body);
    let begun = Instant::now();
    let reply = app.outbound.exchange(signed, app.outbound.deadline()).await;
    let answer = reply.map_or_else(common::delivery::Answer::from, |reply| reply.answer());
    let error = match &answer.outcome {
        Outcome::Done => None,
        Outcome::Retry { why, .. } | Outcome::Dead { why } => Some(why.clone()),
    };
    Ok(Json(Tested {
        delivered: error.is_none(),
        status: answer.status,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        error,
        answer: answer.excerpt,
    }))
}

fn read(app: &App, registration: Registration) -> Result<Wanted> {
    let description = registration.description;
    Ok(Wanted {
        url: url(app, &registration.url).map_err(|why| Error::field("url", why))?,
        events: events(&registration.events).map_err(|why| Error::field("events", why))?,
        description: description
            .map(|text| body::text("description", text))
            .transpose()?,
        enabled: registration.enabled,
    })
}

fn url(app: &App, text: &str) -> std::result::Result<Url, String> {
    if text.len() > LONGEST_URL {
        return Err(format!("is longer than {LONGEST_URL} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if url.scheme() != "https" && !(app.endpoints.allow_http && url.scheme() == "http") {
        return Err(
            "is not HTTPS: an address such as https://example.com/hook is needed".to_owned(),
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "holds credentials, which would be seen in lists: the signature says who sends"
                .to_owned(),
        );
    }
    app.outbound.check_url(&url)?;
    Ok(url)
}

fn events(names: &[String]) -> std::result::Result<Filter, String> {
    if names.is_empty() {
        return Err("is empty; [\"*\"] stands for every kind".to_owned());
    }
    if names.iter().any(|name| name == "*") {
        return Ok(Filter::All);
    }
    let kinds = names.iter().map(|name| name.parse::<Kind>());
    kinds
        .collect::<std::result::Result<_, _>>()
        .map(Filter::Only)
        .map_err(|unknown| format!("has an unknown kind: {unknown}"))
}

fn secret() -> SecretString {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>())).into()
}

fn shown(endpoint: Endpoint, secret: &SecretString) -> Json<WithSecret> {
    Json(WithSecret {
        endpoint,
        secret: secret.expose_secret().to_owned(),
    })
}

/// The host alone: a path may be a secret.
fn act(actor: String, action: &'static str, id: Uuid, url: Option<&Url>) -> Act {
    Act {
        actor,
        action,
        subject: Some(id.to_string()),
        details: object(json!({ "host": url.and_then(Url::host_str) })),
        ..Act::default()
    }
}

/// The delivery of an event that never happened, of an envelope that never came.
fn sample(endpoint: Uuid) -> Delivery {
    let envelope = Envelope {
        id: Uuid::now_v7(),
        source: SOURCE.to_owned(),
        received_at: clock::now(),
        content_type: None,
        headers: vec![],
        body: Bytes::new(),
    };
    let own = Identity::Own(envelope.id.to_string());
    let mut draft = Draft::new(Kind::Unsubscribed, "endpoint.test", own);
    draft.contact = Contact::email("test@example.com").ok();
    draft.origin = Origin::Admin;
    draft.metadata = object(json!({ "test": true }));
    let event = draft.into_event(&envelope, SOURCE, Undetermined::Suppress);
    Delivery::new(event, &endpoint::target(endpoint))
}

fn gone(id: Uuid) -> Error {
    let what = "endpoint";
    Error::NotFound { what, id }
}
