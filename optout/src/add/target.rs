//! `optout targets add`: a system that is told.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use common::{
    config::{Config, Filter},
    signature::standard_secret,
};
use secrecy::ExposeSecret;
use toml::Value;
use worker::targets::{self, Ask, KINDS, Kind, Probe, Wanted};

use super::{
    Common, Given, ask::Asker, file::ConfigFile, name, note, say, section::Section, steps,
    with_steps, write,
};
use crate::client;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add a system that is told to the configuration, and try its credential
    Add(Options),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Such as slack, database, http or sendgrid
    kind: Option<String>,
    #[command(flatten)]
    common: Common,
    /// What it is told of, with commas between, or * for everything; else what suits the kind
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    events: Vec<String>,
    /// The source by which the same platform reports changes
    #[arg(long, value_name = "SOURCE")]
    mirrors: Option<String>,
    /// Write it without asking the system whether it takes the credential
    #[arg(long)]
    unchecked: bool,
}

pub(crate) fn run(path: Option<&Path>, command: Command) -> ExitCode {
    let Command::Add(options) = command;
    client::block_on(add(path, options))
}

async fn add(path: Option<&Path>, options: Options) -> anyhow::Result<ExitCode> {
    let asker = Asker::new(options.common.yes);
    let file = ConfigFile::open(path)?;
    let config = &file.loaded().config;
    let kind = kind(asker, options.kind.as_deref())?;
    let taken: Vec<_> = config
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    let name = name(asker, options.common.name, kind.name, &taken)?;
    let mut given = Given::new(
        options.common.settings,
        &["kind", "name", "events", "mirrors"],
    )?;
    let mut section = Section::new("targets", &name);
    section.set(&["kind"], kind.name);
    let steps = steps(&format!("At {}:", kind.guide.title), kind.guide.steps);
    if asker.can_ask() && !kind.guide.steps.is_empty() {
        say(&steps)?;
    }
    section.set(&["events"], events(asker, kind, options.events)?);
    if let Some(source) = mirrors(asker, config, kind, options.mirrors)? {
        section.set(&["mirrors"], source);
    }
    for ask in kind.guide.asks {
        let filled = fill(asker, &mut section, &mut given, *ask);
        filled.map_err(|missing| with_steps(asker, missing, &steps))?;
    }
    rest(&mut section, given)?;
    if !options.unchecked && !is_taken(&file, &section, asker, kind).await? {
        return Ok(ExitCode::FAILURE);
    }
    file.with(&section, &section.whole())?;
    if !write(&file, asker, &section)? {
        return Ok(ExitCode::FAILURE);
    }
    finish(asker, kind, &section, &steps)?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be done once it is written.
fn finish(asker: Asker, kind: &Kind, section: &Section, steps: &str) -> anyhow::Result<()> {
    let title = kind.guide.title;
    let secret = section.made().map(|secret| {
        let secret = secret.expose_secret();
        format!("\nThe secret for {title}:\n\n    {secret}\n")
    });
    // Whoever was asked has been told already, unless there was no secret yet.
    let is_to_be_told = !asker.can_ask() || secret.is_some();
    let steps = (is_to_be_told && !kind.guide.steps.is_empty()).then(|| format!("\n{steps}"));
    let (secret, steps) = (secret.unwrap_or_default(), steps.unwrap_or_default());
    let name = section.name();
    say(&format!(
        "{secret}{steps}\nStart Optout again, so that it reads the file. A test of the target, on the dashboard or by\n\
         POST /api/v1/targets/{name}/test, tells it of an event of test@example.com."
    ))
}

/// The kind that was named, or that the asker names.
fn kind(asker: Asker, given: Option<&str>) -> anyhow::Result<&'static Kind> {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    let known = || names.join(", ");
    let wanted = match given {
        Some(name) => name.to_owned(),
        None if asker.can_ask() => asker.word("Kind", &names, None)?,
        None => bail!("the kind is missing: known are {}", known()),
    };
    targets::find(&wanted).with_context(|| {
        format!(
            "no kind of target is called {wanted:?}; known are {}",
            known()
        )
    })
}

/// What it is told of.
fn events(asker: Asker, kind: &Kind, given: Vec<String>) -> anyhow::Result<Value> {
    let read = |text: &str| -> Vec<String> {
        let parts = text.split(',').map(|part| part.trim().to_owned());
        parts.filter(|part| !part.is_empty()).collect()
    };
    let usual = kind.guide.events.join(", ");
    let events = if !given.is_empty() {
        given
    } else if asker.can_ask() {
        let check = |text: &str| {
            Filter::of(&read(text))
                .map(drop)
                .map_err(|unknown| unknown.to_string())
        };
        read(&asker.text("What it is told of", Some(&usual), check)?)
    } else {
        read(&usual)
    };
    Ok(Value::Array(events.into_iter().map(Value::from).collect()))
}

