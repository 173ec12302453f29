//! `optout openapi`: the description of the api, for what is generated from it. It needs neither configuration nor a server.

use std::{
    io::{self, Write},
    process::ExitCode,
};

pub(crate) fn print() -> ExitCode {
    let document = format!("{:#}\n", api::document());
    match io::stdout().lock().write_all(document.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
