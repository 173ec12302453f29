//! Comparison in constant time, HMAC, hexadecimal, and Standard Webhooks (<https://www.standardwebhooks.com>), by which what we
//! send is signed.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use rand::random;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Whether two secrets are equal, in a time that tells neither where they differ nor how long ours is.
pub fn equal(given: &[u8], ours: &[u8]) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(ours)).into()
}

/// Whether `given` is one of the secrets; all are compared, so the time does not tell which.
pub fn any_equal(given: &[u8], ours: &[SecretString]) -> bool {
    ours.iter().fold(false, |found, secret| {
        equal(given, secret.expose_secret().as_bytes()) | found
    })
}

/// HMAC-SHA256 of the parts, one after the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Bytes as text, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// A new secret that can stand anywhere, in a URL, too.
pub fn plain_secret() -> SecretString {
    hex(&random::<[u8; 24]>()).into()
}

/// A new Standard Webhooks secret.
pub fn standard_secret() -> SecretString {
    format!("whsec_{}", STANDARD.encode(random::<[u8; 32]>())).into()
}

/// The key bytes of a Standard Webhooks secret: `whsec_` and base64. None if it is not one.
pub fn standard_key(secret: &SecretString) -> Option<Vec<u8>> {
    let encoded = secret.expose_secret().strip_prefix("whsec_")?;
    STANDARD.decode(encoded).ok().filter(|key| !key.is_empty())
}

/// The value of `webhook-signature`: one `v1` signature per key, separated by spaces, so that a receiver which holds
/// any of the keys accepts while a secret is being rotated.
pub fn standard_signature(keys: &[&[u8]], id: &str, at: Timestamp, body: &[u8]) -> String {
    let timestamp = at.as_second().to_string();
    let signatures: Vec<_> = keys
        .iter()
        .map(|key| {
            let mac = hmac_sha256(
                key,
                &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body],
            );
            format!("v1,{}", STANDARD.encode(mac))
        })
        .collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_standard_webhooks_specification_holds() {
        let key = standard_key(&"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into()).unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let at = Timestamp::from_second(1_649_367_553).unwrap();
        assert_eq!(
            standard_signature(&[&key], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", at, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn any_of_several_secrets_is_accepted_and_nothing_else() {
        let secrets = ["old".into(), "new".into()];
        assert!(any_equal(b"old", &secrets) && any_equal(b"new", &secrets));
        assert!(
            !any_equal(b"", &secrets) && !any_equal(b"olds", &secrets) && !any_equal(b"x", &[])
        );
    }
}
