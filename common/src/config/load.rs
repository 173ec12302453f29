//! Finds the file, lays the environment over it, and reads both.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::Config;
use crate::settings::{Mistake, Section};

/// A configuration as it was read, with what was wrong with it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    root: Section,
}

/// Why nothing could be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the configuration file {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration is not TOML")]
    NotToml(#[from] toml::de::Error),
}

/// The environment of this process. Names or values that are not Unicode are passed over.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that the ban points to"
)]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The file that is read where none is named, if it is there.
pub const USUAL: &str = "optout.toml";

impl Loaded {
    /// The file that is named: `path`, else what `OPTOUT_CONFIG` says.
    pub fn named(path: Option<&Path>, environment: &BTreeMap<String, String>) -> Option<PathBuf> {
        path.map(Path::to_path_buf)
            .or_else(|| environment.get("OPTOUT_CONFIG").map(PathBuf::from))
    }

    /// Reads `path`, else the file that `OPTOUT_CONFIG` names, else `optout.toml` here, else nothing but defaults.
    pub fn find(
        path: Option<&Path>,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, LoadError> {
        let usual = PathBuf::from(USUAL);
        let named = Self::named(path, &environment);
        let path = named.or_else(|| usual.exists().then_some(usual));
        let text = match path {
            Some(path) => std::fs::read_to_string(&path)
                .map_err(|source| LoadError::Unreadable { path, source })?,
            None => String::new(),
        };
        Self::from_text(&text, environment)
    }

    /// Reads a text of TOML, with `environment` laid over it.
    pub fn from_text(text: &str, environment: BTreeMap<String, String>) -> Result<Self, LoadError> {
        let mut table: Table = text.parse()?;
        for (name, value) in &environment {
            if let Some(path) = name.strip_prefix("OPTOUT__") {
                let path: Vec<_> = path.split("__").map(str::to_lowercase).collect();
                lay_over(&mut table, &path, from_environment(value));
            }
        }
        let mut root = Section::root(table, environment);
        let config = Config::read(&mut root);
        root.clone().finish();
        Ok(Self { config, root })
    }

    /// All that is wrong, also what was found since by those who read their own settings.
    pub fn mistakes(&self) -> Vec<Mistake> {
        self.root.mistakes()
    }

    /// Every setting with its value, defaults included and secrets masked.
    pub fn effective(&self) -> BTreeMap<String, Value> {
        self.root.effective()
    }
}

/// A value as it would stand in the file, or, where it is no TOML, the text itself.
fn from_environment(text: &str) -> Value {
    let table: Option<Table> = format!("value = {text}").parse().ok();
    table
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::from(text))
}

fn lay_over(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => match table
            .entry(key.clone())
            .or_insert_with(|| Value::Table(Table::new()))
        {
            Value::Table(inner) => lay_over(inner, rest, value),
            Value::Array(items) => lay_over_item(items, rest, value),
            // What stands there is no table: let the reader of the section say so, by its key.
            other => *other = value,
        },
    }
}

fn lay_over_item(items: &mut Vec<Value>, path: &[String], value: Value) {
    let Some((index, rest)) = path
        .split_first()
        .and_then(|(index, rest)| Some((index.parse::<usize>().ok()?, rest)))
    else {
        return;
    };
    if index == items.len() {
        items.push(Value::Table(Table::new()));
    }
    match items.get_mut(index) {
        Some(Value::Table(inner)) if !rest.is_empty() => lay_over(inner, rest, value),
        Some(item) => *item = value,
        None => {}
    }
}
