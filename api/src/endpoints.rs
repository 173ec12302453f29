//! Endpoints: the targets that users register themselves, as SentinMail's management API has them. Each path is served
//! with and without its final slash.
//!
//! A secret is told where it is made, and never again. Of a URL the audit trail has only the host: its path may be a
//! secret, too. A change and its record there are one transaction, and once it is answered every worker heeds it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::{Method, StatusCode, header::CONTENT_TYPE},
};
use common::{
    config::{self, Config, Filter},
    delivery::{Answer, Delivery, Tested},
    endpoint::{self, Endpoint, Wanted},
    event::Kind,
    ledger::{Act, Breaker, Page},
    outbound::{NoClient, Outbound},
    request,
    signature::standard_secret,
    webhook::{self, Payload},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    changes::object,
    error::{Error, Result, asked},
    query::{Id, Paging, Query},
};

/// The longest URL, in bytes.
const MAX_URL: usize = 2048;

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 2048;

const HELD_BACK: &str =
    "it is http://, which endpoints.allow_http does not allow any more: its deliveries wait";

/// What holds for all endpoints, and the way to them.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) settings: config::Endpoints,
    pub(crate) outbound: Outbound,
}

/// An endpoint as its owner wants it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointRegistration)]
pub(crate) struct Registration {
    /// Where it is: `https://`, unless `[endpoints] allow_http` is set.
    #[schema(format = "uri", max_length = 2048)]
    url: String,
    /// The kinds of event that it is told of, or `["*"]` for all.
    #[schema(value_type = Filter)]
    events: Vec<String>,
    #[schema(min_length = 1, max_length = 2048)]
    description: Option<String>,
    /// Left as it is where it is not given; a new one is enabled.
    enabled: Option<bool>,
}

/// An endpoint with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointWithSecret)]
pub(crate) struct WithSecret {
    #[serde(flatten)]
    endpoint: Endpoint,
    /// `whsec_` and base64, as Standard Webhooks has it.
    secret: String,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> std::result::Result<Self, NoClient> {
        let settings = config.endpoints.clone();
        let outbound = Outbound::new(config.outbound.allow_networks.clone(), settings.timeout)?;
        Ok(Self { settings, outbound })
    }

    pub(crate) fn url(&self, text: String) -> Result<Url> {
        let wrong = |why: &str| Error::field("url", why);
        let text = body::text("url", text)?;
        if text.len() > MAX_URL {
            return Err(wrong("is longer than 2048 bytes"));
        }
        if text.contains(char::is_whitespace) {
            return Err(wrong("holds white space: write it as %20"));
        }
        let url = Url::parse(&text).map_err(|why| wrong(&format!("is no URL: {why}")))?;
        if self.settings.holds_back(&url) {
            return Err(wrong(
                "is sent to without encryption: https:// is needed, unless endpoints.allow_http is set",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "holds credentials: what is sent is signed instead, so leave them out",
            ));
        }
        let checked = self.outbound.check_url(&url);
        checked.map_err(|why| wrong(&why))?;
        Ok(url)
    }

    /// The endpoint, where its breaker stands, and why nothing is sent to it where the settings have changed since it was
    /// registered.
    fn shown(&self, mut endpoint: Endpoint, breakers: &mut BTreeMap<String, Breaker>) -> Endpoint {
        endpoint.breaker = breakers.remove(&endpoint::target(endpoint.id));
        let url = Url::parse(&endpoint.url);
        endpoint.held_back = url
            .is_ok_and(|url| self.settings.holds_back(&url))
            .then_some(HELD_BACK);
        endpoint
    }

    fn wanted(&self, registration: Registration) -> Result<Wanted> {
        let url = self.url(registration.url)?;
        if registration.events.is_empty() {
            let why = "is empty: name the kinds of event, or [\"*\"] for all";
            return Err(Error::field("events", why));
        }
        let events = Filter::of(&registration.events)
            .map_err(|why| Error::field("events", format!("is wrong: {why}, *")))?;
        let description = registration
            .description
            .map(|text| body::text("description", text))
            .transpose()?;
        if description
            .as_ref()
            .is_some_and(|text| text.len() > MAX_DESCRIPTION)
        {
            return Err(Error::field("description", "is longer than 2048 bytes"));
        }
        Ok(Wanted {
            url,
            events,
            description,
            enabled: registration.enabled,
        })
    }
}

