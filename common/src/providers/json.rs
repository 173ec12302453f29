//! What the providers' JSON bodies have in common: objects, alone or in arrays, read element by element.
//!
//! It promises: an element that cannot be read costs no other; no reason of a [`Malformed`] holds an address or any
//! other part of the body.

use std::{borrow::Cow, collections::BTreeMap, fmt::Display};

use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Malformed, Parsed, path::Place};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Identity, Kind, Origin, has_effect},
    queue::Priority,
};

pub(super) use super::fields::Fields;

/// A row of a provider's table: its name for an event, and what that means here.
pub(super) type Row = (&'static str, Kind, Option<BounceClass>);

/// Looks `name` up, whatever its case and punctuation: Brevo alone writes `hard_bounce`, `hardBounce` and `Hard Bounce`.
pub(super) fn meaning(table: &[Row], name: &str) -> Option<(Kind, Option<BounceClass>)> {
    table
        .iter()
        .find(|row| same(row.0, name))
        .map(|row| (row.1, row.2))
}

/// Whether the table knows `name` as one that may wait: neither with effect nor a bounce.
pub(super) fn low(table: &[Row], name: &str) -> bool {
    matches!(
        meaning(table, name),
        Some((
            Kind::Delivered | Kind::Opened | Kind::Clicked | Kind::Other,
            _
        ))
    )
}

/// Who causes events of this kind, where the provider does not say.
pub(super) fn usual_origin(kind: Kind) -> Origin {
    match kind {
        Kind::Unsubscribed
        | Kind::Resubscribed
        | Kind::Complained
        | Kind::Opened
        | Kind::Clicked => Origin::Recipient,
        Kind::Bounced | Kind::Delivered => Origin::Provider,
        Kind::Suppressed | Kind::Other => Origin::Unknown,
    }
}

/// Whether it is what a recipient chooses: of a provider that tells of nobody else's choice, that says who did it.
pub(super) fn is_choice(event: &Event) -> bool {
    matches!(event.kind, Kind::Unsubscribed | Kind::Resubscribed)
}

/// What one element tells: usually one thing, of several recipients several, of a ping none.
pub(super) type Told = Vec<Result<Draft, Malformed>>;

/// Reads the body, an object or an array of objects, whatever its content type says.
pub(super) fn read(
    envelope: &Envelope,
    draft: impl Fn(&Fields) -> Result<Draft, Malformed>,
) -> Parsed {
    read_list(&envelope.body, "", |fields| vec![draft(fields)])
}

/// Reads the elements that stand at a place of the body or of each of its elements.
///
/// Elements are cut out before any of them is read, so that one that cannot be read costs no other.
pub(super) fn read_list<'p>(
    body: &[u8],
    path: impl Into<Place<'p>>,
    told: impl Fn(&Fields) -> Told,
) -> Parsed {
    let path = path.into();
    let body = without_bom(body);
    let mut elements: Vec<_> = match body.first() {
        None => {
            return Err(Malformed(
                "the body is empty, and should be JSON".to_owned(),
            ));
        }
        Some(b'{') if path.is_empty() => {
            return Fields::of(body, "the body").map(|fields| told(&fields));
        }
        Some(b'{' | b'[') => elements_of(body, "the body")?.into_iter().map(Ok).collect(),
        Some(_) => {
            return Err(match serde_json::from_slice::<IgnoredAny>(body) {
                Ok(_) => Malformed(
                    "the body is JSON, but neither an object nor an array of objects".to_owned(),
                ),
                Err(error) => not_json("the body", &error),
            });
        }
    };
    for key in path.keys().into_iter().filter(|key| !key.is_empty()) {
        elements = elements
            .into_iter()
            .flat_map(|element| entries(element, key))
            .collect();
    }
    let read = |element: Result<Element<'_>, Malformed>| match element
        .and_then(|(what, json)| Fields::of(json, &what))
    {
        Ok(fields) => told(&fields),
        Err(why) => vec![Err(why)],
    };
    Ok(elements.into_iter().flat_map(read).collect())
}

/// Reads a body that is one object and no array.
pub(super) fn read_one(envelope: &Envelope, told: impl FnOnce(&Fields) -> Told) -> Parsed {
    Fields::of(without_bom(&envelope.body), "the body").map(|fields| told(&fields))
}

/// What to call it, and its JSON.
type Element<'a> = (String, &'a [u8]);

