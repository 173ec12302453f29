//! `optout verify`: whether an exported file is as it was signed. It needs the file and the public key, and nothing else of
//! what made the file: neither its ledger nor its configuration.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use common::{
    seal::{Sealer, verify},
    startup,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The file that was exported
    #[arg(required_unless_present = "print_key")]
    file: Option<PathBuf>,
    /// The public key that was published; else that of `api.signing_key` in the configuration
    #[arg(long, value_name = "BASE64")]
    key: Option<String>,
    /// Print the public key of the configuration, to be published, and verify nothing
    #[arg(long, conflicts_with_all = ["file", "key"])]
    print_key: bool,
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the answer of a command"
)]
pub(crate) fn run(path: Option<&Path>, options: Options) -> ExitCode {
    let key = match options.key {
        Some(key) => key,
        None => match own_key(path) {
            Ok(Some(key)) => key,
            Ok(None) => {
                eprintln!(
                    "api.signing_key is not set: give the public key that was published as --key"
                );
                return ExitCode::FAILURE;
            }
            Err(exit) => return exit,
        },
    };
    let Some(file) = options.file else {
        println!("{key}");
        return ExitCode::SUCCESS;
    };
    match told(&file, &key) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The public key of the configuration, if it has one.
fn own_key(path: Option<&Path>) -> Result<Option<String>, ExitCode> {
    let (loaded, ()) = startup::load(path, |_| ())?;
    let secret = loaded.config.api.signing_key.as_ref();
    Ok(secret.and_then(Sealer::new).map(|sealer| sealer.key()))
}

fn told(file: &Path, key: &str) -> anyhow::Result<String> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    let document = verify(&text, key).with_context(|| format!("{shown} is not believed"))?;
    let said = |name: &str| document[name].as_str().unwrap_or("?").to_owned();
    Ok(format!(
        "{shown} is as it was signed: exported at {} by {:?}",
        said("exported_at"),
        said("exported_by")
    ))
}
