//! Links by which a recipient unsubscribes with one click (RFC 8058, <https://www.rfc-editor.org/rfc/rfc8058>): what a
//! link's token says, and how that is sealed.
//!
//! Mail is forwarded and URLs are logged, so a token shows nobody whom it is about: it is encrypted, and whoever changes a bit of
//! it has no token. Layout, before base64url: `version: u8 = 1`, a salt of 16 random bytes, and by AES-256-GCM, the version
//! authenticated with it, `channel: u8, issued_at: i64 (seconds), scope_len: u8, scope, address`, filled up with zeros to a
//! multiple of 32 bytes, so that its length tells little of the address's.
//!
//! Each token has a key of its own, made of the secret and the salt by HKDF-SHA256. So there is one nonce for all, and a
//! secret does not wear out, as it would after 2^32 random nonces (NIST SP 800-38D, 8.3), which is a mailer's month.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use rand::random;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};

use crate::contact::{Channel, Contact};

/// The field and the value that a mail program posts, and what the header `List-Unsubscribe-Post` says.
pub const ONE_CLICK: (&str, &str) = ("List-Unsubscribe", "One-Click");

/// What a token is for, so that a secret which somebody uses for something else, too, seals nothing that opens here.
const PURPOSE: &[u8] = b"optout one-click link v1";

const VERSION: u8 = 1;
const SALT: usize = 16;
const TAG: usize = 16;
const FILLED_TO: usize = 32;

/// The most bytes of a scope: its length is one byte. So the longest link fits a mail's line.
const LONGEST_SCOPE: usize = 255;

/// What the longest scope and the longest address make. Longer texts are not looked at.
pub const LONGEST_TOKEN: usize = 770;

/// Whom a link unsubscribes, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    #[serde(flatten)]
    pub contact: Contact,
    pub scope: String,
    /// To the second.
    pub issued_at: Timestamp,
}

/// A scope that no link can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scope of a link has 1 to {LONGEST_SCOPE} bytes, and no control characters")]
pub struct ScopeUnfit;

/// Seals links, and opens what it, or one with the same secrets, has sealed.
#[derive(Debug)]
pub struct Sealer {
    /// The first seals, any of them opens.
    secrets: Vec<SecretBox<[u8; 32]>>,
}

impl Sealer {
    /// One by secrets of 32 bytes in base64, at least one; None if any is no such thing.
    pub fn new(secrets: &[SecretString]) -> Option<Self> {
        let decoded = |secret: &SecretString| {
            let bytes = STANDARD.decode(secret.expose_secret().trim()).ok()?;
            let bytes: [u8; 32] = bytes.try_into().ok()?;
            Some(SecretBox::new(Box::new(bytes)))
        };
        let secrets: Vec<_> = secrets.iter().map(decoded).collect::<Option<_>>()?;
        (!secrets.is_empty()).then_some(Self { secrets })
    }

    /// A token that says this.
    pub fn seal(&self, link: &Link) -> Result<String, ScopeUnfit> {
        let mut text = link.encode()?;
        let salt: [u8; SALT] = random();
        let secret = self.secrets.first().expect("there is at least one");
        let tag = key(secret, &salt)
            .seal_in_place_separate_tag(nonce(), Aad::from([VERSION]), &mut text)
            .expect("AES-GCM takes a text of less than 64 GiB");
        let token = [&[VERSION][..], &salt, &text, tag.as_ref()].concat();
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// What a token says. All secrets are tried, also after the right one: neither the answer nor the time tells a
    /// forged token from one of another's, or which secret sealed it. The tags are compared in constant time.
    pub fn open(&self, token: &str) -> Option<Link> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT>()?;
        if *version != VERSION || sealed.len() < TAG {
            return None;
        }
        let opened = self.secrets.iter().fold(None, |found, secret| {
            let mut sealed = sealed.to_vec();
            let opened = key(secret, salt)
                .open_in_place(nonce(), Aad::from([VERSION]), &mut sealed)
                .ok()
                .map(|text| text.to_vec());
            found.or(opened)
        });
        Link::decode(&opened?)
    }
}

