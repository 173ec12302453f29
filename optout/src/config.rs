//! `optout config check` and `optout config show`.

use std::{path::Path, process::ExitCode};

use clap::Subcommand;
use common::{config::Loaded, startup};
use toml::{Table, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Name every mistake; exit status 64 if there is one
    Check,
    /// Print the configuration that is in force, defaults included and secrets masked
    Show,
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) fn run(path: Option<&Path>, command: Command) -> ExitCode {
    // The targets are built so that what is wrong with their settings is named, too.
    let targets = |loaded: &Loaded| worker::outlets(&loaded.config);
    let (loaded, _targets) = match startup::load(path, targets) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    match command {
        Command::Check => {
            let (sources, targets) = (loaded.config.sources.len(), loaded.config.targets.len());
            println!("the configuration is right (sources: {sources}, targets: {targets})");
        }
        Command::Show => print!("{}", nested(&loaded)),
    }
    ExitCode::SUCCESS
}

/// The settings as the file would have them: `ingress.bind` in its table, `sources[0].name` in its list.
fn nested(loaded: &Loaded) -> Table {
    let mut root = Table::new();
    for (path, value) in loaded.effective() {
        let steps: Vec<_> = path
            .split(['.', '['])
            .map(|step| step.trim_end_matches(']'))
            .collect();
        let root = root.entry(steps[0].to_owned());
        match &steps[1..] {
            [] => drop(root.or_insert(value)),
            rest => place(root.or_insert_with(|| empty(rest[0])), rest, value),
        }
    }
    root
}

fn place(within: &mut Value, steps: &[&str], value: Value) {
    let [step, rest @ ..] = steps else {
        *within = value;
        return;
    };
    let next = rest
        .first()
        .map_or_else(|| Value::Table(Table::new()), |next| empty(next));
    match within {
        Value::Table(table) => place(table.entry((*step).to_owned()).or_insert(next), rest, value),
        Value::Array(items) => {
            let index = step
                .parse::<usize>()
                .unwrap_or(items.len())
                .min(items.len());
            if index == items.len() {
                items.push(next);
            }
            place(&mut items[index], rest, value);
        }
        other => *other = value,
    }
}

fn empty(next: &str) -> Value {
    if next.bytes().all(|byte| byte.is_ascii_digit()) {
        Value::Array(vec![])
    } else {
        Value::Table(Table::new())
    }
}
