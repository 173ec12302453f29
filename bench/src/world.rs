//! What one measurement has of its own: servers, stores, and the real programs over them, as processes.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, ensure};
use common::queue::{self, Queue, QueueName};
use sqlx::{AnyPool, any::AnyPoolOptions, any::install_default_drivers};
use tests::{Kind, Process, Servers, Stores};

use crate::{durable, ear::Ear, event};

/// What the test suites set otherwise than the product does by default.
const DEFAULTS: [(&str, &str); 2] = [
    ("OPTOUT__LEDGER__MAX_CONNECTIONS", "10"),
    ("OPTOUT__WORKER__SWEEP_EVERY", "1m"),
];

pub(crate) struct World {
    pub(crate) stores: Stores,
    servers: Option<Servers>,
}

impl World {
    /// Starts the servers that this kind of stores needs, and refuses those that are not durable.
    pub(crate) async fn start(kind: Kind) -> anyhow::Result<Self> {
        let servers = match kind {
            Kind::Embedded => None,
            Kind::Scaled => Some(Servers::start().await),
        };
        let stores = stores(servers.as_ref()).await?;
        Ok(Self { stores, servers })
    }

    /// New stores on the same servers.
    pub(crate) async fn afresh(&mut self) -> anyhow::Result<()> {
        self.stores = stores(self.servers.as_ref()).await?;
        Ok(())
    }

    /// A word for these stores, for the reports.
    pub(crate) fn name(&self) -> &'static str {
        name(self.stores.kind)
    }

    /// Starts one of the product's programs, with its defaults but for what `rest` says.
    pub(crate) async fn process(&self, program: &'static str, rest: &str) -> Process {
        Process::start_with(program, &self.stores, rest, &DEFAULTS).await
    }

    /// All that a webhook passes through; the door is the first one's.
    pub(crate) async fn pipeline(&self, rest: &str) -> Vec<Process> {
        let programs: &[_] = match self.stores.kind {
            Kind::Embedded => &["optout"],
            Kind::Scaled => &["ingress", "worker"],
        };
        let mut processes = vec![];
        for program in programs {
            processes.push(self.process(program, rest).await);
        }
        processes
    }

    /// The queue, to look into; these queues are made if they are not there.
    pub(crate) async fn queue(&self, names: &[QueueName]) -> anyhow::Result<Arc<dyn Queue>> {
        let queue = queue::connect(&self.stores.queue, &self.stores.prefix, &[]).await?;
        queue.declare(names).await?;
        Ok(queue)
    }

    /// The first process of one of the servers; None if it is not there.
    pub(crate) fn server(&self, name: &str) -> Option<u32> {
        self.servers.as_ref().map(|servers| servers.id(name))
    }

    /// How many events of this kind the ledger has.
    pub(crate) async fn recorded(&self, kind: event::Kind) -> anyhow::Result<u64> {
        install_default_drivers();
        let pool = AnyPoolOptions::new().max_connections(1);
        let pool: AnyPool = pool.connect(&self.stores.ledger).await?;
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM events WHERE kind = $1");
        let count = count.bind(kind.name()).fetch_one(&pool).await?;
        pool.close().await;
        Ok(count.try_into()?)
    }
}

async fn stores(servers: Option<&Servers>) -> anyhow::Result<Stores> {
    let stores = match servers {
        None => Stores::embedded(),
        Some(servers) => Stores::scaled(|name| servers.url(name)).await,
    };
    durable::check_folder(stores.folder.path())?;
    if servers.is_some() {
        durable::check_postgres(&stores.ledger).await?;
    }
    Ok(stores)
}

pub(crate) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Embedded => "embedded",
        Kind::Scaled => "scaled",
    }
}

/// A configuration's part beside the stores: the source, and a target at each of the ear's paths, told of these kinds.
pub(crate) fn configuration(ear: &Ear, targets: &[&str], settings: &str) -> String {
    let head = "[outbound]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned();
    let targets = targets.iter().enumerate().map(|(path, kinds)| {
        let url = ear.url(path);
        format!(
            "[[targets]]\nname = \"t{path}\"\nkind = \"http\"\nevents = [{kinds}]\nurl = \"{url}\"\nsign = false\n{settings}\n"
        )
    });
    head + &event::source() + &targets.collect::<String>()
}

/// Where a process answers, from its URL.
pub(crate) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.trim_start_matches("http://");
    address
        .parse()
        .with_context(|| format!("the address {url}"))
}

/// Ends processes as their users do, in this order.
pub(crate) async fn stop(processes: Vec<Process>) -> anyhow::Result<()> {
    for mut process in processes {
        let ended = process.terminate().await;
        ensure!(ended.success(), "{} ended with {ended}", process.program());
    }
    Ok(())
}
