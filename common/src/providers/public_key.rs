//! Signatures by a private key that only the provider has: ECDSA on P-256, RSA with PKCS#1, Ed25519.
//!
//! A public key is configured as providers show it: the DER of a `SubjectPublicKeyInfo` in base64, with or without PEM's
//! armour, or `whpk_` and an Ed25519 key in base64, as Standard Webhooks writes it.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};
use secrecy::{ExposeSecret, SecretString};
use x509_parser::{prelude::FromDer, time::ASN1Time, x509::SubjectPublicKeyInfo};

use super::Rejected;

pub(super) use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY as RSA_SHA1_2048,
    RSA_PKCS1_2048_8192_SHA256 as RSA_SHA256, VerificationAlgorithm as Algorithm,
};

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
    let right = |key: &SecretString| {
        let key = bits(key.expose_secret())?;
        holds(algorithm, &key, message, signature).ok()
    };
    keys.iter().find_map(right).ok_or(Rejected)
}

/// Whether `signature`, in base64, is of `message` by the key of these bits.
pub(super) fn holds(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &str,
) -> Result<(), Rejected> {
    let signature = STANDARD.decode(signature.trim()).map_err(|_| Rejected)?;
    let key = UnparsedPublicKey::new(algorithm, key);
    key.verify(message, &signature).map_err(|_| Rejected)
}

/// The bits of the key that a certificate in PEM is of, if it is valid now. That it is whose it says is shown by where it
/// was fetched from.
pub(super) fn of_certificate(pem: &[u8], now: Timestamp) -> Option<Vec<u8>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let now = ASN1Time::from_timestamp(now.as_second()).ok()?;
    let valid = certificate.validity().is_valid_at(now);
    valid.then(|| certificate.public_key().subject_public_key.data.to_vec())
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
