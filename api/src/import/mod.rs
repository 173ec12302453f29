//! The import of a suppression list: CSV of any length, read as it arrives and applied some hundred lines at a time.
//!
//! Each of those goes the way of every change ([`crate::changes`]), behind what is urgent. If it breaks off in the middle,
//! what was applied stays, and importing the file again changes only the rest: a line with a time is known by it, one
//! without changes nothing where the suppression stands already.

mod records;
mod row;

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use common::{
    clock,
    contact::Contact,
    event::{Draft, GLOBAL, Kind, Lane},
    ledger::{Act, Standing, Suppression},
    queue::Priority,
    request::{Request, SOURCE},
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    changes::{apply, object, successor},
    error::{Error, Result, asked},
    query::Query,
};
use records::{Record, Records};
use row::{Columns, Row};

/// Lines that are applied together.
const CHUNK: usize = 500;

/// Wrong lines that are told.
const TOLD: usize = 1000;

/// What came of an import.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Imported {
    /// Lines after the first, which names the columns.
    lines: u64,
    /// Suppressions that are new.
    applied: u64,
    /// Suppressions that stood already.
    unchanged: u64,
    /// Lines that say of themselves that they are lifted.
    skipped: u64,
    /// Lines that are wrong.
    rejected: u64,
    /// What is wrong with the first thousand of them.
    errors: Vec<WrongLine>,
    errors_truncated: bool,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct WrongLine {
    line: u64,
    column: Option<&'static str>,
    reason: String,
}

/// Postmark's dump of a suppression list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dump {
    suppressions: Vec<Dumped>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dumped {
    email_address: String,
    suppression_reason: Option<String>,
    origin: Option<String>,
    created_at: Option<String>,
}

/// An import under way.
struct Import<'a> {
    app: &'a App,
    actor: String,
    id: Uuid,
    columns: Option<Columns>,
    waiting: Vec<Row>,
    done: Imported,
}

/// `POST /api/v1/suppressions/import`: CSV, or Postmark's suppression dump. With `dry_run=true` it says what would change.
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    mut query: Query,
    body: Body,
) -> Result<Json<Imported>> {
    let dry_run = query.named("dry_run")?.unwrap_or(false);
    query.finish()?;
    let mut import = Import {
        app: &app,
        actor,
        id: Uuid::now_v7(),
        columns: None,
        waiting: vec![],
        done: Imported {
            dry_run,
            ..Imported::default()
        },
    };
    match import.read(body).await {
        Ok(()) => Ok(Json(import.done)),
        Err(error) => Err(error),
    }
}

