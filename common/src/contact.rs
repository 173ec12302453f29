//! A contact: an email address or a phone number, normalised for comparison and kept as received for display.
//!
//! Two spellings that reach the same mailbox must compare equal, or an opt-out slips through; two different
//! subscriptions must not (plus tags and dots stay).

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::names::names;

names! {
    /// The way by which a contact is reached.
    Channel { Email = "email", Sms = "sms" }
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Contact {
    pub channel: Channel,
    /// Normalised: what the ledger compares.
    #[serde(rename = "contact")]
    pub address: String,
    /// As it was received.
    #[serde(rename = "contact_raw")]
    pub raw: String,
}

/// Why a text is no contact. Never holds the text: errors are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the address is empty")]
    Empty,
    #[error(
        "an email address has one @ with something on both sides, and no white space or control characters"
    )]
    NotAnEmail,
    #[error("an email address has at most 64 bytes before the @ and 254 in all")]
    TooLong,
    #[error("the domain of the email address is not valid")]
    Domain,
    #[error(
        "a phone number is written in E.164: + and 2 to 15 digits, the first not 0, such as +15551234567"
    )]
    NotAPhone,
}

impl Contact {
    /// Reads an email address: bare, in angle brackets, or in display form (`"Bob" <bob@example.com>`).
    ///
    /// Trimmed, NFC, lower-cased whole, the domain in IDNA's ASCII form.
    pub fn email(raw: &str) -> Result<Self, Invalid> {
        let trimmed = raw.trim();
        if trimmed.is_empty() {
            return Err(Invalid::Empty);
        }
        let spec = match (trimmed.ends_with('>'), trimmed.rfind('<')) {
            (true, Some(open)) => trimmed[open + 1..trimmed.len() - 1].trim(),
            _ => trimmed,
        };
        let (local, domain) = spec.rsplit_once('@').ok_or(Invalid::NotAnEmail)?;
        let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
        let local = match quoted.then(|| &local[1..local.len() - 1]) {
            Some(inner) if is_dot_atom(inner) => inner,
            _ => local,
        };
        if local.is_empty()
            || local.chars().any(char::is_control)
            || !quoted
                && local
                    .chars()
                    .any(|c| c.is_whitespace() || matches!(c, '@' | '<' | '>' | '"' | ','))
        {
            return Err(Invalid::NotAnEmail);
        }
        // Lower-casing can take a text out of NFC, so NFC comes last as well as first.
        let local: String = local
            .nfc()
            .collect::<String>()
            .to_lowercase()
            .nfc()
            .collect();
        let domain = domain_to_ascii(domain)?;
        if local.len() > 64 || local.len() + 1 + domain.len() > 254 {
            return Err(Invalid::TooLong);
        }
        Ok(Self {
            channel: Channel::Email,
            address: format!("{local}@{domain}"),
            raw: raw.to_owned(),
        })
    }

    /// Reads a phone number in E.164; spaces, dots, dashes and parentheses are passed over, `00` stands for `+`.
    pub fn phone(raw: &str) -> Result<Self, Invalid> {
        let trimmed = raw.trim();
        if trimmed.is_empty() {
            return Err(Invalid::Empty);
        }
        let mut digits: String = trimmed
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '.' | '-' | '(' | ')'))
            .collect();
        if let Some(rest) = digits.strip_prefix("00") {
            digits = format!("+{rest}");
        }
        let number = digits.strip_prefix('+').ok_or(Invalid::NotAPhone)?;
        let valid = (2..=15).contains(&number.len())
            && !number.starts_with('0')
            && number.bytes().all(|byte| byte.is_ascii_digit());
        if !valid {
            return Err(Invalid::NotAPhone);
        }
        Ok(Self {
            channel: Channel::Sms,
            address: digits,
            raw: raw.to_owned(),
        })
    }

    /// Reads whichever of the two the text is: with an `@` an email address, else a phone number.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        if raw.contains('@') {
            Self::email(raw)
        } else {
            Self::phone(raw)
        }
    }

    /// The address with all but its ends hidden (`j…@example.com`, `+1555…67`), for messages that many people read.
    pub fn masked(&self) -> String {
        if let Some((local, domain)) = self.address.rsplit_once('@') {
            return format!("{}…@{domain}", local.chars().next().unwrap_or('…'));
        }
        // By characters: what a message or an old row holds need not be a number.
        let head: String = self.address.chars().take(5).collect();
        let rest: Vec<_> = self.address.chars().skip(5).collect();
        let tail: String = rest[rest.len().saturating_sub(2)..].iter().collect();
        format!("{head}…{tail}")
    }
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| {
        !atom.is_empty()
            && atom
                .chars()
                .all(|c| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c))
    })
}

