//! Recording: what the route stage writes of a batch of envelopes, in one transaction.
//!
//! The transaction may run again with the same envelopes, after a crash or a lost connection: every row is keyed by what
//! it is, the first envelope with an event stays its owner, and a register only ever moves to the later event.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::{
    Ledger, Result, in_order, micros,
    repeats::{Known, decided},
};
use crate::{
    clock,
    delivery::{Delivery, State},
    envelope::Envelope,
    event::{Effect, Event},
    signature::hex,
};

/// One envelope and what was read from it.
#[derive(Debug)]
pub struct Entry<'a> {
    pub envelope: &'a Envelope,
    pub provider: &'a str,
    /// Its events, each with the targets that are told of it.
    pub events: Vec<(&'a Event, Vec<(String, State)>)>,
    /// Events that the claims store knew to be recorded already.
    pub duplicates: Vec<Uuid>,
    /// Those of the events that only report back what was told, each with the event that was. What the ledger said of an
    /// event when it was first recorded stands.
    pub echoes: Vec<(Uuid, Uuid)>,
    pub unreadable: Vec<Unreadable>,
}

/// A body, or one element of it, that goes into quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// None for the body as a whole.
    pub element: Option<usize>,
    pub reason: String,
}

/// What the ledger says of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// This envelope's: now, or when it was recorded before.
    Owned,
    /// The same, of an event that only reports back what was told: it sets nothing and goes nowhere.
    Echo,
    /// Another envelope brought it first. `conflicting` if it said something else then.
    Duplicate { owner: Uuid, conflicting: bool },
    /// It was recorded before its contact was erased: it is not told again, and this repeat's payload is not kept.
    Erased,
}

impl Entry<'_> {
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|(event, _)| *event)
    }
}

impl Ledger {
    /// Records the entries. The answers are in the order of the entries' events.
    pub async fn record(&self, entries: &[Entry<'_>]) -> Result<Vec<Recorded>> {
        let mut transaction = self.begin().await?;
        self.insert_events(&mut transaction, marked(entries))
            .await?;
        let known = self.known(&mut transaction, entries).await?;
        let recorded = decided(entries, &known);
        self.mark_conflicts(&mut transaction, entries, &recorded)
            .await?;
        self.call_by_address(
            &mut transaction,
            told(entries, &recorded).map(|(event, _)| event),
        )
        .await?;
        self.set_registers(
            &mut transaction,
            told(entries, &recorded).map(|(event, _)| event),
        )
        .await?;
        self.revoke_consents(
            &mut transaction,
            told(entries, &recorded).map(|(event, _)| event),
        )
        .await?;
        self.insert_deliveries(&mut transaction, told(entries, &recorded))
            .await?;
        self.hold(&mut transaction, entries).await?;
        self.note_repeats(&mut transaction, entries, &recorded)
            .await?;
        self.insert_envelopes(&mut transaction, entries, &recorded, &known)
            .await?;
        transaction.commit().await?;
        Ok(recorded)
    }

    /// Enters a delivery that only its message tells of, as after the ledger was restored from an older copy.
    pub async fn adopt(&self, delivery: &Delivery) -> Result<()> {
        let mut transaction = self.begin().await?;
        self.insert_events(&mut transaction, std::iter::once((&delivery.event, None)))
            .await?;
        // What has a delivery was no echo when it was recorded first, whatever an older copy made of it since.
        self.query(
            "UPDATE events SET echo_of = NULL, effect = $2 WHERE id = $1 AND echo_of IS NOT NULL",
        )
        .bind(delivery.event.id.to_string())
        .bind(delivery.event.effect.to_string())
        .execute(&mut *transaction)
        .await?;
        self.call_by_address(&mut transaction, std::iter::once(&delivery.event))
            .await?;
        self.set_registers(&mut transaction, std::iter::once(&delivery.event))
            .await?;
        let told = [(delivery.target.clone(), State::Pending)];
        self.insert_deliveries(
            &mut transaction,
            std::iter::once((&delivery.event, &told[..])),
        )
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn insert_events<'a>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        events: impl Iterator<Item = (&'a Event, Option<Uuid>)>,
    ) -> Result<()> {
        let now = micros(clock::now());
        let mut values: Vec<_> = events
            .map(|(event, echo_of)| event_row(event, echo_of, now))
            .collect();
        in_order(&mut values);
        let text = "
            INSERT INTO events (id, envelope_id, source, provider, kind, bounce_class, channel, contact, contact_raw,
                scope, occurred_at, received_at, recorded_at, time_assumed, reason, origin, effect, register_source,
                register_lane, echo_of, provider_event, provider_event_id, message_id, campaign_id, metadata, fingerprint,
                conflicting)
            SELECT rows.value->>'id', rows.value->>'envelope_id', rows.value->>'source', rows.value->>'provider',
                rows.value->>'kind', rows.value->>'bounce_class', rows.value->>'channel', rows.value->>'contact',
                rows.value->>'contact_raw', rows.value->>'scope', CAST(rows.value->>'occurred_at' AS BIGINT),
                CAST(rows.value->>'received_at' AS BIGINT), CAST(rows.value->>'recorded_at' AS BIGINT),
                CAST(rows.value->>'time_assumed' AS BIGINT), rows.value->>'reason', rows.value->>'origin',
                rows.value->>'effect', rows.value->>'register_source', rows.value->>'register_lane',
                rows.value->>'echo_of', rows.value->>'provider_event', rows.value->>'provider_event_id',
                rows.value->>'message_id', rows.value->>'campaign_id', rows.value->>'metadata',
                CAST(rows.value->>'fingerprint' AS BIGINT), 0
            FROM {rows} WHERE TRUE
            ON CONFLICT (id) DO NOTHING";
        self.put(transaction, text, &values).await
    }

