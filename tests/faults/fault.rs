//! What is broken, as data: each fault, on which stores, and for how long.

use tests::Conduct;

/// Which set of stores a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// SQLite, under one process.
    Embedded,
    /// One server each of RabbitMQ, Redis and PostgreSQL, under services.
    Scaled,
    /// The same with three RabbitMQ nodes.
    Cluster,
}

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

/// The names of RabbitMQ's nodes in `scripts/services`.
pub(crate) const NODES: [&str; 3] = ["rabbitmq", "rabbitmq2", "rabbitmq3"];

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
    /// One of [`NODES`], without which the others are to go on.
    Node(usize, Blow),
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
    on: &'static [Set],
    pub(crate) harm: Harm,
    /// Part of the short form, too. What is not differs from another by the step or the store only.
    pub(crate) short: bool,
}

const EMBEDDED: &[Set] = &[Set::Embedded];
const SCALED: &[Set] = &[Set::Scaled];
const CLUSTER: &[Set] = &[Set::Cluster];
const SERVICES: &[Set] = &[Set::Scaled, Set::Cluster];
/// What has nothing to do with the number of nodes is not done again on the cluster.
const SINGLE: &[Set] = &[Set::Embedded, Set::Scaled];

const fn always(name: &'static str, on: &'static [Set], harm: Harm) -> Fault {
    Fault {
        name,
        on,
        harm,
        short: true,
    }
}

const fn long(name: &'static str, on: &'static [Set], harm: Harm) -> Fault {
    Fault {
        name,
        on,
        harm,
        short: false,
    }
}

const fn point(name: &'static str, service: Service) -> Fault {
    long(name, SINGLE, Harm::KilledAt(service, name, None))
}

const fn prodded(name: &'static str, prod: Prod) -> Fault {
    long(name, SINGLE, Harm::KilledAt(Service::Api, name, Some(prod)))
}

/// Every fault. A named point is called by its name.
pub(crate) const FAULTS: &[Fault] = &[
    always("ingress killed", SERVICES, Harm::Killed(Service::Ingress)),
    always("worker killed", SERVICES, Harm::Killed(Service::Worker)),
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
    always("node 1 killed", CLUSTER, Harm::Node(0, Blow::Killed)),
    always("node 2 killed", CLUSTER, Harm::Node(1, Blow::Killed)),
    always("node 3 killed", CLUSTER, Harm::Node(2, Blow::Killed)),
    always("node 1 restarted", CLUSTER, Harm::Node(0, Blow::Restarted)),
    long("node 2 restarted", CLUSTER, Harm::Node(1, Blow::Restarted)),
    long("node 3 restarted", CLUSTER, Harm::Node(2, Blow::Restarted)),
    long("node 1 paused", CLUSTER, Harm::Node(0, Blow::Paused)),
    always("node 2 paused", CLUSTER, Harm::Node(1, Blow::Paused)),
    long("node 3 paused", CLUSTER, Harm::Node(2, Blow::Paused)),
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
    always("target hangs", SINGLE, Harm::Target(Conduct::Hang)),
    always(
        "target drips a byte a second",
        SINGLE,
        Harm::Target(Conduct::Drip),
    ),
    always("target answers 429", SINGLE, Harm::Target(Conduct::TooMany)),
    always("target answers 500", SINGLE, Harm::Target(Conduct::Fail)),
    always(
        "target closes mid-answer",
        SINGLE,
        Harm::Target(Conduct::Break),
    ),
    always(
        "target answers without end",
        SINGLE,
        Harm::Target(Conduct::Endless),
    ),
    always(
        "target redirects inwards",
        SINGLE,
        Harm::Target(Conduct::Redirect),
    ),
    always(
        "clock set back an hour",
        SINGLE,
        Harm::ClockBack(Service::Worker),
    ),
];

impl Fault {
    pub(crate) fn is_of(&self, set: Set) -> bool {
        self.on.contains(&set)
    }
}
