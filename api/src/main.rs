//! The binary `api`: the api as a process of its own.

use std::{process::ExitCode, sync::Arc};

use common::{
    config::Loaded,
    http,
    startup::{self, Process, Threads},
};

const ABOUT: &str =
    "Answers whether a contact is unsubscribed, and shows and mends what the ledger holds";

fn main() -> ExitCode {
    startup::service("api", ABOUT, Threads::PerCore, |_| (), start)
}

async fn start(process: Process, loaded: Loaded, (): ()) -> anyhow::Result<()> {
    let (config, lifecycle) = (&loaded.config, &process.lifecycle);
    let listener = http::bind(config.api.bind).await?;
    let queue = startup::queue(config, api::queues(config), lifecycle).await;
    let ledger = startup::ledger(config, lifecycle).await?;
    let ops = process
        .ops()
        .queue(Arc::clone(&queue))
        .ledger(ledger.clone());
    process.watch(config.api.ops_bind, ops).await?;
    api::run(listener, config, ledger, queue, lifecycle)?;
    Ok(())
}