    async fn mark_conflicts(
        &self,
        transaction: &mut Transaction<'_, Any>,
        entries: &[Entry<'_>],
        recorded: &[Recorded],
    ) -> Result<()> {
        let conflicting: Vec<_> = events(entries)
            .zip(recorded)
            .filter(|(_, recorded)| {
                matches!(
                    recorded,
                    Recorded::Duplicate {
                        conflicting: true,
                        ..
                    }
                )
            })
            .map(|(event, _)| json!({ "id": event.id }))
            .collect();
        let text = "UPDATE events SET conflicting = 1 FROM {rows} WHERE events.id = rows.value->>'id' AND events.id {listed}";
        self.put(transaction, text, &conflicting).await
    }

    pub(super) async fn insert_deliveries<'a>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        told: impl Iterator<Item = (&'a Event, &'a [(String, State)])>,
    ) -> Result<()> {
        let now = micros(clock::now());
        let mut values: Vec<_> = told
            .flat_map(|(event, targets)| {
                targets.iter().map(|(target, state)| {
                    json!({ "id": Delivery::id_of(event.id, target), "event_id": event.id, "target": target,
                        "kind": event.kind, "state": state, "now": now })
                })
            })
            .collect();
        in_order(&mut values);
        let text = "
            INSERT INTO deliveries (id, event_id, target, kind, state, attempts, attempts_ever, created_at, moved_at)
            SELECT rows.value->>'id', rows.value->>'event_id', rows.value->>'target', rows.value->>'kind',
                rows.value->>'state', 0, 0, CAST(rows.value->>'now' AS BIGINT), {now}
            FROM {rows} WHERE TRUE
            ON CONFLICT (id) DO NOTHING";
        self.put(transaction, text, &values).await
    }

