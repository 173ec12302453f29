//! How a source describes its sender: `[sources.format]`.

use super::{json, scheme::Scheme};
use crate::{
    event::{BounceClass, Kind},
    names::names,
    settings::Section,
};

names! {
    /// What bodies are written in.
    pub(super) Body { Json = "json", Form = "form" }
}

/// What a source says of its sender.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) body: Body,
    /// Where the array of the events stands, if they are not the body itself or its elements.
    pub(super) list: String,
    pub(super) event: String,
    pub(super) email: String,
    pub(super) phone: String,
    pub(super) time: String,
    /// Times without a zone are UTC.
    pub(super) utc: bool,
    pub(super) id: String,
    pub(super) scope: String,
    pub(super) reason: String,
    pub(super) message: String,
    /// The sender's names.
    events: Vec<(String, Kind, Option<BounceClass>)>,
    pub(super) scheme: Option<Scheme>,
}

impl Format {
    /// What holds where nothing is said.
    pub(super) fn plain() -> Self {
        let whole = |kind: &Kind| (kind.to_string(), *kind, None);
        let bounced =
            |class: &BounceClass| (format!("bounced {class}"), Kind::Bounced, Some(*class));
        let kinds = Kind::ALL.iter().map(whole);
        Self {
            body: Body::Json,
            list: String::new(),
            event: "event".to_owned(),
            email: "email".to_owned(),
            phone: "phone".to_owned(),
            time: "timestamp".to_owned(),
            utc: false,
            id: "id".to_owned(),
            scope: "scope".to_owned(),
            reason: "reason".to_owned(),
            message: "message_id".to_owned(),
            events: kinds.chain(BounceClass::ALL.iter().map(bounced)).collect(),
            scheme: None,
        }
    }

    pub(super) fn read(mut section: Section) -> Self {
        let plain = Self::plain();
        let events = read_events(section.section("events"));
        let signature = section.section("signature");
        let format = Self {
            body: section.or("body", plain.body),
            list: section.or("list", plain.list),
            event: section.or("event", plain.event),
            email: section.or("email", plain.email),
            phone: section.or("phone", plain.phone),
            time: section.or("time", plain.time),
            utc: section.or("utc", plain.utc),
            id: section.or("id", plain.id),
            scope: section.or("scope", plain.scope),
            reason: section.or("reason", plain.reason),
            message: section.or("message_id", plain.message),
            events: if events.is_empty() {
                plain.events
            } else {
                events
            },
            scheme: Scheme::read(signature),
        };
        if format.body == Body::Form && !format.list.is_empty() {
            section.mistake(
                "list",
                "is given, but a form tells of one event: leave it out",
            );
        }
        section.finish();
        format
    }

    /// What the sender's name means. None if it is not known, which is not to say that it may wait.
    pub(super) fn meaning(&self, name: &str) -> (Option<Kind>, Option<BounceClass>) {
        let found = self.events.iter().find(|row| json::same(&row.0, name));
        found.map_or((None, None), |row| (Some(row.1), row.2))
    }
}

/// The sender's names, and for each what it means: a kind, of a bounce with its class behind it.
fn read_events(mut section: Section) -> Vec<(String, Kind, Option<BounceClass>)> {
    let mut events = vec![];
    for name in section.keys() {
        let Some(given) = section.required::<String>(&name) else {
            continue;
        };
        if let Some((kind, class)) = meaning(&given) {
            events.push((name, kind, class));
        } else {
            let kinds = Kind::ALL.iter().map(ToString::to_string);
            let classes = BounceClass::ALL
                .iter()
                .map(|class| format!("bounced {class}"));
            let known: Vec<_> = kinds.chain(classes).collect();
            section.mistake(
                &name,
                format!("is {given:?}; known are {}", known.join(", ")),
            );
        }
    }
    section.finish();
    events
}

fn meaning(text: &str) -> Option<(Kind, Option<BounceClass>)> {
    match text.split_once(' ') {
        None => text.parse().ok().map(|kind| (kind, None)),
        Some(("bounced", class)) => class.parse().ok().map(|class| (Kind::Bounced, Some(class))),
        Some(_) => None,
    }
}
