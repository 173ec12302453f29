//! One element of a body, whatever it was written in: its texts, times and addresses, taken out so that nothing in them
//! can hurt further on.
//!
//! It promises: unknown fields are passed over; texts carry no NUL (PostgreSQL cannot store it) and have a bounded
//! length; no reason of a [`Malformed`] holds an address or any other part of the body.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value};

use super::{Malformed, path::Place};
use crate::{
    contact::{Contact, Invalid},
    event::rfc3339,
};

/// Texts for display and ids are cut at this many bytes: indexes hold no longer ones.
const LONGEST_LABEL: usize = 512;
/// Metadata beyond this many bytes of JSON is left out; the envelope has it.
const LARGEST_METADATA: usize = 16 * 1024;
/// A stated time before this one is a clock that was never set.
const EARLIEST: Timestamp = Timestamp::constant(946_684_800, 0); // 2000-01-01

/// One element of a body. What stands deeper is named by its path, keys and numbers joined by dots: `data.to.0`. A [`Place`] may
/// name keys that have a dot themselves.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn of(json: &[u8], what: &str) -> Result<Self, Malformed> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(other) => Err(Malformed(format!(
                "{what} is {}, and should be an object",
                type_name(&other)
            ))),
            Err(error) => Err(super::json::not_json(what, &error)),
        }
    }

    /// The fields of a form. Of a name that comes several times the first is taken.
    pub(super) fn of_form(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut fields = Map::new();
        for (name, value) in pairs {
            fields.entry(name).or_insert(Value::String(value));
        }
        Self(fields)
    }

    /// Whether the field is there and not null.
    pub(super) fn has<'a>(&self, key: impl Into<Place<'a>>) -> bool {
        self.get(key.into()).is_some_and(|value| !value.is_null())
    }

    /// The objects of a field that is an array, or the one object that it is.
    pub(super) fn list(&self, key: &str) -> Vec<Self> {
        let object = |value: &Value| value.as_object().cloned().map(Self);
        match self.get(key.into()) {
            Some(Value::Array(elements)) => elements.iter().filter_map(object).collect(),
            Some(other) => object(other).into_iter().collect(),
            None => vec![],
        }
    }

    fn get(&self, place: Place<'_>) -> Option<&Value> {
        match place {
            Place::Dotted(path) => self.led_to(path.split('.')),
            Place::Keys(keys) => self.led_to(keys.iter().map(String::as_str)),
        }
    }

    fn led_to<'a>(&self, mut keys: impl Iterator<Item = &'a str>) -> Option<&Value> {
        let first = self.0.get(keys.next()?)?;
        keys.try_fold(first, |value, key| match value {
            Value::Array(elements) => elements.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        })
    }

    /// The field as it was sent, if it is a text, a number or a boolean and not blank.
    pub(super) fn text<'a>(&self, key: impl Into<Place<'a>>) -> Option<String> {
        let text = match self.get(key.into())? {
            Value::String(text) => without_nul(text),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// Like [`Self::text`], cut to what can be stored and indexed.
    pub(super) fn label<'a>(&self, key: impl Into<Place<'a>>) -> Option<String> {
        self.text(key).map(|mut text| {
            text.truncate(text.floor_char_boundary(LONGEST_LABEL));
            text
        })
    }

    /// A field that must be there and a boolean.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Malformed> {
        match self.get(key.into()) {
            Some(Value::Bool(flag)) => Ok(*flag),
            other => Err(Malformed(format!(
                "{key} must be true or false, and is {}",
                found(other)
            ))),
        }
    }

    /// A time: RFC 3339 with an offset, or seconds or milliseconds since 1970. None where it cannot be read.
    pub(super) fn time<'a>(&self, key: impl Into<Place<'a>>) -> Option<Timestamp> {
        let time = match self.get(key.into())? {
            Value::String(text) => rfc3339(text).or_else(|| epoch(text.trim().parse().ok()?)),
            Value::Number(number) => epoch(number.as_f64()?),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        time.filter(|time| *time >= EARLIEST)
    }

    /// Like [`Self::time`], or a date and a time without a zone, from a provider that states them in UTC.
    pub(super) fn utc<'a>(&self, key: impl Into<Place<'a>>) -> Option<Timestamp> {
        let key = key.into();
        let local = || -> Option<Timestamp> {
            let text = self.text(key)?;
            let local: DateTime = text.trim().parse().ok()?;
            let at = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
            (at >= EARLIEST).then_some(at)
        };
        self.time(key).or_else(local)
    }

    /// An email address. An array of one address is taken for that address.
    pub(super) fn email<'a>(&self, key: impl Into<Place<'a>>) -> Result<Contact, Malformed> {
        let key = key.into();
        match self.get(key).map(only_element) {
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

    /// A phone number, with or without the channel before it. Its leading `+` the provider may leave out, and a form that
    /// does not encode it turns into a space.
    pub(super) fn phone<'a>(&self, key: impl Into<Place<'a>>) -> Result<Contact, Malformed> {
        let key = key.into();
        let text = self.text(key).ok_or_else(|| {
            Malformed(format!(
                "{key} must be a phone number with its country code, and is {}",
                found(self.get(key))
            ))
        })?;
        let prefixes = ["whatsapp:", "sms:", "tel:"];
        let bare = prefixes
            .iter()
            .find_map(|prefix| text.trim().strip_prefix(prefix));
        let trimmed = bare.unwrap_or(&text).trim();
        let number = if trimmed.starts_with(|c: char| ('1'..='9').contains(&c)) {
            format!("+{trimmed}")
        } else {
            trimmed.to_owned()
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
        let there = keys.iter().filter_map(|key| {
            let value = self.get(key.into()).filter(|value| !value.is_null())?;
            Some(((*key).to_owned(), clean(value)))
        });
        bounded(there.collect())
    }

    /// The entries of a field that is an object.
    pub(super) fn object(&self, key: &str) -> Map<String, Value> {
        match self.get(key.into()).map(clean) {
            Some(Value::Object(entries)) => bounded(entries),
            _ => Map::new(),
        }
    }
}

fn refused(key: Place<'_>, wanted: &str, why: Invalid) -> Malformed {
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
    use crate::providers::path::Path;

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
    fn a_path_leads_through_objects_and_arrays() {
        let fields = fields(serde_json::json!({
            "a": { "b": ["x", { "c": "y" }] }, "a.b": "z", "to": ["a@b.example", "c@d.example"],
        }));
        assert_eq!(fields.text("a.b.1.c").unwrap(), "y");
        assert_eq!(fields.email("to.1").unwrap().address, "c@d.example");
        for missing in ["a.b.2", "a.x.y", "a.b.c", "to.x", ".", ""] {
            assert!(!fields.has(missing), "{missing}");
        }
        let why = fields.email("a.c").unwrap_err().0;
        assert_eq!(
            why,
            "a.c must be a text with one email address, and is missing"
        );
    }

    #[test]
    fn a_list_of_keys_leads_to_those_that_have_a_dot_themselves() {
        let fields = fields(serde_json::json!({
            "payload": { "user.email": "a@b.example", "user": { "email": "c@d.example" }, "to": ["e@f.example"] },
        }));
        let at = |keys: &[&str]| Path::Keys(keys.iter().map(|key| (*key).to_owned()).collect());
        let address = |place: &Path| fields.email(place).map(|contact| contact.address);
        let dotted = at(&["payload", "user.email"]);
        assert_eq!(address(&dotted).unwrap(), "a@b.example");
        let deep = at(&["payload", "user", "email"]);
        assert_eq!(address(&deep).unwrap(), "c@d.example");
        assert_eq!(
            address(&at(&["payload", "to", "0"])).unwrap(),
            "e@f.example"
        );
        let missing = at(&["payload", "user.mail"]);
        assert_eq!(
            address(&missing).unwrap_err().0,
            r#"["payload", "user.mail"] must be a text with one email address, and is missing"#
        );
    }

    #[test]
    fn a_time_without_a_zone_is_read_only_where_it_is_known_to_be_utc() {
        let fields = fields(serde_json::json!({ "at": "2025-01-24 15:30:00", "no": "soon" }));
        assert_eq!(fields.time("at"), None);
        assert_eq!(
            fields.utc("at").unwrap().to_string(),
            "2025-01-24T15:30:00Z"
        );
        assert_eq!(fields.utc("no"), None);
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
