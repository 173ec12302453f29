//! Queues that are filled first and then worked off, and how fast that goes.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tests::{Process, http};

use crate::{
    event,
    journal::Journal,
    load::{Pace, Plan, rate},
    world::{World, address, stop},
};

/// Nothing is waited for longer.
pub(crate) const LIMIT: Duration = Duration::from_mins(30);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Puts so many events into the queue, numbered from 0 on, by an ingress that then ends. The journal may be a shorter one.
pub(crate) async fn fill(
    world: &World,
    configuration: &str,
    kind: event::Kind,
    count: u64,
    journal: &Journal,
) -> anyhow::Result<()> {
    let ingress = world.process("ingress", configuration).await;
    let plan = Plan {
        address: address(&ingress.door)?,
        connections: 64,
        pace: Pace::Unbounded,
        count,
        time: LIMIT,
    };
    let answered = event::send(kind, &plan, 0, journal).await?;
    ensure!(
        answered.ok == count,
        "{} of {count} were answered 200",
        answered.ok
    );
    stop(vec![ingress]).await
}

/// Waits until all are `done`, and gives how many a second it were: from a tenth of them to nine tenths, or all of them
/// if they are so few that they go at once.
pub(crate) async fn drained(
    total: u64,
    done: impl AsyncFn() -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let begun = (done().await?, Instant::now());
    let (mut first, mut last) = (None, None);
    loop {
        let seen = (done().await?, Instant::now());
        if seen.0 >= total / 10 {
            first.get_or_insert(seen);
        }
        if seen.0 >= total / 10 * 9 {
            last.get_or_insert(seen);
        }
        if seen.0 >= total {
            let parts = first.zip(last).filter(|(first, last)| last.0 > first.0);
            let (from, to) = parts.unwrap_or((begun, seen));
            ensure!(to.0 > from.0, "all {total} were done before anyone looked");
            return Ok(rate(to.0 - from.0, to.1 - from.1));
        }
        let took = begun.1.elapsed();
        ensure!(took < LIMIT, "{} of {total} after {took:?}", seen.0);
        tokio::time::sleep(LOOK).await;
    }
}

/// A counter's sum over its labels, as the process's metrics tell it.
pub(crate) async fn counter(process: &Process, name: &str) -> anyhow::Result<u64> {
    let url = format!("{}/metrics", process.ops);
    let text = http().get(url).send().await?.text().await?;
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| value.parse::<u64>())
    });
    values.sum::<Result<_, _>>().context("a counter")
}
