//! `optout completions`: what a shell needs to complete the commands.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use clap::Command;
use clap_complete::{Shell, generate};

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// The shell that is to complete
    shell: Shell,
}

/// Prints the script. Not by `println!`, which panics where the reader is gone, such as `head`.
pub(crate) fn print(mut command: Command, options: Options) -> ExitCode {
    let mut script = vec![];
    generate(options.shell, &mut command, "optout", &mut script);
    let written = stdout().write_all(&script).and_then(|()| stdout().flush());
    if written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;
    use crate::Arguments;

    #[test]
    fn every_shells_script_knows_every_command() {
        for shell in Shell::value_variants() {
            let (mut command, mut script) = (Arguments::command(), vec![]);
            generate(*shell, &mut command, "optout", &mut script);
            let script = String::from_utf8(script).unwrap();
            for known in command.get_subcommands() {
                let name = known.get_name();
                assert!(script.contains(name), "{shell}: {name}");
            }
            assert!(
                script.contains("--expires") || script.contains("expires"),
                "{shell}"
            );
        }
    }
}
