//! The binary `ingress`: the HTTP door as a process of its own.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use common::{
    config::Config,
    http,
    startup::{self, Process, Threads},
};

/// Longer than a request can take: its headers, its body and its publish have a deadline each.
const PATIENCE: Duration = Duration::from_secs(25);

/// Receives the webhooks that providers send, and answers 200 once they are stored.
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
            startup::run(&config.telemetry, Threads::One, PATIENCE, |process| {
                start(config, process)
            })
        }
        Err(exit) => exit,
    }
}

async fn start(config: &Config, process: Process) -> anyhow::Result<()> {
    let listener = http::bind(config.ingress.bind).await?;
    let queue = startup::queue(config, ingress::queues(), &process.lifecycle).await;
    process
        .watch(
            config.ingress.ops_bind,
            process.ops().queue(Arc::clone(&queue)),
        )
        .await?;
    ingress::run(
        listener,
        &config.ingress,
        &config.sources,
        queue,
        &process.lifecycle,
    );
    Ok(())
}