/// The elements of an array; anything else by itself.
fn elements_of<'a>(json: &'a [u8], what: &str) -> Result<Vec<Element<'a>>, Malformed> {
    if !json.starts_with(b"[") {
        return Ok(vec![(what.to_owned(), json)]);
    }
    let elements: Vec<&RawValue> =
        serde_json::from_slice(json).map_err(|error| not_json(what, &error))?;
    let named = |(number, element): (usize, &'a RawValue)| {
        let name = format!("element {number} of {what}");
        (name, element.get().as_bytes())
    };
    Ok((1..).zip(elements).map(named).collect())
}

/// The elements that stand under a key of an object.
fn entries<'a>(
    object: Result<Element<'a>, Malformed>,
    key: &str,
) -> Vec<Result<Element<'a>, Malformed>> {
    let found = object.and_then(|(what, json)| {
        let mut entries: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(json)
            .map_err(|_| Malformed(format!("{what} is no object with {key}")))?;
        let entry = entries.remove(key);
        let entry = entry.ok_or_else(|| Malformed(format!("{what} has no {key}")))?;
        elements_of(entry.get().as_bytes(), key)
    });
    match found {
        Ok(elements) => elements.into_iter().map(Ok).collect(),
        Err(why) => vec![Err(why)],
    }
}

/// What tells how urgent an element is, under the key that most senders have for it.
#[derive(Deserialize)]
pub(super) struct ByEvent<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
}

/// The same under the key that many others have.
#[derive(Deserialize)]
pub(super) struct ByType<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) name: Cow<'a, str>,
}

/// Bulk if `low` says so of every element, urgent in any doubt. `T` has the one or two fields that tell; the parser
/// skips all others without looking into them, reads escapes as [`read`] does, and fails on a key that comes twice.
pub(super) fn priority<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    low: impl Fn(&T) -> bool,
) -> Priority {
    let body = without_bom(body);
    let elements = match body.first() {
        Some(b'[') => serde_json::from_slice(body),
        _ => serde_json::from_slice(body).map(|element| vec![element]),
    };
    match elements {
        Ok(elements) if !elements.is_empty() && elements.iter().all(low) => Priority::Bulk,
        _ => Priority::Urgent,
    }
}

/// The identity of an event that has no id of its own: whom it is about, and what else it says, as it was sent.
///
/// Without a readable time the day of receipt takes its place. Else an address that unsubscribes again, a year after
/// somebody lifted the first opt-out, would be taken for a repeat.
pub(super) fn derived(
    sent: impl IntoIterator<Item = Option<String>>,
    contact: Option<&Contact>,
    occurred_at: Option<Timestamp>,
    envelope: &Envelope,
) -> Identity {
    let day = envelope.received_at.as_second().div_euclid(86_400);
    let address = contact.map(|contact| contact.address.clone());
    let received = occurred_at
        .is_none()
        .then(|| format!("received on day {day}"));
    let fields = [address, received].into_iter().chain(sent);
    Identity::Derived(fields.map(Option::unwrap_or_default).collect())
}

/// The identity of an event: its own id, else as [`derived`].
pub(super) fn identity(
    own: Option<String>,
    sent: impl IntoIterator<Item = Option<String>>,
    contact: Option<&Contact>,
    occurred_at: Option<Timestamp>,
    envelope: &Envelope,
) -> Identity {
    own.map_or_else(
        || derived(sent, contact, occurred_at, envelope),
        Identity::Own,
    )
}

/// Whom the event is about: an event with effect must say so readably, any other may leave it open.
pub(super) fn needed(
    kind: Kind,
    class: Option<BounceClass>,
    contact: Result<Contact, Malformed>,
) -> Result<Option<Contact>, Malformed> {
    match contact {
        Ok(contact) => Ok(Some(contact)),
        Err(_) if !has_effect(kind, class) => Ok(None),
        Err(malformed) => Err(malformed),
    }
}

/// A reactivation has to say when it was: one that is taken up late could undo a newer opt-out.
pub(super) fn timed(
    kind: Kind,
    occurred_at: Option<Timestamp>,
    key: impl Display,
) -> Result<Option<Timestamp>, Malformed> {
    if kind == Kind::Resubscribed && occurred_at.is_none() {
        return Err(Malformed(format!(
            "{key} must be a time: without one the reactivation could undo a newer opt-out"
        )));
    }
    Ok(occurred_at)
}

/// The last part of a dotted name.
pub(super) fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Whether two names differ only in case and punctuation.
pub(super) fn same(one: &str, other: &str) -> bool {
    squashed(one).eq(squashed(other))
}

fn squashed(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
}

pub(super) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii_start()
}

/// Only where the error is: serde's own message quotes the body.
pub(super) fn not_json(what: &str, error: &serde_json::Error) -> Malformed {
    Malformed(format!(
        "{what} is not JSON: the error is at line {}, column {}",
        error.line(),
        error.column()
    ))
}
