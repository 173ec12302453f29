//! `optout serve`: ingress, worker and api in one process, over whatever stores are configured.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Context;
use common::{
    config::{Config, Loaded},
    http,
    outbound::{DEFAULT_TIMEOUT, NoClient, Outbound},
    startup::{self, Process, Threads},
};
use ingress::Spool;
use worker::Outlets;

/// Loads the configuration and serves until a signal comes.
pub(crate) fn run(path: Option<&Path>) -> ExitCode {
    let targets = |loaded: &Loaded| worker::outlets(&loaded.config);
    startup::serve(
        path,
        Threads::PerCore,
        targets,
        async |process, loaded, outlets| start(process, &loaded.config, outlets).await,
    )
}

/// Starts all three services; comes back once every port is open.
pub(crate) async fn start(
    process: Process,
    config: &Config,
    outlets: Result<Outlets, NoClient>,
) -> anyhow::Result<()> {
    let lifecycle = &process.lifecycle;
    let outbound = Outbound::new(config.outbound.allow_networks.clone(), DEFAULT_TIMEOUT)?;
    let door = http::bind(config.ingress.bind).await?;
    let desk = http::bind(config.api.bind).await?;
    let ledger = startup::ledger(config, lifecycle)
        .await
        .context("cannot open the ledger")?;
    let queues = ingress::queues()
        .into_iter()
        .chain(api::queues(config))
        .collect();
    let queue = startup::queue(config, queues, lifecycle).await;
    let spool = Spool::open(config, lifecycle).await;
    let claims = startup::claims(config, lifecycle).await;
    // The worker and the api cannot do without the queue, so the spool's standing in for it is not enough here.
    let mut ops = process
        .ops()
        .queue(Arc::clone(&queue))
        .claims(Arc::clone(&claims))
        .ledger(ledger.clone());
    if let Some(spool) = &spool {
        ops = spool.watched(ops);
    }
    process.watch(config.ingress.ops_bind, ops).await?;
    let app = worker::App::new(config, outlets?, Arc::clone(&queue), claims, ledger.clone());
    worker::spawn(&Arc::new(app), lifecycle);
    ingress::run(
        door,
        config,
        Arc::clone(&queue),
        spool.as_ref(),
        ingress::Calls::over(&outbound),
        lifecycle,
    );
    api::run(desk, config, ledger, queue, lifecycle)?;
    Ok(())
}
