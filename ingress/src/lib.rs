//! The HTTP door: finds the source, verifies its credentials over the raw bytes, wraps the request in an envelope,
//! publishes it, and answers 200 once the queue has confirmed it.
//!
//! It reads of a body only what the signature and the priority need, stores the bytes as they came, knows no target and
//! touches no ledger. It calls out only for what a provider's scheme wants ([`Calls`]). While the broker is away, what it would have confirmed is committed to the [`Spool`], where there is
//! one. What is durable nowhere in time is answered so that the provider sends it again.

mod auth;
mod body;
mod calls;
mod gather;
#[cfg(test)]
mod hostile;
mod receive;
mod refusal;
mod spool;
mod strangers;
mod unsubscribe;

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{Router, routing::any};
use common::{
    config::{self, Config, Links, Source},
    http::{self, Limits},
    lifecycle::Lifecycle,
    queue::{Priority, Queue, QueueName},
};
use metrics::{Counter, Gauge, counter, gauge};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::warn;

use crate::strangers::{Strangers, Teller};

pub use calls::{Calls, Fetch};
pub use gather::Gatherer;
pub use spool::Spool;

/// What the door needs to answer.
#[derive(Debug)]
pub struct App {
    /// By name.
    pub doors: HashMap<String, Door>,
    pub gatherer: Gatherer,
    pub calls: Calls,
    pub max_body: usize,
    pub read_timeout: Duration,
    hands: Arc<Semaphore>,
    room: Arc<Semaphore>,
    in_flight: Gauge,
}

/// One source's door.
#[derive(Debug)]
pub struct Door {
    pub source: Source,
    accepted: Counter,
    strangers: Arc<Strangers>,
}

/// The right to one of the requests that may be in hand at a time, and to the memory of its body. It stays with an
/// envelope until its publish has ended, also when its client has gone: so it bounds what the gatherer can hold.
#[derive(Debug)]
struct Hand {
    _permit: OwnedSemaphorePermit,
    /// A permit per byte.
    room: OwnedSemaphorePermit,
    in_flight: Gauge,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.in_flight.decrement(1.0);
    }
}

impl Hand {
    /// Takes room for a body of so many bytes, beside what it has. None if there is not so much.
    fn hold(&mut self, bytes: usize) -> Option<()> {
        let more = u32::try_from(bytes.saturating_sub(self.room.num_permits())).ok()?;
        let room = Arc::clone(self.room.semaphore());
        self.room.merge(room.try_acquire_many_owned(more).ok()?);
        Some(())
    }
}

impl App {
    pub fn new(
        settings: &config::Ingress,
        sources: &[Source],
        gatherer: Gatherer,
        calls: Calls,
    ) -> Self {
        let doors = sources
            .iter()
            .map(|source| (source.name.clone(), Door::new(source.clone())));
        Self {
            doors: doors.collect(),
            gatherer,
            calls,
            max_body: settings.max_body,
            read_timeout: settings.read_timeout,
            hands: Arc::new(Semaphore::new(settings.max_in_flight)),
            room: Arc::new(Semaphore::new(settings.max_in_flight_bytes)),
            in_flight: gauge!("optout_ingress_in_flight"),
        }
    }

    fn take_hand(&self) -> Option<Hand> {
        let permit = Arc::clone(&self.hands).try_acquire_owned().ok()?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(0).ok()?;
        self.in_flight.increment(1.0);
        Some(Hand {
            _permit: permit,
            room,
            in_flight: self.in_flight.clone(),
        })
    }
}

impl Door {
    fn new(source: Source) -> Self {
        let provider = source.provider.name();
        let accepted = counter!("optout_ingress_accepted_total", "source" => source.name.clone(), "provider" => provider);
        let strangers = Arc::new(Strangers::new(&source.name));
        Self {
            source,
            accepted,
            strangers,
        }
    }
}

/// The queues that the door publishes to, to be declared before it opens.
pub fn queues() -> Vec<QueueName> {
    Priority::ALL
        .iter()
        .copied()
        .map(QueueName::Inbound)
        .collect()
}

/// The paths of the door. Where there are no links, there is nothing at theirs.
pub fn router(app: App, links: Option<&Arc<Links>>) -> Router {
    let app = Arc::new(app);
    let router = Router::new()
        .route("/webhooks/{source}", any(receive::webhook))
        .route("/webhooks/{source}/", any(receive::webhook))
        .fallback(receive::nothing_here)
        .with_state(Arc::clone(&app));
    match links {
        Some(links) => router.merge(unsubscribe::router(app, Arc::clone(links))),
        None => router,
    }
}

/// Opens the door on `listener`: starts the spool's drain, the gatherer and the accept loop, and returns.
///
/// They end in order by who holds whom: after the stop the accept loop lets go of the app, then each connection does as
/// its last request is answered; the gatherer ends when nobody is left who could hand it anything. So what is in hand
/// is still published.
pub fn run(
    listener: TcpListener,
    config: &Config,
    queue: Arc<dyn Queue>,
    spool: Option<&Arc<Spool>>,
    calls: Calls,
    lifecycle: &Lifecycle,
) {
    let (settings, sources) = (&config.ingress, &config.sources);
    if sources.is_empty() {
        warn!("no [[sources]] are configured: every webhook is answered 404");
    }
    if let Some(spool) = spool {
        let drain = spool::drain::run(Arc::clone(spool), Arc::clone(&queue), lifecycle.clone());
        lifecycle.spawn("ingress.spool", drain);
    }
    let gatherer = Gatherer::start(Arc::clone(&queue), spool, settings, lifecycle);
    let app = App::new(settings, sources, gatherer, calls);
    let doors = app.doors.values();
    let teller = Teller::of(doors.map(|door| Arc::clone(&door.strangers)));
    lifecycle.spawn("ingress.refused", teller.run(queue, lifecycle.clone()));
    let app = router(app, config.links.as_ref());
    let limits = Limits {
        header_timeout: settings.read_timeout,
        max_connections: settings.max_connections,
    };
    lifecycle.spawn(
        "ingress",
        http::serve(listener, app, limits, lifecycle.clone()),
    );
}
