//! Reads settings out of TOML tables so that all mistakes are found in one go, each by its key.
//!
//! A [`Section`] hands out one value after the other; a value that is missing or wrong is noted as a [`Mistake`] and
//! reading goes on. What is left over at [`Section::finish`] is unknown, and a mistake too. Every value that was read is
//! kept for `optout config show`, secrets masked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use jiff::SignedDuration;
use secrecy::SecretString;
use toml::{Table, Value};
use url::Url;

/// One thing that is wrong: the key, why, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub key: String,
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

/// What all sections of one configuration share.
#[derive(Debug, Clone, Default)]
struct Notes {
    mistakes: Vec<Mistake>,
    effective: BTreeMap<String, Value>,
}

/// A table being read.
#[derive(Debug, Clone)]
pub struct Section {
    path: String,
    given: Table,
    read: BTreeSet<String>,
    environment: Arc<BTreeMap<String, String>>,
    notes: Arc<Mutex<Notes>>,
}

impl Section {
    /// The whole configuration. `environment` is what `env:NAME` refers to.
    pub fn root(given: Table, environment: BTreeMap<String, String>) -> Self {
        Self {
            path: String::new(),
            given,
            read: BTreeSet::new(),
            environment: Arc::new(environment),
            notes: Arc::default(),
        }
    }

    /// The full name of one of this section's keys.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes that the value of `key` is wrong.
    pub fn mistake(&self, key: &str, why: impl Into<String>) {
        let mistake = Mistake {
            key: self.path(key),
            why: why.into(),
        };
        self.notes(|notes| notes.mistakes.push(mistake));
    }

    /// All mistakes found so far, in this and all sections of the same configuration.
    pub fn mistakes(&self) -> Vec<Mistake> {
        self.notes(|notes| notes.mistakes.clone())
    }

    /// Every value that was read, by its full key, secrets masked.
    pub fn effective(&self) -> BTreeMap<String, Value> {
        self.notes(|notes| notes.effective.clone())
    }

    /// The value of `key`, if it is there and right.
    pub fn optional<T: Setting>(&mut self, key: &str) -> Option<T> {
        let value = self.take(key)?;
        match T::read(&value) {
            Ok(read) => {
                self.show(key, read.show());
                Some(read)
            }
            Err(why) => {
                self.mistake(key, why);
                None
            }
        }
    }

    /// The value of `key`, or `default` where it is not given.
    pub fn or<T: Setting>(&mut self, key: &str, default: T) -> T {
        if self.given.contains_key(key) {
            return self.optional(key).unwrap_or(default);
        }
        self.show(key, default.show());
        default
    }

    /// The value of `key`, which has to be there.
    pub fn required<T: Setting>(&mut self, key: &str) -> Option<T> {
        self.present(key).then(|| self.optional(key)).flatten()
    }

    /// A secret, which has to be there: the value, or what `env:NAME` or `file:PATH` refers to.
    pub fn secret(&mut self, key: &str) -> Option<SecretString> {
        self.present(key)
            .then(|| self.optional_secret(key))
            .flatten()
    }

    /// A secret that may be missing.
    pub fn optional_secret(&mut self, key: &str) -> Option<SecretString> {
        let value = self.take(key)?;
        self.show(key, masked(&value));
        self.resolve(key, &value)
    }

    /// One secret or a list of them, all valid at once, of which there has to be at least one.
    pub fn secrets(&mut self, key: &str) -> Vec<SecretString> {
        if !self.present(key) {
            return vec![];
        }
        let values = match self.take(key) {
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
            None => return vec![],
        };
        if values.is_empty() {
            self.mistake(key, "is an empty list: at least one secret is needed");
        }
        self.show(key, Value::Array(values.iter().map(masked).collect()));
        values
            .iter()
            .filter_map(|value| self.resolve(key, value))
            .collect()
    }

    /// A text that may hold a secret, such as a URL with a password: resolved like a secret, shown masked.
    pub fn secret_url(&mut self, key: &str, default: Option<&str>) -> Option<SecretString> {
        match (self.given.contains_key(key), default) {
            (false, Some(default)) => {
                self.show(key, Value::from(default));
                Some(default.into())
            }
            _ => self.secret(key),
        }
    }

