//! `optout suppressions`: the list shown and changed by hand, out of a file and into one, by the api.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
};

use anyhow::Context;
use common::config::{Loaded, Role};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    fs::File,
    io::{AsyncRead, stdin},
};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use crate::{
    client::{Api, Reach},
    download,
};

const PATH: &str = "/api/v1/suppressions";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the list, newest first
    List(List),
    /// Suppress a contact by hand
    Add(Add),
    /// Lift a suppression; its history stays
    Lift(Lift),
    /// Import a CSV file, or Postmark's suppression dump; exit status 1 if lines were rejected
    Import(Import),
    /// Export as CSV
    Export(Export),
}

/// Which suppressions; all without any.
#[derive(Debug, clap::Args)]
pub(crate) struct Filters {
    /// Only those of this email address
    #[arg(long)]
    email: Option<String>,
    /// Only those of this phone number
    #[arg(long)]
    phone: Option<String>,
    /// Only those in this scope
    #[arg(long)]
    scope: Option<String>,
    /// Only those of this source
    #[arg(long)]
    source: Option<String>,
    /// consent, complaint, deliverability or manual
    #[arg(long)]
    lane: Option<String>,
    /// unsubscribed, complained, bounced, suppressed or resubscribed
    #[arg(long)]
    kind: Option<String>,
    /// Only those for this very reason
    #[arg(long)]
    reason: Option<String>,
    /// recipient, customer, admin, provider or unknown
    #[arg(long)]
    origin: Option<String>,
    /// active or lifted
    #[arg(long)]
    state: Option<String>,
    /// Only what happened from then on: RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only what happened before then
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl Filters {
    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let pairs = [
            ("email", &self.email),
            ("phone", &self.phone),
            ("scope", &self.scope),
            ("source", &self.source),
            ("lane", &self.lane),
            ("kind", &self.kind),
            ("reason", &self.reason),
            ("origin", &self.origin),
            ("state", &self.state),
            ("from", &self.from),
            ("to", &self.to),
        ];
        given(&pairs)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// How many
    #[arg(long, default_value_t = 50)]
    limit: u16,
    /// Go on where a list ended
    #[arg(long)]
    cursor: Option<String>,
    /// The answer as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// An email address, or a phone number such as +15551234567
    contact: String,
    /// A stream, list or purpose; else everything
    #[arg(long)]
    scope: Option<String>,
    #[arg(long)]
    reason: Option<String>,
    #[arg(long)]
    note: Option<String>,
    /// The answer as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lift {
    /// As the list shows it
    id: Uuid,
    /// A complaint is lifted for a reason
    #[arg(long)]
    reason: Option<String>,
    #[arg(long)]
    note: Option<String>,
    /// Lift a complaint
    #[arg(long)]
    force: bool,
    /// The answer as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The file, or - for standard input. Its first line names the columns: email, phone or contact; and scope, reason,
    /// note, kind, `occurred_at`, state
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
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(loaded: Loaded, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(options) => list(&loaded, options).await,
        Command::Add(options) => add(&loaded, options).await,
        Command::Lift(options) => lift(&loaded, options).await,
        Command::Import(options) => import(&loaded, options).await,
        Command::Export(options) => export(&loaded, options).await,
    }
}

async fn list(loaded: &Loaded, options: List) -> anyhow::Result<ExitCode> {
    let api = Api::new(loaded, &options.reach, Role::Read)?;
    let request = api.request(Method::GET, PATH)?;
    let request = request
        .query(&options.filters.pairs())
        .query(&[("limit", options.limit)])
        .query(&given(&[("cursor", &options.cursor)]));
    let page = api.json(request).await?;
    let items = page["items"].as_array().into_iter().flatten();
    let mut lines: Vec<_> = items.map(line).collect();
    lines.extend(
        page["next_cursor"]
            .as_str()
            .map(|cursor| format!("more by --cursor {cursor}")),
    );
    tell(&page, options.json, &lines);
    Ok(ExitCode::SUCCESS)
}

async fn add(loaded: &Loaded, options: Add) -> anyhow::Result<ExitCode> {
    let api = Api::new(loaded, &options.reach, Role::Write)?;
    let wanted = json!({ "contact": options.contact, "scope": options.scope, "reason": options.reason, "note": options.note });
    let answer = api
        .send(api.request(Method::POST, PATH)?.json(&wanted))
        .await?;
    let what = if answer.status() == StatusCode::CREATED {
        "suppressed"
    } else {
        "was suppressed already"
    };
    let suppression = answer.json().await.context("the api's answer is no JSON")?;
    tell(
        &suppression,
        options.json,
        &[what.to_owned(), line(&suppression)],
    );
    Ok(ExitCode::SUCCESS)
}

async fn lift(loaded: &Loaded, options: Lift) -> anyhow::Result<ExitCode> {
    let api = Api::new(loaded, &options.reach, Role::Write)?;
    let request = api.request(Method::DELETE, &format!("{PATH}/{}", options.id))?;
    let request = request
        .query(&[("force", options.force)])
        .json(&json!({ "reason": options.reason, "note": options.note }));
    let lifted = api.json(request).await?;
    let mut lines = vec![line(&lifted)];
    let still = lifted["still_suppressed_by"]
        .as_array()
        .into_iter()
        .flatten();
    lines.extend(still.map(|still| format!("still suppressed by {}", line(still))));
    tell(&lifted, options.json, &lines);
    Ok(ExitCode::SUCCESS)
}

async fn import(loaded: &Loaded, options: Import) -> anyhow::Result<ExitCode> {
    let api = Api::new(loaded, &options.reach, Role::Write)?.patient()?;
    let (file, length) = open(&options.file).await?;
    // The api takes the file at the pace at which it applies it, so what was sent is what was done, but for a buffer.
    let bar = bar(length);
    let body = Body::wrap_stream(ReaderStream::new(bar.wrap_async_read(file)));
    let request = api.request(Method::POST, &format!("{PATH}/import"))?;
    let request = request.query(&[("dry_run", options.dry_run)]).body(body);
    let done = api.json(request).await;
    bar.finish_and_clear();
    let done = done?;
    tell(&done, options.json, &totals(&done));
    Ok(if done["rejected"] == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The file, or standard input for `-`, whose length nobody knows.
async fn open(path: &Path) -> anyhow::Result<(Pin<Box<dyn AsyncRead + Send>>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::pin(stdin()), None));
    }
    let file = File::open(path).await;
    let file = file.with_context(|| format!("{} cannot be read", path.display()))?;
    let length = file.metadata().await?.len();
    Ok((Box::pin(file), Some(length)))
}

