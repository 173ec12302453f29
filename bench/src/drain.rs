//! Queues that are filled first and then worked off, and how fast that goes.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
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

/// Waits until all are `done`, and gives how many a second it were, from a tenth of them to nine tenths.
pub(crate) async fn drained(
    total: u64,
    done: impl AsyncFn() -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let (mut first, mut last) = (None, None);
    loop {
        let (count, now) = (done().await?, Instant::now());
        if count >= total / 10 {
            first.get_or_insert((count, now));
        }
        if count >= total / 10 * 9 {
            last.get_or_insert((count, now));
        }
        if count >= total {
            break;
        }
        if begun.elapsed() > LIMIT {
            bail!("{count} of {total} after {LIMIT:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
    let (first, last) = first.zip(last).context("a start and an end")?;
    ensure!(
        last.0 > first.0,
        "{total} events are too few to see how fast they go"
    );
    Ok(rate(last.0 - first.0, last.1 - first.1))
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
