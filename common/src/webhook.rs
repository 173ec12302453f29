//! The webhooks that we send: what is said of an event, and how it is signed.
//!
//! The body is SentinMail's event payload (`id`, `type`, `recipient`, `sent_email_id`, `campaign_id`, `metadata`,
//! `timestamp`), and what we know beyond it. `id` is the event's, by which a receiver knows a repeat whichever way it
//! comes. A field may be added, none is taken away or changes its meaning.
//!
//! Signed by Standard Webhooks: `webhook-id` is the delivery's id, the same at every attempt, `webhook-timestamp` is
//! the attempt's.

use jiff::Timestamp;
use reqwest::RequestBuilder;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    clock,
    contact::Channel,
    delivery::Delivery,
    event::{BounceClass, Effect, Kind, Origin},
    signature::{standard_key, standard_signature},
};

/// The headers that [`sign`] sets.
pub const HEADERS: [&str; 4] = [
    "idempotency-key",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: Vec<u8>,
    until: Option<Timestamp>,
}

impl Key {
    /// The key of a Standard Webhooks secret: `whsec_` and base64. None if it is not one.
    pub fn of(secret: &SecretString) -> Option<Self> {
        let bytes = standard_key(secret)?;
        Some(Self { bytes, until: None })
    }

    /// The same key, which is signed with only until then.
    #[must_use]
    pub fn until(self, until: Option<Timestamp>) -> Self {
        Self { until, ..self }
    }
}

/// Puts the body into the request, with the id by which the receiver knows a repeat, and a signature by each of the
/// keys that are valid now; none where there are no keys.
pub fn sign(
    request: RequestBuilder,
    keys: &[Key],
    delivery: Uuid,
    body: Vec<u8>,
) -> RequestBuilder {
    let (id, now) = (delivery.to_string(), clock::now());
    let keys = keys
        .iter()
        .filter(|key| key.until.is_none_or(|until| until > now));
    let keys: Vec<_> = keys.map(|key| key.bytes.as_slice()).collect();
    let mut request = request
        .header("idempotency-key", &id)
        .header("webhook-id", &id)
        .header("webhook-timestamp", now.as_second());
    if !keys.is_empty() {
        request = request.header(
            "webhook-signature",
            standard_signature(&keys, &id, now, &body),
        );
    }
    request.body(body)
}

/// What is said of an event.
#[derive(Debug, Serialize)]
pub struct Payload<'a> {
    id: Uuid,
    r#type: Kind,
    /// Normalised, so that it can be compared.
    recipient: Option<&'a str>,
    sent_email_id: Option<&'a str>,
    campaign_id: Option<&'a str>,
    metadata: &'a Map<String, Value>,
    timestamp: Timestamp,
    source: &'a str,
    provider: &'a str,
    channel: Option<Channel>,
    /// As it was received.
    recipient_raw: Option<&'a str>,
    scope: &'a str,
    reason: Option<&'a str>,
    origin: Origin,
    bounce_class: Option<BounceClass>,
    effect: Effect,
    provider_event: &'a str,
    provider_event_id: Option<&'a str>,
    received_at: Timestamp,
    envelope_id: Uuid,
    delivery_id: Uuid,
}

impl<'a> From<&'a Delivery> for Payload<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        let event = &delivery.event;
        Self {
            id: event.id,
            r#type: event.kind,
            recipient: event
                .contact
                .as_ref()
                .map(|contact| contact.address.as_str()),
            sent_email_id: event.message_id.as_deref(),
            campaign_id: event.campaign_id.as_deref(),
            metadata: &event.metadata,
            timestamp: event.occurred_at,
            source: &event.source,
            provider: &event.provider,
            channel: event.contact.as_ref().map(|contact| contact.channel),
            recipient_raw: event.contact.as_ref().map(|contact| contact.raw.as_str()),
            scope: &event.scope,
            reason: event.reason.as_deref(),
            origin: event.origin,
            bounce_class: event.bounce_class,
            effect: event.effect,
            provider_event: &event.provider_event,
            provider_event_id: event.provider_event_id.as_deref(),
            received_at: event.received_at,
            envelope_id: event.envelope_id,
            delivery_id: delivery.id,
        }
    }
}

impl Payload<'_> {
    /// One line of JSON, without a line break.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the payload's keys are texts")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        contact::Contact,
        envelope::Envelope,
        event::{Draft, Identity, Undetermined},
    };

    fn delivery() -> Delivery {
        let envelope = Envelope {
            id: Uuid::from_u128(7),
            source: "shop".to_owned(),
            received_at: "2026-04-02T14:30:01.5Z".parse().unwrap(),
            content_type: None,
            headers: vec![],
            body: bytes::Bytes::new(),
        };
        let own = Identity::Own("evt-1".to_owned());
        let mut draft = Draft::new(Kind::Unsubscribed, "unsubscribed", own);
        draft.contact = Contact::email("Jane1@Example.com").ok();
        draft.scope = Some("news".to_owned());
        draft.occurred_at = "2026-04-02T14:30:00Z".parse().ok();
        draft.reason = Some("too many \"offers\"".to_owned());
        draft.origin = Origin::Recipient;
        draft.message_id = Some("msg-1".to_owned());
        draft.campaign_id = Some("spring".to_owned());
        draft.metadata.insert("ip".to_owned(), "192.0.2.7".into());
        Delivery::new(
            draft.into_event(&envelope, "sentinmail", Undetermined::Suppress),
            "t",
        )
    }

    #[test]
    fn the_payload_has_every_field_of_sentinmail_s_and_ours() {
        let delivery = delivery();
        let payload: Value = serde_json::from_slice(&Payload::from(&delivery).to_json()).unwrap();
        let expected = json!({
            "id": delivery.event.id, "type": "unsubscribed", "recipient": "jane1@example.com",
            "sent_email_id": "msg-1", "campaign_id": "spring", "metadata": {"ip": "192.0.2.7"},
            "timestamp": "2026-04-02T14:30:00Z",
            "source": "shop", "provider": "sentinmail", "channel": "email", "recipient_raw": "Jane1@Example.com",
            "scope": "news", "reason": "too many \"offers\"", "origin": "recipient", "bounce_class": null,
            "effect": "suppress", "provider_event": "unsubscribed", "provider_event_id": "evt-1",
            "received_at": "2026-04-02T14:30:01.5Z", "envelope_id": delivery.event.envelope_id,
            "delivery_id": delivery.id,
        });
        assert_eq!(payload, expected);
    }
}
