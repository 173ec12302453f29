//! `optout`: all services in one process, and the command line.

mod add;
mod audit;
mod check;
mod client;
mod completions;
mod compliance;
mod config;
mod demo;
mod download;
mod healthcheck;
mod keys;
mod links;
mod migrate;
mod openapi;
mod reconcile;
mod replay;
mod send;
mod serve;
mod suppressions;
mod table;
mod time;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

/// Receives opt-out webhooks and makes every opt-out hold everywhere.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; else the one that `OPTOUT_CONFIG` names, else ./optout.toml, else defaults
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run ingress, worker and api in one process (the default)
    Serve,
    /// See the main job at once: embedded stores, stand-in targets, one sample of each provider
    Demo(demo::Options),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// The accounts at providers whose webhooks are received
    #[command(subcommand)]
    Sources(add::source::Command),
    /// The systems that are told of opt-outs
    #[command(subcommand)]
    Targets(add::target::Command),
    /// Send a provider's sample, with the source's credentials, to a running ingress, or a question to the api
    Send(send::Options),
    /// Ask whether a contact is unsubscribed
    Check(check::Options),
    /// Send deliveries to targets again, by time, target, state or kind of event
    Replay(replay::Options),
    /// Compare whom platforms list as suppressed with the ledger; exit status 1 if something is left that differs or was not compared
    Reconcile(reconcile::Options),
    /// Say how long opt-outs took to hold everywhere, and which of them were late
    Compliance(compliance::Options),
    /// The suppression list: show it, change it by hand, import and export it
    #[command(subcommand)]
    Suppressions(suppressions::Command),
    /// Whether the audit trail is as it was written
    #[command(subcommand)]
    Audit(audit::Command),
    /// Whether an exported file is as it was signed, by the public key that was published
    Verify(verify::Options),
    /// The api's keys, beside those of the configuration
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make links that unsubscribe with one click, for the headers of mails; needs nothing but the configuration
    Links(links::Options),
    /// Print the OpenAPI description of the api
    Openapi,
    /// Apply what migrations the ledger is missing
    Migrate,
    /// Ask a running process whether it is ready; for container health checks
    Healthcheck(healthcheck::Options),
    /// Print what a shell needs to complete these commands
    Completions(completions::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let path = arguments.config.as_deref();
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(path),
        Command::Demo(options) => demo::run(options),
        Command::Config(command) => config::run(path, command),
        Command::Sources(command) => add::source::run(path, command),
        Command::Targets(command) => add::target::run(path, command),
        Command::Send(options) => client::run(path, |loaded| send::send(loaded, options)),
        Command::Check(options) => client::run(path, |loaded| check::check(loaded, options)),
        Command::Replay(options) => client::run(path, |loaded| replay::replay(loaded, options)),
        Command::Reconcile(options) => {
            client::run(path, |loaded| reconcile::reconcile(loaded, options))
        }
        Command::Compliance(options) => {
            client::run(path, |loaded| compliance::report(loaded, options))
        }
        Command::Suppressions(command) => {
            client::run(path, |loaded| suppressions::run(loaded, command))
        }
        Command::Audit(command) => client::run(path, |loaded| audit::run(loaded, command)),
        Command::Verify(options) => verify::run(path, options),
        Command::Keys(command) => client::run(path, |loaded| keys::run(loaded, command)),
        Command::Links(options) => links::run(path, &options),
        Command::Openapi => openapi::print(),
        Command::Migrate => client::run(path, migrate::migrate),
        Command::Healthcheck(options) => {
            client::run(path, |loaded| healthcheck::ask(loaded, options))
        }
        Command::Completions(options) => completions::print(Arguments::command(), options),
    }
}
