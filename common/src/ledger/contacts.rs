//! What was told of one contact, and to whom.

use sqlx::Row;
use uuid::Uuid;

use super::{
    DeliveryRow, Ledger, Result,
    deliveries::{ATTEMPT_COLUMNS, COLUMNS, attempt, listed},
    parsed,
};
use crate::{contact::Contact, delivery::Attempt};

/// The newest events of a contact: `$1` and `$2` its names, `$3` its channel, `$4` how many.
const NEWEST: &str = "(SELECT id AS of_it FROM events WHERE contact IN ($1, $2) AND channel = $3 ORDER BY received_at DESC, id DESC LIMIT $4) AS newest";

impl Ledger {
    /// The deliveries of a contact's newest events, and the attempts at them, each with its delivery; oldest first.
    pub async fn told_of(
        &self,
        contact: &Contact,
        events: i64,
    ) -> Result<(Vec<DeliveryRow>, Vec<(Uuid, Attempt)>)> {
        let ask = |text: String| {
            let (address, pseudonym) = self.names(contact);
            self.query(&text)
                .bind(address)
                .bind(pseudonym)
                .bind(contact.channel.to_string())
                .bind(events)
        };
        let text = format!(
            "SELECT {COLUMNS} FROM {NEWEST} JOIN deliveries ON event_id = of_it ORDER BY created_at, deliveries.id"
        );
        let found = ask(text).fetch_all(&self.pool).await?;
        let deliveries = found.iter().map(listed).collect::<Result<_>>()?;
        let text = format!(
            "SELECT {ATTEMPT_COLUMNS}, delivery_id FROM {NEWEST} JOIN deliveries ON event_id = of_it
                JOIN attempts ON delivery_id = deliveries.id ORDER BY started_at, number"
        );
        let found = ask(text).fetch_all(&self.pool).await?;
        let attempts = found
            .iter()
            .map(|row| {
                let delivery = parsed(&row.try_get::<String, _>("delivery_id")?)?;
                Ok((delivery, attempt(row)?))
            })
            .collect::<Result<_>>()?;
        Ok((deliveries, attempts))
    }
}