impl Link {
    fn encode(&self) -> Result<Vec<u8>, ScopeUnfit> {
        let scope = u8::try_from(self.scope.len()).map_err(|_| ScopeUnfit)?;
        if scope == 0 || self.scope.chars().any(char::is_control) {
            return Err(ScopeUnfit);
        }
        let channel: u8 = match self.contact.channel {
            Channel::Email => 0,
            Channel::Sms => 1,
        };
        let mut text = vec![channel];
        text.extend(self.issued_at.as_second().to_be_bytes());
        text.push(scope);
        text.extend(self.scope.bytes());
        text.extend(self.contact.address.bytes());
        text.resize(text.len().next_multiple_of(FILLED_TO), 0);
        Ok(text)
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let (channel, rest) = text.split_first()?;
        let (issued_at, rest) = rest.split_first_chunk()?;
        let (scope, rest) = rest.split_first()?;
        let (scope, rest) = rest.split_at_checked(usize::from(*scope))?;
        let address = std::str::from_utf8(rest).ok()?.trim_end_matches('\0');
        let contact = match channel {
            0 => Contact::email(address),
            1 => Contact::phone(address),
            _ => return None,
        };
        Some(Self {
            contact: contact.ok()?,
            scope: std::str::from_utf8(scope).ok()?.to_owned(),
            issued_at: Timestamp::from_second(i64::from_be_bytes(*issued_at)).ok()?,
        })
    }
}

/// The key of the one token that has this salt.
fn key(secret: &SecretBox<[u8; 32]>, salt: &[u8; SALT]) -> LessSafeKey {
    let made = Salt::new(HKDF_SHA256, salt).extract(secret.expose_secret());
    let key = made
        .expand(&[PURPOSE], &AES_256_GCM)
        .expect("HKDF gives as much as one key");
    LessSafeKey::new(UnboundKey::from(key))
}

