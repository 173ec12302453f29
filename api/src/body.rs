//! JSON bodies, read strictly: what is wrong is told by its place, with what would be right.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, Request},
};
use common::contact::{Contact, Invalid};
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, error::Category};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// Ten thousand addresses of the greatest length, with room to spare.
pub(crate) const LIMIT: usize = 8 << 20;

/// How long a client may take over a body. An import has longer, since it is applied as it comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Scopes are compared, so they are kept short enough for an index.
const LONGEST_SCOPE: usize = 255;

/// The most bytes of a text that says something to people. Each is read by them, sent to targets and listed.
const LONGEST_TEXT: usize = 16 << 10;

/// A JSON body, whatever its content type says.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        read(&bytes(request.into_body()).await?).map(Self)
    }
}

/// The whole body, if it is not too large.
pub(crate) async fn bytes(body: Body) -> Result<bytes::Bytes> {
    within(body, LIMIT, PATIENCE).await
}

/// The whole body, if it has at most `limit` bytes and is there in time.
pub(crate) async fn within(body: Body, limit: usize, patience: Duration) -> Result<bytes::Bytes> {
    timeout(patience, to_bytes(body, limit))
        .await
        .map_err(|_| Error::TooSlow)?
        .map_err(|_| Error::TooLarge { limit: limit >> 10 })
}

/// Reads a JSON body. What is wrong with a field is told by its path, such as `events[2]`; that one is missing, by the
/// whole that it is missing from.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let mut json = Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let whole = error.path().iter().next().is_none();
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.classify() {
            Category::Data if whole => Error::Body(error.to_string()),
            Category::Data => Error::field(&path, format!("is wrong: {error}")),
            Category::Io | Category::Syntax | Category::Eof => Error::NotJson(error.to_string()),
        }
    })?;
    let ended = json.end();
    ended.map_err(|error| Error::NotJson(error.to_string()))?;
    Ok(value)
}

/// A text of a body: not empty, not very long, and nothing in it that a database cannot hold.
pub(crate) fn text(name: &str, text: String) -> Result<String> {
    if text.trim().is_empty() {
        return Err(Error::field(name, "is empty: give a value or leave it out"));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        return Err(Error::field(name, "holds control characters"));
    }
    if text.len() > LONGEST_TEXT {
        let why = format!("is longer than {} KiB", LONGEST_TEXT >> 10);
        return Err(Error::field(name, why));
    }
    Ok(text)
}

/// A scope of a body.
pub(crate) fn scope(scope: String) -> Result<String> {
    let scope = text("scope", scope)?;
    if scope.chars().count() > LONGEST_SCOPE {
        let why = format!("is longer than {LONGEST_SCOPE} characters");
        return Err(Error::field("scope", why));
    }
    Ok(scope)
}

/// A contact of a body.
pub(crate) fn contact(
    name: &'static str,
    raw: &str,
    read: impl Fn(&str) -> std::result::Result<Contact, Invalid>,
) -> Result<Contact> {
    text(name, raw.to_owned())?;
    read(raw).map_err(|why| Error::Contact { name, why })
}

/// The one contact of a body that names it by any of three fields.
pub(crate) fn one_contact(
    email: Option<&str>,
    phone: Option<&str>,
    either: Option<&str>,
) -> Result<Contact> {
    match (email, phone, either) {
        (Some(email), None, None) => contact("email", email, Contact::email),
        (None, Some(phone), None) => contact("phone", phone, Contact::phone),
        (None, None, Some(either)) => contact("contact", either, Contact::parse),
        (None, None, None) => Err(Error::field(
            "email",
            "is missing, and so are phone and contact",
        )),
        _ => Err(Error::field(
            "contact",
            "is given more than once: one of email, phone and contact is needed",
        )),
    }
}
