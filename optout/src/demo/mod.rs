//! `optout demo`: the main job at once. Everything in this process: the services on embedded stores in a fresh folder,
//! and stand-ins for Slack, a ticketing system, a user database and a webhook. One sample of each provider goes in by
//! the HTTP door; what became of it at each target is printed; then it keeps serving. A provider that asks rather than
//! tells asks the api before and after.

mod question;
mod report;
mod standins;

use std::{collections::BTreeMap, net::TcpListener, process::ExitCode, time::Duration};

use anyhow::Context;
use common::{
    config::{Config, Loaded, Source},
    providers::Sample,
    startup::{self, Process, Threads},
};

use crate::{client, send, serve};
use report::Story;

/// The key that the demo's api takes.
const API_KEY: &str = "demo-key-1234";

/// How long the demo waits for its own targets before it says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// Show it and end, rather than keep serving
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(options: Options) -> ExitCode {
    let prepared = tempfile::tempdir()
        .context("cannot make a folder")
        .and_then(|folder| {
            let ports = Ports::free()?;
            let text = standins::configuration(folder.path(), ports);
            let loaded = Loaded::from_text(&text, BTreeMap::new())?;
            let outlets = worker::outlets(&loaded.config)?;
            let mistakes: Vec<_> = loaded.mistakes().iter().map(ToString::to_string).collect();
            anyhow::ensure!(
                mistakes.is_empty(),
                "the demo's own configuration is wrong: {}",
                mistakes.join("; ")
            );
            Ok((folder, ports, loaded, outlets))
        });
    let (folder, ports, loaded, outlets) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            report::wrong(&error);
            return ExitCode::FAILURE;
        }
    };
    let (loaded, ports, config) = (&loaded, &ports, &loaded.config);
    startup::run(
        &config.telemetry,
        Threads::PerCore,
        Duration::from_secs(5),
        |process: Process| async move {
            standins::start(folder.path(), *ports, config, &process.lifecycle).await?;
            serve::start(process.clone(), config, Ok(outlets)).await?;
            show(loaded, ports).await?;
            if options.once {
                process.lifecycle.stop();
            } else {
                report::invite(*ports);
            }
            // The folder lives as long as what is served from it.
            let lifecycle = process.lifecycle.clone();
            process.lifecycle.spawn("folder", async move {
                lifecycle.stopping().await;
                drop(folder);
                Ok(())
            });
            Ok(())
        },
    )
}

/// Sends one sample of each provider, twice, and tells what became of them.
async fn show(loaded: &Loaded, ports: &Ports) -> anyhow::Result<()> {
    let config = &loaded.config;
    let ledger = startup::ledger_at_once(config).await?;
    let door = format!("http://{}", config.ingress.bind);
    let http = client::http()?;
    report::title(*ports);
    let mut stories = vec![];
    let before = question::ask(&http, config).await?;
    for (source, sample) in told(config) {
        stories.push(accept(&http, &door, source, sample).await?);
    }
    for story in &stories {
        let told = story.until_told(&ledger, PATIENCE).await?;
        report::story(story, &told, config);
    }
    report::questions(&before, &question::ask(&http, config).await?);
    for (source, sample) in told(config) {
        accept(&http, &door, source, sample).await?;
    }
    let repeats = report::until_repeats_are_known(&ledger, stories.len(), PATIENCE).await?;
    report::repeats(repeats, &stories, &ledger).await
}

/// Each source that tells of events, with its provider's first sample.
fn told(config: &Config) -> impl Iterator<Item = (&Source, Sample)> {
    let tells = |source: &&Source| source.provider.asks_at().is_none();
    let sources = config.sources.iter().filter(tells);
    sources.filter_map(|source| Some((source, *source.provider.samples().first()?)))
}

/// Posts a sample by the door, and begins its story.
async fn accept(
    http: &reqwest::Client,
    door: &str,
    source: &Source,
    sample: Sample,
) -> anyhow::Result<Story> {
    let begun = std::time::Instant::now();
    let answer = send::post(http, door, source, sample).await?;
    let took = begun.elapsed();
    anyhow::ensure!(
        answer.status().is_success(),
        "the door answered {} to {}",
        answer.status(),
        source.name
    );
    let header = answer.headers().get("x-optout-envelope");
    let id = if let Some(id) = header.and_then(|id| id.to_str().ok()) {
        id.to_owned()
    } else {
        let body: serde_json::Value = answer.json().await?;
        body["id"].as_str().unwrap_or_default().to_owned()
    };
    let envelope = id.parse().context("the answer has no id")?;
    Ok(Story {
        provider: source.provider.name(),
        sample: sample.name,
        envelope,
        took,
    })
}

/// The demo's ports: the usual ones, or others where those are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    ingress: u16,
    api: u16,
    ops: u16,
    standins: u16,
}

impl Ports {
    fn free() -> anyhow::Result<Self> {
        Ok(Self {
            ingress: free(8080)?,
            api: free(8081)?,
            ops: free(9080)?,
            standins: free(0)?,
        })
    }
}

fn free(wanted: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", wanted))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?.port())
}
