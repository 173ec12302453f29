//! Ingress against its ceilings: as many requests as are answered over 64 and over 256 connections, in rounds, of which
//! the one with the median rate counts; and ingress at half of that rate.
//!
//! What ingress answered 200 is counted again in its queues, envelope by envelope.

use std::time::Duration;

use anyhow::{Context, ensure};
use common::{
    envelope,
    queue::{Priority, QueueName},
};
use tests::{Kind, PATIENCE};
use tokio::time::timeout;

use crate::{
    Options,
    bare::{Bare, Running},
    broker, event,
    latency::Latency,
    load::{self, Answered, Pace, Plan},
    report::{Limit, Report},
    usage,
    world::{World, address, stop},
};

pub(crate) const COLUMNS: [&str; 7] = [
    "requests/s",
    "p50 ms",
    "p99 ms",
    "server us",
    "broker us",
    "load us",
    "most MiB",
];

const CONNECTIONS: [usize; 2] = [64, 256];

/// The ceilings' queue.
const QUEUE: &str = "bare";

/// Before what is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// One round's figures.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) rate: f64,
    latency: Latency,
    /// Processor time a request, in microseconds.
    server: f64,
    broker: Option<f64>,
    load: f64,
    /// Resident at the most, in MiB.
    memory: f64,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("ingress", &COLUMNS);
    for kind in options.kinds() {
        let mut world = World::start(kind).await?;
        for connections in CONNECTIONS {
            side_by_side(&mut world, options, connections, &mut report).await?;
        }
    }
    report.publish()
}

/// All of them over so many connections, one after the other in each round.
async fn side_by_side(
    world: &mut World,
    options: &Options,
    connections: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let bares: &[_] = match world.stores.kind {
        Kind::Embedded => &[Bare::Handler],
        Kind::Scaled => &[Bare::Handler, Bare::Gathered, Bare::Each],
    };
    let mut rounds = vec![vec![]; bares.len() + 1];
    for _ in 0..options.rounds {
        for (bare, rounds) in bares.iter().zip(&mut rounds) {
            rounds.push(ceiling(world, *bare, options, connections).await?);
        }
        let product = product(world, options, connections, Pace::Unbounded).await?;
        rounds[bares.len()].push(product);
    }
    let medians: Vec<_> = rounds.into_iter().map(median).collect();
    let names = bares.iter().map(|bare| match bare {
        Bare::Handler => "bare handler, no queue",
        Bare::Gathered => "bare gathered publisher",
        Bare::Each => "bare, one message a request",
    });
    for (name, round) in names.chain(["ingress"]).zip(&medians) {
        let label = format!("{}, {connections} connections: {name}", world.name());
        report.row(label, round.figures());
    }
    let [handler, .., ingress] = &medians[..] else {
        return Ok(());
    };
    hold(world, connections, handler, &medians, report);
    let half = product(
        world,
        options,
        connections,
        Pace::PerSecond(ingress.rate / 2.0),
    )
    .await?;
    let label = format!(
        "{}, {connections} connections: ingress at half",
        world.name()
    );
    report.bound(
        format!("{label}, p99 ms"),
        half.latency.at(0.99),
        Limit::AtMost(10.0),
    );
    report.row(label, half.figures());
    Ok(())
}

/// Holds ingress against what it is to reach.
fn hold(
    world: &World,
    connections: usize,
    handler: &Round,
    medians: &[Round],
    report: &mut Report,
) {
    let Some(ingress) = medians.last() else {
        return;
    };
    let what = |what: &str| format!("{}, {connections} connections, {what}", world.name());
    let many = connections == CONNECTIONS[1];
    if many {
        let least = match world.stores.kind {
            Kind::Scaled => 0.6,
            Kind::Embedded => 0.7,
        };
        let ratio = ingress.rate / handler.rate;
        report.bound(what("rate : bare handler"), ratio, Limit::AtLeast(least));
        report.bound(what("resident MiB"), ingress.memory, Limit::AtMost(40.0));
    }
    let [_, _, each, _] = medians else {
        return;
    };
    let ratio = ingress.rate / each.rate;
    let least = if many { 2.0 } else { 1.5 };
    report.bound(
        what("rate : one message a request"),
        ratio,
        Limit::AtLeast(least),
    );
    if many {
        let ratio = ingress.latency.at(0.99) / each.latency.at(0.99);
        report.bound(
            what("p99 : one message a request"),
            ratio,
            Limit::AtMost(0.5),
        );
        if let (Some(ours), Some(theirs)) = (ingress.broker, each.broker) {
            let what = what("broker's time : one message a request");
            report.bound(what, ours / theirs, Limit::AtMost(0.25));
        }
    }
}

