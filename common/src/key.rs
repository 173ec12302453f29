//! Keys to the api that the ledger keeps, beside those of the configuration: made by `optout keys` or over the api, and
//! shown once.
//!
//! A key is `optout_` and 256 random bits. The ledger has only its SHA-256: a slow hash makes the guessing of passwords
//! dear, which people think of; these bits nobody guesses, at any speed, and a slow hash would cost every request.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rand::random;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    config::{NAME_RULE, Rate, Role, is_name},
    names::names,
    signature::hex,
};

const PREFIX: &str = "optout_";

/// The characters after the prefix: 32 bytes in base64.
const RANDOM: usize = 43;

/// How much of a key is shown ever after: its prefix and 24 of its bits.
const HINT: usize = PREFIX.len() + 4;

names! {
    /// Whether a key opens anything.
    State { Active = "active", Expired = "expired", Revoked = "revoked" }
}

/// What a person sees of a key; never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Key {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    /// Its first characters.
    pub hint: String,
    /// How often it may ask; null for the rate that is configured for all.
    #[schema(value_type = Option<String>, example = "100/1m")]
    pub rate: Option<Rate>,
    #[schema(inline)]
    pub state: State,
    pub created_at: Timestamp,
    /// The name of the key that made it, or `command line`.
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// A key that a person asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub name: String,
    pub role: Role,
    pub rate: Option<Rate>,
    pub expires_at: Option<Timestamp>,
}

/// What is wrong with a key that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub struct Invalid {
    pub field: &'static str,
    pub why: String,
}

impl Wanted {
    /// Checks all that can be told without the ledger. A configured key's name is taken, since logs and the audit trail
    /// tell keys by their names.
    pub fn check(&self, is_configured: bool, now: Timestamp) -> Result<(), Invalid> {
        let wrong = |field, why: String| Err(Invalid { field, why });
        let name = &self.name;
        if !is_name(name) {
            return wrong("name", NAME_RULE.to_owned());
        }
        if name.parse::<Uuid>().is_ok() {
            return wrong("name", "reads as an id: give one that does not".to_owned());
        }
        if is_configured {
            return wrong("name", format!("is {name:?}, which one of api.keys has"));
        }
        match self.expires_at {
            Some(at) if at <= now => wrong("expires_at", format!("is {at}, which has passed")),
            _ => Ok(()),
        }
    }
}

/// A new key, from the random source of the operating system.
pub fn generate() -> SecretString {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<[u8; 32]>())).into()
}

/// As many random bits, by which a browser is known that a key has let in.
pub(crate) fn token() -> SecretString {
    URL_SAFE_NO_PAD.encode(random::<[u8; 32]>()).into()
}

/// Whether it may be a key of ours; what is not needs no look into the ledger.
pub fn is_one(given: &[u8]) -> bool {
    given.strip_prefix(PREFIX.as_bytes()).is_some_and(|random| {
        random.len() == RANDOM
            && random
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// What the ledger has instead of a key.
pub fn hash(key: &[u8]) -> String {
    hex(&Sha256::digest(key))
}

/// What people know a key by.
pub(crate) fn hint(key: &SecretString) -> String {
    key.expose_secret().chars().take(HINT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_one_and_no_other_and_its_hint_tells_little_of_it() {
        let (one, other) = (generate(), generate());
        let text = one.expose_secret();
        assert_ne!(text, other.expose_secret());
        assert!(is_one(text.as_bytes()));
        assert_eq!(text.len(), 50);
        assert_eq!(hint(&one), text[..11]);
        assert_ne!(
            hash(text.as_bytes()),
            hash(other.expose_secret().as_bytes())
        );
        for no in [
            "",
            "optout_",
            "a-configured-key",
            &text[1..],
            &text[..49],
            &format!("{text}A"),
        ] {
            assert!(!is_one(no.as_bytes()), "{no}");
        }
        assert!(!is_one(text.replace('_', "+").as_bytes()));
    }

    #[test]
    fn the_hash_is_the_sha_256_of_the_whole_key_in_hex() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(b"abc"), expected);
    }

    #[test]
    fn a_key_that_cannot_be_made_is_told_by_its_field() {
        let now: Timestamp = "2026-04-02T14:30:00Z".parse().unwrap();
        let wanted = |name: &str, expires_at| Wanted {
            name: name.to_owned(),
            role: Role::Read,
            rate: None,
            expires_at,
        };
        let field = |wanted: Wanted, configured| {
            wanted.check(configured, now).err().map(|wrong| wrong.field)
        };
        assert_eq!(field(wanted("ci", None), false), None);
        for name in [
            "",
            "two words",
            "ä",
            &"x".repeat(65),
            "01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            assert_eq!(field(wanted(name, None), false), Some("name"), "{name}");
        }
        assert_eq!(field(wanted("ops", None), true), Some("name"));
        assert_eq!(field(wanted("ci", Some(now)), false), Some("expires_at"));
    }
}
