//! The worker against its ceilings, each on a queue that was filled before.
//!
//! - The route stage alone, without a target: opt-outs into the ledger; beside it a bare loop that consumes and
//!   acknowledges the same messages, the claims pipelined, and batched inserts of the same rows.
//! - To one, three and ten targets, all the way.
//! - The deliver stage alone, to one target; beside it a bare loop that consumes, claims, posts and acknowledges.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use tests::Kind;

use crate::{
    Options, ceiling,
    drain::{counter, drained, fill},
    ear::Ear,
    event,
    journal::Journal,
    load::rate,
    report::{Limit, Report},
    usage,
    world::{World, configuration, stop},
};

pub(crate) const COLUMNS: [&str; 5] = [
    "events/s",
    "worker us",
    "broker us",
    "ledger us",
    "most MiB",
];

/// Counts events when they are in the ledger.
pub(crate) const RECORDED: &str = "optout_events_total";

/// Short, since whatever was in hand at the restart waits for its lease; and no breaker, as it hangs at first.
const HANGS_AT_FIRST: &str = "timeout = \"5s\"\nbreaker_after = 0";

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("worker", &COLUMNS);
    for kind in options.kinds() {
        let mut world = World::start(kind).await?;
        route(&mut world, options.events / 4, &mut report).await?;
        for targets in [1, 3, 10] {
            world.afresh().await?;
            all_the_way(&world, targets, options.events / 10, &mut report).await?;
        }
        deliver(&mut world, options.events / 10, &mut report).await?;
    }
    report.publish()
}

/// Opt-outs into the ledger.
async fn route(world: &mut World, count: u64, report: &mut Report) -> anyhow::Result<()> {
    let source = event::source();
    fill(
        world,
        &source,
        event::Kind::Unsubscribed,
        count,
        &unheeded(),
    )
    .await?;
    let worker = world.process("worker", &source).await;
    let measured = Measured::begin(world, worker.id())?;
    let found = drained(count, async || counter(&worker, RECORDED).await).await?;
    let label = |what: &str| format!("{}, {what}", world.name());
    let figures = measured.end(world, found, count)?;
    ensure!(world.recorded(event::Kind::Unsubscribed).await? == count);
    stop(vec![worker]).await?;
    let memory = figures[4];
    report.row(label("route stage"), figures);
    if let Some(memory) = memory {
        report.bound(label("resident MiB"), memory, Limit::AtMost(80.0));
    }
    if world.stores.kind == Kind::Embedded {
        return Ok(());
    }
    let inserted = ceiling::insert(&world.stores.ledger, count).await?;
    report.row(label("bare batched insert"), alone(inserted));
    let claimed = ceiling::claim(&world.stores.claims, count).await?;
    report.row(label("bare pipelined claims"), alone(claimed));
    world.afresh().await?;
    fill(
        world,
        &source,
        event::Kind::Unsubscribed,
        count,
        &unheeded(),
    )
    .await?;
    let consumed = ceiling::consume(&world.stores, count).await?;
    let label = |what: &str| format!("{}, {what}", world.name());
    report.row(label("bare consume and acknowledge"), alone(consumed));
    let slowest = inserted.min(claimed).min(consumed);
    report.bound(
        label("route stage : its slowest ceiling"),
        found / slowest,
        Limit::AtLeast(0.6),
    );
    Ok(())
}

/// From the queue to so many targets.
async fn all_the_way(
    world: &World,
    targets: usize,
    count: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (ear, heard) = counting(targets).await?;
    let text = configuration(&ear, &vec!["\"*\""; targets], "");
    fill(world, &text, event::Kind::Unsubscribed, count, &unheeded()).await?;
    let worker = world.process("worker", &text).await;
    let measured = Measured::begin(world, worker.id())?;
    let found = drained(count, async || Ok(least(&heard))).await?;
    let label = format!("{}, to {targets} target(s)", world.name());
    report.row(label, measured.end(world, found, count)?);
    ensure!(world.recorded(event::Kind::Unsubscribed).await? == count);
    stop(vec![worker]).await
}

/// What waits before a target already.
async fn deliver(world: &mut World, count: u64, report: &mut Report) -> anyhow::Result<()> {
    world.afresh().await?;
    let (ear, heard) = counting(1).await?;
    ear.hang(0, true);
    let text = configuration(&ear, &["\"*\""], HANGS_AT_FIRST);
    fill(world, &text, event::Kind::Unsubscribed, count, &unheeded()).await?;
    let routing = world.process("worker", &text).await;
    drained(count, async || counter(&routing, RECORDED).await).await?;
    stop(vec![routing]).await?;
    ear.hang(0, false);
    let worker = world.process("worker", &text).await;
    let measured = Measured::begin(world, worker.id())?;
    let done = async || Ok(heard[0].load(Ordering::Relaxed));
    let found = drained(count, done).await?;
    let label = |what: &str| format!("{}, {what}", world.name());
    report.row(label("deliver stage"), measured.end(world, found, count)?);
    stop(vec![worker]).await?;
    if world.stores.kind == Kind::Scaled {
        let bare = ceiling::deliver(&world.stores, &ear.url(0), count).await?;
        report.row(label("bare consume, claim, post, acknowledge"), alone(bare));
        report.bound(
            label("deliver stage : bare loop"),
            found / bare,
            Limit::AtLeast(0.7),
        );
    }
    Ok(())
}

/// An ear that counts, per path.
pub(crate) async fn counting(paths: usize) -> anyhow::Result<(Ear, Arc<[AtomicU64]>)> {
    let heard: Arc<[_]> = (0..paths).map(|_| AtomicU64::new(0)).collect();
    let counted = Arc::clone(&heard);
    let ear = Ear::start(paths, move |path, _| {
        counted[path].fetch_add(1, Ordering::Relaxed);
    });
    Ok((ear.await?, heard))
}

/// What each path of a counting ear has heard at the least.
pub(crate) fn least(heard: &[AtomicU64]) -> u64 {
    let heard = heard.iter().map(|heard| heard.load(Ordering::Relaxed));
    heard.min().unwrap_or_default()
}

/// A journal that notes nothing.
pub(crate) fn unheeded() -> Journal {
    Journal::new(0, 0)
}

fn alone(rate: f64) -> Vec<Option<f64>> {
    vec![Some(rate), None, None, None, None]
}

/// Processor time of a worker, of the broker and of the ledger's server, from now on.
pub(crate) struct Measured {
    worker: u32,
    used: Duration,
    broker: Option<Duration>,
    ledger: Option<Duration>,
}

impl Measured {
    pub(crate) fn begin(world: &World, worker: u32) -> anyhow::Result<Self> {
        let used = |server| world.server(server).map(usage::processor).transpose();
        Ok(Self {
            worker,
            used: usage::processor(worker)?,
            broker: used("rabbitmq")?,
            ledger: used("postgres")?,
        })
    }

    /// The figures of a row.
    pub(crate) fn end(
        &self,
        world: &World,
        found: f64,
        count: u64,
    ) -> anyhow::Result<Vec<Option<f64>>> {
        let now = Self::begin(world, self.worker)?;
        let each = |after: Duration, before| 1e6 / rate(count, after.saturating_sub(before));
        let server = |after: Option<Duration>, before| Some(each(after?, before?));
        Ok(vec![
            Some(found),
            Some(each(now.used, self.used)),
            server(now.broker, self.broker),
            server(now.ledger, self.ledger),
            Some(usage::memory(self.worker)?.most),
        ])
    }
}
