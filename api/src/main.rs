//! The binary `api`: the api as a process of its own.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use common::{
    config::Config,
    http,
    startup::{self, Process, Threads},
};

/// Longer than a request can take: each of the stores that it asks has a deadline.
const PATIENCE: Duration = Duration::from_secs(25);

/// Answers whether a contact is unsubscribed, and shows and mends what the ledger holds.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; else the one that `OPTOUT_CONFIG` names, else ./optout.toml, else defaults.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match startup::load(arguments.config.as_deref(), |_| {}) {
        Ok(loaded) => {
            let config = &loaded.config;
            startup::run(&config.telemetry, Threads::PerCore, PATIENCE, |process| {
                start(config, process)
            })
        }
        Err(exit) => exit,
    }
}

async fn start(config: &Config, process: Process) -> anyhow::Result<()> {
    let listener = http::bind(config.api.bind).await?;
    let queue = startup::queue(config, api::queues(config), &process.lifecycle).await;
    let ledger = startup::ledger(config, &process.lifecycle).await?;
    let ops = process
        .ops()
        .queue(Arc::clone(&queue))
        .ledger(ledger.clone());
    process.watch(config.api.ops_bind, ops).await?;
    api::run(listener, config, ledger, queue, &process.lifecycle);
    Ok(())
}
