//! The three stores: which adapter each is, by the scheme of its URL. A URL may hold a password, so it is a secret.

use secrecy::{ExposeSecret, SecretString};

use super::{NAME_RULE, is_name};
use crate::settings::Section;

/// Addresses are easily guessed; what keeps their hashes from being tried out is not.
const SHORTEST_PEPPER: usize = 16;

/// `[queue]`.
#[derive(Debug)]
pub struct Queue {
    pub url: SecretString,
    /// Stands before every queue's name, so that several Optouts can share a broker.
    pub prefix: String,
}

/// `[claims]`.
#[derive(Debug)]
pub struct Claims {
    pub url: SecretString,
    pub prefix: String,
}

/// `[ledger]`.
#[derive(Debug)]
pub struct Ledger {
    pub url: SecretString,
    pub max_connections: u32,
    /// The key of the hashes that stand for erased contacts; without one none can be erased.
    pub pepper: Option<SecretString>,
}

impl Queue {
    pub(super) fn read(mut section: Section) -> Self {
        let url = store_url(
            &mut section,
            "sqlite:data/queue.db",
            &["sqlite:", "amqp://", "amqps://"],
        );
        let prefix = prefix(&mut section);
        section.finish();
        Self { url, prefix }
    }

    /// Whether it is a file, and not a broker that may be away.
    pub fn is_embedded(&self) -> bool {
        self.url.expose_secret().starts_with("sqlite:")
    }
}

impl Claims {
    pub(super) fn read(mut section: Section) -> Self {
        let url = store_url(
            &mut section,
            "sqlite:data/queue.db",
            &["sqlite:", "redis://", "rediss://"],
        );
        let prefix = prefix(&mut section);
        section.finish();
        Self { url, prefix }
    }
}

impl Ledger {
    pub(super) fn read(mut section: Section) -> Self {
        let url = store_url(
            &mut section,
            "sqlite:data/ledger.db",
            &["sqlite:", "postgres://", "postgresql://"],
        );
        let max_connections = section.or("max_connections", 10);
        let pepper = section.optional_secret("pepper");
        if pepper
            .as_ref()
            .is_some_and(|pepper| pepper.expose_secret().len() < SHORTEST_PEPPER)
        {
            section.mistake(
                "pepper",
                format!("is too short: a pepper has at least {SHORTEST_PEPPER} characters"),
            );
        }
        section.finish();
        Self {
            url,
            max_connections,
            pepper,
        }
    }
}

fn store_url(section: &mut Section, default: &str, schemes: &[&str]) -> SecretString {
    let url = section
        .secret_url("url", Some(default))
        .unwrap_or_else(|| default.into());
    if !schemes
        .iter()
        .any(|scheme| url.expose_secret().starts_with(scheme))
    {
        section.mistake(
            "url",
            format!("is none of the stores known here: {}…", schemes.join("…, ")),
        );
    }
    url
}

fn prefix(section: &mut Section) -> String {
    let prefix = section.or("prefix", "optout".to_owned());
    if !is_name(&prefix) {
        section.mistake("prefix", NAME_RULE);
    }
    prefix
}
