//! Sealed documents: JSON that holds a signature of its own, by Ed25519, which anybody can verify who has the public key,
//! and nothing else of us, however much later.
//!
//! What is signed are the bytes of the file as it would be without its last member, `signature`: whoever changes a letter
//! of it, or how it is set, breaks the seal. The file names the key by which it was sealed, but that proves nothing by
//! itself, since whoever forges a file can name another: it is verified by a key that was published elsewhere.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const ALGORITHM: &str = "ed25519";

/// What stands between a document and its signature. No text of a document can hold it: in JSON a new line is escaped.
const BEFORE: &str = ",\n  \"signature\": ";

/// How a document ends, and a sealed one.
const END: &str = "\n}";
const SEALED_END: &str = "\n}\n";

/// Seals documents.
pub struct Sealer(Ed25519KeyPair);

/// The last member of a sealed document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    algorithm: String,
    /// The public key, in base64.
    key: String,
    value: String,
}

/// Why a file is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error(
        "it holds no signature: it is another file, or was exported without a key to sign with"
    )]
    Unsigned,
    #[error("it was signed by another key, {0}")]
    OtherKey(String),
    #[error("it is not as it was signed: something in it was changed, or how it is set")]
    Changed,
}

impl Sealer {
    /// One by a secret of 32 bytes in base64; None if it is not one.
    pub fn new(secret: &SecretString) -> Option<Self> {
        let seed = STANDARD.decode(secret.expose_secret().trim()).ok()?;
        Ed25519KeyPair::from_seed_unchecked(&seed).ok().map(Self)
    }

    /// The public key, in base64.
    pub fn key(&self) -> String {
        STANDARD.encode(self.0.public_key())
    }

    /// The document as a file, sealed. It has at least one member.
    pub fn seal(&self, document: &Map<String, Value>) -> String {
        let mut text = format!("{:#}", Value::Object(document.clone()));
        let seal = Seal {
            algorithm: ALGORITHM.to_owned(),
            key: self.key(),
            value: STANDARD.encode(self.0.sign(text.as_bytes())),
        };
        let seal = serde_json::to_string(&seal).expect("it has text keys");
        text.truncate(text.len() - END.len());
        text + BEFORE + &seal + SEALED_END
    }
}

/// What a file says, if it was sealed by the key whose public part this is, and is as it was.
pub fn verify(file: &str, key: &str) -> Result<Value, Broken> {
    let (text, seal) = file.rsplit_once(BEFORE).ok_or(Broken::Unsigned)?;
    let given = seal.strip_suffix(SEALED_END).ok_or(Broken::Changed)?;
    let seal: Seal = serde_json::from_str(given).map_err(|_| Broken::Changed)?;
    // What is in it beside, or how that is set, no signature covers.
    if serde_json::to_string(&seal).ok().as_deref() != Some(given) {
        return Err(Broken::Changed);
    }
    if seal.algorithm != ALGORITHM {
        return Err(Broken::Changed);
    }
    if seal.key != key.trim() {
        return Err(Broken::OtherKey(seal.key));
    }
    let decoded = |text: &str| STANDARD.decode(text).map_err(|_| Broken::Changed);
    let text = format!("{text}{END}");
    let public = UnparsedPublicKey::new(&ED25519, decoded(&seal.key)?);
    let holds = public.verify(text.as_bytes(), &decoded(&seal.value)?);
    holds.map_err(|_| Broken::Changed)?;
    serde_json::from_str(&text).map_err(|_| Broken::Changed)
}

#[cfg(test)]
mod tests {
    use hostile::{text, withstands};
    use serde_json::json;

    use super::*;

    /// The first secret key of RFC 8032, 7.1, and its public key.
    const SECRET: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn document() -> Map<String, Value> {
        let document = json!({ "story": { "contact": "jane@example.com", "note": ",\n  \"signature\": {}", "n": 1.5 }, "a": [] });
        document.as_object().unwrap().clone()
    }

    #[test]
    fn the_public_key_of_the_standard_s_secret_is_the_standard_s() {
        let sealer = Sealer::new(&SECRET.into()).unwrap();
        assert_eq!(sealer.key(), KEY);
        for wrong in ["", "no base64!", "c2hvcnQ="] {
            assert!(Sealer::new(&wrong.into()).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_sealed_is_json_and_verified_by_its_key_alone() {
        let file = Sealer::new(&SECRET.into()).unwrap().seal(&document());
        let read: Value = serde_json::from_str(&file).unwrap();
        assert_eq!(read["story"]["contact"], "jane@example.com");
        assert_eq!(read["signature"]["key"], KEY);
        let verified = verify(&file, &format!("{KEY}\n"));
        assert_eq!(verified, Ok(Value::Object(document())));
        let other = "A".repeat(43) + "=";
        assert_eq!(verify(&file, &other), Err(Broken::OtherKey(KEY.to_owned())));
        let plain = format!("{:#}\n", Value::Object(document()));
        assert_eq!(verify(&plain, KEY), Err(Broken::Unsigned));
    }

    #[test]
    fn a_file_of_which_any_byte_is_another_is_not_believed() {
        let file = Sealer::new(&SECRET.into()).unwrap().seal(&document());
        for place in 0..file.len() {
            let mut bytes = file.clone().into_bytes();
            bytes[place] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify(&changed, KEY).is_err(), "{changed}");
        }
        for changed in [
            format!("{file}\n"),
            format!(" {file}"),
            file.replace('\n', "\r\n"),
            file.replace("{\"algorithm\"", "{ \"algorithm\""),
            file.replace("\"algorithm\":", "\"note\":\"more\",\"algorithm\":"),
        ] {
            assert!(changed != file && verify(&changed, KEY).is_err());
        }
    }

    #[test]
    fn no_file_makes_its_reader_panic() {
        let file = Sealer::new(&SECRET.into()).unwrap().seal(&document());
        withstands(
            "sealed files",
            file!(),
            &text([file.as_str(), BEFORE]),
            |file| {
                drop(verify(&file, KEY));
            },
        );
    }
}
