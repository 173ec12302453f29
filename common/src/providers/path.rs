//! Where a field stands: keys joined by dots, as the parsers write them, or a list of keys as they are, for those that have
//! a dot themselves.

use std::fmt;

use toml::Value;

use crate::settings::Setting;

/// A place as a source describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    Dotted(String),
    Keys(Vec<String>),
}

/// A place, wherever it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Dotted(&'a str),
    Keys(&'a [String]),
}

impl Path {
    /// The same where there is no depth, and so no dot that joins. None if it has several keys.
    pub(super) fn flat(self) -> Option<Self> {
        match self {
            Self::Dotted(name) => Some(Self::Keys(vec![name])),
            Self::Keys(keys) => (keys.len() == 1).then_some(Self::Keys(keys)),
        }
    }
}

impl<'a> Place<'a> {
    /// Whether it is the whole.
    pub(super) fn is_empty(self) -> bool {
        match self {
            Self::Dotted(path) => path.is_empty(),
            Self::Keys(keys) => keys.is_empty(),
        }
    }

    pub(super) fn keys(self) -> Vec<&'a str> {
        match self {
            Self::Dotted(path) => path.split('.').collect(),
            Self::Keys(keys) => keys.iter().map(String::as_str).collect(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dotted(path) => f.write_str(path),
            Self::Keys([key]) => f.write_str(key),
            Self::Keys(keys) => write!(f, "{keys:?}"),
        }
    }
}

impl From<&str> for Path {
    fn from(path: &str) -> Self {
        Self::Dotted(path.to_owned())
    }
}

impl<'a> From<&'a Path> for Place<'a> {
    fn from(path: &'a Path) -> Self {
        match path {
            Path::Dotted(path) => Self::Dotted(path),
            Path::Keys(keys) => Self::Keys(keys),
        }
    }
}

impl<'a> From<&'a str> for Place<'a> {
    fn from(path: &'a str) -> Self {
        Self::Dotted(path)
    }
}

impl<'a> From<&'a String> for Place<'a> {
    fn from(path: &'a String) -> Self {
        Self::Dotted(path)
    }
}

impl<'a> From<&&'a str> for Place<'a> {
    fn from(path: &&'a str) -> Self {
        Self::Dotted(path)
    }
}

impl Setting for Path {
    fn read(value: &Value) -> Result<Self, String> {
        let Value::Array(given) = value else {
            return String::read(value).map(Self::Dotted).map_err(|_| {
                format!(
                    "is {value}, but keys joined by dots are needed, such as \"data.email\", or, for keys that have a dot themselves, a list of them: [\"data\", \"user.email\"]"
                )
            });
        };
        let keys = given.iter().map(|key| match key {
            Value::String(key) if !key.is_empty() => Some(key.clone()),
            Value::Integer(number) if *number >= 0 => Some(number.to_string()),
            _ => None,
        });
        match keys.collect::<Option<Vec<_>>>() {
            Some(keys) if !keys.is_empty() => Ok(Self::Keys(keys)),
            _ => Err(format!(
                "is {value}, but of a list each element has to be a key, or the number of an element of an array, and there has to be one"
            )),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Dotted(path) => Value::from(path.as_str()),
            Self::Keys(keys) => Value::from(keys.clone()),
        }
    }
}