    /// The table under `key`; an empty one if it is not given.
    #[must_use]
    pub fn section(&mut self, key: &str) -> Self {
        let given = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.mistake(
                    key,
                    format!(
                        "is {}, a table is needed: [{}]",
                        kind(&other),
                        self.path(key)
                    ),
                );
                Table::new()
            }
        };
        self.child(self.path(key), given)
    }

    /// The tables under `key`: a list of them, or, if `single` is allowed, one.
    pub fn sections(&mut self, key: &str, single: bool) -> Vec<Self> {
        let values = match self.take(key) {
            None => vec![],
            Some(Value::Table(table)) if single => return vec![self.child(self.path(key), table)],
            Some(Value::Array(values)) => values,
            Some(other) => {
                self.mistake(
                    key,
                    format!(
                        "is {}, a list of tables is needed: [[{}]]",
                        kind(&other),
                        self.path(key)
                    ),
                );
                vec![]
            }
        };
        let mut sections = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let at = format!("{key}[{index}]");
            match value {
                Value::Table(table) => sections.push(self.child(self.path(&at), table)),
                other => self.mistake(&at, format!("is {}, a table is needed", kind(&other))),
            }
        }
        sections
    }

    /// The keys that are given and not yet read: for tables whose keys are the user's own names.
    pub fn keys(&self) -> Vec<String> {
        self.given
            .keys()
            .filter(|key| !self.read.contains(*key))
            .cloned()
            .collect()
    }

    /// Ends the reading: whatever was not asked for is unknown.
    pub fn finish(self) {
        for key in self.keys() {
            let known: Vec<_> = self.read.iter().map(String::as_str).collect();
            self.mistake(
                &key,
                format!("is not a known key; known here: {}", known.join(", ")),
            );
        }
    }

    fn child(&self, path: String, given: Table) -> Self {
        Self {
            path,
            given,
            read: BTreeSet::new(),
            environment: Arc::clone(&self.environment),
            notes: Arc::clone(&self.notes),
        }
    }

    fn present(&mut self, key: &str) -> bool {
        let present = self.given.contains_key(key);
        if !present {
            self.read.insert(key.to_owned());
            self.mistake(key, "is missing");
        }
        present
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.read.insert(key.to_owned());
        self.given.get(key).cloned()
    }

    fn show(&self, key: &str, value: Value) {
        let path = self.path(key);
        self.notes(|notes| notes.effective.insert(path, value));
    }

    fn resolve(&self, key: &str, value: &Value) -> Option<SecretString> {
        let resolved = String::read(value).and_then(|text| match text.split_once(':') {
            Some(("env", name)) => {
                self.environment.get(name).cloned().ok_or_else(|| {
                    format!("names the environment variable {name}, which is not set")
                })
            }
            Some(("file", path)) => std::fs::read_to_string(path)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("names the file {path}, which cannot be read: {error}")),
            _ => Ok(text),
        });
        match resolved {
            Ok(secret) if secret.is_empty() => {
                self.mistake(key, "is an empty secret");
                None
            }
            Ok(secret) => Some(secret.into()),
            Err(why) => {
                self.mistake(key, why);
                None
            }
        }
    }

    fn notes<T>(&self, with: impl FnOnce(&mut Notes) -> T) -> T {
        with(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// What `config show` prints of a secret: where it comes from, a URL without its password, or stars.
fn masked(value: &Value) -> Value {
    let text = String::read(value).unwrap_or_default();
    if text.starts_with("env:") || text.starts_with("file:") || text.starts_with("sqlite:") {
        return Value::String(text);
    }
    match Url::parse(&text) {
        // A path may be the secret (Slack's is), so of a URL only the host is shown.
        Ok(url) if url.has_host() => Value::String(format!(
            "{}://***@{}",
            url.scheme(),
            url.host_str().unwrap_or_default()
        )),
        _ => Value::from("***"),
    }
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// Reads the value; the error says what it is and what would be right.
    fn read(value: &Value) -> Result<Self, String>;
    /// How the value is shown.
    fn show(&self) -> Value;
}

fn wrong<T>(value: &Value, wanted: &str) -> Result<T, String> {
    let given = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    Err(format!("is {given}, but {wanted} is needed"))
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            // From the environment a password of digits arrives as a number.
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Ok(value.to_string()),
            _ => wrong(value, "a text"),
        }
    }
    fn show(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .map_or_else(|| wrong(value, "true or false"), Ok)
    }
    fn show(&self) -> Value {
        Value::from(*self)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn read(value: &Value) -> Result<Self, String> {
                let number = value.as_integer().and_then(|number| Self::try_from(number).ok());
                number.map_or_else(|| wrong(value, concat!("a whole number that fits ", stringify!($type))), Ok)
            }
            fn show(&self) -> Value {
                Value::from(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )+};
}
whole_numbers!(u16, u32, u64, usize);

impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value
            .as_str()
            .and_then(|text| text.parse::<SignedDuration>().ok());
        read.and_then(|duration| Self::try_from(duration).ok())
            .map_or_else(
                || {
                    wrong(
                        value,
                        "a duration such as \"500ms\", \"5s\", \"2m\" or \"24h\"",
                    )
                },
                Ok,
            )
    }
    fn show(&self) -> Value {
        Value::String(format!(
            "{:#}",
            SignedDuration::try_from(*self).unwrap_or(SignedDuration::MAX)
        ))
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value.as_str().and_then(|text| text.parse().ok());
        read.map_or_else(
            || wrong(value, "an address and port such as \"127.0.0.1:8080\""),
            Ok,
        )
    }
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for IpNet {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value.as_str().and_then(|text| text.parse().ok());
        read.map_or_else(|| wrong(value, "a CIDR block such as \"10.0.0.0/8\""), Ok)
    }
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for Url {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value
            .as_str()
            .and_then(|text| Self::parse(text).ok())
            .filter(Self::has_host);
        read.map_or_else(|| wrong(value, "a URL such as \"https://example.com\""), Ok)
    }
    fn show(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Result<Self, String> {
        let Some(values) = value.as_array() else {
            return wrong(value, "a list");
        };
        let read = values.iter().enumerate();
        read.map(|(index, value)| T::read(value).map_err(|why| format!("[{index}] {why}")))
            .collect()
    }
    fn show(&self) -> Value {
        Value::Array(self.iter().map(T::show).collect())
    }
}

