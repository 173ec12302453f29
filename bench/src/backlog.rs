//! A backlog: a million events that wait when the worker starts. Shown is that memory and rate stay as they are while it
//! is worked off; and then, on smaller ones, what two and four workers do.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tests::Process;

use crate::{
    Options,
    drain::{LIMIT, drained, fill},
    ear::Ear,
    event,
    journal::Journal,
    load::rate,
    report::{Limit, Report},
    usage,
    world::{World, configuration, stop},
};

const COLUMNS: [&str; 4] = ["events/s", "MiB", "waiting", "oldest s"];

/// The drain is told in so many parts.
const PARTS: u64 = 5;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(250);

/// What the last parts may differ by from the first: "flat", within what one machine drifts.
const FLAT: f64 = 1.25;

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("backlog", &COLUMNS);
    for kind in options.kinds() {
        let mut world = World::start(kind).await?;
        one_worker(&world, options.backlog, &mut report).await?;
        for workers in [1, 2, 4] {
            world.afresh().await?;
            several(&world, workers, options.events / 4, &mut report).await?;
        }
    }
    report.publish()
}

/// What stood when a part had been worked off.
struct Part {
    rate: f64,
    /// At the most while it was, in MiB.
    memory: f64,
    waiting: u64,
    oldest: Duration,
}

async fn one_worker(world: &World, count: u64, report: &mut Report) -> anyhow::Result<()> {
    let (journal, text) = (Journal::new(1, count), |ear: &Ear| {
        configuration(ear, &["\"*\""], "slots = 64")
    });
    let ear = hearing(&journal).await?;
    let text = text(&ear);
    fill(world, &text, event::Kind::Unsubscribed, count, &journal).await?;
    let worker = world.process("worker", &text).await;
    let parts = watch(&worker, &journal, count).await?;
    for (number, part) in (1..).zip(&parts) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "no count here comes near 2 to the 52nd"
        )]
        let waiting = part.waiting as f64;
        let figures = [part.rate, part.memory, waiting, part.oldest.as_secs_f64()];
        let label = format!("{}, part {number} of {count}", world.name());
        report.row(label, figures.map(Some).to_vec());
    }
    let [first, .., last] = &parts[..] else {
        return Ok(());
    };
    let label = |what: &str| format!("{}, {what}, last part : first", world.name());
    report.bound(
        label("memory"),
        last.memory / first.memory,
        Limit::AtMost(FLAT),
    );
    report.bound(
        label("rate"),
        last.rate / first.rate,
        Limit::AtLeast(1.0 / FLAT),
    );
    ensure!(world.recorded(event::Kind::Unsubscribed).await? == count);
    stop(vec![worker]).await
}

async fn watch(worker: &Process, journal: &Journal, count: u64) -> anyhow::Result<Vec<Part>> {
    let begun = Instant::now();
    let (mut parts, mut memory) = (vec![], 0.0_f64);
    let (mut since, mut before) = (begun, 0);
    while (parts.len() as u64) < PARTS {
        ensure!(
            begun.elapsed() < LIMIT,
            "the backlog is not worked off in {LIMIT:?}"
        );
        memory = memory.max(usage::memory(worker.id())?.resident);
        let (told, now) = (journal.told(0), Instant::now());
        if told >= count * (parts.len() as u64 + 1) / PARTS {
            parts.push(Part {
                rate: rate(told - before, now - since),
                memory,
                waiting: count - told,
                oldest: journal.oldest(0),
            });
            (memory, since, before) = (0.0, now, told);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(parts)
}

/// The same queue with several workers.
async fn several(
    world: &World,
    workers: usize,
    count: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let journal = Journal::new(1, count);
    let ear = hearing(&journal).await?;
    let text = configuration(&ear, &["\"*\""], "slots = 64");
    fill(world, &text, event::Kind::Unsubscribed, count, &journal).await?;
    let mut processes = vec![];
    for _ in 0..workers {
        processes.push(world.process("worker", &text).await);
    }
    let found = drained(count, async || Ok(journal.told(0))).await?;
    let mut memory = 0.0_f64;
    for worker in &processes {
        memory = memory.max(usage::memory(worker.id())?.most);
    }
    let label = format!("{}, {workers} worker(s)", world.name());
    report.row(label, vec![Some(found), Some(memory), None, None]);
    stop(processes).await
}

async fn hearing(journal: &Journal) -> anyhow::Result<Ear> {
    let hear = journal.clone();
    let ear = Ear::start(1, move |target, body| {
        if let Some(n) = event::Kind::Unsubscribed.number(body) {
            hear.hear(target, n);
        }
    });
    Ok(ear.await?)
}
