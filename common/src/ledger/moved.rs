//! Contacts that have another address now, as a provider told it: two events of one envelope, of the address before and of the
//! one since. So it is known although one of the two was erased.

use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use super::{Ledger, Result, parsed, rows};
use crate::{contact::Contact, providers::Moves};

/// The changes from these addresses that a provider told of. The name of the event stands in it word for word, as in the
/// condition of the index of just these events; another provider's needs one of its own.
pub(super) fn told_of(moves: Moves) -> String {
    "
    SELECT CAST(rows.value->>'number' AS BIGINT), latter.channel, latter.contact, latter.contact_raw, latter.id
    FROM {rows}
    JOIN events AS former ON former.contact = rows.value->>'contact' AND former.channel = rows.value->>'channel'
        AND former.provider = $2 AND former.provider_event = '{before}'
    JOIN events AS latter ON latter.envelope_id = former.envelope_id AND latter.provider_event = $3
    WHERE latter.contact IS NOT NULL"
        .replace("{before}", moves.before)
}

impl Ledger {
    /// Those of the contacts of which a provider told that they have another address, each with that one and the event that
    /// told of it.
    pub async fn moved(
        &self,
        contacts: &[Contact],
        provider: &str,
        moves: Moves,
    ) -> Result<Vec<(Contact, Contact, Uuid)>> {
        if contacts.is_empty() {
            return Ok(vec![]);
        }
        let asked = (0..).zip(contacts).flat_map(|(number, contact)| {
            self.both_names(contact).map(move |name| {
                json!({ "number": number, "contact": name, "channel": contact.channel })
            })
        });
        let asked = rows(&asked.collect::<Vec<_>>());
        let query = self.query(&told_of(moves)).bind(asked);
        let query = query.bind(provider.to_owned()).bind(moves.since.to_owned());
        let mut found = vec![];
        for row in query.fetch_all(&self.pool).await? {
            let number: i64 = row.try_get(0)?;
            let asked = usize::try_from(number).ok().and_then(|at| contacts.get(at));
            let address: String = row.try_get(2)?;
            let since = Contact {
                channel: parsed(&row.try_get::<String, _>(1)?)?,
                raw: row
                    .try_get::<Option<String>, _>(3)?
                    .unwrap_or_else(|| address.clone()),
                address,
            };
            let event = parsed(&row.try_get::<String, _>(4)?)?;
            found.extend(asked.map(|before| (before.clone(), since, event)));
        }
        Ok(found)
    }
}
