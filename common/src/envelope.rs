//! An envelope: one accepted HTTP request, verbatim, and how envelopes travel in a queue message.
//!
//! A message holds one envelope or several (what ingress gathered). Layout, all integers big-endian:
//! `version: u8 = 1`, then per envelope `meta_len: u32, body_len: u32, meta (JSON), body (the bytes as they came)`.
//! The body is not re-encoded: it is the evidence, and signatures cover its bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

const VERSION: u8 = 1;

/// One accepted HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Envelope {
    /// `UUIDv7`, given at acceptance and told to the provider in the answer.
    pub id: Uuid,
    /// The configured source whose URL was called.
    pub source: String,
    pub received_at: Timestamp,
    pub content_type: Option<String>,
    /// The headers that the provider's adapter asks to keep; never credentials.
    #[serde(default)]
    #[schema(required)]
    pub headers: Vec<(String, String)>,
    #[serde(skip)]
    pub body: Bytes,
}

impl Envelope {
    /// The value of a kept header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Bytes that are no message of envelopes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the message has version {0}, this program reads version 1")]
    Version(u8),
    #[error("the message ends in the middle of an envelope")]
    Truncated,
    #[error("an envelope's header is not readable")]
    Meta(#[from] serde_json::Error),
}

/// Puts envelopes into one message.
pub fn encode<'a>(envelopes: impl IntoIterator<Item = &'a Envelope>) -> Bytes {
    let mut message = BytesMut::with_capacity(1024);
    message.put_u8(VERSION);
    for envelope in envelopes {
        let lengths = message.len();
        message.put_u64(0);
        let start = message.len();
        serde_json::to_writer((&mut message).writer(), envelope)
            .expect("an envelope has only text keys, and memory takes any write");
        let meta = u32::try_from(message.len() - start).expect("headers are bounded by the server");
        let body =
            u32::try_from(envelope.body.len()).expect("bodies are bounded by ingress.max_body");
        message[lengths..lengths + 4].copy_from_slice(&meta.to_be_bytes());
        message[lengths + 4..lengths + 8].copy_from_slice(&body.to_be_bytes());
        message.put_slice(&envelope.body);
    }
    message.freeze()
}

/// Takes the envelopes out of a message; bodies share the message's memory.
pub fn decode(mut message: Bytes) -> Result<Vec<Envelope>, DecodeError> {
    let version = message.try_get_u8().map_err(|_| DecodeError::Truncated)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let mut envelopes = Vec::new();
    while message.has_remaining() {
        let meta = take_length(&mut message)?;
        let body = take_length(&mut message)?;
        if meta
            .checked_add(body)
            .is_none_or(|length| length > message.len())
        {
            return Err(DecodeError::Truncated);
        }
        let mut envelope: Envelope = serde_json::from_slice(&message.split_to(meta))?;
        envelope.body = message.split_to(body);
        envelopes.push(envelope);
    }
    Ok(envelopes)
}

fn take_length(message: &mut Bytes) -> Result<usize, DecodeError> {
    let length = message.try_get_u32().map_err(|_| DecodeError::Truncated)?;
    usize::try_from(length).map_err(|_| DecodeError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope(body: &[u8]) -> Envelope {
        Envelope {
            id: Uuid::now_v7(),
            source: "postmark-main".to_owned(),
            received_at: "2026-04-02T14:30:00.123456Z".parse().unwrap(),
            content_type: Some("application/json".to_owned()),
            headers: vec![("user-agent".to_owned(), "Postmark".to_owned())],
            body: Bytes::copy_from_slice(body),
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_to_the_same_envelopes(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5)) {
            let envelopes: Vec<_> = bodies.iter().map(|body| envelope(body)).collect();
            prop_assert_eq!(decode(encode(&envelopes)).unwrap(), envelopes);
        }

        #[test]
        fn random_bytes_give_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            drop(decode(bytes.into()));
            let whole = encode([&envelope(b"{}")]);
            drop(decode(whole.slice(..cut.min(whole.len()))));
        }
    }
}
