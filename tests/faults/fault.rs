//! What is broken, as data: each fault, on which stores, and for how long.

use tests::{Conduct, Kind};

/// Which process. On the embedded stores they are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Ingress,
    Worker,
    Api,
}

/// How a server goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// `kill -9`, started again afterwards.
    Killed,
    /// Stopped in order, started again afterwards.
    Restarted,
    /// SIGSTOP, SIGCONT afterwards: connections stay open and nobody answers.
    Paused,
}

/// What brings the api to one of its points; the load does so with every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prod {
    Retry,
    Unquarantine,
    Replay,
}

/// What is done to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// `kill -9` at whatever it is doing.
    Killed(Service),
    /// It dies between two steps, the so many'th time that it gets there.
    KilledAt(Service, &'static str, Option<Prod>),
    /// SIGTERM, at which it is to end with 0.
    Terminated(Service),
    Server(&'static str, Blow),
    /// Every connection to the broker is cut, and new ones, too, until it is mended.
    Cut,
    /// Redis is told FLUSHALL.
    Forgotten,
    /// Redis has no memory for anything new.
    Full,
    /// PostgreSQL has no connection for anybody.
    Exhausted,
    /// PostgreSQL writes nothing.
    ReadOnly,
    /// One of three targets misbehaves.
    Target(Conduct),
    /// SQLite's file system has no room.
    DiskFull,
    /// The clock of one process is an hour behind.
    ClockBack(Service),
}

/// One way to break something.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    on: &'static [Kind],
    pub(crate) harm: Harm,
    /// Part of the short form, too. What is not differs from another by the step or the store only.
    pub(crate) short: bool,
}

const SCALED: &[Kind] = &[Kind::Scaled];
const EMBEDDED: &[Kind] = &[Kind::Embedded];
const BOTH: &[Kind] = &[Kind::Embedded, Kind::Scaled];

const fn always(name: &'static str, on: &'static [Kind], harm: Harm) -> Fault {
    Fault {
        name,
        on,
        harm,
        short: true,
    }
}

const fn long(name: &'static str, on: &'static [Kind], harm: Harm) -> Fault {
    Fault {
        name,
        on,
        harm,
        short: false,
    }
}

const fn point(name: &'static str, service: Service) -> Fault {
    long(name, BOTH, Harm::KilledAt(service, name, None))
}

const fn prodded(name: &'static str, prod: Prod) -> Fault {
    long(name, BOTH, Harm::KilledAt(Service::Api, name, Some(prod)))
}

/// Every fault. A named point is called by its name.
pub(crate) const FAULTS: &[Fault] = &[
    always("ingress killed", SCALED, Harm::Killed(Service::Ingress)),
    always("worker killed", SCALED, Harm::Killed(Service::Worker)),
    always("api killed", SCALED, Harm::Killed(Service::Api)),
    always("optout killed", EMBEDDED, Harm::Killed(Service::Worker)),
    always(
        "ingress terminated",
        SCALED,
        Harm::Terminated(Service::Ingress),
    ),
    always(
        "worker terminated",
        SCALED,
        Harm::Terminated(Service::Worker),
    ),
    always("api terminated", SCALED, Harm::Terminated(Service::Api)),
    always(
        "optout terminated",
        EMBEDDED,
        Harm::Terminated(Service::Worker),
    ),
    point("ingress.before_publish", Service::Ingress),
    point("ingress.published", Service::Ingress),
    point("route.received", Service::Worker),
    point("route.claimed", Service::Worker),
    point("route.recorded", Service::Worker),
    point("route.published", Service::Worker),
    point("route.settled", Service::Worker),
    point("deliver.taken", Service::Worker),
    point("deliver.sent", Service::Worker),
    point("deliver.recorded", Service::Worker),
    point("deliver.published", Service::Worker),
    point("api.changed", Service::Api),
    prodded("api.restarted", Prod::Retry),
    prodded("api.unquarantined", Prod::Unquarantine),
    prodded("replay.restarted", Prod::Replay),
    prodded("replay.published", Prod::Replay),
    always(
        "RabbitMQ killed",
        SCALED,
        Harm::Server("rabbitmq", Blow::Killed),
    ),
    long(
        "RabbitMQ restarted",
        SCALED,
        Harm::Server("rabbitmq", Blow::Restarted),
    ),
    always(
        "RabbitMQ paused",
        SCALED,
        Harm::Server("rabbitmq", Blow::Paused),
    ),
    always("RabbitMQ's connections cut", SCALED, Harm::Cut),
    always(
        "Redis killed, empty afterwards",
        SCALED,
        Harm::Server("redis", Blow::Killed),
    ),
    long(
        "Redis restarted, empty afterwards",
        SCALED,
        Harm::Server("redis", Blow::Restarted),
    ),
    always("Redis paused", SCALED, Harm::Server("redis", Blow::Paused)),
    always("Redis flushed", SCALED, Harm::Forgotten),
    always("Redis out of memory", SCALED, Harm::Full),
    always(
        "PostgreSQL killed",
        SCALED,
        Harm::Server("postgres", Blow::Killed),
    ),
    long(
        "PostgreSQL restarted",
        SCALED,
        Harm::Server("postgres", Blow::Restarted),
    ),
    always(
        "PostgreSQL paused",
        SCALED,
        Harm::Server("postgres", Blow::Paused),
    ),
    always("PostgreSQL out of connections", SCALED, Harm::Exhausted),
    always("PostgreSQL read-only", SCALED, Harm::ReadOnly),
    always("disk full under SQLite", EMBEDDED, Harm::DiskFull),
    always("target hangs", BOTH, Harm::Target(Conduct::Hang)),
    always(
        "target drips a byte a second",
        BOTH,
        Harm::Target(Conduct::Drip),
    ),
    always("target answers 429", BOTH, Harm::Target(Conduct::TooMany)),
    always("target answers 500", BOTH, Harm::Target(Conduct::Fail)),
    always(
        "target closes mid-answer",
        BOTH,
        Harm::Target(Conduct::Break),
    ),
    always(
        "target answers without end",
        BOTH,
        Harm::Target(Conduct::Endless),
    ),
    always(
        "target redirects inwards",
        BOTH,
        Harm::Target(Conduct::Redirect),
    ),
    always(
        "clock set back an hour",
        BOTH,
        Harm::ClockBack(Service::Worker),
    ),
];

impl Fault {
    pub(crate) fn is_of(&self, kind: Kind) -> bool {
        self.on.contains(&kind)
    }
}
