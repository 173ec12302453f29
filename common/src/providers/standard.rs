//! The signature of Standard Webhooks (<https://www.standardwebhooks.com>), which several senders have: over the message's
//! id, the time of the attempt and the body. Its headers begin with `webhook-`, or with `svix-` at who had them before
//! there was a standard.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Keys, Proof, Rejected, Request, Sample,
    public_key::{self, ED25519},
    signature::{Mac, near},
};
use crate::{
    envelope::Envelope,
    signature::{equal, standard_key},
};

/// How far the time of the attempt may be from ours; it is renewed for each one.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Where the message's id stands, the same in each attempt: the headers to keep.
pub(super) const IDS: &[&str] = &["webhook-id", "svix-id"];

/// The headers of a signed message, by the standard and before it.
pub(super) const WEBHOOK: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
pub(super) const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];

/// The message's id.
pub(super) fn id(envelope: &Envelope) -> Option<String> {
    let ids = IDS.iter().filter_map(|name| envelope.header(name));
    let mut ids = ids.map(str::trim);
    let id = ids.find(|id| !id.is_empty() && id.len() <= 256);
    id.map(str::to_owned)
}

/// Checks `v1` signatures by the secrets (`whsec_` and base64) and `v1a` ones by the public keys (`whpk_` and base64). Any
/// signature that is right by any key will do.
pub(super) fn verify(request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
    let header = |index: usize| {
        let named = [WEBHOOK[index], SVIX[index]];
        let mut found = named.iter().filter_map(|name| request.header.get(name));
        found.next().ok_or(Rejected)
    };
    let (id, timestamp, signatures) = (header(0)?, header(1)?, header(2)?);
    near(timestamp, request.now, TOLERANCE)?;
    let parts = [id, ".", timestamp, "."].map(str::as_bytes);
    let message = [&parts.concat(), request.body].concat();
    let right = |signature: &str| match signature.split_once(',') {
        Some(("v1", given)) => keys.secrets.iter().fold(false, |found, secret| {
            let made = Mac::Sha256Base64.of(&key(secret), &[&message]);
            equal(given.as_bytes(), made.as_bytes()) | found
        }),
        Some(("v1a", given)) => {
            public_key::check(&ED25519, &keys.public_keys, &message, given).is_ok()
        }
        _ => false,
    };
    let signatures = signatures.split_ascii_whitespace().take(16);
    if signatures.fold(false, |found, signature| right(signature) | found) {
        Ok(())
    } else {
        Err(Rejected)
    }
}

/// What a sample is signed with, in headers of these names.
pub(super) fn prove(
    names: [&'static str; 3],
    sample: &Sample,
    keys: &Keys,
    now: Timestamp,
) -> Option<Proof> {
    let id = sample.header(names[0]).unwrap_or("msg_sample");
    let timestamp = now.as_second().to_string();
    let parts = [id, ".", &timestamp, ".", sample.body()].map(str::as_bytes);
    let mac = Mac::Sha256Base64.of(&key(keys.secrets.first()?), &parts);
    let headers = [id.to_owned(), timestamp, format!("v1,{mac}")];
    Some(Proof {
        headers: names.into_iter().map(Into::into).zip(headers).collect(),
        body: sample.body().to_owned(),
    })
}

/// The secret's bytes. What is not written as the standard says is taken as it is.
fn key(secret: &SecretString) -> Vec<u8> {
    let text = secret.expose_secret();
    standard_key(secret)
        .or_else(|| STANDARD.decode(text).ok())
        .unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::headers;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &str = r#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn verifies(names: [&str; 3], signature: &str, seconds: i64, keys: &Keys) -> bool {
        let header = headers([
            (names[0], ID),
            (names[1], "1649367553"),
            (names[2], signature),
        ]);
        let now = Timestamp::from_second(1_649_367_553 + seconds).unwrap();
        let (header, body) = (&header, BODY.as_bytes());
        verify(&Request::new(header, body, now), keys).is_ok()
    }

    fn keys() -> Keys {
        Keys {
            secrets: vec!["whsec_b3RoZXI=".into(), SECRET.into()],
            ..Keys::default()
        }
    }

    #[test]
    fn the_vector_of_the_specification_holds_by_either_family_of_headers() {
        for names in [WEBHOOK, SVIX] {
            assert!(verifies(names, SIGNATURE, 0, &keys()));
            assert!(verifies(
                names,
                &format!("v1,AAAA v2,x {SIGNATURE}"),
                300,
                &keys()
            ));
            assert!(
                !verifies(names, SIGNATURE, 301, &keys())
                    && !verifies(names, SIGNATURE, -301, &keys())
            );
            assert!(!verifies(names, &SIGNATURE.replace("v1", "v2"), 0, &keys()));
            assert!(!verifies(
                names,
                &SIGNATURE.replace("tZ1", "tZ2"),
                0,
                &keys()
            ));
            assert!(!verifies(names, "", 0, &keys()));
        }
        assert!(!verifies(WEBHOOK, SIGNATURE, 0, &Keys::default()));
    }

    #[test]
    fn an_asymmetric_signature_holds_by_its_public_key() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let message = format!("{ID}.1649367553.{BODY}");
        let signature = format!("v1a,{}", STANDARD.encode(pair.sign(message.as_bytes())));
        let public = format!("whpk_{}", STANDARD.encode(pair.public_key()));
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let other = format!("whpk_{}", STANDARD.encode(other.public_key()));
        let holding = |keys: &[&str]| Keys {
            public_keys: keys.iter().map(|key| (*key).into()).collect(),
            ..Keys::default()
        };
        assert!(verifies(
            WEBHOOK,
            &signature,
            0,
            &holding(&[&other, &public])
        ));
        assert!(!verifies(WEBHOOK, &signature, 0, &holding(&[&other])));
        assert!(!verifies(WEBHOOK, &signature, 0, &keys()));
    }
}