fn bar(length: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:40} {bytes}/{total_bytes} {eta}",
        ),
        None => (ProgressBar::no_length(), "{spinner} {bytes} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn totals(done: &Value) -> Vec<String> {
    let what = if done["dry_run"] == true {
        "would be new"
    } else {
        "are new"
    };
    let mut lines = vec![format!(
        "{} lines: {} suppressions {what}, {} stood already, {} lines passed over, {} rejected",
        done["lines"], done["applied"], done["unchanged"], done["skipped"], done["rejected"]
    )];
    lines.extend(
        done["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|wrong| {
                let column = wrong["column"].as_str().map(|column| format!(", {column}"));
                let reason = wrong["reason"].as_str().unwrap_or_default();
                format!(
                    "  line {}{}: {reason}",
                    wrong["line"],
                    column.unwrap_or_default()
                )
            }),
    );
    if done["errors_truncated"] == true {
        lines.push("  and more".to_owned());
    }
    lines
}

async fn export(loaded: &Loaded, options: Export) -> anyhow::Result<ExitCode> {
    let api = Api::new(loaded, &options.reach, Role::Read)?;
    let request = api.request(Method::GET, &format!("{PATH}/export"))?;
    let answer = api.send(request.query(&options.filters.pairs())).await?;
    download::write(answer, options.output.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

fn given<'a>(pairs: &[(&'static str, &'a Option<String>)]) -> Vec<(&'static str, &'a str)> {
    let given = pairs
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    given.collect()
}

/// A suppression on one line.
fn line(suppression: &Value) -> String {
    let text = |name: &str| suppression[name].as_str().unwrap_or_default();
    format!(
        "{}  {:8}{}  {} in {} by {} since {}",
        text("id"),
        text("state"),
        text("contact"),
        text("kind"),
        text("scope"),
        text("source"),
        text("occurred_at")
    )
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn tell(answer: &Value, json: bool, lines: &[String]) {
    if json {
        println!("{answer}");
    } else {
        println!("{}", lines.join("\n"));
    }
}
