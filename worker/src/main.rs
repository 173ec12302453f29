//! The binary `worker`: the two stages as a process of its own.

use std::{process::ExitCode, sync::Arc};

use common::{
    config::Loaded,
    outbound::NoClient,
    startup::{self, Process, Threads},
};
use worker::{App, Outlets};

const ABOUT: &str =
    "Takes webhooks from the queue, records them in the ledger and tells the targets";

fn main() -> ExitCode {
    let targets = |loaded: &Loaded| worker::outlets(&loaded.config);
    startup::service("worker", ABOUT, Threads::PerCore, targets, start)
}

async fn start(
    process: Process,
    loaded: Loaded,
    outlets: Result<Outlets, NoClient>,
) -> anyhow::Result<()> {
    let (config, lifecycle) = (&loaded.config, &process.lifecycle);
    let ledger = startup::ledger(config, lifecycle).await?;
    let queue = startup::queue(config, vec![], lifecycle).await;
    let claims = startup::claims(config, lifecycle).await;
    let ops = process.ops().queue(Arc::clone(&queue));
    let ops = ops.claims(Arc::clone(&claims)).ledger(ledger.clone());
    process.watch(config.worker.ops_bind, ops).await?;
    let app = App::new(config, outlets?, queue, claims, ledger);
    worker::spawn(&Arc::new(app), lifecycle);
    Ok(())
}
