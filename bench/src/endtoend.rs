//! From a webhook's 200 to its target, at a tenth, a half and nine tenths of the rate that all the way sustains.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use tests::Process;

use crate::{
    Options,
    ear::Ear,
    event,
    journal::Journal,
    latency::Latency,
    load::Plan,
    report::{Limit, Report},
    steady::Steady,
    world::{World, configuration, stop},
};

const COLUMNS: [&str; 6] = [
    "events/s",
    "200 p50 ms",
    "200 p99 ms",
    "told p50 ms",
    "told p99 ms",
    "told max ms",
];

/// Where the search begins, in events a second, how many rates are tried, and for how long each.
const FIRST: f64 = 100.0;
const TRIES: usize = 10;
const TRIED: Duration = Duration::from_secs(4);

/// A rate is sustained if so much of it waits at the end, at most.
const BEHIND: Duration = Duration::from_millis(500);

/// A journal for each load, by the upper half of the events' numbers.
type Journals = Arc<Mutex<Vec<Journal>>>;

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("latency", &COLUMNS);
    for kind in options.kinds() {
        let world = World::start(kind).await?;
        let journals = Journals::default();
        let hear = Arc::clone(&journals);
        let ear = Ear::start(1, move |target, body| {
            if let Some(n) = event::Kind::Unsubscribed.number(body) {
                let journals = hear.lock().unwrap_or_else(PoisonError::into_inner);
                let load = usize::try_from(n >> 32).unwrap_or(usize::MAX);
                journals[load].hear(target, n & u64::from(u32::MAX));
            }
        });
        let ear = ear.await?;
        let text = configuration(&ear, &["\"*\""], "");
        let processes = world.pipeline(&text).await;
        let sustained = sustained(&processes[0], &journals).await?;
        let label = |what: &str| format!("{}, {what}", world.name());
        report.row(label("sustained"), vec![Some(sustained)]);
        for share in [0.1, 0.5, 0.9] {
            let steady = Steady::of(sustained * share, options.time());
            let (answers, told, _) = send(&processes[0], steady, &journals).await?;
            let label = label(&format!("at {share} of it"));
            if (0.4..0.6).contains(&share) {
                report.bound(
                    format!("{label}, p99 ms"),
                    told.at(0.99),
                    Limit::AtMost(100.0),
                );
            }
            let answers = [answers.at(0.5), answers.at(0.99)];
            let told = [told.at(0.5), told.at(0.99), told.most()];
            let figures = [steady.rate].into_iter().chain(answers).chain(told);
            report.row(label, figures.map(Some).collect());
        }
        stop(processes).await?;
    }
    report.publish()
}

/// The highest rate found at which the target kept up: each is twice the last until it did not, and then the middle of
/// what is left, a few times.
async fn sustained(door: &Process, journals: &Journals) -> anyhow::Result<f64> {
    // The first load finds everything cold.
    send(door, Steady::of(FIRST, TRIED), journals).await?;
    let (mut kept_up, mut fell_behind) = (None, None);
    for _ in 0..TRIES {
        let rate: f64 = match (kept_up, fell_behind) {
            (None, None) => FIRST,
            (Some(kept_up), None) => 2.0 * kept_up,
            (kept_up, Some(fell_behind)) => f64::midpoint(kept_up.unwrap_or(0.0), fell_behind),
        };
        let (_, _, behind) = send(door, Steady::of(rate, TRIED), journals).await?;
        if behind > Steady::of(rate, BEHIND).count {
            fell_behind = Some(rate);
        } else {
            kept_up = Some(rate);
        }
    }
    kept_up.context("no rate that was tried is kept up with")
}

/// Sends at a steady rate until the target is told of all. How long the 200s took, how long the target's calls, and how
/// many it was behind when the last was sent.
async fn send(
    door: &Process,
    steady: Steady,
    journals: &Journals,
) -> anyhow::Result<(Latency, Latency, u64)> {
    let journal = Journal::new(1, steady.count);
    let number = {
        let mut journals = journals.lock().unwrap_or_else(PoisonError::into_inner);
        journals.push(journal.clone());
        journals.len() as u64 - 1
    };
    let plan = Plan {
        connections: 64,
        ..steady.at(door)?
    };
    let answered = event::send(event::Kind::Unsubscribed, &plan, number << 32, &journal).await?;
    ensure!(
        answered.refused == 0,
        "{} were not answered 200",
        answered.refused
    );
    let behind = journal.accepted() - journal.told(0);
    journal.all_told(1).await;
    Ok((answered.latency, journal.latency(0), behind))
}
