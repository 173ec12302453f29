//! `optout sources add` and `optout targets add`: ask what is needed, try the credential where that can be done, say what is
//! to be done at the provider, and write the section into the configuration file.
//!
//! Secrets do not go into that file, which is read by many and may be under version control. What is typed, or made here, is
//! kept in a file of its own, which belongs to whom the configuration does and is read by nobody else, and the section refers
//! to it: so the next command of that user finds it, whatever its environment is. A service of another user has to be let in,
//! which is said, and one in a container sees no such file: whoever wants a secret from the environment says `env:NAME`, and
//! whoever has it in a file `file:PATH`.
//!
//! What is true if the process dies:
//! - before the secrets are kept: nothing was written.
//! - between that and the section: files of secrets that nobody refers to; the next attempt makes others.
//! - after it: the section is there, whole. Done twice it is refused, by its name.

mod ask;
mod credential;
mod file;
mod keep;
mod section;
pub(crate) mod source;
pub(crate) mod target;

use std::{collections::BTreeMap, io};

use anyhow::{Context, anyhow, bail};
use common::{
    config::{NAME_RULE, is_name},
    settings::unset,
};

use ask::Asker;
use file::ConfigFile;
use section::Section;

/// What both commands are told.
#[derive(Debug, clap::Args)]
struct Common {
    /// What it is called in the configuration: 1 to 64 of a-z, A-Z, 0-9, - and _
    #[arg(long)]
    name: Option<String>,
    /// A setting, however many; one in a table has dots, such as `scopes.news=13`. A secret may be `env:NAME` or `file:PATH`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Ask nothing, as where there is no terminal: what is not said is as usual, or missing
    #[arg(long)]
    yes: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is no setting such as token=env:NAME".to_owned()),
    }
}

/// The settings that were given on the command line, and not used yet.
struct Given(BTreeMap<String, String>);

impl Given {
    /// Those of a credential may be said as the file has them, `auth.token`, or without: they are the same. What has an
    /// option of its own is none.
    fn new(settings: Vec<(String, String)>, options: &[&str]) -> anyhow::Result<Self> {
        let mut given = BTreeMap::new();
        for (said, value) in settings {
            let key = said.strip_prefix("auth.").unwrap_or(&said);
            if options.contains(&key) {
                bail!(
                    "--set {said} is no setting: it is said by an option or an argument of its own"
                );
            }
            if given.insert(key.to_owned(), value).is_some() {
                bail!("--set {said} is given twice");
            }
        }
        Ok(Self(given))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }
}

/// The name that was given, or that the asker gets, or the usual one; it has to be free. Nobody is called otherwise without
/// saying so: a script that runs twice is to be refused.
fn name(
    asker: Asker,
    given: Option<String>,
    usual: &str,
    taken: &[&str],
) -> anyhow::Result<String> {
    let check = |name: &str| {
        if !is_name(name) {
            return Err(format!("{name:?} {NAME_RULE}"));
        }
        if taken.contains(&name) {
            return Err(format!("{name} is in the configuration already"));
        }
        Ok(())
    };
    let name = match given {
        Some(name) => name,
        None if asker.can_ask() => {
            let numbered = (2..).map(|number| format!("{usual}-{number}"));
            let mut free = [usual.to_owned()].into_iter().chain(numbered);
            let free = free.find(|name| check(name).is_ok());
            return asker.text("Name", free.as_deref(), check);
        }
        None => usual.to_owned(),
    };
    match check(&name) {
        Ok(()) => Ok(name),
        Err(why) => bail!("{why}: give another one as --name"),
    }
}

/// Shows the section, asks whether it is right, and writes it. False where somebody said no.
fn write(file: &ConfigFile, asker: Asker, section: &Section) -> anyhow::Result<bool> {
    if asker.can_ask() {
        note(&format!("\n{}", section.shown()));
        let question = format!("Write this to {}?", file.path().display());
        if !asker.confirm(&question, true)? {
            note("nothing was written");
            return Ok(false);
        }
    }
    let kept = file.add(section)?;
    let mut lines = vec![format!(
        "{} was written to {}.",
        section.title(),
        file.path().display()
    )];
    for (key, path) in &kept {
        let (path, readers) = (path.display(), file.owner().readers());
        lines.push(format!(
            "Its {key} is kept in {path}, which only {readers} can read."
        ));
    }
    if !kept.is_empty() && file.owner().is_roots_for_all() {
        let both = format!("{} {}", file.path().display(), file.secrets().display());
        lines.push(format!(
            "So it can be used only where Optout runs as root. Where it runs as another user, give both to that user's group, \
             once and for what will be added, too:\n\n    chgrp -R GROUP {both} && chmod -R g=rX,o= {both}\n\n\
             Or say where the secret is, by --set KEY=env:NAME, as for a container."
        ));
    }
    for (name, value) in section.variables(file.environment()) {
        lines.push(match value {
            Some(value) => {
                format!("Put this into the environment, such as .env:\n\n    {name}={value}\n")
            }
            None => format!("It refers to the environment variable {name}, which has to be set."),
        });
    }
    for mistake in file.mistakes() {
        lines.push(format!(
            "What was wrong with the file before still is: {mistake}"
        ));
    }
    say(&lines.join("\n"))?;
    Ok(true)
}

/// The mistakes that a section has, but for variables that are to be set later.
fn is_later(section: &Section, why: &str) -> bool {
    section.names().any(|name| why == unset(name))
}

/// The text of an answer of a command, on standard output. Not by `println!`, which panics where the reader is gone.
fn say(text: &str) -> anyhow::Result<()> {
    use io::Write;
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").context("cannot write to standard output")
}

/// Beside the answer.
#[expect(clippy::print_stderr, reason = "questions and notes of a command")]
fn note(text: &str) {
    eprintln!("{text}");
}

/// What is missing, and where it is to be had. Whoever is asked has been told already.
fn with_steps(asker: Asker, missing: anyhow::Error, steps: &str) -> anyhow::Error {
    if asker.can_ask() {
        missing
    } else {
        anyhow!("{missing:#}\n\n{}", steps.trim_end())
    }
}

/// Steps with their numbers, below a title.
fn steps(title: &str, steps: &[&str]) -> String {
    let lines = steps.iter().enumerate();
    let lines = lines.map(|(at, step)| format!("  {}. {step}\n", at + 1));
    format!("{title}\n{}", lines.collect::<String>())
}
