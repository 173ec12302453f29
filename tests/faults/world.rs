//! Everything that a run has of its own: servers, processes, a folder, a receiver for the targets, and the load.

use std::path::Path;

use common::proxy::Proxy;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::{API_KEY, Kind, Process, Receiver, Servers, Stores};

use crate::{
    disk::Disk,
    fault::{NODES, Service, Set},
    ledger::Ledger,
    load::{Counts, Doors, Load},
    platforms::{self, Platforms},
};

/// The servers of [`Set::Cluster`].
const CLUSTERED: [&str; 5] = [NODES[0], NODES[1], NODES[2], "redis", "postgres"];

/// Calls under way at a time, per target and worker.
const SLOTS: u32 = 8;

/// The targets: what each is told of, and whether it is told again on purpose, so that repeats there are none. The
/// last two are the [`platforms`](crate::platforms).
pub(crate) const TARGETS: [Target; 5] = [
    Target {
        name: "hook",
        kinds: &["*"],
        is_told_again: false,
    },
    Target {
        name: "crm",
        kinds: &["unsubscribed", "resubscribed", "suppressed"],
        is_told_again: false,
    },
    Target {
        name: "again",
        kinds: &["bounced"],
        is_told_again: true,
    },
    Target {
        name: "east",
        kinds: &["suppressed"],
        is_told_again: false,
    },
    Target {
        name: "west",
        kinds: &["suppressed"],
        is_told_again: false,
    },
];

pub(crate) struct Target {
    pub(crate) name: &'static str,
    kinds: &'static [&'static str],
    pub(crate) is_told_again: bool,
}

impl Target {
    pub(crate) fn takes(&self, kind: &str) -> bool {
        self.kinds
            .iter()
            .any(|taken| *taken == "*" || *taken == kind)
    }

    pub(crate) fn path(&self) -> String {
        format!("/{}", self.name)
    }
}

pub(crate) struct World {
    pub(crate) set: Set,
    pub(crate) receiver: Receiver,
    pub(crate) ledger: Ledger,
    pub(crate) load: Load,
    pub(crate) platforms: Platforms,
    pub(crate) random: StdRng,
    /// Deliveries that were in hand at a kill: a target may hear of so many again.
    pub(crate) in_hand: u64,
    /// How often the clock of a process jumped.
    pub(crate) jumps: u64,
    /// What the api was last asked for, to no answer.
    pub(crate) unanswered: Option<String>,
    pub(crate) disk: Option<Disk>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) stores: Stores,
    pub(crate) servers: Option<Servers>,
    processes: Vec<Process>,
}

impl World {
    /// Starts everything, and a load of `rate` events a second.
    pub(crate) async fn start(set: Set, rate: u32, seed: u64) -> Self {
        let Ground {
            stores,
            servers,
            proxy,
            disk,
        } = Ground::of(set).await;
        let receiver = Receiver::brief().await;
        let rest = configuration(&receiver);
        let mut processes = vec![];
        for program in programs(set) {
            processes.push(Process::start(program, &stores, &rest, None).await);
        }
        let doors = Doors {
            ingress: processes[0].door.clone(),
            api: processes.last().unwrap().api.clone(),
            key: API_KEY,
        };
        let platforms = Platforms::start(&receiver, &doors);
        Self {
            set,
            receiver,
            ledger: Ledger::at(&stores.ledger),
            load: Load::start(doors, rate),
            platforms,
            random: StdRng::seed_from_u64(seed),
            in_hand: 0,
            jumps: 0,
            unanswered: None,
            disk,
            proxy,
            stores,
            servers,
            processes,
        }
    }

    /// One of the processes that do this.
    pub(crate) fn one_of(&mut self, service: Service) -> usize {
        match (self.set, service) {
            (Set::Embedded, _) | (_, Service::Ingress) => 0,
            (_, Service::Worker) => self.random.random_range(1..=2),
            (_, Service::Api) => 3,
        }
    }

    pub(crate) fn process(&mut self, index: usize) -> &mut Process {
        &mut self.processes[index]
    }

    /// The process that answers the api.
    pub(crate) fn api(&self) -> &Process {
        self.processes.last().unwrap()
    }

    pub(crate) fn servers(&self) -> &Servers {
        self.servers.as_ref().expect("only services have servers")
    }

    /// The process that takes webhooks.
    pub(crate) fn door(&self) -> &Process {
        &self.processes[0]
    }

    /// Where logs and configurations are.
    pub(crate) fn folder(&self) -> &Path {
        self.stores.folder.path()
    }

    pub(crate) fn accepted(&self) -> u64 {
        Counts::of(&self.load.counts.accepted)
    }