fn domain_to_ascii(domain: &str) -> Result<String, Invalid> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    // An address literal, `[192.0.2.1]`, is a domain to mail and none to IDNA.
    if let Some(literal) = domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let plain = !literal.is_empty()
            && literal
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':'));
        return plain
            .then(|| domain.to_ascii_lowercase())
            .ok_or(Invalid::Domain);
    }
    let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::STD3)
        .map_err(|_| Invalid::Domain)?;
    if ascii.is_empty()
        || ascii
            .split('.')
            .any(|label| label.is_empty() || label.len() > 63)
    {
        return Err(Invalid::Domain);
    }
    Ok(ascii.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn email(raw: &str) -> String {
        Contact::email(raw).unwrap().address
    }

    #[test]
    fn spellings_of_one_mailbox_compare_equal() {
        for raw in [
            "user@example.com",
            " User@Example.COM ",
            "<USER@example.com.>",
            "\"Bob\" <user@example.com>",
            "\"user\"@example.com",
        ] {
            assert_eq!(email(raw), "user@example.com", "{raw}");
        }
        assert_eq!(email("info@münchen.de"), email("info@xn--mnchen-3ya.de"));
        assert_eq!(email("Jose\u{301}@example.com"), email("josé@example.com"));
        assert_eq!(email("a@[192.0.2.1]"), "a@[192.0.2.1]");
    }

    #[test]
    fn different_subscriptions_stay_different() {
        assert_ne!(email("user+news@example.com"), email("user@example.com"));
        assert_ne!(email("u.ser@example.com"), email("user@example.com"));
    }

    #[test]
    fn what_is_no_email_address_is_refused() {
        for raw in [
            "",
            "  ",
            "user",
            "@example.com",
            "user@",
            "a b@example.com",
            "a\u{0}@example.com",
            "a@exa mple.com",
            "a@b..c",
            "a@@b.example",
        ] {
            assert!(Contact::email(raw).is_err(), "{raw:?}");
        }
        assert_eq!(
            Contact::email(&format!("{}@example.com", "a".repeat(65))),
            Err(Invalid::TooLong)
        );
    }

    #[test]
    fn a_phone_number_is_e164_or_refused() {
        for raw in ["+15551234567", " +1 (555) 123-45.67 ", "0015551234567"] {
            assert_eq!(
                Contact::phone(raw).unwrap().address,
                "+15551234567",
                "{raw}"
            );
        }
        for raw in [
            "",
            "15551234567",
            "+05551234567",
            "+1555123456789012",
            "+1555abc",
            "+",
            "STOP",
            "+1",
        ] {
            assert!(Contact::phone(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn a_masked_contact_does_not_show_the_address() {
        assert_eq!(
            Contact::parse("jane@example.com").unwrap().masked(),
            "j…@example.com"
        );
        let mut phone = Contact::parse("+15551234567").unwrap();
        assert_eq!(phone.masked(), "+1555…67");
        for (address, masked) in [
            ("+155😀51234567", "+155😀…67"),
            ("+155", "+155…"),
            ("", "…"),
        ] {
            phone.address = address.to_owned();
            assert_eq!(phone.masked(), masked);
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(raw in "\\PC{0,40}") {
            if let Ok(once) = Contact::parse(&raw) {
                let twice = Contact::parse(&once.address).unwrap();
                prop_assert_eq!(&once.address, &twice.address);
                drop(once.masked());
            }
        }
    }
}
