//! What stands for a contact that was erased: a hash with a key, the pepper, which the configuration holds and the
//! ledger does not. Whoever asks about the contact by its address finds it; from the hash alone nobody gets to the
//! address, or can try addresses out.

use std::{fmt, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    contact::Contact,
    signature::{hex, hmac_sha256},
};

/// What every pseudonym begins with, and has no `@` after. An email address has one, whatever it begins with; a phone
/// number begins with a `+`.
const PREFIX: &str = "erased:";

/// The same as [`Contact::is_erased`], of an event's contact in a statement.
pub(super) const NAMES_ERASED: &str =
    "events.contact LIKE 'erased:%' AND events.contact NOT LIKE '%@%'";

/// The key of the hashes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pepper {
    secret: Arc<SecretString>,
    id: String,
}

impl Pepper {
    pub(super) fn new(secret: SecretString) -> Self {
        let mac = hmac_sha256(secret.expose_secret().as_bytes(), &[b"optout pepper"]);
        Self {
            id: hex(&mac[..8]),
            secret: Arc::new(secret),
        }
    }

    /// Tells one pepper from another, and nothing else of it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What stands for the contact once it is erased.
    pub(super) fn pseudonym(&self, contact: &Contact) -> String {
        let key = self.secret.expose_secret().as_bytes();
        let channel = contact.channel.as_str().as_bytes();
        let mac = hmac_sha256(key, &[channel, b":", contact.address.as_bytes()]);
        format!("{PREFIX}{}", hex(&mac))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({})", self.id)
    }
}

impl Contact {
    /// Whether it is what stands for a contact that was erased: nobody can be told of it by name.
    pub fn is_erased(&self) -> bool {
        self.address.starts_with(PREFIX) && !self.address.contains('@')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_pepper_channel_and_address_and_is_no_address() {
        let (one, other) = (Pepper::new("one".into()), Pepper::new("other".into()));
        let jane = Contact::email("Jane@example.com").unwrap();
        let name = one.pseudonym(&jane);
        assert_eq!(
            name,
            one.pseudonym(&Contact::email("jane@EXAMPLE.com").unwrap())
        );
        assert_ne!(name, other.pseudonym(&jane));
        assert_ne!(
            name,
            one.pseudonym(&Contact::phone("+15551234567").unwrap())
        );
        assert_ne!(one.id(), other.id());
        assert!(Contact::parse(&name).is_err());
        assert!(!jane.is_erased());
        let alike = Contact::email(&format!("{name}@example.com")).unwrap_or(jane);
        let short = Contact::email("erased:jane@example.com").unwrap();
        assert!(!alike.is_erased() && !short.is_erased());
        let erased = Contact {
            address: name,
            ..short
        };
        assert!(erased.is_erased());
    }
}
