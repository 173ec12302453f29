//! Signatures by a private key that only the provider has: ECDSA on P-256, RSA with PKCS#1, Ed25519.
//!
//! A public key is configured as providers show it: the DER of a `SubjectPublicKeyInfo` in base64, with or without PEM's
//! armour, or `whpk_` and an Ed25519 key in base64, as Standard Webhooks writes it.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};
use secrecy::{ExposeSecret, SecretString};
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

use super::Rejected;

pub(super) use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY as RSA_SHA1,
};

/// Whether `signature`, in base64, is of `message` by any of the keys.
pub(super) fn check(
    algorithm: &'static dyn VerificationAlgorithm,
    keys: &[SecretString],
    message: &[u8],
    signature: &str,
) -> Result<(), Rejected> {
    let signature = STANDARD.decode(signature.trim()).map_err(|_| Rejected)?;
    let right = |key: &SecretString| {
        let key = bits(key.expose_secret())?;
        let key = UnparsedPublicKey::new(algorithm, key);
        key.verify(message, &signature).ok()
    };
    keys.iter().find_map(right).ok_or(Rejected)
}

/// The key's own bits, out of what says which kind of key it is.
fn bits(text: &str) -> Option<Vec<u8>> {
    if let Some(encoded) = text.trim().strip_prefix("whpk_") {
        return STANDARD.decode(encoded).ok();
    }
    let lines = text.lines().map(str::trim);
    let encoded: String = lines.filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(encoded).ok()?;
    let (rest, key) = SubjectPublicKeyInfo::from_der(&der).ok()?;
    rest.is_empty()
        .then(|| key.subject_public_key.data.to_vec())
}
