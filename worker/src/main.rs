//! The worker as a process of its own.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use common::{
    config::Loaded,
    startup::{self, Process, Threads},
};
use worker::{App, Outlet};

/// Takes webhooks from the queue, records them in the ledger and tells the targets.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; else the one that `OPTOUT_CONFIG` names, else ./optout.toml, else defaults
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut outlets = Ok(vec![]);
    let check = |loaded: &Loaded| outlets = worker::outlets(&loaded.config);
    let loaded = match startup::load(arguments.config.as_deref(), check) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let config = &loaded.config;
    startup::run(
        &config.telemetry,
        Threads::PerCore,
        config.worker.shutdown_timeout,
        |process| start(process, &loaded, outlets),
    )
}

async fn start(
    process: Process,
    loaded: &Loaded,
    outlets: Result<Vec<Arc<Outlet>>, worker::outbound::NoClient>,
) -> anyhow::Result<()> {
    let config = &loaded.config;
    let ledger = startup::ledger(config, &process.lifecycle).await?;
    let queue = startup::queue(config, vec![], &process.lifecycle).await;
    let claims = startup::claims(config, &process.lifecycle).await;
    let ops = process
        .ops()
        .queue(Arc::clone(&queue))
        .claims(Arc::clone(&claims))
        .ledger(ledger.clone());
    process.watch(config.worker.ops_bind, ops).await?;
    let app = App::new(config, outlets?, queue, claims, ledger);
    worker::spawn(&Arc::new(app), &process.lifecycle);
    Ok(())
}
