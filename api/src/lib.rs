//! What reads and writes the ledger on request: the check before a send, and what people want to see and to mend.
//!
//! A process of its own, since it is internal while ingress faces the internet. Almost every path wants a key; the role
//! that it wants stands beside its handlers in [`routes()`]. Whatever goes wrong is an RFC 9457 problem.

mod audit;
mod auth;
mod body;
mod brevo;
mod changes;
mod check;
mod checks;
mod compliance;
mod contacts;
mod cors;
mod dashboard;
mod deliveries;
mod docs;
mod endpoints;
mod erasure;
mod error;
mod events;
mod evidence;
mod export;
mod formula;
mod import;
mod keyring;
mod keys;
mod links;
mod openapi;
mod quarantine;
mod query;
mod reconciliations;
mod replays;
mod routes;
mod submissions;
mod suppressions;
mod talkable;
mod targets;
mod trail;

#[cfg(test)]
mod hostile;
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
    middleware::{Next, from_fn},
    response::Response,
};
use bytes::Bytes;
use common::{
    config::{Config, Links, Origin, Role, Source},
    endpoint,
    http::{self, Limits},
    ledger::{self, Ledger},
    lifecycle::Lifecycle,
    outbound::NoClient,
    queue::{Feed, Message, Priority, Queue, QueueName},
};
use metrics::{counter, histogram};
use tokio::net::TcpListener;
use tracing::warn;
use utoipa_axum::routes;

pub use error::Error;
pub use openapi::document;

use crate::{
    checks::Checks,
    dashboard::Dashboard,
    endpoints::Rules,
    keyring::Keyring,
    openapi::Description,
    routes::{Route, anybody, may},
    talkable::Desk,
    trail::Trail,
};

/// What the api needs to answer.
pub struct App {
    pub ledger: Ledger,
    pub queue: Arc<dyn Queue>,
    keys: Keyring,
    checks: Checks,
    /// The websites whose pages may ask.
    cors_origins: Vec<Origin>,
    /// The names of the configured sources.
    pub sources: BTreeSet<String>,
    /// The configured targets by name: whether the configuration enables each.
    pub targets: BTreeMap<String, bool>,
    endpoints: Rules,
    links: Option<Arc<Links>>,
    talkable: Desk,
    trail: Trail,
    description: Description,
    dashboard: Dashboard,
}

impl App {
    fn new(
        config: &Config,
        ledger: Ledger,
        queue: Arc<dyn Queue>,
        trail: Trail,
        lifecycle: &Lifecycle,
    ) -> Result<Self, NoClient> {
        let targets = config
            .targets
            .iter()
            .map(|target| (target.name.clone(), target.enabled));
        Ok(Self {
            endpoints: Rules::new(config)?,
            links: config.links.clone(),
            checks: Checks::start(ledger.clone(), lifecycle),
            ledger,
            queue,
            keys: Keyring::new(&config.api),
            cors_origins: config.api.cors_origins.clone(),
            sources: config
                .sources
                .iter()
                .map(|source| source.name.clone())
                .chain(Source::built_in().map(|source| source.name))
                .collect(),
            targets: targets.collect(),
            talkable: Desk::new(config),
            trail,
            description: Description::new(),
            dashboard: Dashboard::new(config, lifecycle),
        })
    }

    /// Whether a target is enabled, be it configured or an endpoint; None if there is none of that name.
    async fn is_enabled(&self, target: &str) -> Result<Option<bool>, Error> {
        let Some(id) = endpoint::id_of(target) else {
            let Some(enabled) = self.targets.get(target) else {
                return Ok(None);
            };
            let disabled = error::asked(self.ledger.disabled_targets()).await?;
            return Ok(Some(*enabled && !disabled.contains_key(target)));
        };
        let found = error::asked(self.ledger.endpoint(id)).await?;
        Ok(found.map(|endpoint| endpoint.enabled))
    }

