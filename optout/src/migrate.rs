//! `optout migrate`: for those who let no service change the schema.

use std::process::ExitCode;

use anyhow::Context;
use common::{config::Loaded, ledger::Ledger};
use secrecy::ExposeSecret;

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) async fn migrate(loaded: Loaded) -> anyhow::Result<ExitCode> {
    let settings = &loaded.config.ledger;
    let ledger = Ledger::connect(settings.url.expose_secret(), settings.max_connections)
        .await
        .context("cannot migrate the ledger")?;
    ledger.ping().await?;
    println!("the ledger is up to date");
    Ok(ExitCode::SUCCESS)
}
