//! Ingress beside what one would otherwise write (`bench/peers`, which `scripts/peers` installs), over the same broker and
//! 256 connections, in rounds, of which the one with the median rate counts. Each peer may have a process per processor;
//! what it answered 200 is counted again in its queue.

use std::{
    net::SocketAddr,
    path::{Path, absolute},
    process::Stdio,
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, ensure};
use tests::{Kind, port, signal, until};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    Options, broker,
    door::{COLUMNS, Round, measure, median, product},
    load::{Pace, Plan},
    report::{Limit, Report},
    world::World,
};

const CONNECTIONS: usize = 256;

/// Their queue.
const QUEUE: &str = "peer";

/// A peer that has not ended by then is killed.
const GRACE: Duration = Duration::from_secs(5);

struct Peer {
    name: &'static str,
    /// So many times its rate is ingress to reach.
    times: f64,
    /// As a shell would find it.
    program: &'static str,
    argument: &'static str,
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "Express + amqplib",
        times: 9.0,
        program: "node",
        argument: "express.js",
    },
    Peer {
        name: "FastAPI + aio-pika",
        times: 20.0,
        program: "target/peers/python/bin/python",
        argument: "aio.py",
    },
    Peer {
        name: "Django + Celery",
        times: 55.0,
        program: "target/peers/python/bin/gunicorn",
        argument: "tasks:application",
    },
];

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("peers", &COLUMNS);
    let mut world = World::start(Kind::Scaled).await?;
    let mut rounds = [const { vec![] }; PEERS.len()];
    let mut ours = vec![];
    for _ in 0..options.rounds {
        for (peer, rounds) in PEERS.iter().zip(&mut rounds) {
            rounds.push(theirs(&world, peer, options.time()).await?);
        }
        ours.push(product(&mut world, options, CONNECTIONS, Pace::Unbounded).await?);
    }
    let ours = median(ours);
    for (peer, rounds) in PEERS.iter().zip(rounds) {
        let theirs = median(rounds);
        let ratio = ours.rate / theirs.rate;
        let what = format!("ingress's rate : {}'s", peer.name);
        report.bound(what, ratio, Limit::AtLeast(peer.times));
        report.row(peer.name, theirs.figures());
    }
    report.row("ingress", ours.figures());
    report.publish()
}

/// One peer, with a queue of its own.
async fn theirs(world: &World, peer: &Peer, time: Duration) -> anyhow::Result<Round> {
    let url = &world.stores.queue;
    broker::declare(url, QUEUE).await?;
    let (mut child, address) = start(peer, url).await?;
    let id = child.id().context("a peer has ended")?;
    let plan = Plan {
        address,
        connections: CONNECTIONS,
        pace: Pace::Unbounded,
        count: u64::MAX,
        time,
    };
    let (round, accepted) = measure(world, id, plan).await.context(peer.name)?;
    // To its group: some leave it to whoever stops them to stop their children.
    signal("TERM", &format!("-{id}")).await;
    if timeout(GRACE, child.wait()).await.is_err() {
        signal("KILL", &format!("-{id}")).await;
        child.wait().await?;
    }
    until("the broker has counted its queue", async || {
        let stored = broker::depth(url, QUEUE).await.ok()?;
        (stored >= accepted).then_some(())
    })
    .await;
    broker::delete(url, QUEUE).await?;
    Ok(round)
}

/// Starts a peer, and waits until it listens.
async fn start(peer: &Peer, broker: &str) -> anyhow::Result<(Child, SocketAddr)> {
    let address = SocketAddr::from(([127, 0, 0, 1], port()));
    let program = Path::new(peer.program);
    let program = match program.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => absolute(program)?,
        _ => program.to_owned(),
    };
    let child = Command::new(program)
        .arg(peer.argument)
        .current_dir("bench/peers")
        .env("NODE_PATH", absolute("target/peers/node_modules")?)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PORT", address.port().to_string())
        .env("BROKER", broker)
        .env("QUEUE", QUEUE)
        .env("PROCESSES", available_parallelism()?.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = child.with_context(|| format!("{}: run it by scripts/bench", peer.name))?;
    until("the peer listens", async || {
        TcpStream::connect(address).await.ok()
    })
    .await;
    ensure!(child.id().is_some(), "{} has ended", peer.name);
    Ok((child, address))
}
