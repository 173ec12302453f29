//! The import of a suppression list: CSV of any length, read as it arrives and applied some hundred lines at a time.
//!
//! Each of those goes the way of every change ([`crate::changes`]), behind what is urgent. If it breaks off in the middle,
//! what was applied stays, and importing the file again changes only the rest: a line with a time is known by it, one
//! without changes nothing where the suppression stands already.

mod dump;
#[cfg(test)]
mod hostile;
mod records;
mod row;
mod upload;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use axum::{Json, body::Body, extract::State, http::StatusCode};
use common::{
    contact::{Channel, Contact},
    event::{Draft, Lane},
    http::Problem,
    ledger::{Act, Standing, Suppression},
    queue::Priority,
    request::{Request, SOURCE},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    changes::{apply, moment, object, successor},
    error::{Error, Result, asked},
    query::Query,
};
use dump::Dump;
use records::{Record, Records};
use row::{Columns, Row};
use upload::Upload;

/// Lines that are applied together: so many, or so many bytes, since they make one message.
const CHUNK: usize = 500;
const CHUNK_BYTES: usize = 1 << 20;

/// Wrong lines that are told.
const TOLD: usize = 1000;

/// What came of an import.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ImportReport)]
pub(crate) struct Imported {
    /// Lines after the first, which names the columns.
    lines: u64,
    /// Suppressions that are new.
    applied: u64,
    /// Suppressions that stood already, or that were lifted after the time that their line states.
    unchanged: u64,
    /// Lines that say of themselves that they are lifted.
    skipped: u64,
    /// Lines that are wrong.
    rejected: u64,
    /// What is wrong with the first thousand of them.
    errors: Vec<WrongLine>,
    errors_truncated: bool,
    /// Nothing was changed: what would have been is told. A suppression that the file names again much further down
    /// counts each time.
    dry_run: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WrongLine {
    /// The line that it begins on, from 1; of a dump, which suppression it is.
    line: u64,
    column: Option<&'static str>,
    reason: String,
}

/// An import under way.
struct Import<'a> {
    app: &'a App,
    actor: String,
    id: Uuid,
    columns: Option<Columns>,
    waiting: Vec<Row>,
    /// How much they say.
    bytes: usize,
    /// Lines up to which all is done.
    settled: u64,
    done: Imported,
}

/// `POST /api/v1/suppressions/import`: CSV, or Postmark's suppression dump. With `dry_run=true` it says what would change.
/// A 503 says how far it came; importing the same again is harmless.
#[utoipa::path(
    post, path = "/api/v1/suppressions/import", operation_id = "import_suppressions", tag = "Suppressions",
    params(("dry_run" = Option<bool>, Query, description = "Only say what would change.")),
    request_body(content((String = "text/csv"), (Dump = "application/json"))),
    responses((status = 200, body = Imported))
)]
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Result<Query>,
    body: Body,
) -> std::result::Result<Json<Imported>, Problem> {
    let mut upload = Upload::new(body);
    let mut import = Import {
        app: &app,
        actor,
        id: Uuid::now_v7(),
        columns: None,
        waiting: vec![],
        bytes: 0,
        settled: 0,
        done: Imported::default(),
    };
    match import.run(query, &mut upload).await {
        Ok(()) => Ok(Json(import.done)),
        Err(error) => {
            upload.let_go().await;
            Err(import.broken_off(&error))
        }
    }
}

