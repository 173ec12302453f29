//! `optout links`: links that unsubscribe with one click, for the mails that are about to be sent. Made of the configuration
//! alone: neither a server nor a ledger is asked.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use common::{clock, config::Links, contact::Contact, startup};
use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Email addresses, or phone numbers such as +15551234567
    #[arg(required_unless_present = "file")]
    contacts: Vec<String>,
    /// A file with one contact a line, or CSV with a column `contact`, `email` or `phone` and perhaps `scope`; - reads
    /// standard input
    #[arg(long, value_name = "PATH", conflicts_with = "contacts")]
    file: Option<PathBuf>,
    /// What the links unsubscribe from; without it everything
    #[arg(long)]
    scope: Option<String>,
    /// One URL a line; an empty line stands for a contact that cannot be read
    #[arg(long, conflicts_with = "json")]
    urls: bool,
    /// One JSON object a line: contact, scope, url and headers, or what is wrong
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(path: Option<&Path>, options: &Options) -> ExitCode {
    let loaded = match startup::load(path, |_| ()) {
        Ok((loaded, ())) => loaded,
        Err(exit) => return exit,
    };
    let made = match &loaded.config.links {
        Some(links) => make(links, options),
        None => Err(anyhow::anyhow!(
            "no links can be made without a [links] section: configure its url and its keys"
        )),
    };
    match made {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_enough(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads has read enough.
fn is_enough(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[expect(clippy::print_stderr, reason = "the answer of a command")]
fn complain(what: &str) {
    eprintln!("{what}");
}

/// Makes all that can be made; whether that was all.
fn make(links: &Links, options: &Options) -> anyhow::Result<bool> {
    let mut printer = Printer {
        links,
        options,
        out: BufWriter::new(io::stdout().lock()),
        printed: false,
        all: true,
    };
    match &options.file {
        None => {
            for (contact, number) in options.contacts.iter().zip(1..) {
                let place = format!("contact {number}");
                printer.contact(&place, contact, options.scope.as_deref())?;
            }
        }
        Some(path) => {
            let given: Box<dyn Read> = if path.as_os_str() == "-" {
                Box::new(io::stdin().lock())
            } else {
                let file = File::open(path);
                Box::new(file.with_context(|| format!("{} cannot be read", path.display()))?)
            };
            printer.file(given)?;
        }
    }
    printer.out.flush()?;
    Ok(printer.all)
}

/// Where the columns of a file are: without names the first, and no scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Columns {
    contact: usize,
    scope: Option<usize>,
}

impl Columns {
    /// Those of a first line that names them; None if it is a contact already.
    fn named(first: &StringRecord) -> anyhow::Result<Option<Self>> {
        let place = |names: &[&str]| {
            let is_named = |field: &str| names.iter().any(|name| field.eq_ignore_ascii_case(name));
            first.iter().position(is_named)
        };
        match place(&["contact", "email", "phone"]) {
            Some(contact) => Ok(Some(Self {
                contact,
                scope: place(&["scope"]),
            })),
            None if first.len() == 1 => Ok(None),
            None => bail!(
                "the first line has {} columns and names none of them contact, email or phone",
                first.len()
            ),
        }
    }
}

struct Printer<'a, W: Write> {
    links: &'a Links,
    options: &'a Options,
    out: W,
    printed: bool,
    all: bool,
}

impl<W: Write> Printer<'_, W> {
    fn file(&mut self, given: impl Read) -> anyhow::Result<()> {
        let mut records = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(given);
        let (mut columns, mut named): (Option<Columns>, bool) = (None, false);
        for record in records.records() {
            let record = record.context("the file is no text with a contact a line, and no CSV")?;
            let line = record.position().map_or(0, csv::Position::line);
            let columns = match columns {
                Some(columns) => columns,
                None => match Columns::named(&record)? {
                    Some(of_names) => {
                        (columns, named) = (Some(of_names), true);
                        continue;
                    }
                    None => *columns.insert(Columns::default()),
                },
            };
            if !named && record.len() > 1 {
                bail!(
                    "line {line} has {} columns, but no first line names them",
                    record.len()
                );
            }
            let field = |place: usize| record.get(place).filter(|field| !field.is_empty());
            let scope = columns.scope.and_then(field).map(str::to_owned);
            let scope = scope.or_else(|| self.options.scope.clone());
            let contact = field(columns.contact).unwrap_or_default();
            self.contact(&format!("line {line}"), contact, scope.as_deref())?;
        }
        Ok(())
    }

    /// Prints one link, or says where what is wrong stands.
    fn contact(&mut self, place: &str, raw: &str, scope: Option<&str>) -> io::Result<()> {
        let made = Contact::parse(raw)
            .map_err(|why| why.to_string())
            .and_then(|contact| {
                let made = self.links.make(&contact, scope, clock::now());
                made.map_err(|why| why.to_string())
            });
        let made = match made {
            Ok(made) => made,
            Err(why) => {
                self.all = false;
                complain(&format!("{place}: {why}"));
                return if self.options.json {
                    writeln!(self.out, "{}", json!({ "contact": raw, "error": why }))
                } else if self.options.urls {
                    // So that the lines stay beside the contacts'.
                    writeln!(self.out)
                } else {
                    Ok(())
                };
            }
        };
        if self.options.urls {
            return writeln!(self.out, "{}", made.url);
        }
        let headers = made.headers();
        if self.options.json {
            let headers: Map<_, _> = headers
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .into_iter()
                .collect();
            let line =
                json!({ "contact": raw, "scope": scope, "url": made.url, "headers": headers });
            return writeln!(self.out, "{line}");
        }
        // Of several contacts the headers stand apart, in the order of the contacts.
        if std::mem::replace(&mut self.printed, true) {
            writeln!(self.out)?;
        }
        for (name, value) in headers {
            writeln!(self.out, "{name}: {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_names_the_columns_or_is_the_first_contact() {
        let named = |fields: &[&str]| Columns::named(&StringRecord::from(fields.to_vec()));
        let columns = |contact, scope| Some(Columns { contact, scope });
        assert_eq!(named(&["email"]).unwrap(), columns(0, None));
        assert_eq!(
            named(&["id", "Email", "SCOPE"]).unwrap(),
            columns(1, Some(2))
        );
        assert_eq!(named(&["jane@example.com"]).unwrap(), None);
        let why = named(&["jane@example.com", "news"]).unwrap_err();
        assert!(why.to_string().contains("2 columns"), "{why}");
    }
}
