//! `optout migrate`: for those who let no service change the schema.

use std::process::ExitCode;

use anyhow::Context;
use common::{config::Loaded, startup};

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) async fn migrate(loaded: Loaded) -> anyhow::Result<ExitCode> {
    let ledger = startup::ledger_at_once(&loaded.config)
        .await
        .context("cannot migrate the ledger")?;
    ledger.ping().await?;
    println!("the ledger is up to date");
    Ok(ExitCode::SUCCESS)
}
