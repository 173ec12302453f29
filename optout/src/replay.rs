//! `optout replay`: tells targets again what was not, or wrongly, told them. Shows how much that is, asks, and follows the
//! job, which the api does; it goes on without this command.

use std::{
    io::{IsTerminal, Write, stderr, stdin},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use common::{
    clock,
    config::{Loaded, Role},
};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{self, Api},
    time::moment,
};

/// How often the job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The exit status after Ctrl-C, as shells know it.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: client::Reach,
    /// Deliveries made from then on: RFC 3339, or how long ago, such as 2h or 3d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Timestamp,
    /// Deliveries made before then; else all until now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only those to this target; else to all that are enabled
    #[arg(long)]
    target: Option<String>,
    /// pending, retrying, delivered or dead; else delivered and dead
    #[arg(long)]
    state: Option<String>,
    /// Only those about events of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only say how many match
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The job as the api shows it, without a progress bar
    #[arg(long)]
    json: bool,
}

impl Options {
    fn body(&self, until: Timestamp, dry_run: bool) -> Value {
        let mut body = json!({ "since": self.since, "until": until, "dry_run": dry_run });
        let filters = [
            ("target", &self.target),
            ("state", &self.state),
            ("kind", &self.kind),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        body
    }
}

pub(crate) async fn replay(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let api = Api::new(&loaded, &options.reach, Role::Write)?;
    // The same for the count and the job.
    let until = options.until.unwrap_or_else(clock::now);
    let start = async |dry_run| {
        let request = api.request(Method::POST, "/api/v1/replays")?;
        api.json(request.json(&options.body(until, dry_run))).await
    };
    let counted = start(true).await?;
    if options.dry_run {
        tell(&counted, options.json, &summary(&counted)?);
        return Ok(ExitCode::SUCCESS);
    }
    let matched = number(&counted, "matched")?;
    if matched > 0 && !options.yes && !confirmed(matched)? {
        tell(&counted, options.json, "nothing was sent");
        return Ok(ExitCode::FAILURE);
    }
    follow(&api, start(false).await?, options.json).await
}

/// Asks on the terminal; where there is none nobody can say yes.
fn confirmed(matched: u64) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        bail!("{matched} deliveries match: give --yes to send them where nobody can be asked");
    }
    ask(matched)?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Looks at the job until it has ended, or Ctrl-C.
async fn follow(api: &Api, mut replay: Value, json: bool) -> anyhow::Result<ExitCode> {
    let path = format!(
        "/api/v1/replays/{}",
        replay["id"]
            .as_str()
            .context("the api's answer has no id")?
    );
    let bar = if json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(number(&replay, "matched")?).with_style(ProgressStyle::with_template(
            "{bar:40} {pos}/{len} {per_sec} {eta}",
        )?)
    };
    while replay["state"] == "running" {
        bar.set_length(number(&replay, "matched")?);
        bar.set_position(number(&replay, "sent")?);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                bar.abandon();
                tell(&replay, json, &format!("the replay goes on; see GET {path}"));
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
        replay = api.json(api.request(Method::GET, &path)?).await?;
    }
    bar.finish_and_clear();
    if replay["state"] == "failed" {
        let why = replay["error"].as_str().unwrap_or_default();
        bail!("the replay failed: {why}; {}", summary(&replay)?);
    }
    tell(&replay, json, &summary(&replay)?);
    Ok(ExitCode::SUCCESS)
}

fn summary(replay: &Value) -> anyhow::Result<String> {
    let (matched, sent) = (number(replay, "matched")?, number(replay, "sent")?);
    Ok(if replay["dry_run"] == true {
        format!("{matched} deliveries match")
    } else if sent < matched {
        format!("{sent} of {matched} deliveries sent again; the others have moved by themselves")
    } else {
        format!("{sent} deliveries sent again")
    })
}

fn number(replay: &Value, name: &str) -> anyhow::Result<u64> {
    let number = replay[name].as_u64();
    number.with_context(|| format!("the api's answer has no {name}"))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn tell(replay: &Value, json: bool, text: &str) {
    if json {
        println!("{replay}");
    } else {
        println!("{text}");
    }
}

#[expect(clippy::print_stderr, reason = "a question on the terminal")]
fn ask(matched: u64) -> anyhow::Result<()> {
    eprint!("{matched} deliveries match. Send them again? [y/N] ");
    Ok(stderr().flush()?)
}
