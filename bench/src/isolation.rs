//! Isolation: opt-outs do not wait behind opens, and one target's trouble is its own.
//!
//! - Opens are queued while no worker runs. Then one does, and unsubscribes come in at a steady rate while opens wait
//!   still, in the inbound queue and before the target that is told of everything. Measured is the time from each
//!   unsubscribe's 200 to the target.
//! - Three targets are told of everything, at a steady rate. Then one of them answers nothing, so that all its slots are
//!   taken for its whole time-out, over and over; then it is well again. Measured is the time to the two others.

use std::time::Duration;

use anyhow::ensure;
use common::queue::{Priority, QueueName};
use tests::{Kind, Process};

use crate::{
    Options,
    ear::Ear,
    event,
    journal::Journal,
    latency::Latency,
    load::{Pace, Plan, rate},
    report::{Limit, Report},
    steady::Steady,
    world::{World, address, configuration, stop},
};

const COLUMNS: [&str; 5] = ["events", "p50 ms", "p99 ms", "max ms", "opens/s"];

/// Unsubscribes a second beside the backlog.
const OPT_OUTS: f64 = 50.0;

/// Events a second while one target hangs, and its time-out.
const STEADY: f64 = 100.0;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A breaker would spare the others what is to be shown.
const TARGET: &str = "timeout = \"5s\"\nbreaker_after = 0";

/// What two measurements of one thing may differ by, if they are not seen to differ by more.
const NOISE: f64 = 1.25;

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_mins(10);

/// A promise: accepted to delivered, in milliseconds, at the 99th percentile.
const PROMISED: f64 = 1000.0;

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("isolation", &COLUMNS);
    for kind in options.kinds() {
        let mut world = World::start(kind).await?;
        behind_opens(&world, options, &mut report).await?;
        world.afresh().await?;
        beside_a_hanging_target(&world, options, &mut report).await?;
    }
    report.publish()
}

/// Opens by the hundred thousand, then unsubscribes.
async fn behind_opens(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let (opens, opt_outs) = (options.events, Steady::of(OPT_OUTS, options.time() * 2));
    let (opted_out, opened) = (Journal::new(2, opt_outs.count), Journal::new(1, opens));
    let (hear, drain) = (opted_out.clone(), opened.clone());
    let ear = Ear::start(2, move |target, body| {
        if let Some(n) = event::Kind::Unsubscribed.number(body) {
            hear.hear(target, n);
        } else if let Some(n) = event::Kind::Opened.number(body) {
            drain.hear(0, n);
        }
    });
    let ear = ear.await?;
    let text = configuration(&ear, &["\"*\"", "\"unsubscribed\""], "");
    let ingress = world.process("ingress", &text).await;
    let all = at_once(&ingress, opens)?;
    let queued = event::send(event::Kind::Opened, &all, 0, &opened).await?;
    ensure!(queued.refused == 0, "{} opens were refused", queued.refused);

    let processes = match world.stores.kind {
        Kind::Scaled => vec![ingress, world.process("worker", &text).await],
        Kind::Embedded => {
            stop(vec![ingress]).await?;
            vec![world.process("optout", &text).await]
        }
    };
    let before = opened.told(0);
    let plan = opt_outs.at(&processes[0])?;
    let answered = event::send(event::Kind::Unsubscribed, &plan, 0, &opted_out).await?;
    still_wait(world, opens).await?;
    let drained = rate(opened.told(0) - before, answered.took);
    opted_out.all_told(2).await;
    ensure!(world.recorded(event::Kind::Unsubscribed).await? == answered.ok);
    for (target, what) in ["all", "opt-outs"].iter().enumerate() {
        let latency = opted_out.latency(target);
        let label = format!("{}, behind opens: target of {what}", world.name());
        report.bound(&label, latency.at(0.99), Limit::AtMost(PROMISED));
        report.row(label, row(&latency, (target == 0).then_some(drained)));
    }
    stop(processes).await
}

/// Fails if not one message of opens waits any more: then nothing was shown.
async fn still_wait(world: &World, opens: u64) -> anyhow::Result<()> {
    let bulk = QueueName::Inbound(Priority::Bulk);
    let queue = world.queue(std::slice::from_ref(&bulk)).await?;
    let recorded = world.recorded(event::Kind::Opened).await?;
    ensure!(
        queue.depth(&bulk).await?.ready > 0 && recorded < opens,
        "no opens waited any more at the last unsubscribe: queue more of them, by --events"
    );
    Ok(())
}

/// Three targets, of which one hangs in the second of three phases.
async fn beside_a_hanging_target(
    world: &World,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    const TARGETS: usize = 3;
    let steady = Steady::of(STEADY, options.time().max(TIMEOUT * 2));
    let journals = [(); 3].map(|()| Journal::new(TARGETS, steady.count));
    let hear = journals.clone();
    let ear = Ear::start(TARGETS, move |target, body| {
        if let Some(n) = event::Kind::Unsubscribed.number(body) {
            let phase = usize::try_from(n / steady.count).unwrap_or(usize::MAX);
            hear[phase].hear(target, n % steady.count);
        }
    });
    let ear = ear.await?;
    let text = configuration(&ear, &["\"*\""; TARGETS], TARGET);
    let processes = world.pipeline(&text).await;
    let plan = steady.at(&processes[0])?;
    let phases = ["all are well", "the third hangs", "all are well again"];
    let mut seen = vec![];
    for (phase, (what, journal)) in (0..).zip(phases.iter().zip(&journals)) {
        ear.hang(TARGETS - 1, phase == 1);
        let from = phase * steady.count;
        event::send(event::Kind::Unsubscribed, &plan, from, journal).await?;
        journal.all_told(TARGETS - 1).await;
        let mut latency = journal.latency(0);
        latency.add(&journal.latency(1));
        let label = format!("{}, two targets while {what}", world.name());
        report.row(label, row(&latency, None));
        seen.push(latency);
    }
    for (share, what) in [(0.5, "p50"), (0.99, "p99")] {
        let [first, hanging, last] = [0, 1, 2].map(|phase| seen[phase].at(share));
        let noise = NOISE.max(first.max(last) / first.min(last));
        let label = format!("{}, {what} beside one that hangs : without", world.name());
        report.bound(label, hanging / first.max(last), Limit::AtMost(noise));
    }
    stop(processes).await
}

/// All of them, as fast as they are answered.
fn at_once(process: &Process, count: u64) -> anyhow::Result<Plan> {
    Ok(Plan {
        address: address(&process.door)?,
        connections: 64,
        pace: Pace::Unbounded,
        count,
        time: LIMIT,
    })
}

fn row(latency: &Latency, opens: Option<f64>) -> Vec<Option<f64>> {
    #[expect(clippy::cast_precision_loss, reason = "a small number of events")]
    let events = latency.count() as f64;
    let figures = [events, latency.at(0.5), latency.at(0.99), latency.most()];
    figures.map(Some).into_iter().chain([opens]).collect()
}
