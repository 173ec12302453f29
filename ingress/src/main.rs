//! The binary `ingress`: the HTTP door as a process of its own.

use std::{process::ExitCode, sync::Arc};

use common::{
    config::Loaded,
    http,
    outbound::{DEFAULT_TIMEOUT, Outbound},
    startup::{self, Process, Threads},
};
use ingress::Spool;

const ABOUT: &str =
    "Receives the webhooks that providers send, and answers 200 once they are stored";

fn main() -> ExitCode {
    startup::service("ingress", ABOUT, Threads::One, |_| (), start)
}

async fn start(process: Process, loaded: Loaded, (): ()) -> anyhow::Result<()> {
    let (config, lifecycle) = (&loaded.config, &process.lifecycle);
    let outbound = Outbound::new(config.outbound.allow_networks.clone(), DEFAULT_TIMEOUT)?;
    let listener = http::bind(config.ingress.bind).await?;
    let queue = startup::queue(config, ingress::queues(), lifecycle).await;
    let spool = Spool::open(config, lifecycle).await;
    let mut ops = process.ops().queue(Arc::clone(&queue));
    if let Some(spool) = &spool {
        ops = spool.watched(ops).either("spool", "queue");
    }
    process.watch(config.ingress.ops_bind, ops).await?;
    ingress::run(
        listener,
        config,
        queue,
        spool.as_ref(),
        ingress::Calls::over(&outbound),
        lifecycle,
    );
    Ok(())
}
