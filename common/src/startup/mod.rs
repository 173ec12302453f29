//! What the four binaries share at start-up, in the order in which they use it:
//!
//! 1. [`load`] reads the configuration, or says all that is wrong with it and gives the exit code 64;
//! 2. [`run`] sets up logs, metrics, TLS and the runtime, lets the binary start its loops, and waits for the end;
//! 3. inside of it, [`queue()`], [`spool()`], [`claims()`] and [`ledger()`] give the stores, away or not, and
//!    [`Process::watch`] opens the operations listener.

mod ledger;
mod stores;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use tracing::error;

use crate::{
    config::{Loaded, Telemetry, environment},
    http::{self, Limits},
    lifecycle::{Lifecycle, Signals},
    ops::Ops,
    telemetry::{self, Metrics},
};

pub use ledger::{ledger, ledger_at_once};
pub use stores::{Late, claims, queue, spool};

/// All binaries are released together.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `EX_USAGE`: the configuration has to be mended, starting again will not help.
pub const MISCONFIGURED: u8 = 64;

/// How long the runtime waits for blocking calls once everything else has ended.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Reads the configuration of this process. `check` may read what is left of it (the targets' own settings) into the
/// same list of mistakes. Mistakes go to standard error, one a line, each by its key.
pub fn load<T>(
    path: Option<&Path>,
    check: impl FnOnce(&Loaded) -> T,
) -> Result<(Loaded, T), ExitCode> {
    let problems: Vec<_> = match Loaded::find(path, environment()) {
        Err(error) => vec![format!("{:#}", anyhow::Error::from(error))],
        Ok(loaded) => {
            let checked = check(&loaded);
            match loaded.mistakes() {
                mistakes if mistakes.is_empty() => return Ok((loaded, checked)),
                mistakes => mistakes.iter().map(ToString::to_string).collect(),
            }
        }
    };
    complain(&problems);
    Err(ExitCode::from(MISCONFIGURED))
}

#[expect(
    clippy::print_stderr,
    reason = "logging is set up by the configuration that is wrong"
)]
fn complain(problems: &[String]) {
    for problem in problems {
        eprintln!("{problem}");
    }
}

/// How many threads a process runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// For ingress, which has so little to do per request that handing it between threads costs more.
    One,
    PerCore,
}

/// A process that has logs, metrics and a runtime.
#[derive(Debug, Clone)]
pub struct Process {
    pub lifecycle: Lifecycle,
    pub metrics: Metrics,
}

/// The command line of a binary that is one service.
#[derive(Debug, clap::Args)]
struct Arguments {
    /// The configuration file; else the one that `OPTOUT_CONFIG` names, else ./optout.toml, else defaults
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

/// The whole of a binary that is one service: reads the command line, then [serves](serve).
pub fn service<T, F>(
    name: &'static str,
    about: &'static str,
    threads: Threads,
    check: impl FnOnce(&Loaded) -> T,
    start: impl FnOnce(Process, Loaded, T) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let command = Arguments::augment_args(clap::Command::new(name));
    let matches = command.about(about).version(VERSION).get_matches();
    let path = matches.get_one::<PathBuf>("config");
    serve(path.map(PathBuf::as_path), threads, check, start)
}

/// Loads the configuration and [runs](run) a process with it. What `check` makes of the configuration is given to
/// `start`, once nothing in it is wrong.
pub fn serve<T, F>(
    path: Option<&Path>,
    threads: Threads,
    check: impl FnOnce(&Loaded) -> T,
    start: impl FnOnce(Process, Loaded, T) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let (loaded, checked) = match load(path, check) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let telemetry = loaded.config.telemetry.clone();
    let patience = loaded.config.worker.shutdown_timeout;
    run(&telemetry, threads, patience, |process| {
        start(process, loaded, checked)
    })
}

/// Runs a process: `start` starts its loops and returns; then it runs until a signal or the end of a loop, and has
/// `patience` to finish what is in hand. The exit code is 0 only if nothing failed.
pub fn run<F>(
    telemetry: &Telemetry,
    threads: Threads,
    patience: Duration,
    start: impl FnOnce(Process) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    telemetry::log(telemetry);
    let ended = prepare(threads).and_then(|(runtime, metrics)| {
        let process = Process {
            lifecycle: Lifecycle::new(),
            metrics,
        };
        let ended = runtime.block_on(live(process, patience, start));
        runtime.shutdown_timeout(LAST_CALLS);
        ended
    });
    ended.unwrap_or_else(|error| {
        error!(error = format!("{error:#}"), "cannot start");
        ExitCode::FAILURE
    })
}

fn prepare(threads: Threads) -> anyhow::Result<(tokio::runtime::Runtime, Metrics)> {
    // Fails only if a provider is set already, which then is the same one: there is no other in the build.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let metrics = Metrics::install().context("cannot set up metrics")?;
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::PerCore => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok((runtime, metrics))
}

async fn live<F>(
    process: Process,
    patience: Duration,
    start: impl FnOnce(Process) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let lifecycle = process.lifecycle.clone();
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    lifecycle.spawn(
        "metrics",
        process.metrics.clone().keep_up(lifecycle.clone()),
    );
    if let Err(error) = lifecycle.start(&mut signals, start(process)).await {
        // What had started already is ended in order, too.
        lifecycle.stop();
        lifecycle.finish(patience).await;
        return Err(error);
    }
    Ok(lifecycle.run(&mut signals, patience).await)
}

impl Process {
    /// The operations listener's tale, to be given what this process depends on.
    pub fn ops(&self) -> Ops {
        Ops::new(self.lifecycle.clone(), self.metrics.clone())
    }

    /// Opens the operations listener.
    pub async fn watch(&self, address: SocketAddr, ops: Ops) -> anyhow::Result<()> {
        let listener = http::bind(address).await?;
        let serve = http::serve(
            listener,
            ops.router(),
            Limits::default(),
            self.lifecycle.clone(),
        );
        self.lifecycle.spawn("operations", serve);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_misconfigured_exits_64_and_what_check_finds_counts() {
        let file = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            file
        };
        let misconfigured = format!("{:?}", ExitCode::from(64));
        let target = "[[targets]]\nname = 'a'\nkind = 'file'\nevents = ['*']\ncolour = 'blue'";
        for text in ["[ingress]\nbind = 1\ncolour = 2", "no toml", target] {
            let exit = load(Some(file(text).path()), |loaded| {
                for target in &loaded.config.targets {
                    target.settings.clone().finish();
                }
            });
            assert_eq!(format!("{:?}", exit.unwrap_err()), misconfigured, "{text}");
        }
        assert!(load(Some(Path::new("/nowhere.toml")), |_| {}).is_err());
        assert!(load(Some(file(target).path()), |_| {}).is_ok());
    }
}