impl Import<'_> {
    async fn read(&mut self, body: Body) -> Result<()> {
        let mut pieces = body.into_data_stream();
        let (mut records, mut begun) = (Records::new(), false);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Error::NotJson("the file broke off".to_owned()))?;
            if !begun && piece.trim_ascii_start().starts_with(b"{") {
                let rest = Body::from_stream(
                    futures_util::stream::once(async { Ok(piece) }).chain(pieces),
                );
                return self.dump(&body::bytes(rest).await?).await;
            }
            begun |= !piece.is_empty();
            if !piece.is_empty() {
                self.take(records.read(&piece)).await?;
            }
        }
        self.take(records.read(b"")).await?;
        if self.columns.is_none() {
            return Err(Error::Body(
                "the file is empty: its first line names the columns".to_owned(),
            ));
        }
        self.apply().await
    }

    async fn dump(&mut self, body: &[u8]) -> Result<()> {
        let dump: Dump = body::read(body)?;
        let header = ["email", "kind", "note", "occurred_at"].map(str::to_owned);
        self.take(vec![(1, Ok(header.to_vec()))]).await?;
        for (number, entry) in (1..).zip(dump.suppressions) {
            let by_recipient = entry.origin.as_deref() == Some("Recipient");
            let kind = match entry.suppression_reason.as_deref() {
                Some("HardBounce") => Kind::Bounced,
                Some("SpamComplaint") => Kind::Complained,
                _ if by_recipient => Kind::Unsubscribed,
                _ => Kind::Suppressed,
            };
            let note = entry.suppression_reason.unwrap_or_default();
            let fields = [
                entry.email_address,
                kind.to_string(),
                note,
                entry.created_at.unwrap_or_default(),
            ];
            self.take(vec![(number, Ok(fields.to_vec()))]).await?;
        }
        self.apply().await
    }

    async fn take(&mut self, records: Vec<Record>) -> Result<()> {
        for (line, record) in records {
            let Some(columns) = &self.columns else {
                let header = record.map_err(|why| Error::Body(format!("the first line {why}")))?;
                let columns = Columns::read(&header);
                self.columns =
                    Some(columns.map_err(|why| Error::Body(format!("the first line {why}")))?);
                continue;
            };
            self.done.lines += 1;
            match record
                .map_err(|why| (None, why.to_owned()))
                .and_then(|fields| columns.row(&fields))
            {
                Ok(Some(row)) => self.waiting.push(row),
                Ok(None) => self.done.skipped += 1,
                Err((column, reason)) => self.reject(WrongLine {
                    line,
                    column,
                    reason,
                }),
            }
            if self.waiting.len() >= CHUNK {
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
        let asked_for = rows
            .iter()
            .map(|row| row.contacts.len() as u64)
            .sum::<u64>();
        if asked_for == 0 {
            return Ok(());
        }
        let drafts = self.drafts(&rows).await?;
        let changes = drafts.len() as u64;
        if self.done.dry_run {
            self.done.applied += changes;
            self.done.unchanged += asked_for - changes;
            return Ok(());
        }
        let act = Act {
            actor: self.actor.clone(),
            action: "suppressions.import",
            subject: Some(self.id.to_string()),
            details: object(json!({ "lines": rows.len(), "changes": changes })),
            ..Act::default()
        };
        let request = Request {
            actor: self.actor.clone(),
            action: act.action.to_owned(),
            request: json!({ "import": self.id }),
            drafts,
        };
        let applied = apply(self.app, request, &[act], Priority::Bulk).await?;
        let new = applied.new.iter().filter(|new| **new).count() as u64;
        self.done.applied += new;
        self.done.unchanged += asked_for - new;
        Ok(())
    }

    /// One draft for each contact and place that is not as the line says already.
    async fn drafts(&self, rows: &[Row]) -> Result<Vec<Draft>> {
        let contacts: Vec<_> = rows.iter().flat_map(|row| row.contacts.clone()).collect();
        let registers = asked(self.app.ledger.registers(&contacts)).await?;
        let now = clock::now();
        let mut drafts: Vec<Draft> = vec![];
        for row in rows {
            for contact in &row.contacts {
                let before = registers
                    .iter()
                    .find(|register| is_set_by(register, row, contact));
                let stands = before.is_some_and(|before| {
                    before.state == Standing::Active
                        && row.occurred_at.is_none_or(|at| at <= before.occurred_at)
                });
                if stands {
                    continue;
                }
                let replaced = before.map(|before| before.event_id);
                let identity = successor(
                    &format!("import {}", row.kind),
                    contact,
                    &row.scope,
                    replaced,
                );
                let draft = row.draft(contact, identity, now);
                if !drafts.iter().any(|known| known.identity == draft.identity) {
                    drafts.push(draft);
                }
            }
        }
        Ok(drafts)
    }
}

/// Whether it is the register that the line sets for the contact.
fn is_set_by(register: &Suppression, row: &Row, contact: &Contact) -> bool {
    let (lane, scope) = match row.kind {
        Kind::Complained => (Lane::Complaint, GLOBAL),
        Kind::Bounced => (Lane::Deliverability, GLOBAL),
        Kind::Suppressed => (Lane::Manual, row.scope.as_str()),
        _ => (Lane::Consent, row.scope.as_str()),
    };
    (
        register.source.as_str(),
        register.lane,
        register.scope.as_str(),
    ) == (SOURCE, lane, scope)
        && (register.channel, &register.contact) == (contact.channel, &contact.address)
}