/// A number of bytes, written `"64KiB"` or `"1MiB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl Setting for ByteSize {
    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let factor = match text[split..].trim() {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1_usize << 30),
            _ => None,
        };
        let size = text[..split]
            .parse::<usize>()
            .ok()
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor));
        size.map_or_else(
            || wrong(value, "a size such as \"64KiB\" or \"1MiB\""),
            |size| Ok(Self(size)),
        )
    }
    fn show(&self) -> Value {
        let (size, unit) = match self.0 {
            size if size > 0 && size.is_multiple_of(1 << 20) => (size >> 20, "MiB"),
            size if size > 0 && size.is_multiple_of(1 << 10) => (size >> 10, "KiB"),
            size => (size, "B"),
        };
        Value::String(format!("{size}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn section(text: &str) -> Section {
        Section::root(
            text.parse().unwrap(),
            [("TOKEN".to_owned(), "s3cret".to_owned())].into(),
        )
    }

    #[test]
    fn every_mistake_is_reported_by_its_key() {
        let mut root =
            section("bind = 'nowhere'\nextra = 1\n[inner]\nwait = 5\n[[list]]\nsize = '1XB'");
        root.or("bind", SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut inner = root.section("inner");
        inner.or("wait", Duration::from_secs(1));
        inner.required::<String>("name");
        inner.finish();
        for mut item in root.sections("list", false) {
            item.optional::<ByteSize>("size");
            item.finish();
        }
        let keys: Vec<_> = {
            root.clone().finish();
            root.mistakes()
                .into_iter()
                .map(|mistake| mistake.key)
                .collect()
        };
        assert_eq!(
            keys,
            ["bind", "inner.wait", "inner.name", "list[0].size", "extra"]
        );
    }

    #[test]
    fn secrets_are_resolved_and_never_shown() {
        let mut root = section(
            "a = 'env:TOKEN'\nb = ['plain', 'env:TOKEN']\nc = 'env:MISSING'\nd = 'https://user:pw@hooks.example/x'",
        );
        assert_eq!(root.secret("a").unwrap().expose_secret(), "s3cret");
        assert_eq!(root.secrets("b").len(), 2);
        assert!(root.secret("c").is_none());
        root.secret_url("d", None);
        assert!(root.mistakes()[0].to_string().contains("MISSING"));
        let shown = format!("{:?}", root.effective());
        assert!(shown.contains("env:TOKEN") && shown.contains("hooks.example"));
        assert!(
            !shown.contains("s3cret") && !shown.contains("plain") && !shown.contains("pw@"),
            "{shown}"
        );
    }

    #[test]
    fn durations_and_sizes_are_shown_as_they_are_written() {
        let mut root = section("d = '1h30m'\ns = '64KiB'");
        assert_eq!(
            root.optional::<Duration>("d"),
            Some(Duration::from_mins(90))
        );
        assert_eq!(root.optional::<ByteSize>("s"), Some(ByteSize(65536)));
        assert_eq!(root.effective()["d"].as_str(), Some("1h 30m"));
        assert_eq!(root.effective()["s"].as_str(), Some("64KiB"));
    }
}
