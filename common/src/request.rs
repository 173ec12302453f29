//! What comes in by the api itself: a change that a person or a program asked for, as an envelope like any other.
//!
//! So it goes the way of every webhook: the same queue, the same claims, the same record, the same deliveries. The body
//! holds what was asked and the drafts that the api made of it; reading it gives the same events in the api, which
//! records them before it answers, and in the worker, which records them again without effect and tells the targets.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    clock, config,
    contact::Contact,
    envelope::Envelope,
    event::{Draft, Event, Identity, Kind, Origin},
    providers::{Malformed, Parsed, Provider, Sample},
    queue::Priority,
};

/// The name of the source, which no configured one can have, and of its provider.
pub const SOURCE: &str = "api";

/// It cannot be configured: only the api makes its envelopes.
#[derive(Debug)]
pub struct Api;

/// What somebody asked of the api, and what it means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The name of the key, or of the process where it is one of ours.
    pub actor: String,
    /// What was asked, such as `suppression.add`.
    pub action: String,
    /// As it was asked: the evidence.
    pub request: Value,
    pub drafts: Vec<Draft>,
}

impl Request {
    /// The envelope of the request, received now.
    pub fn into_envelope(self) -> Envelope {
        Envelope {
            id: Uuid::now_v7(),
            source: SOURCE.to_owned(),
            received_at: clock::now(),
            content_type: Some("application/json".to_owned()),
            headers: vec![],
            body: Bytes::from(serde_json::to_vec(&self).expect("a request has text keys")),
        }
    }
}

/// What a test of a target tells of: an event of a person that does not exist.
pub fn example(kind: Kind) -> Event {
    let envelope = Envelope {
        id: Uuid::now_v7(),
        source: SOURCE.to_owned(),
        received_at: clock::now(),
        content_type: None,
        headers: vec![],
        body: Bytes::new(),
    };
    let identity = Identity::Own(envelope.id.to_string());
    let mut draft = Draft::new(kind, "test", identity);
    draft.contact = Contact::email("test@example.com").ok();
    draft.origin = Origin::Admin;
    draft.metadata = [("test".to_owned(), json!(true))].into_iter().collect();
    let undetermined = config::Source::api().undetermined_bounce;
    draft.into_event(&envelope, SOURCE, undetermined)
}

impl Provider for Api {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn priority(&self, _body: &[u8]) -> Priority {
        Priority::Urgent
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        let request: Request = serde_json::from_slice(&envelope.body)
            .map_err(|error| Malformed(format!("is no request of the api: {error}")))?;
        Ok(request.drafts.into_iter().map(Ok).collect())
    }

    fn samples(&self) -> &'static [Sample] {
        &[]
    }
}
