//! What `http` and `file` targets send of an event: SentinMail's event payload (`id`, `type`, `recipient`,
//! `sent_email_id`, `campaign_id`, `metadata`, `timestamp`), and what we know beyond it.
//!
//! `id` is the event's, by which a receiver knows a repeat whichever way it comes. A field may be added, none is taken
//! away or changes its meaning.

use common::{
    contact::Channel,
    delivery::Delivery,
    event::{BounceClass, Effect, Kind, Origin},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub(super) struct Payload<'a> {
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
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the payload's keys are texts")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::targets::standin::delivery;

    #[test]
    fn the_payload_has_every_field_of_sentinmail_s_and_ours() {
        let delivery = delivery(1);
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