/// One ceiling, with a queue of its own.
async fn ceiling(
    world: &World,
    bare: Bare,
    options: &Options,
    connections: usize,
) -> anyhow::Result<Round> {
    let url = &world.stores.queue;
    let publishes = bare != Bare::Handler;
    if publishes {
        broker::declare(url, QUEUE).await?;
    }
    let running = Running::start(bare, url, QUEUE).await?;
    let plan = Plan {
        address: running.address,
        connections,
        pace: Pace::Unbounded,
        count: u64::MAX,
        time: options.time(),
    };
    let (round, _) = measure(world, running.id()?, plan).await?;
    running.stop().await?;
    if publishes {
        broker::delete(url, QUEUE).await?;
    }
    Ok(round)
}

/// Ingress itself, on stores of its own.
pub(crate) async fn product(
    world: &mut World,
    options: &Options,
    connections: usize,
    pace: Pace,
) -> anyhow::Result<Round> {
    world.afresh().await?;
    let ingress = world.process("ingress", &event::source()).await;
    let plan = Plan {
        address: address(&ingress.door)?,
        connections,
        pace,
        count: u64::MAX,
        time: options.time(),
    };
    let (round, accepted) = measure(world, ingress.id(), plan).await?;
    stop(vec![ingress]).await?;
    let stored = stored(world, accepted).await?;
    ensure!(
        stored == accepted,
        "{accepted} were answered 200, and {stored} are in the queue"
    );
    Ok(round)
}

/// Warms up, then measures. Also how many were answered 200, all together.
pub(crate) async fn measure(
    world: &World,
    server: u32,
    plan: Plan,
) -> anyhow::Result<(Round, u64)> {
    let warm_up = send(
        Plan {
            time: WARM_UP,
            ..plan
        },
        0,
    )
    .await?;
    let broker = world.server("rabbitmq");
    let used = || {
        let broker = broker.map(usage::processor).transpose()?;
        anyhow::Ok((
            usage::processor(server)?,
            broker,
            usage::alone(std::process::id())?,
        ))
    };
    let before = used()?;
    let answered = send(plan, 1 << 40).await?;
    let after = used()?;
    let each =
        |after: Duration, before| 1e6 / load::rate(answered.ok, after.saturating_sub(before));
    let round = Round {
        rate: answered.rate(),
        server: each(after.0, before.0),
        broker: after
            .1
            .zip(before.1)
            .map(|(after, before)| each(after, before)),
        load: each(after.2, before.2),
        memory: usage::memory(server)?.most,
        latency: answered.latency,
    };
    Ok((round, warm_up.ok + answered.ok))
}

async fn send(plan: Plan, from: u64) -> anyhow::Result<Answered> {
    let request = |n, into: &mut Vec<u8>| event::Kind::Unsubscribed.request(from + n, into);
    let answered = load::run(&plan, request, |_, _| {}).await?;
    ensure!(answered.ok > 0, "nothing was answered 200");
    ensure!(
        answered.refused == 0,
        "{} requests were not answered 200",
        answered.refused
    );
    Ok(answered)
}

/// Takes the envelopes out of ingress's queues, and counts them.
async fn stored(world: &World, expected: u64) -> anyhow::Result<u64> {
    let urgent = QueueName::Inbound(Priority::Urgent);
    let queue = world.queue(std::slice::from_ref(&urgent)).await?;
    let mut consumer = queue.consume(&urgent, 500).await?;
    let mut stored = 0;
    while stored < expected {
        let messages = timeout(PATIENCE, consumer.receive(500)).await;
        let messages = messages.with_context(|| format!("{stored} of {expected} are there"))??;
        for message in &messages {
            stored += envelope::decode(message.body.clone())?.len() as u64;
        }
        let tokens: Vec<_> = messages.iter().map(|message| message.token).collect();
        consumer.ack(&tokens).await?;
    }
    Ok(stored + queue.depth(&urgent).await?.ready)
}

pub(crate) fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    rounds.swap_remove(rounds.len() / 2)
}

impl Round {
    pub(crate) fn figures(&self) -> Vec<Option<f64>> {
        let [p50, p99] = [0.5, 0.99].map(|share| Some(self.latency.at(share)));
        let (server, load) = (Some(self.server), Some(self.load));
        vec![
            Some(self.rate),
            p50,
            p99,
            server,
            self.broker,
            load,
            Some(self.memory),
        ]
    }
}
