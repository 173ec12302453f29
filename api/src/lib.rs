//! What reads and writes the ledger on request: the check before a send, and what people want to see and to mend.
//!
//! A process of its own, since it is internal while ingress faces the internet. Every path but the unknown ones wants a
//! key; the role that it wants stands beside the path in [`router`]. Whatever goes wrong is an RFC 9457 problem.

mod audit;
mod auth;
mod body;
mod brevo;
mod changes;
mod check;
mod compliance;
mod contacts;
mod cors;
mod deliveries;
mod endpoints;
mod erasure;
mod error;
mod events;
mod evidence;
mod export;
mod import;
mod keyring;
mod keys;
mod quarantine;
mod query;
mod replays;
mod submissions;
mod suppressions;
mod talkable;
mod trail;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{HeaderValue, header},
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::Response,
    routing::{MethodRouter, delete, get, post, put},
};
use bytes::Bytes;
use common::{
    config::{Config, Origin, Role},
    endpoint,
    http::{self, Limits},
    ledger::{self, Ledger},
    lifecycle::Lifecycle,
    outbound::NoClient,
    providers::talkable::PATH as TALKABLE,
    queue::{Feed, Message, Priority, Queue, QueueName},
    request,
};
use metrics::{counter, histogram};
use tokio::net::TcpListener;
use tracing::warn;

pub use error::Error;

use crate::{endpoints::Rules, keyring::Keyring, talkable::Desk, trail::Trail};

/// What the api needs to answer.
pub struct App {
    pub ledger: Ledger,
    pub queue: Arc<dyn Queue>,
    keys: Keyring,
    /// The websites whose pages may ask.
    cors_origins: Vec<Origin>,
    /// The names of the configured sources.
    pub sources: BTreeSet<String>,
    /// The configured targets by name: whether each is enabled.
    pub targets: BTreeMap<String, bool>,
    endpoints: Rules,
    talkable: Desk,
    trail: Trail,
}

impl App {
    fn new(
        config: &Config,
        ledger: Ledger,
        queue: Arc<dyn Queue>,
        trail: Trail,
    ) -> Result<Self, NoClient> {
        let targets = config
            .targets
            .iter()
            .map(|target| (target.name.clone(), target.enabled));
        Ok(Self {
            endpoints: Rules::new(config)?,
            ledger,
            queue,
            keys: Keyring::new(&config.api),
            cors_origins: config.api.cors_origins.clone(),
            sources: config
                .sources
                .iter()
                .map(|source| source.name.clone())
                .chain([request::SOURCE.to_owned()])
                .collect(),
            targets: targets.collect(),
            talkable: Desk::new(config),
            trail,
        })
    }

    /// Whether a target is enabled, be it configured or an endpoint; None if there is none of that name.
    async fn is_enabled(&self, target: &str) -> Result<Option<bool>, Error> {
        let Some(id) = endpoint::id_of(target) else {
            return Ok(self.targets.get(target).copied());
        };
        let found = error::asked(self.ledger.endpoint(id)).await?;
        Ok(found.map(|endpoint| endpoint.enabled))
    }

    /// The targets that somebody takes deliveries for.
    async fn enabled(&self) -> ledger::Result<Vec<String>> {
        let configured = self.targets.iter().filter(|(_, enabled)| **enabled);
        let configured = configured.map(|(name, _)| name.clone());
        let endpoints = self.ledger.enabled_endpoints().await?;
        let endpoints = endpoints.into_iter().map(endpoint::target);
        Ok(configured.chain(endpoints).collect())
    }

    /// Puts one message into a queue, due now; returns when it is durable there.
    async fn publish(&self, queue: QueueName, body: Bytes) -> Result<(), Error> {
        let message = Message {
            queue,
            body,
            delay: Duration::ZERO,
        };
        error::queued(self.queue.publish(vec![message])).await
    }
}

/// The queues that the api publishes to, to be declared before it starts.
pub fn queues(config: &Config) -> Vec<QueueName> {
    let targets = config
        .targets
        .iter()
        .map(|target| QueueName::Target(target.name.clone(), Feed::Retried));
    let inbound = Priority::ALL.iter().copied().map(QueueName::Inbound);
    let registered = QueueName::Target(endpoint::ALL.to_owned(), Feed::Retried);
    targets.chain(inbound).chain([registered]).collect()
}