    async fn insert_envelopes(
        &self,
        transaction: &mut Transaction<'_, Any>,
        entries: &[Entry<'_>],
        recorded: &[Recorded],
        known: &HashMap<Uuid, Known>,
    ) -> Result<()> {
        let mut recorded = recorded.iter();
        let mut values: Vec<_> = entries
            .iter()
            .map(|entry| {
                let recorded: Vec<_> = recorded.by_ref().take(entry.events.len()).collect();
                let repeated = recorded
                    .iter()
                    .filter(|recorded| !matches!(recorded, Recorded::Owned | Recorded::Echo));
                let duplicates = entry.duplicates.len() + repeated.count();
                let mut by_claim = entry.duplicates.iter().filter_map(|id| known.get(id));
                let erased =
                    recorded.contains(&&Recorded::Erased) || by_claim.any(|known| known.erased);
                envelope_row(entry, duplicates, erased)
            })
            .collect();
        in_order(&mut values);
        let text = "
            INSERT INTO envelopes (id, source, provider, received_at, content_type, headers, body, events, duplicates, malformed, erased)
            SELECT rows.value->>'id', rows.value->>'source', rows.value->>'provider',
                CAST(rows.value->>'received_at' AS BIGINT), rows.value->>'content_type', rows.value->>'headers', {body},
                CAST(rows.value->>'events' AS BIGINT), CAST(rows.value->>'duplicates' AS BIGINT),
                CAST(rows.value->>'malformed' AS BIGINT), CAST(rows.value->>'erased' AS BIGINT)
            FROM {rows} WHERE TRUE
            ON CONFLICT (id) DO NOTHING";
        self.put(transaction, text, &values).await
    }
}

pub(super) fn events<'a>(entries: &'a [Entry<'a>]) -> impl Iterator<Item = &'a Event> {
    entries.iter().flat_map(Entry::events)
}

/// The events, each with the one of which it is an echo.
fn marked<'a>(entries: &'a [Entry<'a>]) -> impl Iterator<Item = (&'a Event, Option<Uuid>)> {
    entries.iter().flat_map(|entry| {
        entry.events.iter().map(|(event, _)| {
            let echo = entry.echoes.iter().find(|(id, _)| *id == event.id);
            (*event, echo.map(|(_, of)| *of))
        })
    })
}

/// The events that their entry owns and that say something new, with who is told of them.
fn told<'a>(
    entries: &'a [Entry<'a>],
    recorded: &'a [Recorded],
) -> impl Iterator<Item = (&'a Event, &'a [(String, State)])> {
    let events = entries.iter().flat_map(|entry| &entry.events).zip(recorded);
    events
        .filter(|(_, recorded)| **recorded == Recorded::Owned)
        .map(|((event, targets), _)| (*event, &targets[..]))
}

fn event_row(event: &Event, echo_of: Option<Uuid>, now: i64) -> Value {
    let effect = echo_of.map_or(event.effect, |_| Effect::None);
    let contact = event.contact.as_ref();
    json!({
        "id": event.id, "envelope_id": event.envelope_id, "source": event.source, "provider": event.provider,
        "kind": event.kind, "bounce_class": event.bounce_class, "channel": contact.map(|contact| contact.channel),
        "contact": contact.map(|contact| &contact.address), "contact_raw": contact.map(|contact| &contact.raw),
        "scope": event.scope, "occurred_at": micros(event.occurred_at), "received_at": micros(event.received_at),
        "recorded_at": now, "time_assumed": i64::from(event.time_assumed), "reason": event.reason, "origin": event.origin,
        "effect": effect, "echo_of": echo_of, "register_source": event.register.as_ref().map(|register| &register.source),
        "register_lane": event.register.as_ref().map(|register| register.lane), "provider_event": event.provider_event, "provider_event_id": event.provider_event_id,
        "message_id": event.message_id, "campaign_id": event.campaign_id, "metadata": text(&event.metadata),
        "fingerprint": event.fingerprint(),
    })
}

fn envelope_row(entry: &Entry<'_>, duplicates: usize, erased: bool) -> Value {
    let envelope = entry.envelope;
    let (headers, body) = if erased {
        (text(&[(); 0]), String::new())
    } else {
        (text(&envelope.headers), hex(&envelope.body))
    };
    json!({
        "id": envelope.id, "source": envelope.source, "provider": entry.provider,
        "received_at": micros(envelope.received_at), "content_type": envelope.content_type,
        "headers": headers, "body": body, "erased": i64::from(erased),
        "events": entry.events.len() + entry.duplicates.len(), "duplicates": duplicates, "malformed": entry.unreadable.len(),
    })
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these have text keys")
}
