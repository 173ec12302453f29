//! What a page is asked with: the filters in its URL, and the forms that are sent to it.

use std::{collections::BTreeMap, convert::Infallible};

use axum::{
    extract::{self, FromRequest, FromRequestParts, Request},
    http::{header, request::Parts},
};
use bytes::Bytes;
use common::{contact::Contact, ledger::Act};
use futures_util::stream;
use multer::Multipart;
use serde::Serialize;
use url::form_urlencoded;
use uuid::Uuid;

use super::visitor::Visitor;
use crate::{
    App, body,
    error::{Error, Result, asked},
    query::Query,
};

/// The fields of a form, sent from a page of the session: there is no other way to get at a form that changes anything.
pub(super) struct Form {
    pub(super) visitor: Visitor,
    fields: BTreeMap<String, String>,
}

impl Form {
    /// The visitor, to whom what is masked is shown this once: who has asked for it is in the audit trail first.
    pub(super) async fn reveal(
        &self,
        app: &App,
        action: &'static str,
        subject: Option<Uuid>,
        contact: Option<Contact>,
    ) -> Result<Visitor> {
        let act = Act {
            actor: self.visitor.key.clone(),
            action,
            subject: subject.map(|id| id.to_string()),
            contact,
            ..Act::default()
        };
        asked(app.ledger.audit(&[act])).await?;
        Ok(self.visitor.revealing())
    }

    /// The field, without white space around it; None if it is not there or empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.fields.get(name)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The field as it was sent, such as the lines of a file.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name).filter(|text| !text.is_empty())
    }

    /// What was sent, to be shown again.
    pub(super) fn fields(&self) -> Filters {
        let shown = self.fields.iter().filter(|(name, _)| *name != "csrf");
        Filters(
            shown
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// Whether a box was ticked, or a button pressed.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }
}

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, state).await?;
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let bytes = body::bytes(body).await?;
        let fields = match multer::parse_boundary(kind) {
            Ok(boundary) => with_files(bytes, boundary).await?,
            Err(_) => urlencoded(&bytes),
        };
        let csrf = fields.get("csrf").map(String::as_str).unwrap_or_default();
        if !visitor.sent(csrf) {
            return Err(Error::NotFromHere);
        }
        Ok(Self { visitor, fields })
    }
}

/// The pairs of a form without files; of a name that is given twice the last.
pub(super) fn urlencoded(body: &[u8]) -> BTreeMap<String, String> {
    let pairs = form_urlencoded::parse(body);
    pairs
        .map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")))
        .collect()
}

/// The fields of a form with files, a file being read like any other field; of a name that is given twice the last.
async fn with_files(body: Bytes, boundary: String) -> Result<BTreeMap<String, String>> {
    let wrong = |error: multer::Error| Error::Body(error.to_string());
    let whole = stream::iter([Ok::<_, Infallible>(body)]);
    let mut form = Multipart::new(whole, boundary);
    let mut fields = BTreeMap::new();
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.bytes().await.map_err(wrong)?;
        let value = String::from_utf8(value.into()).map_err(|_| {
            Error::field(&name, "is not UTF-8: save the file as UTF-8 and try again")
        })?;
        fields.insert(name, value);
    }
    Ok(fields)
}

/// The parameters of a page. A form without script sends its empty fields, too; those filter nothing.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Filters(BTreeMap<String, String>);

