//! Whose an event is, of several envelopes that brought it.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use sqlx::{Any, Row, Transaction, any::AnyRow};
use uuid::Uuid;

use super::{
    Entry, Ledger, Recorded, Result, in_order, parsed, pepper::NAMES_ERASED, record::events,
};
use crate::{contact::Contact, event::Event};

/// An event that the ledger has.
pub(super) struct Known {
    pub(super) owner: Uuid,
    pub(super) fingerprint: i64,
    pub(super) erased: bool,
    pub(super) is_echo: bool,
}

/// Finds events by their ids.
pub(super) fn known() -> String {
    format!(
        "SELECT events.id, events.envelope_id, events.fingerprint,
            CAST(CASE WHEN {NAMES_ERASED} THEN 1 ELSE 0 END AS BIGINT), events.echo_of
        FROM {{rows}} JOIN events ON events.id = rows.value->>'id' AND events.id {{listed}}"
    )
}

impl Ledger {
    /// What the ledger has of the entries' events: the primary key has decided who owns each.
    pub(super) async fn known(
        &self,
        transaction: &mut Transaction<'_, Any>,
        entries: &[Entry<'_>],
    ) -> Result<HashMap<Uuid, Known>> {
        let repeated = entries
            .iter()
            .flat_map(|entry| entry.duplicates.iter().copied());
        let ids: Vec<_> = events(entries)
            .map(|event| event.id)
            .chain(repeated)
            .map(|id| json!({ "id": id }))
            .collect();
        let text = known();
        let mut found = vec![];
        for ids in self.parameters(&ids) {
            let query = self.query(&text).bind(ids);
            found.extend(query.fetch_all(&mut **transaction).await?);
        }
        let known = |row: &AnyRow| {
            let known = Known {
                owner: parsed(&row.try_get::<String, _>(1)?)?,
                fingerprint: row.try_get(2)?,
                erased: row.try_get::<i64, _>(3)? == 1,
                is_echo: row.try_get::<Option<String>, _>(4)?.is_some(),
            };
            Ok((parsed(&row.try_get::<String, _>(0)?)?, known))
        };
        found.iter().map(known).collect()
    }

    /// Notes which envelopes brought an event again, so that its contact can be found in them, too.
    pub(super) async fn note_repeats(
        &self,
        transaction: &mut Transaction<'_, Any>,
        entries: &[Entry<'_>],
        recorded: &[Recorded],
    ) -> Result<()> {
        let brought = entries.iter().flat_map(|entry| &entry.events).zip(recorded);
        let repeated = brought
            .filter(|((event, _), recorded)| {
                matches!(recorded, Recorded::Duplicate { owner, .. } if *owner != event.envelope_id)
            })
            .map(|((event, _), _)| (event.id, event.envelope_id));
        let by_claim = entries.iter().flat_map(|entry| {
            let envelope = entry.envelope.id;
            entry.duplicates.iter().map(move |id| (*id, envelope))
        });
        let mut values: Vec<_> = repeated
            .chain(by_claim)
            .map(|(event, envelope)| json!({ "id": event, "envelope": envelope }))
            .collect();
        in_order(&mut values);
        let text = "
            INSERT INTO repeats (event_id, envelope_id)
            SELECT rows.value->>'id', rows.value->>'envelope' FROM {rows} WHERE TRUE
            ON CONFLICT (event_id, envelope_id) DO NOTHING";
        self.put(transaction, text, &values).await
    }
}

/// What the ledger says of each of the entries' events.
pub(super) fn decided(entries: &[Entry<'_>], known: &HashMap<Uuid, Known>) -> Vec<Recorded> {
    // The same event twice in one envelope is one event: the second is a duplicate of the first.
    let mut seen = HashSet::new();
    let decided = events(entries).map(|event| match known.get(&event.id) {
        Some(known) if known.erased && !names_erased(event) => Recorded::Erased,
        Some(known) if known.owner != event.envelope_id || !seen.insert(event.id) => {
            Recorded::Duplicate {
                owner: known.owner,
                conflicting: known.fingerprint != event.fingerprint(),
            }
        }
        Some(known) if known.is_echo => Recorded::Echo,
        _ => Recorded::Owned,
    });
    decided.collect()
}

/// Whether the event itself is one of a contact that was erased, as a lift by hand may be.
fn names_erased(event: &Event) -> bool {
    event.contact.as_ref().is_some_and(Contact::is_erased)
}
