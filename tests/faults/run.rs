//! A run: one fault after the other under load, then what must hold in the end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::seq::SliceRandom;
use tests::until;

use crate::{
    fault::{Blow, FAULTS, Fault, Harm, Set},
    harm::Done,
    load::Counts,
    report::{Line, Report},
    settle,
    world::World,
};

/// How long a run is, and how hard.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// None for the short form: each of its faults once.
    minutes: Option<u64>,
    /// Events a second.
    rate: u32,
    seed: u64,
    /// Only faults whose names hold this.
    only: Option<String>,
}

/// What a fault lasts, in seconds of load.
const LASTS: u64 = 2;

impl Plan {
    /// What `scripts/faults` asks for; without it the short form.
    pub(crate) fn asked_for() -> Self {
        let number = |name: &str| {
            let text = asked_for(name)?;
            let number = text.parse::<u64>();
            Some(number.unwrap_or_else(|_| panic!("OPTOUT_FAULTS_{name} is {text:?}, no number")))
        };
        let minutes = number("MINUTES");
        let usual = if minutes.is_some() { 60 } else { 20 };
        let rate = number("RATE").unwrap_or(usual);
        Self {
            minutes,
            rate: u32::try_from(rate).unwrap(),
            seed: number("SEED").unwrap_or(1),
            only: asked_for("ONLY"),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment what to do"
)]
fn asked_for(name: &str) -> Option<String> {
    std::env::var(format!("OPTOUT_FAULTS_{name}")).ok()
}

/// Breaks one thing after the other on these stores, and asserts that nothing was lost.
pub(crate) async fn all(set: Set, plan: &Plan) {
    let begun = Instant::now();
    let mut world = World::start(set, plan.rate, plan.seed).await;
    flows(&mut world, "before any fault").await;
    let mut lines: BTreeMap<&'static str, Line> = BTreeMap::new();
    loop {
        let mut round: Vec<_> = chosen(set, plan).collect();
        round.shuffle(&mut world.random);
        for fault in round {
            let line = strike(&mut world, fault, plan).await;
            say(&world, fault, &line);
            lines.entry(fault.name).or_default().add(&line);
            if plan.is_over(begun) {
                break;
            }
        }
        if plan.minutes.is_none() || plan.is_over(begun) {
            break;
        }
    }
    let settled = settle::all(&mut world).await;
    let report = Report::new(set, plan.seed, begun.elapsed(), lines, settled);
    report.publish();
    report.assert();
    world.forget_logs();
}

/// Says how far it is, for whoever watches a long run.
#[expect(clippy::print_stdout, reason = "a run takes minutes, and is watched")]
fn say(world: &World, fault: &Fault, line: &Line) {
    println!(
        "{:?} {} {}: {} events, back after {:.1} s",
        world.set,
        world.folder().display(),
        fault.name,
        line.events,
        line.back_after.as_secs_f64()
    );
}

impl Plan {
    fn is_over(&self, begun: Instant) -> bool {
        let minutes = self.minutes.map(Duration::from_mins);
        minutes.is_some_and(|minutes| begun.elapsed() >= minutes)
    }
}

fn chosen(set: Set, plan: &Plan) -> impl Iterator<Item = &'static Fault> {
    let all = FAULTS.iter().filter(move |fault| fault.is_of(set));
    all.filter(move |fault| match &plan.only {
        Some(only) => fault.name.contains(only),
        None => plan.minutes.is_some() || fault.short,
    })
}

/// Breaks one thing, lets it be broken for a while, mends it, and sees that all goes on by itself.
async fn strike(world: &mut World, fault: &Fault, plan: &Plan) -> Line {
    let (before, begun) = (world.accepted(), Instant::now());
    let done: Done = fault.harm.inject(world).await;
    offered(world, u64::from(plan.rate) * LASTS).await;
    match done {
        // Nothing waits until the clock has caught up.
        Done::Elsewhen(_) => flows(world, "while a clock is an hour behind").await,
        // What was on its way, too, needs no more than the other nodes. That one of them hangs they take a minute to find,
        // so the short form wakes it before.
        Done::Other(Harm::Node(_, blow)) if plan.minutes.is_some() || blow != Blow::Paused => {
            catches_up(world, "without a node").await;
        }
        _ => {}
    }
    done.mend(world).await;
    let mended = Instant::now();
    world.all_ready().await;
    if plan.minutes.is_some() {
        catches_up(world, fault.name).await;
    } else {
        flows(world, fault.name).await;
    }
    world.all_run(fault.name);
    Line {
        times: 1,
        events: world.accepted() - before,
        lasted: mended - begun,
        back_after: mended.elapsed(),
    }
}

/// Waits until so many more events were sent: a while under load.
async fn offered(world: &World, events: u64) {
    let count = || Counts::of(&world.load.counts.offered);
    let enough = count() + events;
    until("the load goes on", async || {
        (count() >= enough).then_some(())
    })
    .await;
}

/// What is accepted from now on is told.
async fn flows(world: &mut World, after: &str) {
    let told = world.receiver.count("/hook");
    until(&format!("events flow again: {after}"), async || {
        (world.receiver.count("/hook") > told + 20).then_some(())
    })
    .await;
}

/// What was accepted before now is told to everybody.
async fn catches_up(world: &mut World, after: &str) {
    let now = common::clock::now().as_microsecond();
    let accepted = usize::try_from(world.accepted()).unwrap();
    until(&format!("it catches up: {after}"), async || {
        let told = world.receiver.count("/hook") >= accepted;
        (told && world.ledger.undelivered(now).await == Some(0)).then_some(())
    })
    .await;
}
