//! `bench`: measures the product and its ceiling side by side, in one run on one machine, over loopback. `scripts/bench`
//! builds and runs it.
//!
//! Every measurement is bounded in count and time, starts servers and processes of its own and leaves nothing running.
//! Absolute figures drift by tens of percent between runs and machines; it is the ratios of one run that tell.

mod backlog;
mod bare;
mod broker;
mod ceiling;
mod check;
mod door;
mod drain;
mod durable;
mod ear;
mod embedded;
mod endtoend;
mod event;
mod isolation;
mod journal;
mod latency;
mod load;
mod pages;
mod peers;
mod report;
mod size;
mod stage;
mod steady;
mod usage;
mod wire;
mod world;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use tests::Kind;

use crate::bare::Bare;

/// Measures the product against its ceilings.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure; all if nothing is named
    names: Vec<Name>,
    /// How long each load lasts
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often the door and its ceilings are measured in turn; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many opens are queued before opt-outs; the worker's stages get a quarter, its targets a tenth
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// How many events the backlog has
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// How many events a large ledger has already; each takes about 2 KB of disk, PostgreSQL's log up to 16 GB beside
    #[arg(long, default_value_t = 1_000_000)]
    ledger: u64,
    /// Only these stores
    #[arg(long)]
    stores: Option<StoresKind>,
    /// Be one of the ceilings of ingress, over a queue
    #[arg(long, hide = true, requires = "broker", requires = "queue")]
    bare: Option<Bare>,
    #[arg(long, hide = true)]
    broker: Option<String>,
    #[arg(long, hide = true)]
    queue: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Accepted and confirmed requests against a bare handler and bare publishers
    Ingress,
    /// Ingress beside what one would otherwise write
    Peers,
    /// The stages against their ceilings, and one, three and ten targets
    Worker,
    /// The embedded stores against a bare SQLite insert
    Stores,
    /// The check of one contact and of many against a bare handler
    Check,
    /// From the 200 to the target at a tenth, a half and nine tenths of the sustained rate
    Latency,
    /// Opt-outs behind a backlog of opens; two targets beside one that hangs
    Isolation,
    /// What an event costs as the ledger, and the number of endpoints, grow
    Size,
    /// The dashboard's pages with a large ledger behind them
    Pages,
    /// Memory and rate while a million events are worked off; one, two and four workers
    Backlog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoresKind {
    Embedded,
    Scaled,
}

impl Options {
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn kinds(&self) -> Vec<Kind> {
        match self.stores {
            None => vec![Kind::Embedded, Kind::Scaled],
            Some(StoresKind::Embedded) => vec![Kind::Embedded],
            Some(StoresKind::Scaled) => vec![Kind::Scaled],
        }
    }
}

/// One thread: what load and receivers take from the processors is then bounded, and seen.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let (Some(bare), Some(broker), Some(queue)) = (options.bare, &options.broker, &options.queue)
    {
        return bare::serve(bare, broker, queue).await;
    }
    let names = if options.names.is_empty() {
        Name::value_variants()
    } else {
        &options.names
    };
    for name in names {
        match name {
            Name::Ingress => door::run(&options).await?,
            Name::Peers => peers::run(&options).await?,
            Name::Worker => stage::run(&options).await?,
            Name::Stores => embedded::run(&options).await?,
            Name::Check => check::run(&options).await?,
            Name::Latency => endtoend::run(&options).await?,
            Name::Isolation => isolation::run(&options).await?,
            Name::Size => size::run(&options).await?,
            Name::Pages => pages::run(&options).await?,
            Name::Backlog => backlog::run(&options).await?,
        }
    }
    Ok(())
}
