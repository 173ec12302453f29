//! What the providers' JSON bodies have in common: an object or an array of objects, read element by element, with
//! texts, times and addresses taken out so that nothing in them can hurt further on.
//!
//! It promises: unknown fields are passed over; texts carry no NUL (PostgreSQL cannot store it) and have a bounded
//! length; no reason of a [`Malformed`] holds an address or any other part of the body.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, value::RawValue};

use super::{Malformed, Parsed};
use crate::{
    contact::{Contact, Invalid},
    envelope::Envelope,
    event::{BounceClass, Draft, Identity, Kind, Origin, has_effect, rfc3339},
    queue::Priority,
};

/// A row of a provider's table: its name for an event, and what that means here.
pub(super) type Row = (&'static str, Kind, Option<BounceClass>);

/// Texts for display and ids are cut at this many bytes: indexes hold no longer ones.
const LONGEST_LABEL: usize = 512;
/// Metadata beyond this many bytes of JSON is left out; the envelope has it.
const LARGEST_METADATA: usize = 16 * 1024;
/// A stated time before this one is a clock that was never set.
const EARLIEST: Timestamp = Timestamp::constant(946_684_800, 0); // 2000-01-01

/// Looks `name` up, whatever its case and punctuation: Brevo alone writes `hard_bounce`, `hardBounce` and `Hard Bounce`.
pub(super) fn meaning(table: &[Row], name: &str) -> Option<(Kind, Option<BounceClass>)> {
    table
        .iter()
        .find(|row| squashed(row.0).eq(squashed(name)))
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

/// Reads the body, an object or an array of objects, whatever its content type says.
///
/// An array's elements are cut out before any of them is read, so that one that cannot be read costs no other.
pub(super) fn read(
    envelope: &Envelope,
    draft: impl Fn(&Fields) -> Result<Draft, Malformed>,
) -> Parsed {
    let body = without_bom(&envelope.body);
    match body.first() {
        None => Err(Malformed(
            "the body is empty, and should be JSON".to_owned(),
        )),
        Some(b'{') => Ok(vec![draft(&Fields::of(body, "the body")?)]),
        Some(b'[') => {
            let elements: Vec<&RawValue> =
                serde_json::from_slice(body).map_err(|error| not_json("the body", &error))?;
            let read = |(index, element): (usize, &&RawValue)| {
                let what = format!("element {} of the body", index + 1);
                Fields::of(element.get().as_bytes(), &what).and_then(|fields| draft(&fields))
            };
            Ok(elements.iter().enumerate().map(read).collect())
        }
        Some(_) => match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => Err(Malformed(
                "the body is JSON, but neither an object nor an array of objects".to_owned(),
            )),
            Err(error) => Err(not_json("the body", &error)),
        },
    }
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

/// One element of a body.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    fn of(json: &[u8], what: &str) -> Result<Self, Malformed> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(other) => Err(Malformed(format!(
                "{what} is {}, and should be an object",
                type_name(&other)
            ))),
            Err(error) => Err(not_json(what, &error)),
        }
    }

    /// Whether the field is there and not null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| !value.is_null())
    }

    /// The field as it was sent, if it is a text, a number or a boolean and not blank.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text = match self.0.get(key)? {
            Value::String(text) => without_nul(text),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// Like [`Self::text`], cut to what can be stored and indexed.
    pub(super) fn label(&self, key: &str) -> Option<String> {
        self.text(key).map(|mut text| {
            text.truncate(text.floor_char_boundary(LONGEST_LABEL));
            text
        })
    }

    /// A field that must be there and a boolean.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Malformed> {
        match self.0.get(key) {
            Some(Value::Bool(flag)) => Ok(*flag),
            other => Err(Malformed(format!(
                "{key} must be true or false, and is {}",
                found(other)
            ))),
        }
    }

    /// A time: RFC 3339 with an offset, or seconds or milliseconds since 1970. None where it cannot be read.
    pub(super) fn time(&self, key: &str) -> Option<Timestamp> {
        let time = match self.0.get(key)? {
            Value::String(text) => rfc3339(text).or_else(|| epoch(text.trim().parse().ok()?)),
            Value::Number(number) => epoch(number.as_f64()?),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        time.filter(|time| *time >= EARLIEST)
    }

    /// An email address. An array of one address is taken for that address.
    pub(super) fn email(&self, key: &str) -> Result<Contact, Malformed> {
        match self.0.get(key).map(only_element) {
            Some(Value::String(text)) if text.len() > LONGEST_LABEL => {
                Err(refused(key, "an email address", Invalid::TooLong))
            }
            Some(Value::String(text)) => Contact::email(&without_nul(text))
                .map_err(|why| refused(key, "an email address", why)),
            other => Err(Malformed(format!(
                "{key} must be a text with one email address, and is {}",
                found(other)
            ))),
        }
    }

    /// A phone number whose leading `+` the provider may leave out.
    pub(super) fn phone(&self, key: &str) -> Result<Contact, Malformed> {
        let text = self.text(key).ok_or_else(|| {
            Malformed(format!(
                "{key} must be a phone number with its country code, and is {}",
                found(self.0.get(key))
            ))
        })?;
        let trimmed = text.trim();
        let number = if trimmed.starts_with(|c: char| ('1'..='9').contains(&c)) {
            format!("+{trimmed}")
        } else {
            text.clone()
        };
        let contact = Contact::phone(&number)
            .map_err(|why| refused(key, "a phone number with its country code", why))?;
        Ok(Contact {
            raw: text,
            ..contact
        })
    }

    /// The fields among `keys` that are there, as they were sent.
    pub(super) fn keep(&self, keys: &[&str]) -> Map<String, Value> {
        let there = keys.iter().filter(|key| self.has(key));
        bounded(
            there
                .map(|key| ((*key).to_owned(), clean(&self.0[*key])))
                .collect(),
        )
    }

    /// The entries of a field that is an object.
    pub(super) fn object(&self, key: &str) -> Map<String, Value> {
        match self.0.get(key).map(clean) {
            Some(Value::Object(entries)) => bounded(entries),
            _ => Map::new(),
        }
    }
}

