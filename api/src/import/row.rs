//! What a line of an import says: the columns by their names, and a row read by them.

use std::collections::HashMap;

use common::{
    clock,
    contact::{Contact, Invalid},
    event::{BounceClass, Draft, GLOBAL, Identity, Kind, Origin, rfc3339},
};
use jiff::Timestamp;

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
        let field = |name: &'static str| -> Result<Option<&str>, Wrong> {
            let text = self.at.get(name).map_or("", |at| fields[*at].trim());
            if text.contains('\0') {
                return Err((Some(name), "holds a NUL character".to_owned()));
            }
            Ok(Some(text).filter(|text| !text.is_empty()))
        };
        match field("state")?.map(str::to_ascii_lowercase).as_deref() {
            None | Some("active") => {}
            Some("lifted") => return Ok(None),
            Some(other) => {
                return Err((
                    Some("state"),
                    format!("is {other:?}: active or lifted is needed"),
                ));
            }
        }
        let read = |name, read: fn(&str) -> Result<Contact, Invalid>| {
            let contact = field(name)?.map(read).transpose();
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
        Ok(Some(Row {
            contacts,
            scope: field("scope")?.unwrap_or(GLOBAL).to_owned(),
            kind: kind(field("kind")?).map_err(|why| (Some("kind"), why))?,
            reason: field("reason")?.map(str::to_owned),
            note: field("note")?.map(str::to_owned),
            occurred_at: field("occurred_at")?
                .map(time)
                .transpose()
                .map_err(|why| (Some("occurred_at"), why))?,
        }))
    }
}

fn kind(given: Option<&str>) -> Result<Kind, String> {
    let wrong = || {
        format!(
            "is {:?}: unsubscribed, complained, bounced or suppressed is needed",
            given.unwrap_or_default()
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
    let now = clock::now();
    match rfc3339(text).map(clock::truncate) {
        None => Err("is no time in RFC 3339, such as 2026-04-02T14:30:00Z".to_owned()),
        Some(at) if at > now => Err("lies in the future".to_owned()),
        Some(at) if at <= Timestamp::UNIX_EPOCH => Err("lies before 1970".to_owned()),
        Some(at) => Ok(at),
    }
}

impl Row {
    /// The draft for one of its contacts. What has a time is known by it; else `successor` says what it replaces.
    pub(super) fn draft(&self, contact: &Contact, successor: Identity, now: Timestamp) -> Draft {
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
        draft.occurred_at = Some(self.occurred_at.unwrap_or(now));
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