/// The paths, each with the role that it wants.
pub fn router(app: Arc<App>) -> Router {
    let router = Router::new()
        .merge(asked_and_agreed(&app))
        .merge(suppressed(&app))
        .merge(happened(&app))
        .merge(registered(&app))
        .merge(opened(&app))
        .fallback(async || Error::NoSuchPath)
        .method_not_allowed_fallback(async || Error::NoSuchMethod)
        .layer(from_fn(check::in_doubt));
    let router = match cors::layer(&app.cors_origins) {
        // A preflight comes without a key, so it is answered before one is asked for.
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(from_fn(count))
        .layer(map_response(harden))
        .with_state(app)
}

/// Lets only those pass whose key has at least the role.
fn may(app: &Arc<App>, needed: Role, methods: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    methods.route_layer(from_fn_with_state((Arc::clone(app), needed), auth::pass))
}

/// The questions before a send, and what people agree to and take back.
fn asked_and_agreed(app: &Arc<App>) -> Router<Arc<App>> {
    let may = |needed, methods| may(app, needed, methods);
    Router::new()
        .route(
            check::PATH,
            may(Role::Check, get(check::check).post(check::check_all)),
        )
        // Who asks is said in the question itself.
        .route(TALKABLE, post(talkable::check))
        .route(
            "/api/v1/submissions",
            may(Role::Read, get(submissions::list))
                .merge(may(Role::Write, post(submissions::create))),
        )
        .route(
            "/api/v1/submissions/{id}",
            may(Role::Read, get(submissions::show)),
        )
        .route(
            "/api/v1/brevo/unsubscribe",
            may(Role::Write, post(brevo::unsubscribe)).route_layer(from_fn(brevo::in_its_words)),
        )
}

/// The suppression list, the contacts on it, and who changed what.
fn suppressed(app: &Arc<App>) -> Router<Arc<App>> {
    let may = |needed, methods| may(app, needed, methods);
    Router::new()
        .route("/api/v1/audit", may(Role::Admin, get(audit::list)))
        .route("/api/v1/audit/verify", may(Role::Admin, get(audit::verify)))
        .route(
            "/api/v1/contacts/erase",
            may(Role::Admin, post(erasure::erase)),
        )
        .route(
            "/api/v1/contacts/{contact}",
            may(Role::Read, get(contacts::show)),
        )
        .route(
            "/api/v1/suppressions",
            may(Role::Read, get(suppressions::list))
                .merge(may(Role::Write, post(suppressions::add))),
        )
        .route(
            "/api/v1/suppressions/export",
            may(Role::Read, get(export::export)),
        )
        .route(
            "/api/v1/suppressions/import",
            may(Role::Write, post(import::import)),
        )
        .route(
            "/api/v1/suppressions/{id}",
            may(Role::Read, get(suppressions::show))
                .merge(may(Role::Write, delete(suppressions::lift))),
        )
}

/// What happened, who was told, and telling them again.
fn happened(app: &Arc<App>) -> Router<Arc<App>> {
    let may = |needed, methods| may(app, needed, methods);
    Router::new()
        .route("/api/v1/events", may(Role::Read, get(events::list)))
        .route("/api/v1/events/{id}", may(Role::Read, get(events::show)))
        .route("/api/v1/deliveries", may(Role::Read, get(deliveries::list)))
        .route(
            "/api/v1/deliveries/{id}",
            may(Role::Read, get(deliveries::show)),
        )
        .route(
            "/api/v1/deliveries/{id}/retry",
            may(Role::Write, post(deliveries::retry)),
        )
        .route("/api/v1/quarantine", may(Role::Read, get(quarantine::list)))
        .route(
            "/api/v1/quarantine/{id}",
            may(Role::Read, get(quarantine::show)),
        )
        .route(
            "/api/v1/quarantine/{id}/retry",
            may(Role::Write, post(quarantine::retry)),
        )
        .route(
            "/api/v1/replays",
            may(Role::Write, post(replays::start)).merge(may(Role::Read, get(replays::list))),
        )
        .route("/api/v1/replays/{id}", may(Role::Read, get(replays::show)))
        .route("/api/v1/compliance", may(Role::Read, get(compliance::show)))
}

/// SentinMail's paths, with and without the final slash.
fn registered(app: &Arc<App>) -> Router<Arc<App>> {
    let may = |needed, methods| may(app, needed, methods);
    let endpoints =
        || may(Role::Read, get(endpoints::list)).merge(may(Role::Write, post(endpoints::create)));
    let endpoint = || {
        let change = put(endpoints::update).delete(endpoints::remove);
        may(Role::Read, get(endpoints::show)).merge(may(Role::Write, change))
    };
    let rotate = || may(Role::Write, post(endpoints::rotate));
    let test = || may(Role::Write, post(endpoints::test));
    Router::new()
        .route("/api/emails/webhook-endpoints", endpoints())
        .route("/api/emails/webhook-endpoints/", endpoints())
        .route("/api/emails/webhook-endpoints/{id}", endpoint())
        .route("/api/emails/webhook-endpoints/{id}/", endpoint())
        .route("/api/emails/webhook-endpoints/{id}/rotate", rotate())
        .route("/api/emails/webhook-endpoints/{id}/rotate/", rotate())
        .route("/api/emails/webhook-endpoints/{id}/test", test())
        .route("/api/emails/webhook-endpoints/{id}/test/", test())
}

/// Who may ask for all of this.
fn opened(app: &Arc<App>) -> Router<Arc<App>> {
    let may = |methods| may(app, Role::Admin, methods);
    Router::new()
        .route("/api/v1/keys", may(get(keys::list).post(keys::create)))
        .route("/api/v1/keys/{id}", may(delete(keys::revoke)))
}

/// Serves the api on `listener`: starts the accept loop, and returns.
pub fn run(
    listener: TcpListener,
    config: &Config,
    ledger: Ledger,
    queue: Arc<dyn Queue>,
    lifecycle: &Lifecycle,
) -> Result<(), NoClient> {
    if config.api.keys.is_empty() {
        warn!(
            "no api.keys are configured: only keys that were made by `optout keys create` open the api"
        );
    }
    let (trail, acts) = Trail::new();
    lifecycle.spawn(
        "audit",
        trail::write(acts, ledger.clone(), lifecycle.clone()),
    );
    let app = Arc::new(App::new(config, ledger, queue, trail)?);
    lifecycle.spawn("replay", replays::run(Arc::clone(&app), lifecycle.clone()));
    lifecycle.spawn(
        "api",
        http::serve(listener, router(app), Limits::default(), lifecycle.clone()),
    );
    Ok(())
}

/// Counts and times each request, by the path as it is declared: ids would make a metric each.
async fn count(request: Request, next: Next) -> Response {
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unknown", MatchedPath::as_str)
        .to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    counter!("optout_api_requests_total", "path" => path.clone(), "status" => status).increment(1);
    histogram!("optout_api_request_seconds", "path" => path).record(begun.elapsed());
    response
}

/// What holds for every answer: it is about people, and about this moment.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
