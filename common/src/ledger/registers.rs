//! Registers: the fold of the event log, one last-writer-wins register per channel, contact, scope, source and lane.
//!
//! Any order of any repetition of the same events leaves the same rows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::{Ledger, Result, micros};
use crate::{
    clock,
    event::{Effect, Event},
};

impl Ledger {
    /// Calls the registers of contacts that were erased by their addresses again, since these events name them: what was
    /// said before and what is said now are one contact's. Those that only tell of something are not looked at.
    pub(super) async fn call_by_address<'a>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<()> {
        let Some(pepper) = &self.pepper else {
            return Ok(());
        };
        let named = events
            .filter(|event| event.effect != Effect::None)
            .filter_map(|event| event.contact.as_ref());
        let contacts: BTreeMap<_, _> = named
            .map(|contact| (&contact.address, pepper.pseudonym(contact)))
            .collect();
        let values: Vec<_> = contacts
            .iter()
            .map(|(address, pseudonym)| json!({ "address": address, "pseudonym": pseudonym }))
            .collect();
        // One that has both is left with both, the stricter of which counts.
        let text = "
            UPDATE registers SET contact = rows.value->>'address' FROM {rows}
            WHERE registers.contact = rows.value->>'pseudonym' AND NOT EXISTS (
                SELECT 1 FROM registers AS other
                WHERE other.contact = rows.value->>'address' AND other.channel = registers.channel
                    AND other.scope = registers.scope AND other.source = registers.source AND other.lane = registers.lane)";
        self.put(transaction, text, &values).await
    }

    /// Folds the events into the registers: the later one wins, at the same instant the one that suppresses, and
    /// between two that agree the one with the larger id, so that every order gives the same rows.
    pub(super) async fn set_registers<'a>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<()> {
        let folded = fold(events);
        let now = micros(clock::now());
        let values: Vec<_> = folded.values().map(|set| set.row(now)).collect();
        let text = "
            INSERT INTO registers (id, channel, contact, scope, source, lane, suppressed, occurred_at, event_id, kind,
                reason, origin, updated_at)
            SELECT rows.value->>'id', rows.value->>'channel', rows.value->>'contact', rows.value->>'scope', rows.value->>'source',
                rows.value->>'lane', CAST(rows.value->>'suppressed' AS BIGINT),
                CAST(rows.value->>'occurred_at' AS BIGINT), rows.value->>'event_id', rows.value->>'kind',
                rows.value->>'reason', rows.value->>'origin', CAST(rows.value->>'updated_at' AS BIGINT)
            FROM {rows} WHERE TRUE
            ON CONFLICT (contact, channel, scope, source, lane) DO UPDATE SET
                suppressed = excluded.suppressed, occurred_at = excluded.occurred_at, event_id = excluded.event_id,
                kind = excluded.kind, reason = excluded.reason, origin = excluded.origin, updated_at = excluded.updated_at
            WHERE excluded.occurred_at > registers.occurred_at
                OR (excluded.occurred_at = registers.occurred_at AND excluded.suppressed > registers.suppressed)
                OR (excluded.occurred_at = registers.occurred_at AND excluded.suppressed = registers.suppressed
                    AND excluded.event_id > registers.event_id)";
        self.put(transaction, text, &values).await
    }
}

/// One register's new value.
#[derive(Debug, Clone, Copy)]
struct Set<'a> {
    event: &'a Event,
    place: Place<'a>,
    suppressed: bool,
}

/// Contact, channel, scope, source, lane: the register's key, in the key's order.
type Place<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

impl Set<'_> {
    /// What decides which of two values of one register stands.
    fn rank(&self) -> (jiff::Timestamp, bool, String) {
        (
            self.event.occurred_at,
            self.suppressed,
            self.event.id.to_string(),
        )
    }

    fn row(&self, now: i64) -> Value {
        let (contact, channel, scope, source, lane) = self.place;
        // The id is the row's own: it stays when the register is set again.
        json!({ "id": Uuid::now_v7(), "contact": contact, "channel": channel, "scope": scope, "source": source, "lane": lane,
            "suppressed": i64::from(self.suppressed), "occurred_at": micros(self.event.occurred_at), "event_id": self.event.id,
            "kind": self.event.kind, "reason": self.event.reason, "origin": self.event.origin, "updated_at": now })
    }
}

/// The winner per register, in the key's order: one statement must not touch a row twice.
fn fold<'a>(events: impl Iterator<Item = &'a Event>) -> BTreeMap<Place<'a>, Set<'a>> {
    let mut folded: BTreeMap<Place<'a>, Set<'a>> = BTreeMap::new();
    for event in events {
        let Some(contact) = &event.contact else {
            continue;
        };
        for change in event.changes() {
            let place = (
                &*contact.address,
                contact.channel.as_str(),
                change.scope,
                change.source,
                change.lane.as_str(),
            );
            let set = Set {
                event,
                place,
                suppressed: change.suppressed,
            };
            folded
                .entry(place)
                .and_modify(|best| {
                    if set.rank() > best.rank() {
                        *best = set;
                    }
                })
                .or_insert(set);
        }
    }
    folded
}
