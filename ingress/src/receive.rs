//! One webhook, from the request to the answer: who, may it, read, prove, wrap, publish, answer.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::{clock, config::Source, envelope::Envelope};
use jiff::Timestamp;
use tracing::debug;
use uuid::Uuid;

use crate::{App, Door, auth, body, refusal::Refusal};

/// Where an envelope's id stands in an answer whose body has no room for it.
const ENVELOPE_ID: HeaderName = HeaderName::from_static("x-optout-envelope");

/// `/webhooks/{source}`.
pub(crate) async fn webhook(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let Some(door) = name.ok().and_then(|Path(name)| app.doors.get(&name)) else {
        return Refusal::Unknown.answer(None);
    };
    if let Some(path) = door.source.provider.asks_at() {
        return Refusal::Question(path).answer(Some(door));
    }
    let told = |query| door.source.provider.tells_by_get(query);
    match *request.method() {
        Method::GET if request.uri().query().is_some_and(told) => {
            Refusal::Method.answer(Some(door))
        }
        // Providers probe before they save a URL, Mandrill even before it shows its key.
        Method::GET | Method::HEAD => StatusCode::OK.into_response(),
        Method::POST => match receive(&app, door, request).await {
            Ok(id) => received(door, id),
            Err(refusal) => refusal.answer(Some(door)),
        },
        _ => Refusal::Method.answer(Some(door)),
    }
}

/// Every other path.
pub(crate) async fn nothing_here() -> Response {
    Refusal::Unknown.answer(None)
}

async fn receive(app: &App, door: &Door, request: Request) -> Result<Uuid, Refusal> {
    let source = &door.source;
    if !source.enabled {
        return Err(Refusal::Disabled);
    }
    let mut hand = app.take_hand().ok_or(Refusal::Busy)?;
    let (head, body) = request.into_parts();
    auth::check_head(&source.credentials, &head).map_err(|_| Refusal::Unauthorized)?;
    let body = body::read(body, app.max_body, app.read_timeout, &mut hand).await?;
    let now = clock::now();
    let certificate = match auth::certificate(source, &head.headers, &body, now) {
        Some(url) => {
            let fetched = app.calls.certificate(&url, now).await;
            Some(fetched.ok_or(Refusal::NotFetched)?)
        }
        None => None,
    };
    auth::check_body(source, &head.headers, &body, now, certificate.as_deref())
        .map_err(|_| Refusal::Unauthorized)?;
    // Whoever may call without credentials may not have us call anybody.
    let confirmation = source.provider.confirmation(&body);
    if let Some(url) = confirmation.filter(|_| !source.credentials.is_empty()) {
        app.calls.visit(url).await.ok_or(Refusal::NotFetched)?;
    }

    let envelope = wrap(source, &head.headers, body, now);
    let (id, priority) = (envelope.id, source.provider.priority(&envelope.body));
    // From here on it is published even if this client goes away. What is answered "not stored" may have been stored
    // all the same, its confirmation late or lost: then the provider's repeat is a duplicate, which has no effect.
    app.gatherer
        .publish(priority, envelope, hand)
        .await
        .map_err(|_| Refusal::NotStored)?;
    door.accepted.increment(1);
    debug!(source = source.name, provider = source.provider.name(), envelope.id = %id, %priority, "webhook accepted");
    Ok(id)
}

fn wrap(source: &Source, headers: &HeaderMap, body: Bytes, now: Timestamp) -> Envelope {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let wanted = source
        .provider
        .headers()
        .iter()
        .copied()
        .chain(["user-agent"]);
    let kept = wanted
        .filter(|name| !auth::is_secret(&source.credentials, name))
        .flat_map(|name| {
            headers
                .get_all(name)
                .iter()
                .map(move |value| (name.to_owned(), text(value)))
        });
    Envelope {
        id: Uuid::now_v7(),
        source: source.name.clone(),
        received_at: now,
        // One that is no text nothing was verified by, and nothing is to be read by.
        content_type: headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        headers: kept.collect(),
        body,
    }
}

/// What is answered names the envelope: in the body, or where that is the provider's own in a header.
fn received(door: &Door, id: Uuid) -> Response {
    if let Some((content_type, body)) = door.source.provider.accepted() {
        let headers = [
            (header::CONTENT_TYPE, content_type.to_owned()),
            (ENVELOPE_ID, id.to_string()),
        ];
        return (headers, body).into_response();
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, format!(r#"{{"received":true,"id":"{id}"}}"#)).into_response()
}