fn squashed(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
}

fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii_start()
}

/// Only where the error is: serde's own message quotes the body.
fn not_json(what: &str, error: &serde_json::Error) -> Malformed {
    Malformed(format!(
        "{what} is not JSON: the error is at line {}, column {}",
        error.line(),
        error.column()
    ))
}

fn refused(key: &str, wanted: &str, why: Invalid) -> Malformed {
    Malformed(format!("{key} must be {wanted}: {why}"))
}

fn found(value: Option<&Value>) -> &'static str {
    value.map_or("missing", type_name)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn only_element(value: &Value) -> &Value {
    match value {
        Value::Array(elements) if elements.len() == 1 => &elements[0],
        other => other,
    }
}

fn epoch(number: f64) -> Option<Timestamp> {
    let seconds = if number.abs() > 1e11 {
        number / 1000.0
    } else {
        number
    };
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

fn clean(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_nul(text)),
        Value::Array(elements) => elements.iter().map(clean).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (without_nul(key), clean(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn bounded(metadata: Map<String, Value>) -> Map<String, Value> {
    let size = serde_json::to_vec(&metadata).map_or(usize::MAX, |json| json.len());
    if size <= LARGEST_METADATA {
        metadata
    } else {
        Map::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(fields) => Fields(fields),
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn nothing_that_is_taken_out_carries_a_nul() {
        let fields = fields(serde_json::json!({
            "text": "a\0b", "blank": "\0 ", "email": "a\0@b.example\0", "phone": "+1555\u{0}123", "deep": { "a\0": ["\0b"] },
        }));
        assert_eq!(fields.text("text").unwrap(), "ab");
        assert_eq!(fields.text("blank"), None);
        assert_eq!(fields.email("email").unwrap().raw, "a@b.example");
        assert_eq!(fields.phone("phone").unwrap().raw, "+1555123");
        let clean = serde_json::json!({ "a": ["b"] });
        assert_eq!(fields.keep(&["deep"])["deep"], clean);
        assert_eq!(Value::Object(fields.object("deep")), clean);
    }

    #[test]
    fn nothing_that_is_taken_out_is_longer_than_what_can_be_stored_and_indexed() {
        let long = "ä".repeat(300_000);
        let address = format!("\"{long}\" <a@b.example>");
        let fields =
            fields(serde_json::json!({ "text": long, "email": address, "deep": { "a": long } }));
        assert_eq!(fields.label("text").unwrap().len(), LONGEST_LABEL);
        assert!(fields.email("email").is_err());
        assert!(fields.keep(&["text"]).is_empty() && fields.object("deep").is_empty());
    }

    #[test]
    fn a_time_that_no_clock_that_was_set_can_have_told_is_none() {
        let time = |value: Value| fields(serde_json::json!({ "at": value })).time("at");
        let expected: Timestamp = "2018-03-06T19:10:23.5Z".parse().unwrap();
        assert_eq!(time("2018-03-06T20:10:23.500+01:00".into()), Some(expected));
        assert_eq!(time(1_520_363_423.5.into()), Some(expected));
        assert_eq!(time(1_520_363_423_500_i64.into()), Some(expected));
        for value in [
            Value::Null,
            0.into(),
            (-1).into(),
            1e300.into(),
            "".into(),
            "1999-12-31T23:59:59Z".into(),
        ] {
            assert_eq!(time(value), None);
        }
    }
}
