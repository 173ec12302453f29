//! Parameters, read strictly: one that is unknown, wrong or given twice is told by its name, with what would be right.
//! A filter that was silently passed over would show, and a check that was misspelt would allow, too much.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use axum::{
    extract::{self, FromRequestParts, Path},
    http::{Uri, request::Parts},
};
use common::{
    contact::{Contact, Invalid},
    event::rfc3339,
};
use jiff::Timestamp;
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};
use uuid::Uuid;

use crate::error::{Error, Result};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// The query string being read: every parameter is asked for by name, then [`Query::finish`] refuses the rest.
#[derive(Debug)]
pub(crate) struct Query {
    given: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

/// Which page of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// The most items of a page.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: usize,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A time span: `from` is in it, `to` is not.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Span {
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

/// The parameters `email` and `phone`, as they are described.
pub(crate) struct Contacts;

impl IntoParams for Contacts {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let contact = |name, says| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(says))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .build()
        };
        vec![
            contact("email", "An email address, in any spelling."),
            contact("phone", "A phone number in E.164, such as `+15551234567`."),
        ]
    }
}

impl Query {
    /// Begins to read the query string of a URL.
    pub(crate) fn of(uri: &Uri) -> Result<Self> {
        let pairs = extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Error::parameter("list", "cannot be read as a query string"))?;
        Self::given(pairs.0)
    }

    /// Begins to read parameters that came in another way.
    pub(crate) fn given(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut given = BTreeMap::new();
        for (name, value) in pairs {
            if given.insert(name.clone(), value).is_some() {
                return Err(Error::Parameter {
                    name: format!("{name:?}"),
                    why: "is given more than once".to_owned(),
                });
            }
        }
        Ok(Self {
            given,
            known: vec![],
        })
    }

    /// The value of `name`, which is neither empty nor holds control characters.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            Some(text) if text.is_empty() => Err(Error::parameter(
                name,
                "is empty: give a value or leave it out",
            )),
            Some(text) if text.chars().any(char::is_control) => {
                Err(Error::parameter(name, "holds control characters"))
            }
            text => Ok(text),
        }
    }

    /// One of a closed set of names, or anything else whose error says what would be right.
    pub(crate) fn named<T>(&mut self, name: &'static str) -> Result<Option<T>>
    where
        T: FromStr<Err: Display>,
    {
        let parse = |text: String| {
            text.parse()
                .map_err(|why| Error::parameter(name, format!("is wrong: {why}")))
        };
        self.text(name)?.map(parse).transpose()
    }

    pub(crate) fn id(&mut self, name: &'static str) -> Result<Option<Uuid>> {
        self.text(name)?.map(|text| id(name, &text)).transpose()
    }

    pub(crate) fn email(&mut self) -> Result<Option<Contact>> {
        self.contact("email", Contact::email)
    }

    /// A phone number. Its `+` arrives as a space where the client did not write it as `%2B`.
    pub(crate) fn phone(&mut self) -> Result<Option<Contact>> {
        self.contact("phone", |raw| match raw.strip_prefix(' ') {
            Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
                Contact::phone(&format!("+{digits}"))
            }
            _ => Contact::phone(raw),
        })
    }

    /// `email` or `phone`, for lists.
    pub(crate) fn either_contact(&mut self) -> Result<Option<Contact>> {
        match (self.email()?, self.phone()?) {
            (Some(_), Some(_)) => Err(Error::parameter(
                "phone",
                "is given beside email: a list filters by one of them",
            )),
            (email, phone) => Ok(email.or(phone)),
        }
    }

    pub(crate) fn span(&mut self) -> Result<Span> {
        let span = Span {
            from: self.time("from")?,
            to: self.time("to")?,
        };
        match (span.from, span.to) {
            (Some(from), Some(to)) if from > to => {
                Err(Error::parameter("from", "is later than to"))
            }
            _ => Ok(span),
        }
    }

    pub(crate) fn paging(&mut self) -> Result<Paging> {
        let limit = match self.text("limit")? {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| {
                    Error::parameter(
                        "limit",
                        format!("is {text:?}, but a whole number from 1 to {MAX_LIMIT} is needed"),
                    )
                })?,
        };
        Ok(Paging {
            limit,
            cursor: self.text("cursor")?,
        })
    }

    /// Ends the reading: whatever was not asked for is unknown.
    pub(crate) fn finish(self) -> Result<()> {
        match self.given.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let why = format!("is not known here; known are: {}", self.known.join(", "));
                Err(Error::Parameter {
                    name: format!("{name:?}"),
                    why,
                })
            }
        }
    }

    fn contact(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> std::result::Result<Contact, Invalid>,
    ) -> Result<Option<Contact>> {
        // An empty one is not passed over: it is somebody whose address got lost on the way here.
        self.take(name)
            .map(|raw| read(&raw).map_err(|why| Error::Contact { name, why }))
            .transpose()
    }

    fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        // As in a phone number, a + arrives as a space.
        let time = rfc3339(&text).or_else(|| rfc3339(&text.replace(' ', "+")));
        let wanted = "but a time in RFC 3339 is needed, such as 2026-04-02T14:30:00Z";
        time.map(Some)
            .ok_or_else(|| Error::parameter(name, format!("is {text:?}, {wanted}")))
    }

    fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.given.remove(name)
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::of(&parts.uri)
    }
}

/// The `{id}` of a path.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let text = Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(text)| text)
            .unwrap_or_default();
        id("id", &text).map(Self)
    }
}

fn id(name: &'static str, text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| {
        Error::parameter(
            name,
            "is not a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057",
        )
    })
}
