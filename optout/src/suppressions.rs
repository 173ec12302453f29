//! `optout suppressions`: the list out of a file and into one, by the api.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use anyhow::Context;
use common::config::{Loaded, Role};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Body, Method};
use serde_json::Value;
use tokio::{fs::File, io::AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::client::{Api, Reach};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Import a CSV file, or Postmark's suppression dump; exit status 1 if lines were rejected
    Import(Import),
    /// Export as CSV
    Export(Export),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Columns by name: email, phone or contact; and scope, reason, note, kind, `occurred_at`, state
    file: PathBuf,
    /// Change nothing, and say what would change
    #[arg(long)]
    dry_run: bool,
    /// The answer as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The file to write; else standard output
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Only those of this scope
    #[arg(long)]
    scope: Option<String>,
    /// Only those of this source
    #[arg(long)]
    source: Option<String>,
    /// active or lifted
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(loaded: Loaded, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Import(options) => import(&loaded, options).await,
        Command::Export(options) => export(&loaded, options).await,
    }
}

async fn import(loaded: &Loaded, options: Import) -> anyhow::Result<ExitCode> {
    let api = Api::new(loaded, &options.reach, Role::Write)?;
    let name = options.file.display();
    let file = File::open(&options.file).await;
    let file = file.with_context(|| format!("{name} cannot be read"))?;
    // The api takes the file at the pace at which it applies it, so what was sent is what was done, but for a buffer.
    let bar = bar(file.metadata().await?.len());
    let body = Body::wrap_stream(ReaderStream::new(bar.wrap_async_read(file)));
    let request = api.request(Method::POST, "/api/v1/suppressions/import")?;
    let request = request.query(&[("dry_run", options.dry_run)]).body(body);
    let done = api.json(request).await?;
    bar.finish_and_clear();
    tell(&done, options.json);
    Ok(if done["rejected"] == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn tell(done: &Value, json: bool) {
    if json {
        println!("{done}");
        return;
    }
    let dry = done["dry_run"] == true;
    println!(
        "{} lines: {} suppressions {}, {} stood already, {} lines passed over, {} rejected",
        done["lines"],
        done["applied"],
        if dry { "would be new" } else { "are new" },
        done["unchanged"],
        done["skipped"],
        done["rejected"]
    );
    for wrong in done["errors"].as_array().into_iter().flatten() {
        let column = wrong["column"].as_str().map(|column| format!(", {column}"));
        let reason = wrong["reason"].as_str().unwrap_or_default();
        println!(
            "  line {}{}: {reason}",
            wrong["line"],
            column.unwrap_or_default()
        );
    }
    if done["errors_truncated"] == true {
        println!("  and more");
    }
}

async fn export(loaded: &Loaded, options: Export) -> anyhow::Result<ExitCode> {
    let api = Api::new(loaded, &options.reach, Role::Read)?;
    let filters = [
        ("scope", options.scope),
        ("source", options.source),
        ("state", options.state),
    ];
    let filters: Vec<_> = filters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let request = api.request(Method::GET, "/api/v1/suppressions/export")?;
    let mut answer = api.send(request.query(&filters)).await?;
    match options.output {
        None => {
            let mut out = tokio::io::stdout();
            while let Some(piece) = answer.chunk().await.context("the export broke off")? {
                out.write_all(&piece).await?;
            }
            out.flush().await?;
        }
        // A file of that name is a whole export, or none.
        Some(path) => {
            let part = path.with_extension("part");
            let mut file = File::create(&part).await?;
            while let Some(piece) = answer.chunk().await.context("the export broke off")? {
                file.write_all(&piece).await?;
            }
            file.sync_all().await?;
            tokio::fs::rename(&part, &path).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
