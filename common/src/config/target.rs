//! `[[targets]]`: what all kinds of target have in common. The rest of the table is read by the kind.

use std::time::Duration;

use serde::{Serialize, Serializer};
use toml::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type},
};

use super::{NAME_RULE, Rate, is_name};
use crate::{
    event::Kind,
    names::Unknown,
    settings::{Section, Setting},
};

/// One configured downstream system.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub kind: String,
    /// The kinds of event that it is told of.
    pub events: Filter,
    /// The source by which its platform reports changes, those that were made there by this target, too.
    pub mirrors: Option<String>,
    /// A disabled target's deliveries are parked in the ledger and sent when it is enabled again.
    pub enabled: bool,
    /// Calls under way at a time, per worker.
    pub slots: u16,
    /// The most calls in a time, per worker; none for as many as the slots allow.
    pub rate: Option<Rate>,
    /// The deadline of one call, from connecting to the answer's end.
    pub timeout: Duration,
    /// Consecutive failures after which calls stop for a while.
    pub breaker_after: u32,
    /// The rest of the table.
    pub settings: Section,
}

/// Which kinds of event a target is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    All,
    /// Each once, in the order in which they were given.
    Only(Vec<Kind>),
}

impl Filter {
    /// The filter of these names; `*` among them stands for all. None of them lets nothing through.
    pub fn of(names: &[String]) -> Result<Self, Unknown> {
        let mut kinds = vec![];
        for name in names.iter().filter(|name| *name != "*") {
            let kind = name.parse::<Kind>()?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let all = names.iter().any(|name| name == "*");
        Ok(if all { Self::All } else { Self::Only(kinds) })
    }

    /// The names that make it.
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(kinds) => kinds.iter().map(|kind| kind.as_str()).collect(),
        }
    }

    /// Whether events of this kind pass.
    pub fn takes(&self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(&kind),
        }
    }

    /// The kinds that pass, spelt out.
    pub fn kinds(&self) -> Vec<Kind> {
        Kind::ALL
            .iter()
            .copied()
            .filter(|kind| self.takes(*kind))
            .collect()
    }
}

impl Target {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let name: Option<String> = section.required("name");
        match name.as_deref() {
            Some("endpoints") => section.mistake(
                "name",
                "is \"endpoints\", which stands for what users register over the api",
            ),
            Some(name) if !is_name(name) => section.mistake("name", NAME_RULE),
            _ => {}
        }
        let kind = section.required("kind");
        let events = section.required("events");
        let mirrors = section.optional("mirrors");
        let enabled = section.or("enabled", true);
        let slots = section.or("slots", 16);
        if slots == 0 {
            section.mistake(
                "slots",
                "is 0, but at least 1 is needed; enabled = false stops a target",
            );
        }
        let rate = section.optional("rate");
        let timeout = section.or("timeout", Duration::from_secs(15));
        let breaker_after = section.or("breaker_after", 10);
        let target = Self {
            name: name?,
            kind: kind?,
            events: events.unwrap_or(Filter::All),
            mirrors,
            enabled,
            slots: slots.max(1),
            rate,
            timeout,
            breaker_after,
            settings: section,
        };
        Some(target)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl ToSchema for Filter {}

impl PartialSchema for Filter {
    fn schema() -> RefOr<Schema> {
        let names = Kind::ALL.iter().map(|kind| kind.as_str()).chain(["*"]);
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(names));
        let description = "The kinds of event that are told of; `*` stands for all.";
        ArrayBuilder::new()
            .items(name)
            .min_items(Some(1))
            .description(Some(description))
            .into()
    }
}

impl Setting for Filter {
    fn read(value: &Value) -> Result<Self, String> {
        let names = Vec::<String>::read(value)?;
        if names.is_empty() {
            return Err("is an empty list; [\"*\"] stands for every kind".to_owned());
        }
        Self::of(&names).map_err(|unknown| format!("is {unknown}"))
    }

    fn show(&self) -> Value {
        Value::Array(self.names().into_iter().map(Value::from).collect())
    }
}