/// No key seals a second token.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use hostile::{bytes, withstands};

    use super::*;

    fn secret(byte: u8) -> SecretString {
        STANDARD.encode([byte; 32]).into()
    }

    fn sealer(bytes: &[u8]) -> Sealer {
        let secrets: Vec<_> = bytes.iter().map(|byte| secret(*byte)).collect();
        Sealer::new(&secrets).unwrap()
    }

    fn link(contact: &str, scope: &str) -> Link {
        Link {
            contact: Contact::parse(contact).unwrap(),
            scope: scope.to_owned(),
            issued_at: "2026-04-02T14:30:05Z".parse().unwrap(),
        }
    }

    #[test]
    fn what_is_sealed_is_opened_again_and_no_two_tokens_are_the_same() {
        let sealer = sealer(&[1]);
        for (contact, scope) in [
            ("jane@example.com", "global"),
            ("jane+news@example.com", "frühling 🌷"),
            ("+15551234567", "sms:1"),
        ] {
            let link = link(contact, scope);
            let token = sealer.seal(&link).unwrap();
            assert_ne!(token, sealer.seal(&link).unwrap());
            assert_eq!(sealer.open(&token), Some(link), "{contact} {scope}");
        }
    }

    #[test]
    fn a_token_is_short_of_characters_that_a_url_has_and_shows_nothing_of_whom_it_is_about() {
        let sealer = sealer(&[1]);
        let short = sealer.seal(&link("a@b.example", "news")).unwrap();
        let usual = sealer
            .seal(&link("jane.doe.of.the.doves@example.com", "news"))
            .unwrap();
        assert_eq!((short.len(), usual.len()), (87, 130));
        let of_a_url = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        assert!(usual.bytes().all(of_a_url), "{usual}");
        let decoded = URL_SAFE_NO_PAD.decode(&usual).unwrap();
        let shown = String::from_utf8_lossy(&decoded).into_owned() + &usual;
        assert!(!shown.contains("jane") && !shown.contains("news"));
        // Of neighbouring lengths the tokens have one.
        let other = sealer.seal(&link("jo@b.example", "news")).unwrap();
        assert_eq!(other.len(), short.len());
    }

    #[test]
    fn the_longest_token_is_as_long_as_is_said() {
        let domain = format!("{}.{}.{}", "b".repeat(63), "c".repeat(63), "d".repeat(61));
        let contact = format!("{}@{domain}", "a".repeat(64));
        assert_eq!(contact.len(), 254);
        let token = sealer(&[1]).seal(&link(&contact, &"s".repeat(255)));
        assert_eq!(token.unwrap().len(), LONGEST_TOKEN);
    }

    #[test]
    fn a_token_of_which_any_bit_is_another_is_none() {
        let sealer = sealer(&[1, 2]);
        let token = sealer.seal(&link("jane@example.com", "news")).unwrap();
        let decoded = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..decoded.len() * 8 {
            let mut changed = decoded.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open(&URL_SAFE_NO_PAD.encode(changed)), None, "{bit}");
        }
        // Nor is one that is spelt otherwise.
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer.open(&changed), None, "{changed}");
        }
        for changed in [
            "",
            "A",
            &token[1..],
            &format!("{token}="),
            &format!("{token}A"),
        ] {
            assert_eq!(sealer.open(changed), None, "{changed}");
        }
        for end in 0..token.len() {
            assert_eq!(sealer.open(&token[..end]), None);
        }
    }

    #[test]
    fn the_first_secret_seals_and_all_open_until_they_are_taken_out() {
        let jane = link("jane@example.com", "news");
        let old = sealer(&[1]).seal(&jane).unwrap();
        let rotated = sealer(&[2, 1]);
        let new = rotated.seal(&jane).unwrap();
        assert_eq!(rotated.open(&old), Some(jane.clone()));
        assert_eq!(sealer(&[2]).open(&new), Some(jane));
        assert_eq!(sealer(&[2]).open(&old), None);
        assert_eq!(sealer(&[1]).open(&new), None);
    }

    #[test]
    fn what_is_no_secret_seals_nothing_and_none_is_shown() {
        assert!(Sealer::new(&[]).is_none());
        for wrong in ["", "short", "c2hvcnQ=", "no base64!"] {
            assert!(Sealer::new(&[secret(1), wrong.into()]).is_none(), "{wrong}");
        }
        let shown = format!("{:?}", sealer(&[7]));
        assert!(!shown.contains('7'), "{shown}");
    }

    #[test]
    fn a_scope_that_no_link_can_hold_is_told() {
        for scope in ["", &"s".repeat(256), "a\nb", "a\0"] {
            let sealed = sealer(&[1]).seal(&link("a@b.example", scope));
            assert_eq!(sealed, Err(ScopeUnfit), "{scope:?}");
        }
    }

    #[test]
    fn no_token_makes_its_reader_panic_and_none_but_a_sealed_one_opens() {
        let sealer = sealer(&[1, 2]);
        let tokens = ["jane@example.com", "+15551234567"]
            .map(|contact| sealer.seal(&link(contact, "news")).unwrap());
        withstands("tokens of links", file!(), &bytes(&tokens), |token| {
            let token = String::from_utf8_lossy(&token).into_owned();
            assert!(sealer.open(&token).is_none() || tokens.contains(&token));
        });
        // What a key's holder may have sealed is read with no more trust.
        let texts = [link("jane@example.com", "news").encode().unwrap()];
        withstands("texts of links", file!(), &bytes(texts), |text| {
            if let Some(link) = Link::decode(&text) {
                assert!(Contact::parse(&link.contact.address).is_ok());
            }
        });
    }
}
