//! The three stores: which adapter each is, by the scheme of its URL. A URL may hold a password, so it is a secret; what is
//! wrong with it is told without it.

use secrecy::{ExposeSecret, SecretString};

use super::{NAME_RULE, Retention, is_name};
use crate::{
    hosts::{CA, Hosts},
    settings::Section,
};

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
    pub retention: Retention,
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
            &[
                "sqlite:",
                "redis://",
                "rediss://",
                "redis+sentinel://",
                "rediss+sentinel://",
                "redis+cluster://",
                "rediss+cluster://",
            ],
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
        let retention = Retention::read(section.section("retention"));
        section.finish();
        Self {
            url,
            max_connections,
            pepper,
            retention,
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
    } else if let Err(why) = checked(url.expose_secret()) {
        section.mistake("url", why);
    }
    url
}

/// What can be wrong with the URL of a store on servers.
fn checked(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match scheme {
        "" => Ok(()), // a file
        "postgres" | "postgresql" => {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            let hosts = authority.rsplit('@').next().unwrap_or_default();
            if hosts.contains(',') {
                return Err("names several hosts, but takes one for PostgreSQL: an address that moves with the primary, or a proxy's".to_owned());
            }
            // By default PostgreSQL's clients encrypt without looking at the certificate.
            if rest.contains(&format!("{CA}=")) && !rest.contains("=verify-") {
                return Err(format!(
                    "names a CA by {CA}, but its certificates are looked at only with sslmode=verify-full"
                ));
            }
            Ok(())
        }
        _ => {
            let hosts = Hosts::parse(url)?;
            if hosts.ca()?.is_some() && !matches!(scheme, "amqps") && !scheme.starts_with("rediss")
            {
                return Err(format!(
                    "names a CA by {CA}, but {scheme}:// does without TLS: {} is needed",
                    scheme
                        .replacen("redis", "rediss", 1)
                        .replacen("amqp", "amqps", 1)
                        + "://"
                ));
            }
            let single = matches!(scheme, "redis" | "rediss");
            if single && hosts.each.len() > 1 {
                return Err(format!(
                    "names several hosts, which {scheme}+sentinel://…/MASTER and {scheme}+cluster:// take"
                ));
            }
            if scheme.ends_with("+sentinel") && hosts.service().is_none() {
                return Err("names no master, or no whole number as its database: …/MASTER or …/MASTER/DATABASE is needed".to_owned());
            }
            Ok(())
        }
    }
}

fn prefix(section: &mut Section) -> String {
    let prefix = section.or("prefix", "optout".to_owned());
    if !is_name(&prefix) {
        section.mistake("prefix", NAME_RULE);
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_url_of_servers_is_named_without_its_password() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----").unwrap();
        let ca = file.path().display();
        for right in [
            "sqlite:data/queue.db".to_owned(),
            "amqp://me:secret@one,two:5673/v".to_owned(),
            format!("amqps://one,two/?sslrootcert={ca}"),
            format!("rediss+cluster://one,two?sslrootcert={ca}"),
            "redis+sentinel://:secret@one:26379,two:26379/main/1".to_owned(),
            "postgres://me:a,b@one/optout".to_owned(),
            "postgres:///optout?host=/run/postgresql".to_owned(),
            format!("postgres://one/optout?sslmode=verify-full&sslrootcert={ca}"),
        ] {
            assert_eq!(checked(&right), Ok(()), "{right}");
        }
        for (wrong, why) in [
            ("amqp://me:secret@one,/v".to_owned(), "the host \"\""),
            ("redis://:secret@one,two".to_owned(), "several hosts"),
            ("redis+sentinel://:secret@one".to_owned(), "names no master"),
            (
                "redis+sentinel://:secret@one/main/x".to_owned(),
                "names no master",
            ),
            (
                "postgres://me:secret@one,two/optout".to_owned(),
                "takes one",
            ),
            (
                format!("postgres://me:secret@one/optout?sslrootcert={ca}"),
                "sslmode=verify-full",
            ),
            (
                format!("amqp://me:secret@one?sslrootcert={ca}"),
                "amqps:// is needed",
            ),
            (
                "amqps://me:secret@one?sslrootcert=/missing".to_owned(),
                "cannot be read",
            ),
        ] {
            let found = checked(&wrong).unwrap_err();
            assert!(found.contains(why) && !found.contains("secret"), "{found}");
        }
    }
}
