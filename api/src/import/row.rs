//! What a line of an import says: the columns by their names, and a row read by them.

use std::collections::HashMap;

use common::{
    clock,
    contact::{Contact, Invalid},
    event::{BounceClass, CLOCK_SKEW, Draft, GLOBAL, Identity, Kind, Lane, Origin, rfc3339},
};
use jiff::Timestamp;

use crate::{body, error::Error, formula};

/// How much of a wrong value is told.
const SHOWN: usize = 40;

/// Which column is where.
#[derive(Debug)]
pub(super) struct Columns {
    at: HashMap<&'static str, usize>,
    count: usize,
}

/// Names of columns, the first of each line ours.
const NAMES: &[&[&str]] = &[
    &["contact", "address"],
    &["email", "email_address", "emailaddress", "recipient"],
    &["phone", "phone_number"],
    &["scope"],
    &["reason"],
    &["note"],
    &["kind", "event"],
    &[
        "occurred_at",
        "timestamp",
        "created_at",
        "createdat",
        "changed_at",
    ],
    &["state"],
];

/// What is wrong with a line: the column, and why.
pub(super) type Wrong = (Option<&'static str>, String);

/// A line that asks for something.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) contacts: Vec<Contact>,
    /// `global` for what concerns the address, whatever the line says.
    pub(super) scope: String,
    pub(super) kind: Kind,
    pub(super) reason: Option<String>,
    pub(super) note: Option<String>,
    pub(super) occurred_at: Option<Timestamp>,
}

impl Columns {
    /// Reads the header line.
    pub(super) fn read(header: &[String]) -> Result<Self, String> {
        let mut at = HashMap::new();
        for (index, name) in header.iter().enumerate() {
            let name = name
                .trim_start_matches('\u{feff}')
                .trim()
                .to_ascii_lowercase();
            let Some(names) = NAMES.iter().find(|names| names.contains(&name.as_str())) else {
                continue;
            };
            if at.insert(names[0], index).is_some() {
                return Err(format!("has more than one column for {}", names[0]));
            }
        }
        if !["contact", "email", "phone"]
            .iter()
            .any(|name| at.contains_key(name))
        {
            return Err(
                "has no column contact, email or phone: the first line names the columns"
                    .to_owned(),
            );
        }
        Ok(Self {
            at,
            count: header.len(),
        })
    }

    /// Reads a line. None for one that asks for nothing.
    pub(super) fn row(&self, fields: &[String]) -> Result<Option<Row>, Wrong> {
        if fields.len() != self.count {
            let why = format!(
                "has {} fields, but the first line names {}",
                fields.len(),
                self.count
            );
            return Err((None, why));
        }
        let field = |name: &'static str| -> Option<&str> {
            let text = self
                .at
                .get(name)
                .map(|at| formula::armed(fields[*at].trim()));
            text.filter(|text| !text.is_empty())
        };
        match field("state").map(str::to_ascii_lowercase).as_deref() {
            None | Some("active") => {}
            Some("lifted") => return Ok(None),
            Some(other) => {
                let why = format!("is {:?}: active or lifted is needed", shown(other));
                return Err((Some("state"), why));
            }
        }
        let read = |name, read: fn(&str) -> Result<Contact, Invalid>| {
            let contact = field(name).map(read).transpose();
            contact.map_err(|why| (Some(name), why.to_string()))
        };
        let found = [
            read("contact", Contact::parse)?,
            read("email", Contact::email)?,
            read("phone", Contact::phone)?,
        ];
        let contacts: Vec<_> = found.into_iter().flatten().collect();
        if contacts.is_empty() {
            return Err((
                None,
                "names nobody: an email address or a phone number is needed".to_owned(),
            ));
        }
        let text = |name| {
            // Spreadsheets break lines in either way.
            let text = field(name).map(|text| body::text(name, text.replace("\r\n", "\n")));
            text.transpose().map_err(|error| wrong(name, error))
        };
        let kind = kind(field("kind")).map_err(|why| (Some("kind"), why))?;
        let scope = field("scope").map(|scope| body::scope(scope.to_owned()));
        let scope = scope.transpose().map_err(|error| wrong("scope", error))?;
        let scope = scope.filter(|_| !matches!(kind, Kind::Complained | Kind::Bounced));
        let occurred_at = field("occurred_at").map(time).transpose();
        Ok(Some(Row {
            contacts,
            scope: scope.unwrap_or_else(|| GLOBAL.to_owned()),
            kind,
            reason: text("reason")?,
            note: text("note")?,
            occurred_at: occurred_at.map_err(|why| (Some("occurred_at"), why))?,
        }))
    }
}