impl Filters {
    /// As the handlers of the api read them.
    pub(super) fn query(&self) -> Result<Query> {
        let pairs = self.0.iter().map(|(name, value)| {
            let value = if matches!(name.as_str(), "from" | "to") {
                utc(value)
            } else {
                value.clone()
            };
            (name.clone(), value)
        });
        Query::given(pairs)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Without a parameter that is the page's own.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// The same as a query string, with other values for some.
    pub(super) fn with(&self, changed: &[(&str, &str)]) -> String {
        let kept = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let kept = kept.filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(kept.chain(changed.iter().copied()));
        format!("?{}", text.finish())
    }

    /// These parameters alone, as a query string.
    pub(super) fn only(&self, names: &[&str]) -> String {
        let kept = self
            .0
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()));
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(kept);
        format!("?{}", text.finish())
    }

    /// What turns pages, and no filter.
    pub(super) fn turning(&self) -> Self {
        let turning = self
            .0
            .iter()
            .filter(|(name, _)| matches!(name.as_str(), "cursor" | "limit"));
        Self(
            turning
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// With the one field for a contact as the two that the api has.
    pub(super) fn naming_a_contact(&self) -> Self {
        let mut filters = self.clone();
        if let Some(contact) = filters.take("contact") {
            let name = if contact.contains('@') {
                "email"
            } else {
                "phone"
            };
            filters.0.insert(name.to_owned(), contact);
        }
        filters
    }
}

impl<S: Sync> FromRequestParts<S> for Filters {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let pairs = extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Error::parameter("list", "cannot be read as a query string"))?;
        let given = pairs
            .0
            .into_iter()
            .map(|(name, value)| (name, value.trim().to_owned()));
        Ok(Self(given.filter(|(_, value)| !value.is_empty()).collect()))
    }
}

/// What a browser's field for a time says, which knows no zone, in RFC 3339: its label says that it is UTC.
pub(super) fn utc(time: &str) -> String {
    let (date, clock) = time.split_once('T').unwrap_or((time, ""));
    match clock.len() {
        0 if date.len() == 10 => format!("{date}T00:00:00Z"),
        5 => format!("{time}:00Z"),
        8 | 12 if !clock.ends_with('Z') => format!("{time}Z"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use hostile::{bytes, withstands};

    use super::*;

    const FORM: &str = "--x\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\ntoken\r\n\
        --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n\
        email\r\na@b.example\r\n\r\n--x--\r\n";

    /// The body is there as a whole, so nothing is waited for.
    fn read(form: &[u8]) -> Result<BTreeMap<String, String>> {
        let form = with_files(Bytes::copy_from_slice(form), "x".to_owned());
        form.now_or_never().expect("it waits for nothing")
    }

    #[test]
    fn a_file_is_read_with_the_fields_beside_it_and_what_is_no_form_is_refused() {
        let fields = read(FORM.as_bytes()).unwrap();
        assert_eq!(fields["csrf"], "token");
        assert_eq!(fields["file"], "email\r\na@b.example\r\n");
        assert_eq!(fields.len(), 2);
        for form in ["", "--x", &FORM[..60], &FORM.replace("--x--", "--y--")] {
            assert!(read(form.as_bytes()).is_err(), "{form:?}");
        }
        assert!(read(&FORM.replace("token", "t\u{e9}").into_bytes()).is_ok());
        let latin: Vec<_> = FORM
            .bytes()
            .map(|b| if b == b'k' { 0xe9 } else { b })
            .collect();
        assert!(read(&latin).is_err(), "it is not UTF-8");
    }

    #[test]
    fn no_form_with_files_makes_its_reader_panic() {
        withstands(
            "forms with files",
            file!(),
            &bytes([FORM, "--x--"]),
            |form| {
                drop(read(&form));
            },
        );
    }

    #[test]
    fn a_time_of_a_browser_is_read_as_utc_and_one_with_a_zone_as_it_is() {
        for (given, read) in [
            ("2026-04-02", "2026-04-02T00:00:00Z"),
            ("2026-04-02T14:30", "2026-04-02T14:30:00Z"),
            ("2026-04-02T14:30:05", "2026-04-02T14:30:05Z"),
            ("2026-04-02T14:30:05.123", "2026-04-02T14:30:05.123Z"),
            ("2026-04-02T14:30:00Z", "2026-04-02T14:30:00Z"),
            ("2026-04-02T14:30:00+02:00", "2026-04-02T14:30:00+02:00"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(utc(given), read);
        }
    }

    #[test]
    fn a_page_keeps_its_filters_when_it_is_turned() {
        let pairs = [("kind", "opened"), ("source", "a b&c")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let filters = Filters(pairs.into());
        let next = filters.with(&[("cursor", "x+y")]);
        assert_eq!(next, "?kind=opened&source=a+b%26c&cursor=x%2By");
        assert_eq!(
            filters.with(&[("kind", "clicked")]),
            "?source=a+b%26c&kind=clicked"
        );
    }
}
