//! `optout keys`: the api's keys that the ledger keeps. Works on the ledger itself, so that the first key can be made
//! without one.

use std::process::ExitCode;

use anyhow::{Context, bail};
use common::{
    clock,
    config::{Loaded, Rate, Role},
    key::{Key, Wanted},
    ledger::Ledger,
    startup,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use uuid::Uuid;

use crate::time::later;

/// Who did it, in the audit trail.
const ACTOR: &str = "command line";

/// Keys that are read at a time.
const PAGE: usize = 500;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key and print it, this once
    Create(Create),
    /// Show all keys, newest first, also those that open nothing any more
    List(List),
    /// Revoke a key: it opens nothing from now on
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// What logs and the audit trail tell it by: 1 to 64 of a-z, A-Z, 0-9, - and _
    #[arg(long)]
    name: String,
    /// What it may do: check (checks only), read, write or admin
    #[arg(long)]
    role: Role,
    /// How often it may ask, such as 100/1s; else what `[api] rate` says
    #[arg(long)]
    rate: Option<Rate>,
    /// When it opens nothing any more: RFC 3339, or in how long, such as 12h or 90d; else never
    #[arg(long, value_name = "TIME", value_parser = later)]
    expires: Option<Timestamp>,
    /// The key with all that is known of it, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The keys as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// The name of one that is not revoked, or an id
    #[arg(value_name = "NAME|ID")]
    key: String,
    /// The key as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(loaded: Loaded, command: Command) -> anyhow::Result<ExitCode> {
    let ledger = startup::ledger_at_once(&loaded.config)
        .await
        .context("cannot open the ledger")?;
    match command {
        Command::Create(options) => create(&loaded, &ledger, options).await?,
        Command::List(options) => list(&ledger, &options).await?,
        Command::Revoke(options) => revoke(&loaded, &ledger, &options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(loaded: &Loaded, ledger: &Ledger, options: Create) -> anyhow::Result<()> {
    let wanted = Wanted {
        name: options.name,
        role: options.role,
        rate: options.rate,
        expires_at: options.expires.map(clock::truncate),
    };
    let is_configured = is_configured(loaded, &wanted.name);
    if let Err(invalid) = wanted.check(is_configured, clock::now()) {
        bail!("the key's {invalid}");
    }
    let Some((made, secret)) = ledger.create_key(&wanted, ACTOR).await? else {
        let name = wanted.name;
        bail!("there is a key called {name}: choose another name, or revoke that key first");
    };
    let secret = secret.expose_secret();
    if options.json {
        let mut shown = json!(made);
        shown["key"] = json!(secret);
        print(&[shown.to_string()]);
    } else {
        // The key alone is on standard output, for scripts.
        note(&format!("{}\nkeep it: it is not shown again", line(&made)));
        print(&[secret.to_owned()]);
    }
    Ok(())
}

async fn list(ledger: &Ledger, options: &List) -> anyhow::Result<()> {
    let (mut keys, mut cursor) = (vec![], None);
    loop {
        let page = ledger.keys(PAGE, cursor.as_deref()).await?;
        keys.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if options.json {
        print(&[json!({ "items": keys }).to_string()]);
    } else {
        print(&keys.iter().map(line).collect::<Vec<_>>());
    }
    Ok(())
}

async fn revoke(loaded: &Loaded, ledger: &Ledger, options: &Revoke) -> anyhow::Result<()> {
    let given = &options.key;
    let id = match given.parse::<Uuid>() {
        Ok(id) => Some(id),
        Err(_) => ledger.key_named(given).await?.map(|key| key.id),
    };
    let revoked = match id {
        Some(id) => ledger.revoke_key(id, ACTOR).await?,
        None => None,
    };
    match revoked {
        Some(revoked) if options.json => print(&[json!(revoked).to_string()]),
        Some(revoked) => print(&[line(&revoked)]),
        None if is_configured(loaded, given) => {
            bail!("{given} is one of api.keys: take it out of the configuration")
        }
        None => {
            bail!("there is no key {given} to revoke: `optout keys list` shows those there are")
        }
    }
    Ok(())
}

fn is_configured(loaded: &Loaded, name: &str) -> bool {
    loaded.config.api.keys.iter().any(|key| key.name == name)
}

/// A key on one line.
fn line(key: &Key) -> String {
    let rate = key.rate.map(|rate| format!(", {rate}"));
    let ends = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!(", until {at}"),
        (None, Some(at)) => format!(", expires {at}"),
        (None, None) => String::new(),
    };
    format!(
        "{}  {:8}{:6}{}  {}…{}, made by {} at {}{ends}",
        key.id,
        key.state,
        key.role,
        key.name,
        key.hint,
        rate.unwrap_or_default(),
        key.created_by,
        key.created_at
    )
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn print(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

#[expect(clippy::print_stderr, reason = "beside the answer of a command")]
fn note(text: &str) {
    eprintln!("{text}");
}