/// The source by which the platform reports back what it is told, where there is one. Nobody is asked without a terminal: it
/// is only said that there is one.
fn mirrors(
    asker: Asker,
    config: &Config,
    kind: &Kind,
    given: Option<String>,
) -> anyhow::Result<Option<String>> {
    if given.is_some() {
        return Ok(given);
    }
    let of_platform = config
        .sources
        .iter()
        .filter(|source| source.provider.name() == kind.name);
    for source in of_platform {
        let name = &source.name;
        if !asker.can_ask() {
            note(&format!(
                "The source {name:?} is of the same platform: if it is the same account, --mirrors {name} has what comes back from there known as an echo."
            ));
        } else if asker.confirm(
            &format!(
                "Is the source {name:?} the same account, which reports back what it is told?"
            ),
            true,
        )? {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

/// Enters one setting that the kind asks for.
fn fill(asker: Asker, section: &mut Section, given: &mut Given, ask: Ask) -> anyhow::Result<()> {
    let key: Vec<_> = ask.key.splitn(2, '.').collect();
    let answer = given.take(ask.key);
    match (ask.answer, answer) {
        (Wanted::Secret, Some(text)) => section.secret(&key, &text, None)?,
        (Wanted::Signing, Some(text)) => section.secret(&key, &text, Some(standard_secret()))?,
        (Wanted::Signing, None) if given.0.get("sign").is_some_and(|sign| sign == "false") => {}
        (Wanted::Signing, None) => section.make(&key, standard_secret()),
        (Wanted::Secret, None) if asker.can_ask() => {
            let typed = asker.secret(&capital(ask.what), false)?;
            section.secret(&key, &typed.unwrap_or_default(), None)?;
        }
        (Wanted::Text | Wanted::Usually(_), Some(text)) => section.text(&key, &text),
        (Wanted::Text, None) if is_in_table(given, ask.key) => {}
        (Wanted::Text, None) if asker.can_ask() => {
            section.set(&key, asker.text(&capital(ask.what), None, |_| Ok(()))?);
        }
        (Wanted::Usually(usual), None) if asker.can_ask() => {
            section.set(
                &key,
                asker.text(&capital(ask.what), Some(usual), |_| Ok(()))?,
            );
        }
        (Wanted::Usually(_), None) if is_in_table(given, ask.key) => {}
        (Wanted::Usually(usual), None) => section.set(&key, usual),
        (Wanted::Secret, None) => bail!(
            "{} is missing, {}: --set {}=env:NAME, or file:PATH",
            ask.key,
            ask.what,
            ask.key
        ),
        (Wanted::Text, None) => bail!(
            "{} is missing, {}: --set '{}=...'",
            ask.key,
            ask.what,
            ask.key
        ),
    }
    Ok(())
}

/// Whether something else of the same table was given, such as the list of one scope in place of that of all.
fn is_in_table(given: &Given, key: &str) -> bool {
    let table = key.split_once('.').map(|(table, _)| format!("{table}."));
    table.is_some_and(|table| given.0.keys().any(|key| key.starts_with(&table)))
}

/// What else was given.
fn rest(section: &mut Section, given: Given) -> anyhow::Result<()> {
    for (key, text) in given.0 {
        let parts: Vec<_> = key.splitn(2, '.').collect();
        match parts[..] {
            ["secret" | "token"] => section.secret(&[&key], &text, None)?,
            ["headers", _] => section.secret(&parts, &text, None)?,
            ["headers"] => bail!(
                "--set headers: each is said by itself, --set headers.NAME=VALUE, since it may be a secret"
            ),
            ["scopes" | "statements", _] => section.text(&parts, &text),
            _ => section.read(&parts, &text),
        }
    }
    Ok(())
}

/// Whether the system takes the credential, or somebody wants it written all the same.
async fn is_taken(
    file: &ConfigFile,
    section: &Section,
    asker: Asker,
    kind: &Kind,
) -> anyhow::Result<bool> {
    let unset: Vec<_> = section
        .variables(file.environment())
        .filter(|(_, made)| made.is_none())
        .collect();
    if let Some((name, _)) = unset.first() {
        bail!(
            "the environment variable {name} is not set, so its credential cannot be tried: set it, or write it as it is by --unchecked"
        );
    }
    let (_loaded, outlets) = file.with(section, &section.whole())?;
    let outlet = outlets
        .find(section.name())
        .context("the target cannot be made")?;
    let title = capital(kind.guide.title);
    let why = match outlet.target.probe().await {
        Probe::Accepted(said) => {
            say(&format!("{title} takes the credential: it {said}."))?;
            return Ok(true);
        }
        Probe::Unasked(why) => {
            say(&format!("The credential was not tried: {why}."))?;
            return Ok(true);
        }
        Probe::Refused(said) => format!("{title} refuses the credential: it {}", printable(&said)),
        Probe::Unanswered(why) => format!("{title} could not be asked: {}", printable(&why)),
    };
    note(&why);
    if asker.can_ask() && asker.confirm("Write it all the same?", false)? {
        return Ok(true);
    }
    note("nothing was written; --unchecked writes it without asking");
    Ok(false)
}

/// On one line, without what would do something to a terminal.
fn printable(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(500).collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
