//! The worker: two stages, each a loop over a queue. `route` parses an envelope, claims and records its events and
//! publishes one delivery per target; `deliver` sends them. Stateless: run as many as you like.
//!
//! Its loops, each named in `/healthz`:
//!
//! | loop | what |
//! |---|---|
//! | `take …` | one per queue: takes messages and acknowledges them ([`stage`]) |
//! | `route urgent`, `route bulk` | envelopes into the ledger and to the targets' queues ([`route`]) |
//! | `deliver NAME` | one per enabled target ([`deliver`]) |
//! | `deliver endpoints` | one for all endpoints that users registered ([`endpoints`]) |
//! | `record` | what came of attempts ([`recorder`]) |
//! | `poison`, `sweep`, `gauges` | what was parked, what does not move, what is measured |
//! | `retention` | what is older than it is kept |
//! | `breakers` | where the breakers stand, for people |
//! | `reconcile` | whom platforms list, compared with the ledger ([`reconcile`]) |
//! | `switches`, `tests` | what people ask of configured targets: to be left alone, told again, tested |

mod attempt;
mod batches;
mod breaker;
mod deliver;
mod echo;
mod endpoints;
mod feeds;
mod levels;
mod moved;
mod outlet;
mod overtaken;
mod parse;
mod poison;
mod reconcile;
mod recorder;
mod reroute;
mod retention;
mod reused;
mod route;
mod stage;
mod sweep;
mod switch;
mod tally;
pub mod targets;
mod trial;

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::{
    claims::Claims,
    config::{Config, Reconcile, Retention, Source},
    delivery::State,
    endpoint,
    event::Kind,
    ledger::Ledger,
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{Feed, Priority, Queue, QueueName},
    schedule::Schedule,
};
use tokio::sync::{
    SetOnce,
    mpsc::{UnboundedReceiver, unbounded_channel},
};
use uuid::Uuid;

pub use breaker::Admission;
pub use outlet::{Outlet, Outlets, outlets};

use crate::{
    attempt::Context,
    endpoints::{Endpoints, Known},
    feeds::Feeds,
    stage::Item,
};

/// Parked messages in hand; there are few, and no hurry.
const POISON_PREFETCH: u16 = 8;

/// What all loops of one worker share.
pub struct App {
    /// This worker's name in leases; a new one at each start, so that a restarted worker is another.
    pub id: Uuid,
    pub queue: Arc<dyn Queue>,
    pub claims: Arc<dyn Claims>,
    pub ledger: Ledger,
    pub sources: HashMap<String, Source>,
    /// The configured targets.
    pub outlets: Vec<Arc<Outlet>>,
    /// The registered ones.
    pub endpoints: Endpoints,
    pub schedule: Schedule,
    pub prefetch: u16,
    pub sweep_every: Duration,
    pub retention: Retention,
    pub reconcile: Reconcile,
    /// Set once the queues are declared and the ledger was asked who is told; no loop begins before.
    prepared: SetOnce<()>,
}

impl App {
    /// A worker over these stores, for these targets ([`outlets`]).
    pub fn new(
        config: &Config,
        outlets: Outlets,
        queue: Arc<dyn Queue>,
        claims: Arc<dyn Claims>,
        ledger: Ledger,
    ) -> Self {
        Self {
            id: Uuid::now_v7(),
            queue,
            claims,
            ledger,
            sources: config
                .sources
                .iter()
                .cloned()
                .chain(Source::built_in())
                .map(|source| (source.name.clone(), source))
                .collect(),
            outlets: outlets.configured,
            endpoints: Endpoints::new(config.endpoints.clone(), &outlets.outbound),
            schedule: config.retry.clone(),
            prefetch: config.worker.prefetch,
            sweep_every: config.worker.sweep_every,
            retention: config.ledger.retention,
            reconcile: config.reconcile,
            prepared: SetOnce::new(),
        }
    }

    /// The targets that are told of a kind of event, and how a delivery to each begins.
    fn told_of(&self, kind: Kind, known: &Known) -> Vec<(String, State)> {
        let told = self
            .outlets
            .iter()
            .filter(|outlet| outlet.events.takes(kind));
        told.map(|outlet| {
            (
                outlet.name.clone(),
                if outlet.enabled && known.takes(&outlet.name) {
                    State::Pending
                } else {
                    State::Parked
                },
            )
        })
        .chain(known.told_of(kind).iter().cloned())
        .collect()
    }

    /// Every queue that the worker takes from or publishes to.
    fn queues(&self) -> Vec<QueueName> {
        let inbound = Priority::ALL
            .iter()
            .map(|priority| QueueName::Inbound(*priority));
        let names = self.outlets.iter().map(|outlet| outlet.name.as_str());
        let targets = names.chain([endpoint::ALL]).flat_map(|name| {
            Feed::ALL
                .iter()
                .map(|feed| QueueName::Target(name.to_owned(), *feed))
        });
        inbound.chain(targets).chain([QueueName::Poison]).collect()
    }
}

