//! `optout audit`: whether the trail is as it was written. Reads the ledger itself, so that no api stands between.

use std::process::ExitCode;

use anyhow::Context;
use common::{config::Loaded, ledger::Verified, startup};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Check every record against the one before it; exit status 1 names the first that is wrong
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The head that was printed before: fails if that record is missing or another
    #[arg(long, value_name = "NUMBER:HASH")]
    expect: Option<String>,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(loaded: Loaded, command: Command) -> anyhow::Result<ExitCode> {
    let Command::Verify(options) = command;
    let expected = options.expect.as_deref().map(parse).transpose()?;
    let ledger = startup::ledger_at_once(&loaded.config)
        .await
        .context("cannot open the ledger")?;
    let verified = ledger.verify_audit().await?;
    let missing = match &expected {
        None => None,
        Some((number, hash)) => {
            let found = ledger.audit_hash(*number).await?;
            (found.as_ref() != Some(hash)).then_some(*number)
        }
    };
    tell(&verified, missing, options.json)?;
    Ok(if verified.broken.is_none() && missing.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn parse(expected: &str) -> anyhow::Result<(i64, String)> {
    let wrong =
        || format!("--expect {expected} is no head such as 17:5f1c…, as this command prints it");
    let (number, hash) = expected.split_once(':').with_context(wrong)?;
    Ok((number.parse().with_context(wrong)?, hash.to_owned()))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn tell(verified: &Verified, missing: Option<i64>, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(verified)?);
        return Ok(());
    }
    println!(
        "{} records are as they were written; of {} the personal part was erased",
        verified.records, verified.erased
    );
    println!("head {}:{}", verified.records, verified.head);
    if let Some(broken) = &verified.broken {
        println!("record {} is wrong: {}", broken.seq, broken.why);
    }
    if let Some(missing) = missing {
        println!(
            "record {missing} is not the one that was expected: the trail was cut or written anew"
        );
    }
    Ok(())
}