    /// All that were started and not killed still run.
    pub(crate) fn all_run(&mut self, after: &str) {
        for process in &mut self.processes {
            let program = process.program();
            assert!(process.is_running(), "{program} ended by itself: {after}");
        }
    }

    /// Every process sees all that it depends on.
    pub(crate) async fn all_ready(&self) {
        for process in &self.processes {
            process.ready().await;
        }
    }

    /// Its logs are of no further use.
    pub(crate) fn forget_logs(&mut self) {
        self.stores.folder.disable_cleanup(false);
    }

    /// Ends all processes in order, by which they give back what they still hold.
    pub(crate) async fn stop(&mut self) {
        for process in &mut self.processes {
            let ended = process.terminate().await;
            assert!(ended.success(), "{}: {ended}", process.program());
        }
    }

    /// Starts all of them again.
    pub(crate) async fn again(&mut self) {
        for process in &mut self.processes {
            process.again().await;
        }
    }
}

/// What the processes stand on.
struct Ground {
    stores: Stores,
    servers: Option<Servers>,
    proxy: Option<Proxy>,
    disk: Option<Disk>,
}

impl Ground {
    async fn of(set: Set) -> Self {
        // The logs of a run that fails are kept.
        let mut folder = tempfile::Builder::new()
            .prefix("faults-")
            .tempdir()
            .unwrap();
        folder.disable_cleanup(true);
        let (mut servers, mut proxy, mut disk) = (None, None, None);
        let (queue, claims, ledger);
        match set {
            Set::Scaled => {
                let started = Servers::start().await;
                let broker = started.url("AMQP");
                let (start, rest) = broker.split_once('@').unwrap();
                let (address, host) = rest.split_once('/').unwrap();
                let before = Proxy::before(address.to_owned()).await;
                queue = format!("{start}@{}/{host}", before.address);
                (claims, ledger) = (started.url("REDIS"), started.url("POSTGRES"));
                (servers, proxy) = (Some(started), Some(before));
            }
            Set::Cluster => {
                let started = Servers::of(&CLUSTERED).await;
                queue = started.url("CLUSTER");
                (claims, ledger) = (started.url("REDIS"), started.url("POSTGRES"));
                servers = Some(started);
            }
            Set::Embedded => {
                let made = Disk::at(&folder.path().join("data"));
                let file = |name: &str| format!("sqlite:{}", made.path().join(name).display());
                (queue, claims, ledger) = (file("queue.db"), file("queue.db"), file("ledger.db"));
                disk = Some(made);
            }
        }
        let stores = Stores {
            kind: set.kind(),
            folder,
            queue,
            claims,
            ledger,
            prefix: "faults".to_owned(),
        };
        Self {
            stores,
            servers,
            proxy,
            disk,
        }
    }
}

impl Set {
    fn kind(self) -> Kind {
        match self {
            Self::Embedded => Kind::Embedded,
            Self::Scaled | Self::Cluster => Kind::Scaled,
        }
    }
}

fn programs(set: Set) -> &'static [&'static str] {
    match set {
        Set::Scaled | Set::Cluster => &["ingress", "worker", "worker", "api"],
        Set::Embedded => &["optout"],
    }
}

/// The sources, and the targets. A schedule that is over only after minutes, so that none of these faults outlasts it.
fn configuration(receiver: &Receiver) -> String {
    let pauses = ["300ms", "1s", "1s", "2s"]
        .into_iter()
        .chain(std::iter::repeat_n("5s", 60));
    let pauses: Vec<_> = pauses.map(|pause| format!("\"{pause}\"")).collect();
    let head = format!(
        "[retry]\nschedule = [{}]\n[outbound]\nallow_networks = [\"127.0.0.0/8\"]\n",
        pauses.join(", ")
    );
    let sources = [
        ("postmark", "postmark"),
        ("sentinmail", "sentinmail"),
        ("notifiedby", "notifiedby"),
        ("garbled", "notifiedby"),
        ("east", "generic"),
        ("west", "generic"),
    ];
    let sources = sources.map(|(name, provider)| {
        format!("[[sources]]\nname = \"{name}\"\nprovider = \"{provider}\"\nauth = {{ kind = \"none\" }}\n")
    });
    let targets = TARGETS.map(|target| {
        let (name, url) = (target.name, receiver.url(&target.path()));
        let mirrors = if platforms::NAMES.contains(&name) {
            format!("mirrors = \"{name}\"\n")
        } else {
            String::new()
        };
        format!(
            "[[targets]]\nname = \"{name}\"\nkind = \"http\"\nevents = {:?}\nurl = \"{url}\"\ntimeout = \"3s\"\n\
             slots = {SLOTS}\nsign = false\n{mirrors}",
            target.kinds
        )
    });
    head + &sources.concat() + &targets.concat()
}