/// Starts all loops of a worker.
pub fn spawn(app: &Arc<App>, lifecycle: &Lifecycle) {
    lifecycle.spawn_work(prepare(Arc::clone(app), lifecycle.clone()));
    for priority in Priority::ALL {
        let items = take(app, &QueueName::Inbound(*priority), app.prefetch, lifecycle);
        let run = route::run(Arc::clone(app), *priority, items, lifecycle.clone());
        lifecycle.spawn(format!("route {priority}"), run);
    }
    let (recorder, verdicts) = unbounded_channel();
    let context = Context {
        app: Arc::clone(app),
        recorder,
        lifecycle: lifecycle.clone(),
    };
    for outlet in app.outlets.iter().filter(|outlet| outlet.enabled) {
        let feeds = feeds(app, &outlet.name, outlet.prefetch(), lifecycle);
        let run = deliver::run(context.clone(), Arc::clone(outlet), feeds);
        lifecycle.spawn(format!("deliver {}", outlet.name), run);
    }
    let feeds = feeds(app, endpoint::ALL, endpoints::deliver::PREFETCH, lifecycle);
    let run = endpoints::deliver::run(context, feeds);
    lifecycle.spawn(format!("deliver {}", endpoint::ALL), run);
    let record = recorder::run(Arc::clone(app), verdicts, lifecycle.clone());
    lifecycle.spawn("record", record);
    let poisoned = take(app, &QueueName::Poison, POISON_PREFETCH, lifecycle);
    let poison = poison::run(Arc::clone(app), poisoned, lifecycle.clone());
    lifecycle.spawn("poison", poison);
    let sweep = sweep::run(Arc::clone(app), lifecycle.clone());
    lifecycle.spawn("sweep", prepared(app, lifecycle, sweep));
    let retention = retention::run(app.ledger.clone(), app.retention, lifecycle.clone());
    lifecycle.spawn("retention", retention);
    let levels = levels::run(Arc::clone(app), lifecycle.clone());
    lifecycle.spawn("breakers", levels);
    let switches = switch::run(Arc::clone(app), lifecycle.clone());
    lifecycle.spawn("switches", prepared(app, lifecycle, switches));
    let tests = trial::run(Arc::clone(app), lifecycle.clone());
    lifecycle.spawn("tests", tests);
    let reconcile = reconcile::run(Arc::clone(app), lifecycle.clone());
    lifecycle.spawn("reconcile", prepared(app, lifecycle, reconcile));
    let gauges = sweep::gauges(Arc::clone(app), lifecycle.clone());
    lifecycle.spawn("gauges", prepared(app, lifecycle, gauges));
}

/// Starts the loops that take from a target's three queues.
fn feeds(app: &Arc<App>, name: &str, prefetch: u16, lifecycle: &Lifecycle) -> Feeds {
    let feed = |feed| {
        let name = QueueName::Target(name.to_owned(), feed);
        take(app, &name, prefetch, lifecycle)
    };
    Feeds {
        urgent: feed(Feed::Urgent),
        retried: feed(Feed::Retried),
        bulk: feed(Feed::Bulk),
    }
}

/// Starts the loop that takes from one queue.
fn take(
    app: &Arc<App>,
    name: &QueueName,
    prefetch: u16,
    lifecycle: &Lifecycle,
) -> UnboundedReceiver<Item> {
    // Bounded by the prefetch: no more is in hand at a time.
    let (to, items) = unbounded_channel();
    let (queue, stopping) = (Arc::clone(&app.queue), lifecycle.clone());
    let run = stage::run(queue, name.clone(), prefetch, stopping, to);
    lifecycle.spawn(format!("take {name}"), prepared(app, lifecycle, run));
    items
}

/// Runs a loop once the worker is prepared.
fn prepared(
    app: &Arc<App>,
    lifecycle: &Lifecycle,
    run: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let (app, lifecycle) = (Arc::clone(app), lifecycle.clone());
    async move {
        tokio::select! {
            () = lifecycle.stopping() => return Ok(()),
            () = app.prepared.wait() => {}
        }
        run.await
    }
}

/// Declares the queues, however long the broker stays away, since a publish to a queue that is not there would be refused, and
/// asks who is enabled.
async fn prepare(app: Arc<App>, lifecycle: Lifecycle) {
    let queues = app.queues();
    let declared = until_done(&lifecycle, "declare", || app.queue.declare(&queues)).await;
    // No loop is to take a target for enabled that somebody has disabled.
    let known = until_done(&lifecycle, "endpoints", || {
        app.endpoints.current(&app.ledger)
    });
    if declared.and(known.await).is_some() && app.prepared.set(()).is_err() {
        tracing::debug!("prepared already");
    }
}
