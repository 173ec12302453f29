//! `optout healthcheck`: exit status 0 if a process is ready, for images that have no curl.

use std::process::ExitCode;

use anyhow::Context;
use common::config::Loaded;

use crate::client;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to ask; else /readyz of ingress's operations listener, which is that of `optout serve`
    #[arg(long)]
    url: Option<String>,
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) async fn ask(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let url = options
        .url
        .unwrap_or_else(|| format!("http://{}/readyz", loaded.config.ingress.ops_bind));
    let answer = client::http()?
        .get(&url)
        .send()
        .await
        .with_context(|| format!("no answer from {url}"))?;
    let ready = answer.status().is_success();
    println!("{}", answer.text().await?);
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