impl Import<'_> {
    async fn run(&mut self, query: Result<Query>, upload: &mut Upload) -> Result<()> {
        let mut query = query?;
        self.done.dry_run = query.named("dry_run")?.unwrap_or(false);
        query.finish()?;
        self.read(upload).await?;
        let totals = Act {
            action: "suppressions.imported",
            ..self.act(
                json!({ "lines": self.done.lines, "applied": self.done.applied, "unchanged": self.done.unchanged,
                "skipped": self.done.skipped, "rejected": self.done.rejected, "dry_run": self.done.dry_run,
                "sha256": upload.sha256() }),
            )
        };
        asked(self.app.ledger.audit(&[totals])).await
    }

    async fn read(&mut self, upload: &mut Upload) -> Result<()> {
        let head = upload.begin().await?;
        if head.trim_ascii_start().starts_with(b"{") {
            let dump: Dump = body::read(&upload.whole(head).await?)?;
            let header = dump::COLUMNS.map(str::to_owned).to_vec();
            self.take(vec![(0, Ok(header))]).await?;
            for (number, entry) in (1..).zip(dump.suppressions) {
                self.take(vec![(number, Ok(entry.line().to_vec()))]).await?;
            }
            return self.apply().await;
        }
        let (mut records, mut piece) = (Records::new(), Some(head));
        while let Some(bytes) = piece {
            // Nothing is what ends a file.
            if !bytes.is_empty() {
                self.take(records.read(&bytes)).await?;
            }
            piece = upload.next().await?;
        }
        self.take(records.read(b"")).await?;
        if self.columns.is_none() {
            let why = "it is empty, but its first line has to name the columns";
            return Err(Error::Body(why.to_owned()));
        }
        self.apply().await
    }

    async fn take(&mut self, records: Vec<Record>) -> Result<()> {
        for (line, record) in records {
            let Some(columns) = &self.columns else {
                let header = record.map_err(|why| Error::Body(format!("its first line {why}")))?;
                let columns = Columns::read(&header);
                self.columns =
                    Some(columns.map_err(|why| Error::Body(format!("its first line {why}")))?);
                continue;
            };
            self.done.lines += 1;
            let read = record.map_err(|why| (None, why.to_owned()));
            match read.and_then(|fields| columns.row(&fields)) {
                Ok(Some(row)) => {
                    self.bytes += row.size();
                    self.waiting.push(row);
                }
                Ok(None) => self.done.skipped += 1,
                Err((column, reason)) => self.reject(WrongLine {
                    line,
                    column,
                    reason,
                }),
            }
            if self.waiting.len() >= CHUNK || self.bytes >= CHUNK_BYTES {
                self.apply().await?;
            }
        }
        Ok(())
    }

    fn reject(&mut self, wrong: WrongLine) {
        self.done.rejected += 1;
        if self.done.errors.len() < TOLD {
            self.done.errors.push(wrong);
        } else {
            self.done.errors_truncated = true;
        }
    }

    /// Applies the lines that wait.
    async fn apply(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let named: usize = rows.iter().map(|row| row.contacts.len()).sum();
        if named > 0 {
            let new = self.change(&rows).await?;
            self.done.applied += new as u64;
            self.done.unchanged += (named - new) as u64;
        }
        self.settled = self.done.lines;
        Ok(())
    }

    /// Makes the suppressions that the rows ask for, and says how many of them are new.
    async fn change(&self, rows: &[Row]) -> Result<usize> {
        let drafts = self.drafts(rows).await?;
        if self.done.dry_run {
            return Ok(drafts.len());
        }
        let act = self.act(json!({ "lines": rows.len(), "changes": drafts.len() }));
        let request = Request {
            actor: self.actor.clone(),
            action: act.action.to_owned(),
            request: json!({ "import": self.id }),
            drafts,
        };
        let applied = apply(self.app, request, &[act], Priority::Bulk).await?;
        Ok(applied.new.iter().filter(|new| **new).count())
    }

    fn act(&self, details: Value) -> Act {
        Act {
            actor: self.actor.clone(),
            action: "suppressions.import",
            subject: Some(self.id.to_string()),
            details: object(details),
            ..Act::default()
        }
    }

    /// One draft for each contact and place that is not as its row says already.
    async fn drafts(&self, rows: &[Row]) -> Result<Vec<Draft>> {
        let contacts: Vec<_> = rows.iter().flat_map(|row| row.contacts.clone()).collect();
        let registers = asked(self.app.ledger.registers(&contacts)).await?;
        let ours = registers
            .iter()
            .filter(|register| register.source == SOURCE);
        let ours: HashMap<_, _> = ours
            .map(|register| (place_of(register), register))
            .collect();
        let (mut drafts, mut seen) = (vec![], HashSet::new());
        for row in rows {
            for contact in &row.contacts {
                let place = place(row, contact);
                let before = ours.get(&place).copied();
                if is_so(row, before) || !seen.insert((place, row.occurred_at)) {
                    continue;
                }
                let replaced = before.map(|before| before.event_id);
                let action = format!("import {}", row.kind);
                let identity = successor(&action, contact, &row.scope, replaced);
                let moment = moment(before.map(|before| before.occurred_at));
                drafts.push(row.draft(contact, identity, moment));
            }
        }
        Ok(drafts)
    }

    /// What the client is told if it could not be done, or not all of it.
    fn broken_off(&self, error: &Error) -> Problem {
        error.log();
        let mut problem = error.problem();
        if problem.status == StatusCode::SERVICE_UNAVAILABLE {
            problem.detail = format!(
                "{}; the first {} lines are applied, and some that follow may be: import the file again, which changes \
                 nothing twice",
                problem.detail, self.settled
            );
        }
        problem
            .with("lines_applied", self.settled)
            .with("applied", self.done.applied)
            .with("unchanged", self.done.unchanged)
            .with("skipped", self.done.skipped)
            .with("rejected", self.done.rejected)
            .with("dry_run", self.done.dry_run)
    }
}

/// A register of ours: channel, address, lane and scope.
type Place<'a> = (Channel, &'a str, Lane, &'a str);

fn place_of(register: &Suppression) -> Place<'_> {
    let Suppression {
        channel,
        contact,
        lane,
        scope,
        ..
    } = register;
    (*channel, contact, *lane, scope)
}

/// The register that a row sets for one of its contacts.
fn place<'a>(row: &'a Row, contact: &'a Contact) -> Place<'a> {
    (contact.channel, &contact.address, row.lane(), &row.scope)
}

/// Whether the register says what the row asks for, or something newer.
fn is_so(row: &Row, before: Option<&Suppression>) -> bool {
    before.is_some_and(|before| {
        let active = before.state == Standing::Active;
        row.occurred_at
            .map_or(active, |at| (at, true) <= (before.occurred_at, active))
    })
}
