//! What the commands share that talk to a running Optout.

use std::{path::Path, process::ExitCode, time::Duration};

use common::{config::Loaded, startup};
use reqwest::Client;

/// Loads the configuration and runs a command; what goes wrong is told on standard error, with exit status 1.
pub(crate) fn run<F>(path: Option<&Path>, command: impl FnOnce(Loaded) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let (loaded, ()) = match startup::load(path, |_| ()) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(command(loaded)));
    ended.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stderr, reason = "the answer of a command")]
fn complain(error: &anyhow::Error) {
    eprintln!("{error:#}");
}

/// A client for our own services, which may well be on a private address.
#[expect(
    clippy::disallowed_methods,
    reason = "the outbound client refuses private addresses, where our own services are"
)]
pub(crate) fn http() -> anyhow::Result<Client> {
    // Fails only if it is installed already.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Ok(Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?)
}