/// `GET /api/emails/webhook-endpoints/`: newest first, without secrets.
#[utoipa::path(
    get, path = "/api/emails/webhook-endpoints/", operation_id = "list_endpoints", tag = "Endpoints",
    params(Paging), responses((status = 200, body = Page<Endpoint>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Endpoint>>> {
    let paging = query.paging()?;
    query.finish()?;
    let page = app.ledger.endpoints(paging.limit, paging.cursor.as_deref());
    let Page { items, next_cursor } = asked(page).await?;
    let mut breakers = asked(app.ledger.breakers()).await?;
    let shown = items.into_iter();
    let shown = shown.map(|one| app.endpoints.shown(one, &mut breakers));
    let items = shown.collect();
    Ok(Json(Page { items, next_cursor }))
}

/// `GET /api/emails/webhook-endpoints/{id}/`
#[utoipa::path(
    get, path = "/api/emails/webhook-endpoints/{id}/", operation_id = "show_endpoint", tag = "Endpoints",
    responses((status = 200, body = Endpoint))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Endpoint>> {
    query.finish()?;
    find(&app, id).await.map(Json)
}

/// `POST /api/emails/webhook-endpoints/`: registers one; 201 with its secret. A field that is wrong is 422.
///
/// If the answer is lost there is an endpoint whose secret nobody knows: it is in the list, to be deleted or rotated.
#[utoipa::path(
    post, path = "/api/emails/webhook-endpoints/", operation_id = "create_endpoint", tag = "Endpoints",
    request_body = Registration, responses((status = 201, body = WithSecret))
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Query,
    body::Json(registration): body::Json<Registration>,
) -> Result<(StatusCode, Json<WithSecret>)> {
    query.finish()?;
    let wanted = app.endpoints.wanted(registration)?;
    let (id, secret) = (Uuid::now_v7(), standard_secret());
    let act = changing(actor, "endpoint.create", id, &wanted);
    let endpoint = asked(app.ledger.create_endpoint(id, &wanted, &secret, &act)).await?;
    let secret = secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(WithSecret { endpoint, secret })))
}

/// `PUT /api/emails/webhook-endpoints/{id}/`: replaces URL, events and description; `enabled` where it is given. One that
/// is enabled again is sent what has waited.
#[utoipa::path(
    put, path = "/api/emails/webhook-endpoints/{id}/", operation_id = "update_endpoint", tag = "Endpoints",
    request_body = Registration, responses((status = 200, body = Endpoint))
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
    body::Json(registration): body::Json<Registration>,
) -> Result<Json<Endpoint>> {
    query.finish()?;
    let wanted = app.endpoints.wanted(registration)?;
    let act = changing(actor, "endpoint.update", id, &wanted);
    let changed = asked(app.ledger.update_endpoint(id, &wanted, &act)).await?;
    changed.map(Json).ok_or_else(|| missing(id))
}

/// `DELETE /api/emails/webhook-endpoints/{id}/`: 204. What it has not been sent by then is dead.
#[utoipa::path(
    delete, path = "/api/emails/webhook-endpoints/{id}/", operation_id = "delete_endpoint", tag = "Endpoints",
    responses((status = 204))
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
) -> Result<StatusCode> {
    query.finish()?;
    let act = act(actor, "endpoint.delete", &find(&app, id).await?);
    if asked(app.ledger.delete_endpoint(id, &act)).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing(id))
    }
}

