//! Mailgun's signature: in the body, and of nothing but its own time and token
//! (<https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>).
//!
//! So it shows who called and not what they said. It is heeded for a day, longer than Mailgun tries again, and for one request
//! only, with its repeats: Mailgun advises to keep the tokens for that. Whether it signs anew when it tries again it does not
//! say, so a repeat is known by what it says.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Keys, Proof, Rejected, Request, Sample,
    form::Form,
    json,
    signature::{Mac, near},
};
use crate::{envelope::Envelope, signature::hex};

/// What is signed stands last in a form, behind what the sender may have called the same.
pub(super) const SIGNED: [&str; 3] = ["timestamp", "token", "signature"];

const MAC: Mac = Mac::Sha256Hex;
const TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow)]
    signature: Signature<'a>,
}

#[derive(Deserialize)]
struct Signature<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow, rename = "signature")]
    mac: Cow<'a, str>,
    /// The same by the key of the account above, of what happened in a subaccount.
    #[serde(borrow, default, rename = "parent-signature")]
    parent: Option<Cow<'a, str>>,
}

pub(super) fn verify(request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
    let content_type = request.header.get("content-type");
    let given = read(request.body, content_type).ok_or(Rejected)?;
    near(&given.timestamp, request.now, TOLERANCE)?;
    let parts = [given.timestamp.as_bytes(), given.token.as_bytes()];
    let own = MAC.check(&given.mac, keys, &parts);
    let parent = given.parent.as_deref().unwrap_or_default();
    own.or(MAC.check(parent, keys, &parts))
}

/// One after the other, as they are signed: where one ends and the other begins the signature does not say.
pub(super) fn token(envelope: &Envelope) -> Option<String> {
    let given = read(&envelope.body, envelope.content_type.as_deref())?;
    Some(format!("{}{}", given.timestamp, given.token))
}

/// By a token of its own, so that it is no other sample's repeat.
pub(super) fn prove(sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
    let token = hex(&Sha256::digest(format!("{} {now}", sample.name)));
    let (timestamp, token) = (now.as_second().to_string(), token[..50].to_owned());
    let secret = keys.secrets.first()?.expose_secret().as_bytes();
    let signature = MAC.of(secret, &[timestamp.as_bytes(), token.as_bytes()]);
    let signed = SIGNED.into_iter().zip([timestamp, token, signature]);
    if is_json(sample.body().as_bytes()) {
        let mut body: Value = serde_json::from_str(sample.body()).ok()?;
        for (name, value) in signed {
            body["signature"][name] = value.into();
        }
        return Some(Proof {
            headers: vec![],
            body: body.to_string(),
        });
    }
    let mut form = Form::read(sample.body().as_bytes(), sample.content_type()).ok()?;
    for (name, value) in signed {
        form.set(name, &value);
    }
    let encoded = "application/x-www-form-urlencoded".to_owned();
    Some(Proof {
        headers: vec![("content-type".into(), encoded)],
        body: form.encode(),
    })
}

pub(super) fn is_json(body: &[u8]) -> bool {
    json::without_bom(body).starts_with(b"{")
}

fn read<'a>(body: &'a [u8], content_type: Option<&str>) -> Option<Signature<'a>> {
    if is_json(body) {
        let signed: Signed<'_> = serde_json::from_slice(json::without_bom(body)).ok()?;
        return Some(signed.signature);
    }
    let form = Form::read(body, content_type).ok()?;
    let field = |name| form.last(name).map(|value| value.to_owned().into());
    Some(Signature {
        timestamp: field("timestamp")?,
        token: field("token")?,
        mac: field("signature")?,
        parent: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{
        Provider, find,
        sample::reading::{changed, envelope, headers, sample},
    };

    fn mailgun() -> &'static dyn Provider {
        find("mailgun").unwrap()
    }

    #[test]
    fn what_happened_in_a_subaccount_is_taken_by_the_key_of_the_account_above() {
        let keys = |secret: &str| Keys {
            secrets: vec![secret.into()],
            ..Keys::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let sample = sample(mailgun(), "unsubscribed");
        let proven = |secret: &str| prove(&sample, &keys(secret), now).unwrap().body;
        let signature = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            body["signature"]["signature"].as_str().unwrap().to_owned()
        };
        let (own, above) = (proven("own"), signature(&proven("above")));
        let mut both: Value = serde_json::from_str(&own).unwrap();
        both["signature"]["parent-signature"] = above.into();
        let verifies = |body: &str, secret: &str| {
            let header = &headers([]);
            verify(&Request::new(header, body.as_bytes(), now), &keys(secret)).is_ok()
        };
        let both = both.to_string();
        assert!(verifies(&both, "own") && verifies(&both, "above"));
        assert!(!verifies(&both, "other") && !verifies(&own, "above"));
    }

    #[test]
    fn what_is_signed_is_a_token_wherever_it_ends_and_each_proof_has_its_own() {
        let token = |body: &str| token(&envelope(body));
        let unsubscribed = sample(mailgun(), "unsubscribed").body();
        let plain = token(unsubscribed).unwrap();
        assert!(plain.starts_with("152124333906c96bafc3f4"), "{plain}");
        let shifted = changed(
            unsubscribed,
            "\"1521243339\",\"token\":\"0",
            "\"15212433390\",\"token\":\"",
        );
        assert_eq!(token(&shifted).as_deref(), Some(&*plain));
        let form = token("timestamp=1&token=theirs&timestamp=2&token=own&signature=x");
        assert_eq!(form.as_deref(), Some("2own"));
        assert_eq!(token("{}"), None);
        assert_eq!(token("a=b"), None);
        let keys = Keys {
            secrets: vec!["key".into()],
            ..Keys::default()
        };
        let proven = |name: &str, now: i64| {
            let now = Timestamp::from_second(now).unwrap();
            let proof = prove(&sample(mailgun(), name), &keys, now);
            token(&proof.unwrap().body).unwrap()
        };
        assert_ne!(proven("opened", 1), proven("opened", 2));
        assert_ne!(proven("opened", 1), proven("clicked", 1));
    }
}
