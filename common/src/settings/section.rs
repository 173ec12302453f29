//! A table that is being read, and what is noted while reading: its mistakes, and its values as they are shown.
//!
//! All sections of one configuration note in one place. A secret is resolved here, and is never among what is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use secrecy::SecretString;
use toml::{Table, Value};
use url::Url;

use super::Setting;

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
                let set = self.environment.get(name).cloned();
                set.ok_or_else(|| unset(name))
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

/// What is wrong with a secret that refers to an environment variable which is not set.
pub fn unset(name: &str) -> String {
    format!("names the environment variable {name}, which is not set")
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