/// `POST /api/emails/webhook-endpoints/{id}/rotate/`: a new secret. For `[endpoints] rotation` what is sent is signed by the
/// one before as well; if the answer is lost, rotating again takes nothing from a receiver that knows only that one.
#[utoipa::path(
    post, path = "/api/emails/webhook-endpoints/{id}/rotate/", operation_id = "rotate_endpoint_secret", tag = "Endpoints",
    responses((status = 200, body = WithSecret))
)]
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<WithSecret>> {
    query.finish()?;
    let (act, secret) = (
        act(actor, "endpoint.rotate", &find(&app, id).await?),
        standard_secret(),
    );
    let overlap = app.endpoints.settings.rotation;
    let rotated = app.ledger.rotate_endpoint(id, &secret, overlap, &act);
    let endpoint = asked(rotated).await?.ok_or_else(|| missing(id))?;
    let secret = secret.expose_secret().to_owned();
    Ok(Json(WithSecret { endpoint, secret }))
}

/// `POST /api/emails/webhook-endpoints/{id}/test/`: sends it a signed event of a person that does not exist, now and once, also
/// to one that is disabled, and says what it answered. No delivery is made of it.
#[utoipa::path(
    post, path = "/api/emails/webhook-endpoints/{id}/test/", operation_id = "test_endpoint", tag = "Endpoints",
    responses((status = 200, body = Tested))
)]
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Tested>> {
    query.finish()?;
    let act = act(actor, "endpoint.test", &find(&app, id).await?);
    let found = asked(app.ledger.sendable_endpoints(Some(id))).await?.pop();
    let found = found.ok_or_else(|| missing(id))?;
    let url = app.endpoints.url(found.url)?;
    asked(app.ledger.audit(&[act])).await?;

    // A new one at each test, so that no receiver takes it for a repeat.
    let delivery = Delivery {
        id: Uuid::now_v7(),
        target: endpoint::target(id),
        event: request::example(Kind::Unsubscribed),
    };
    let outbound = &app.endpoints.outbound;
    let request = outbound.request(Method::POST, url);
    let request = request.header(CONTENT_TYPE, "application/json");
    let body = Payload::from(&delivery).to_json();
    let request = webhook::sign(request, &found.keys, delivery.id, body);
    let begun = Instant::now();
    let answer = match outbound.exchange(request, outbound.deadline()).await {
        Ok(reply) => reply.answer(),
        Err(error) => Answer::from(error),
    };
    Ok(Json(Tested::of(answer, begun.elapsed())))
}

/// Enables or disables one, for the dashboard, and touches nothing else of it, whatever somebody changes meanwhile.
pub(crate) async fn switch(
    app: &App,
    Caller(actor): Caller,
    id: Uuid,
    enabled: bool,
) -> Result<()> {
    let mut act = act(actor, "endpoint.update", &find(app, id).await?);
    act.details.insert("enabled".to_owned(), enabled.into());
    let switched = asked(app.ledger.switch_endpoint(id, enabled, &act)).await?;
    switched.map(drop).ok_or_else(|| missing(id))
}

async fn find(app: &App, id: Uuid) -> Result<Endpoint> {
    let found = asked(app.ledger.endpoint(id)).await?;
    let found = found.ok_or_else(|| missing(id))?;
    let mut breakers = asked(app.ledger.breakers()).await?;
    Ok(app.endpoints.shown(found, &mut breakers))
}

fn missing(id: Uuid) -> Error {
    Error::NotFound {
        what: "endpoint",
        id,
    }
}

/// The record of a change to what is wanted.
fn changing(actor: String, action: &'static str, id: Uuid, wanted: &Wanted) -> Act {
    let host = wanted.url.host_str();
    Act {
        actor,
        action,
        subject: Some(id.to_string()),
        details: object(
            json!({ "host": host, "events": wanted.events, "enabled": wanted.enabled }),
        ),
        ..Act::default()
    }
}

/// The record of what is done to an endpoint.
fn act(actor: String, action: &'static str, endpoint: &Endpoint) -> Act {
    let url = Url::parse(&endpoint.url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    Act {
        actor,
        action,
        subject: Some(endpoint.id.to_string()),
        details: object(json!({ "host": host })),
        ..Act::default()
    }
}
