//! What the providers' signatures by a shared secret have in common: an HMAC in hex or base64, any of several secrets, a
//! time that must be near.
//!
//! It promises: every secret is tried, in constant time, so that neither the time nor the answer tells which is near.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

use super::{Keys, Rejected};
use crate::signature::{equal, hex};

/// How an HMAC is made, and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mac {
    Sha1Hex,
    Sha1Base64,
    Sha256Hex,
    Sha256Base64,
    Sha512Hex,
    Sha512Base64,
}

impl Mac {
    /// The MAC of the parts, one after the other, as it is written.
    pub(super) fn of(self, key: &[u8], parts: &[&[u8]]) -> String {
        let algorithm = match self {
            Self::Sha256Hex | Self::Sha256Base64 => hmac::HMAC_SHA256,
            Self::Sha1Hex | Self::Sha1Base64 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha512Hex | Self::Sha512Base64 => hmac::HMAC_SHA512,
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
        for part in parts {
            context.update(part);
        }
        let mac = context.sign();
        match self {
            Self::Sha1Hex | Self::Sha256Hex | Self::Sha512Hex => hex(mac.as_ref()),
            Self::Sha1Base64 | Self::Sha256Base64 | Self::Sha512Base64 => STANDARD.encode(mac),
        }
    }

    /// Whether `given` is the MAC of the parts by this key.
    pub(super) fn is(self, given: &str, key: &[u8], parts: &[&[u8]]) -> bool {
        let given = match self {
            Self::Sha1Hex | Self::Sha256Hex | Self::Sha512Hex => given.trim().to_ascii_lowercase(),
            Self::Sha1Base64 | Self::Sha256Base64 | Self::Sha512Base64 => given.trim().to_owned(),
        };
        equal(given.as_bytes(), self.of(key, parts).as_bytes())
    }

    /// Whether it is so by any of the secrets.
    pub(super) fn check(self, given: &str, keys: &Keys, parts: &[&[u8]]) -> Result<(), Rejected> {
        any(&keys.secrets, |secret| self.is(given, secret, parts))
    }

    /// The MAC of the parts by the first secret.
    pub(super) fn made(self, keys: &Keys, parts: &[&[u8]]) -> Option<String> {
        let secret = keys.secrets.first()?.expose_secret();
        Some(self.of(secret.as_bytes(), parts))
    }
}

/// Whether any of the secrets is right; all are tried.
pub(super) fn any(secrets: &[SecretString], right: impl Fn(&[u8]) -> bool) -> Result<(), Rejected> {
    let found = secrets.iter().fold(false, |found, secret| {
        right(secret.expose_secret().as_bytes()) | found
    });
    if found { Ok(()) } else { Err(Rejected) }
}

/// Whether a time in seconds or milliseconds since 1970, as text, is no further from `now` than that.
pub(super) fn near(
    seconds: &str,
    now: Timestamp,
    tolerance: SignedDuration,
) -> Result<(), Rejected> {
    let at: Option<i64> = seconds.trim().parse().ok();
    let at = at.and_then(|number| match number {
        // The year 5138, or 1973.
        100_000_000_000.. => Timestamp::from_millisecond(number).ok(),
        _ => Timestamp::from_second(number).ok(),
    });
    let apart = now.duration_since(at.ok_or(Rejected)?).abs();
    if apart <= tolerance {
        Ok(())
    } else {
        Err(Rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[&str]) -> Keys {
        Keys {
            secrets: secrets.iter().map(|secret| (*secret).into()).collect(),
            ..Keys::default()
        }
    }

    // The first is test case 2 of RFC 4231.
    #[test]
    fn a_mac_is_right_by_any_secret_and_hex_in_either_case() {
        let message: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        let made = Mac::Sha256Hex.made(&keys(&["Jefe"]), &message).unwrap();
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(made, expected);
        let both = keys(&["other", "Jefe"]);
        let check = |given: &str, keys: &Keys| Mac::Sha256Hex.check(given, keys, &message).is_ok();
        assert!(check(&made, &both) && check(&made.to_uppercase(), &both));
        assert!(!check(&made, &keys(&["other"])) && !check(&made, &keys(&[])));
        assert!(!check("", &both) && !check(&made[1..], &both));
        let base64 = Mac::Sha256Base64.made(&both, &message).unwrap();
        assert!(Mac::Sha256Base64.check(&base64, &both, &message).is_ok());
        assert!(Mac::Sha256Base64.check(&made, &both, &message).is_err());
    }

    #[test]
    fn a_time_is_near_within_the_tolerance_on_either_side_and_what_is_no_time_never_is() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let near = |text: &str| near(text, now, SignedDuration::from_mins(5)).is_ok();
        assert!(near("1700000300") && near("1699999700") && near(" 1700000000 "));
        assert!(near("1700000300000") && near("1699999700000") && !near("1700000300001"));
        for far in [
            "1700000301",
            "1699999699",
            "0",
            "",
            "soon",
            "1e9",
            "99999999999999999999",
        ] {
            assert!(!near(far), "{far}");
        }
    }
}
