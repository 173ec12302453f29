//! The request that something was read from, verbatim: the evidence.

use base64::{Engine, engine::general_purpose::STANDARD};
use common::ledger::StoredEnvelope;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    error::{Result, asked},
};

/// The envelope and its body. All are null if the ledger has no such envelope; the body once a contact that it named was
/// erased, or once it is older than payloads are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Evidence {
    envelope: Option<StoredEnvelope>,
    /// The body, where it is UTF-8.
    pub(crate) payload: Option<String>,
    /// The body, where it is not.
    payload_base64: Option<String>,
}

impl Evidence {
    pub(crate) async fn of(app: &App, envelope: Uuid) -> Result<Self> {
        let envelope = asked(app.ledger.envelope(envelope)).await?;
        let kept = envelope.as_ref().filter(|stored| stored.is_whole());
        let body = kept.map(|stored| &stored.envelope.body[..]);
        let text = body
            .and_then(|body| std::str::from_utf8(body).ok())
            .map(str::to_owned);
        let encoded = body
            .filter(|_| text.is_none())
            .map(|body| STANDARD.encode(body));
        Ok(Self {
            payload: text,
            payload_base64: encoded,
            envelope,
        })
    }
}