    /// The targets that somebody takes deliveries for.
    async fn enabled(&self) -> ledger::Result<Vec<String>> {
        let disabled = self.ledger.disabled_targets().await?;
        let configured = self.targets.iter();
        let configured =
            configured.filter(|(name, enabled)| **enabled && !disabled.contains_key(*name));
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

/// The queues that the api publishes to or looks at, to be declared before it starts.
pub fn queues(config: &Config) -> Vec<QueueName> {
    let configured = config.targets.iter().map(|target| target.name.as_str());
    let targets = configured.chain([endpoint::ALL]).flat_map(|target| {
        let feed = |feed: &Feed| QueueName::Target(target.to_owned(), *feed);
        Feed::ALL.iter().map(feed)
    });
    let inbound = Priority::ALL.iter().copied().map(QueueName::Inbound);
    targets.chain(inbound).collect()
}

/// The api, served.
pub fn router(app: Arc<App>) -> Router {
    let router = routes()
        .into_iter()
        .fold(Router::new(), |router, route| route.serve(&app, router))
        .fallback(dashboard::nothing)
        .method_not_allowed_fallback(async || Error::NoSuchMethod)
        .layer(from_fn(check::in_doubt));
    let router = match cors::layer(&app.cors_origins) {
        // A preflight comes without a key, so it is answered before one is asked for.
        Some(cors) => router.layer(cors),
        None => router,
    };
    // Beside the layer above: no other website's page is let into the dashboard.
    let router = router.merge(dashboard::router(&app));
    router.layer(from_fn(count)).with_state(app)
}

/// The paths, each with the role that it wants. Where each is, and what it takes and answers, stands at its handlers.
fn routes() -> Vec<Route> {
    [
        asked_and_agreed(),
        suppressed(),
        happened(),
        told(),
        compared(),
        registered(),
        opened(),
        described(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The questions before a send, and what people agree to and take back.
fn asked_and_agreed() -> Vec<Route> {
    vec![
        may(Role::Check, routes!(check::check, check::check_all)),
        may(Role::Write, routes!(links::make)),
        // Who asks is said in the question itself.
        anybody(routes!(talkable::check)),
        may(Role::Read, routes!(submissions::list)),
        may(Role::Write, routes!(submissions::create)),
        may(Role::Read, routes!(submissions::show)),
        may(Role::Write, routes!(brevo::unsubscribe)).around(brevo::around),
    ]
}

/// The suppression list, the contacts on it, and who changed what.
fn suppressed() -> Vec<Route> {
    vec![
        may(Role::Admin, routes!(audit::list)),
        may(Role::Admin, routes!(audit::verify)),
        may(Role::Admin, routes!(erasure::erase)),
        may(Role::Read, routes!(contacts::show)),
        may(Role::Read, routes!(suppressions::list)),
        may(Role::Write, routes!(suppressions::add)),
        may(Role::Read, routes!(export::export)),
        may(Role::Write, routes!(import::import)),
        may(Role::Read, routes!(suppressions::show)),
        may(Role::Write, routes!(suppressions::lift)),
    ]
}

/// What happened, who was told, and telling them again.
fn happened() -> Vec<Route> {
    vec![
        may(Role::Read, routes!(events::list)),
        may(Role::Read, routes!(events::show)),
        may(Role::Read, routes!(deliveries::list)),
        may(Role::Read, routes!(deliveries::show)),
        may(Role::Write, routes!(deliveries::retry)),
        may(Role::Read, routes!(quarantine::list)),
        may(Role::Read, routes!(quarantine::show)),
        may(Role::Write, routes!(quarantine::retry)),
        may(Role::Write, routes!(replays::start)),
        may(Role::Read, routes!(replays::list)),
        may(Role::Read, routes!(replays::show)),
        may(Role::Read, routes!(compliance::show)),
    ]
}

/// Who is told, of the configuration.
fn told() -> Vec<Route> {
    vec![
        may(Role::Read, routes!(targets::list)),
        may(Role::Read, routes!(targets::show)),
        may(Role::Write, routes!(targets::change)),
        may(Role::Write, routes!(targets::test)),
    ]
}

/// Whom platforms list, beside whom the ledger holds.
fn compared() -> Vec<Route> {
    vec![
        may(Role::Write, routes!(reconciliations::start)),
        may(Role::Read, routes!(reconciliations::list)),
        may(Role::Read, routes!(reconciliations::show)),
        may(Role::Read, routes!(reconciliations::differences)),
        may(Role::Read, routes!(reconciliations::export)),
    ]
}

/// SentinMail's paths.
fn registered() -> Vec<Route> {
    vec![
        may(Role::Read, routes!(endpoints::list)),
        may(Role::Write, routes!(endpoints::create)),
        may(Role::Read, routes!(endpoints::show)),
        may(Role::Write, routes!(endpoints::update, endpoints::remove)),
        may(Role::Write, routes!(endpoints::rotate)),
        may(Role::Write, routes!(endpoints::test)),
    ]
}

/// What describes the api.
fn described() -> Vec<Route> {
    vec![
        anybody(routes!(openapi::show)),
        anybody(routes!(docs::show)),
    ]
}

/// Who may ask for all of this.
fn opened() -> Vec<Route> {
    vec![
        may(Role::Admin, routes!(keys::list, keys::create)),
        may(Role::Admin, routes!(keys::revoke)),
    ]
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
    let app = Arc::new(App::new(config, ledger, queue, trail, lifecycle)?);
    lifecycle.spawn("replay", replays::run(Arc::clone(&app), lifecycle.clone()));
    lifecycle.spawn("live", dashboard::run(Arc::clone(&app), lifecycle.clone()));
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
