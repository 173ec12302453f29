//! `bench`: measures the product and its ceiling side by side, in one run on one machine, over loopback. `scripts/bench`
//! builds and runs it.
//!
//! Every measurement is bounded in count and time, starts servers and processes of its own and leaves nothing running.
//! Absolute figures drift by tens of percent between runs and machines; it is the ratios of one run that tell.

mod durable;
mod ear;
mod event;
mod isolation;
mod journal;
mod latency;
mod load;
mod report;
mod usage;
mod wire;
mod world;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use tests::Kind;

/// Measures the product against its ceilings.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure; all if nothing is named
    names: Vec<Name>,
    /// How long each load lasts
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many events are queued where a backlog is measured
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Only these stores
    #[arg(long)]
    stores: Option<StoresKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Isolation,
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
    let names = if options.names.is_empty() {
        Name::value_variants()
    } else {
        &options.names
    };
    for name in names {
        match name {
            Name::Isolation => isolation::run(&options).await?,
        }
    }
    Ok(())
}
