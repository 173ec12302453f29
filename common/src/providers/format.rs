//! How a source describes its sender: `[sources.format]`.

use super::{
    json,
    path::{Path, Place},
    scheme::Scheme,
};
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
    pub(super) list: Path,
    pub(super) event: Path,
    pub(super) email: Path,
    pub(super) phone: Path,
    pub(super) time: Path,
    /// Times without a zone are UTC.
    pub(super) utc: bool,
    pub(super) id: Path,
    pub(super) scope: Path,
    pub(super) reason: Path,
    pub(super) message: Path,
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
            list: "".into(),
            event: "event".into(),
            email: "email".into(),
            phone: "phone".into(),
            time: "timestamp".into(),
            utc: false,
            id: "id".into(),
            scope: "scope".into(),
            reason: "reason".into(),
            message: "message_id".into(),
            events: kinds.chain(BounceClass::ALL.iter().map(bounced)).collect(),
            scheme: None,
        }
    }

    pub(super) fn read(mut section: Section) -> Self {
        let plain = Self::plain();
        let events = read_events(section.section("events"));
        let signature = section.section("signature");
        let body = section.or("body", plain.body);
        let list = section.or("list", plain.list);
        let mut place = |key: &str, usual: Path| read_place(&mut section, body, key, usual);
        let format = Self {
            body,
            list,
            event: place("event", plain.event),
            email: place("email", plain.email),
            phone: place("phone", plain.phone),
            time: place("time", plain.time),
            id: place("id", plain.id),
            scope: place("scope", plain.scope),
            reason: place("reason", plain.reason),
            message: place("message_id", plain.message),
            utc: section.or("utc", plain.utc),
            events: if events.is_empty() {
                plain.events
            } else {
                events
            },
            scheme: Scheme::read(signature),
        };
        if format.body == Body::Form && !Place::from(&format.list).is_empty() {
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

/// Where a field stands. A form has no depth: its names are taken as they are, dots and all.
fn read_place(section: &mut Section, body: Body, key: &str, usual: Path) -> Path {
    let given = section.or(key, usual.clone());
    match body {
        Body::Json => given,
        Body::Form => given.flat().unwrap_or_else(|| {
            section.mistake(
                key,
                "is a list of several keys, but a form has no depth: one name is needed",
            );
            usual
        }),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::Loaded;

    #[test]
    fn a_place_that_is_none_is_named_with_what_would_be_right() {
        for (format, key, why) in [
            ("email = []", "email", "there has to be one"),
            ("email = ['a', '']", "email", "each element has to be a key"),
            (
                "time = ['a', ['b']]",
                "time",
                "each element has to be a key",
            ),
            ("email = { a = 'b' }", "email", "keys joined by dots"),
            (
                "body = 'form'\nemail = ['a', 'b']",
                "email",
                "a form has no depth",
            ),
        ] {
            let text = format!(
                "[[sources]]\nname = 'crm'\nprovider = 'generic'\nauth = {{ kind = 'none' }}\n[sources.format]\n{format}\n"
            );
            let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
            let mistakes = loaded.mistakes();
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            assert_eq!(mistakes[0].key, format!("sources[0].format.{key}"));
            assert!(mistakes[0].why.contains(why), "{mistakes:?}");
        }
    }
}