/// What a body's field is refused for, told of a column.
fn wrong(column: &'static str, error: Error) -> Wrong {
    match error {
        Error::Field { why, .. } => (Some(column), why),
        other => (Some(column), other.to_string()),
    }
}

/// A wrong value, cut short: there may be a thousand of them.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn kind(given: Option<&str>) -> Result<Kind, String> {
    let wrong = || {
        format!(
            "is {:?}: unsubscribed, complained, bounced or suppressed is needed",
            shown(given.unwrap_or_default())
        )
    };
    match given {
        None => Ok(Kind::Suppressed),
        Some(text) => match text.to_ascii_lowercase().parse() {
            Ok(
                kind @ (Kind::Unsubscribed | Kind::Complained | Kind::Bounced | Kind::Suppressed),
            ) => Ok(kind),
            _ => Err(wrong()),
        },
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let latest = clock::now().saturating_add(CLOCK_SKEW);
    match rfc3339(text).map(clock::truncate) {
        None => Err("is no time in RFC 3339, such as 2026-04-02T14:30:00Z".to_owned()),
        Some(at) if latest.is_ok_and(|latest| at > latest) => Err("lies in the future".to_owned()),
        Some(at) if at <= Timestamp::UNIX_EPOCH => Err("lies before 1970".to_owned()),
        Some(at) => Ok(at),
    }
}

impl Row {
    /// The lane that it sets.
    pub(super) fn lane(&self) -> Lane {
        match self.kind {
            Kind::Complained => Lane::Complaint,
            Kind::Bounced => Lane::Deliverability,
            Kind::Suppressed => Lane::Manual,
            _ => Lane::Consent,
        }
    }

    /// How many bytes of text it holds.
    pub(super) fn size(&self) -> usize {
        let texts = [self.reason.as_ref(), self.note.as_ref(), Some(&self.scope)];
        let texts = texts.into_iter().flatten().map(String::len);
        let contacts = self.contacts.iter().map(|contact| contact.raw.len());
        texts.chain(contacts).sum()
    }

    /// The draft for one of its contacts. With a time it is known by that and happened then; without one it is known by
    /// what it replaces, and happens at `moment`.
    pub(super) fn draft(&self, contact: &Contact, successor: Identity, moment: Timestamp) -> Draft {
        let identity = self.occurred_at.map_or(successor, |at| {
            Identity::Derived(vec![
                "import".to_owned(),
                self.kind.to_string(),
                contact.channel.to_string(),
                contact.address.clone(),
                self.scope.clone(),
                at.to_string(),
            ])
        });
        let mut draft = Draft::new(self.kind, "import", identity);
        draft.bounce_class = (self.kind == Kind::Bounced).then_some(BounceClass::Hard);
        draft.contact = Some(contact.clone());
        draft.scope = Some(self.scope.clone());
        draft.occurred_at = Some(self.occurred_at.unwrap_or(moment));
        draft.reason.clone_from(&self.reason);
        draft.origin = Origin::Admin;
        draft.metadata = self
            .note
            .iter()
            .map(|note| ("note".to_owned(), note.as_str().into()))
            .collect();
        draft
    }
}
