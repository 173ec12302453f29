//! `optout demo`: the main job at once. Everything in this process: the services on embedded stores in a fresh folder,
//! and stand-ins for Slack, a ticketing system, a user database and a webhook. One sample of each provider goes in by
//! the HTTP door; what became of it at each target is printed; then it keeps serving. A provider that asks rather than
//! tells asks the api before and after.
//!
//! With `--stack` it is a company with three senders instead, and one opt-out followed through all of them: [`stack`].

mod question;
mod report;
mod stack;
mod standins;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use common::{
    config::{Config, Loaded, Source},
    providers::Sample,
    startup::{self, Process, Threads},
};
use reqwest::Response;

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
    /// Show a company that sends by Brevo, Postmark and Twilio, and one opt-out followed through all of them
    #[arg(long)]
    stack: bool,
}

pub(crate) fn run(options: Options) -> ExitCode {
    let prepared = tempfile::tempdir()
        .context("cannot make a folder")
        .and_then(|folder| {
            let ports = Ports::free(options.once)?;
            let (text, environment) = if options.stack {
                stack::configuration(folder.path(), ports)
            } else {
                let text = standins::configuration(folder.path(), ports);
                (text, BTreeMap::new())
            };
            let loaded = Loaded::from_text(&text, environment)?;
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
            let tries = if options.stack {
                let company = stack::start(*ports, config, &process.lifecycle).await?;
                serve::start(process.clone(), config, Ok(outlets)).await?;
                stack::show(loaded, &company).await?;
                stack::tries(*ports)
            } else {
                standins::start(folder.path(), *ports, config, &process.lifecycle).await?;
                serve::start(process.clone(), config, Ok(outlets)).await?;
                show(loaded, ports).await?;
                standins::tries(*ports)
            };
            if options.once {
                process.lifecycle.stop();
            } else {
                report::invite(*ports, &tries);
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

/// The services of either demo, on embedded stores in the folder.
fn services(folder: &Path, ports: Ports) -> String {
    let Ports {
        ingress, api, ops, ..
    } = ports;
    let folder = folder.display();
    format!(
        r#"
        [ingress]
        bind = "127.0.0.1:{ingress}"
        ops_bind = "127.0.0.1:{ops}"
        [api]
        bind = "127.0.0.1:{api}"
        keys = [{{ name = "demo", key = "{API_KEY}", role = "admin" }}]
        [queue]
        url = "sqlite:{folder}/queue.db"
        [claims]
        url = "sqlite:{folder}/queue.db"
        [ledger]
        url = "sqlite:{folder}/ledger.db"
        [outbound]
        allow_networks = ["127.0.0.0/8"]
        [telemetry]
        log = "warn"
        "#
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
        let told = story.until_told(&ledger, 1, PATIENCE).await?;
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
    let request = send::post(http, door, source, sample);
    accepted(source, sample.name, request).await
}

/// Begins the story of a request that was like the sample of that name.
async fn accepted(
    source: &Source,
    sample: &'static str,
    request: impl Future<Output = anyhow::Result<Response>>,
) -> anyhow::Result<Story> {
    let begun = Instant::now();
    let answer = request.await?;
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
        sample,
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
    /// The usual ones are for who comes to see: without that, several demos run side by side.
    fn free(once: bool) -> anyhow::Result<Self> {
        let usual = |port| if once { 0 } else { port };
        // Held until all are known, so that they differ.
        let held = [
            listen(usual(8080))?,
            listen(usual(8081))?,
            listen(usual(9080))?,
            listen(0)?,
        ];
        let [ingress, api, ops, standins] = held
            .each_ref()
            .map(|listener| listener.local_addr().map(|address| address.port()));
        Ok(Self {
            ingress: ingress?,
            api: api?,
            ops: ops?,
            standins: standins?,
        })
    }
}

fn listen(wanted: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
}
