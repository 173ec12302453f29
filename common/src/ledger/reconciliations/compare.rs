//! What is compared: whom a list holds and what the ledger knows of them, a page at a time, by either side's order.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row, any::AnyRow};
use uuid::Uuid;

use crate::{
    contact::{Channel, Contact},
    delivery::{Delivery, State},
    event::{Kind, Lane},
    ledger::{
        Dialect, Ledger, Result, events, in_order, micros, parsed,
        redrive::{self, RESTART},
        rows, timestamp,
    },
};

use super::{Reconciling, moment};

/// Somebody whom a platform lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub contact: Contact,
    pub since: Option<Timestamp>,
    /// Why, and in the platform's words.
    pub lane: Lane,
    pub reason: Option<String>,
}

/// A register, and when it was last set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterRow {
    pub place: Place,
    pub suppressed: bool,
    pub kind: Kind,
    pub occurred_at: Timestamp,
    pub event_id: Uuid,
    /// By the clock of the process that recorded it.
    pub updated_at: Timestamp,
}

/// A register's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it is called by: an address, or what stands in its place.
    pub contact: String,
    pub channel: Channel,
    pub scope: String,
    pub source: String,
    pub lane: Lane,
}

const COLUMNS: &str = "registers.contact AS contact, registers.channel AS channel, scope, source, lane, suppressed, kind, occurred_at,
    event_id, updated_at";

impl Ledger {
    /// The next of those whom the list holds that is being compared, in the order of their addresses, after that one.
    pub async fn next_listed(
        &self,
        reconciliation: Uuid,
        after: Option<&Contact>,
        limit: i64,
    ) -> Result<Vec<Listed>> {
        let text = "
            SELECT contact, channel, since, lane, reason FROM listed
            WHERE reconciliation = $1 AND (contact, channel) > ($2, $3) ORDER BY contact, channel LIMIT $4";
        let (contact, channel) = after.map_or(("", ""), |after| {
            (after.address.as_str(), after.channel.as_str())
        });
        let query = self.query(text).bind(reconciliation.to_string());
        let query = query.bind(contact.to_owned()).bind(channel.to_owned());
        let found = query.bind(limit).fetch_all(&self.pool).await?;
        found.iter().map(listed_of).collect()
    }

    /// The registers of each of these contacts, under either of its names.
    pub async fn registers_of(&self, contacts: &[&Contact]) -> Result<Vec<Vec<RegisterRow>>> {
        self.can_find_erased()?;
        let wanted = (0..).zip(contacts).flat_map(|(number, contact)| {
            self.both_names(contact).map(
                move |name| json!({ "number": number, "contact": name, "channel": contact.channel }),
            )
        });
        let wanted = rows(&wanted.collect::<Vec<_>>());
        let text = format!(
            "SELECT CAST(rows.value->>'number' AS BIGINT) AS number, {COLUMNS} FROM {{rows}} JOIN registers
                ON registers.contact = rows.value->>'contact' AND registers.channel = rows.value->>'channel'"
        );
        let mut answers = vec![vec![]; contacts.len()];
        for row in self.query(&text).bind(wanted).fetch_all(&self.pool).await? {
            let number: i64 = row.try_get("number")?;
            let answer = usize::try_from(number)
                .ok()
                .and_then(|at| answers.get_mut(at));
            if let Some(answer) = answer {
                answer.push(register_of(&row)?);
            }
        }
        Ok(answers)
    }

    /// The next registers that suppress, in the order of their keys, after that one.
    pub async fn suppressing(&self, after: Option<&Place>, limit: i64) -> Result<Vec<RegisterRow>> {
        let text = format!(
            "SELECT {COLUMNS} FROM registers
            WHERE (contact, channel, scope, source, lane) > ($1, $2, $3, $4, $5) AND suppressed = 1
            ORDER BY contact, channel, scope, source, lane LIMIT $6"
        );
        let key = after.map_or([""; 5], |after| {
            [
                &after.contact,
                after.channel.as_str(),
                &after.scope,
                &after.source,
                after.lane.as_str(),
            ]
        });
        let mut query = self.query(&text);
        for part in key {
            query = query.bind(part.to_owned());
        }
        // What PostgreSQL knows of a table may be of when it was empty: by that it sorts for each page all that is left.
        let mut transaction = self.pool.begin().await?;
        if self.dialect == Dialect::Postgres {
            let in_order = self.query("SET LOCAL enable_bitmapscan = off");
            in_order.execute(&mut *transaction).await?;
        }
        let found = query.bind(limit).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        found.iter().map(register_of).collect()
    }

    /// Which of these the list holds that is being compared, by address and channel.
    pub async fn are_listed(
        &self,
        reconciliation: Uuid,
        contacts: &[(&str, Channel)],
    ) -> Result<HashSet<(String, Channel)>> {
        let asked: Vec<_> = contacts
            .iter()
            .map(|(contact, channel)| json!({ "id": contact, "channel": channel }))
            .collect();
        // In this order, and by their addresses: else one of the two would be gone through once for each of the other.
        let text = "
            SELECT listed.contact, listed.channel FROM {rows} CROSS JOIN listed
            WHERE reconciliation = $2 AND listed.contact = rows.value->>'id' AND listed.contact {listed}
                AND listed.channel = rows.value->>'channel'";
        let query = self.query(text).bind(rows(&asked));
        let found = query.bind(reconciliation.to_string());
        let found = found.fetch_all(&self.pool).await?;
        found
            .iter()
            .map(|row| Ok((row.try_get(0)?, parsed(&row.try_get::<String, _>(1)?)?)))
            .collect()
    }

    /// How the deliveries of these events to a target stand, those there are, and when they last moved.
    pub async fn standing_deliveries(
        &self,
        target: &str,
        events: &[Uuid],
    ) -> Result<HashMap<Uuid, (State, Timestamp)>> {
        let text = "
            SELECT event_id, state, moved_at FROM {rows} JOIN deliveries ON deliveries.id = rows.value->>'id' AND deliveries.id {listed}";
        let ids = events.iter().map(|event| Delivery::id_of(*event, target));
        let found = self.query(text).bind(rows(&ordered(ids)));
        let found = found.fetch_all(&self.pool).await?;
        found
            .iter()
            .map(|row| {
                let text = |column| row.try_get::<String, _>(column);
                let moved_at = timestamp(row.try_get(2)?)?;
                Ok((parsed(&text(0)?)?, (parsed(&text(1)?)?, moved_at)))
            })
            .collect()
    }

    /// Puts the deliveries to a target of the events that set these registers back to the start of their schedule, or enters
    /// them where there are none, and returns them for publishing. Only of registers that still stand so. None if the
    /// reconciliation is in other hands.
    pub async fn tell_again(
        &self,
        held: &Reconciling,
        target: &str,
        registers: &[RegisterRow],
    ) -> Result<Option<Vec<Delivery>>> {
        let Some(mut transaction) = self.holding(held).await? else {
            return Ok(None);
        };
        let mut wanted: Vec<_> = registers
            .iter()
            .map(|RegisterRow { place, event_id, .. }| {
                json!({ "id": event_id, "contact": place.contact, "channel": place.channel, "scope": place.scope,
                    "source": place.source, "lane": place.lane })
            })
            .collect();
        in_order(&mut wanted);
        let text = format!(
            "SELECT {}, $2 AS target FROM {{rows}} JOIN events ON events.id = rows.value->>'id' AND events.id {{listed}}
            WHERE EXISTS (
                SELECT 1 FROM registers WHERE registers.contact = rows.value->>'contact'
                    AND registers.channel = rows.value->>'channel' AND registers.scope = rows.value->>'scope'
                    AND registers.source = rows.value->>'source' AND registers.lane = rows.value->>'lane'
                    AND registers.suppressed = 1 AND registers.event_id = rows.value->>'id')",
            events::COLUMNS
        );
        let found = self
            .query(&text)
            .bind(rows(&wanted))
            .bind(target.to_owned());
        let found = found.fetch_all(&mut *transaction).await?;
        let named = |delivery: &Delivery| {
            let contact = delivery.event.contact.as_ref();
            contact.is_some_and(|contact| !contact.is_erased())
        };
        let found = found.iter().map(redrive::delivery_of);
        let found: Vec<_> = found
            .filter(|delivery| delivery.as_ref().map_or(true, named))
            .collect::<Result<_>>()?;
        let told = [(target.to_owned(), State::Pending)];
        let missing = found.iter().map(|delivery| (&delivery.event, &told[..]));
        self.insert_deliveries(&mut transaction, missing).await?;
        let text = format!(
            "UPDATE deliveries SET {RESTART}, moved_at = {{now}}
            FROM {{rows}} WHERE deliveries.id = rows.value->>'id' AND deliveries.id {{listed}} AND erased = 0"
        );
        let ids = ordered(found.iter().map(|delivery| delivery.id));
        let restarted = self.query(&text).bind(rows(&ids));
        restarted.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Some(found))
    }

    /// Those of these contacts that were erased, by address, each with what stands in its place.
    pub async fn erased_of(&self, contacts: &[Contact]) -> Result<HashMap<String, String>> {
        let mut connection = self.pool.acquire().await?;
        self.erased_among(&mut connection, contacts).await
    }

    pub(super) async fn erased_among(
        &self,
        connection: &mut AnyConnection,
        contacts: &[Contact],
    ) -> Result<HashMap<String, String>> {
        let Some(pepper) = &self.pepper else {
            return Ok(HashMap::new());
        };
        let asked: Vec<_> = contacts
            .iter()
            .map(|contact| json!({ "address": contact.address, "pseudonym": pepper.pseudonym(contact) }))
            .collect();
        let text = "
            SELECT DISTINCT rows.value->>'address', audit.contact FROM {rows} JOIN audit
                ON audit.contact = rows.value->>'pseudonym' AND action = 'contact.erase'";
        let found = self.query(text).bind(rows(&asked));
        let found = found.fetch_all(connection).await?;
        found
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }
}

impl Listed {
    pub(super) fn row(&self, reconciliation: Uuid) -> Value {
        json!({ "reconciliation": reconciliation, "contact": self.contact.address, "channel": self.contact.channel,
            "since": self.since.map(micros), "lane": self.lane, "reason": self.reason })
    }
}

fn ordered(ids: impl Iterator<Item = Uuid>) -> Vec<Value> {
    let mut ids: Vec<_> = ids.map(|id| json!({ "id": id })).collect();
    in_order(&mut ids);
    ids
}

fn listed_of(row: &AnyRow) -> Result<Listed> {
    let address: String = row.try_get("contact")?;
    Ok(Listed {
        contact: Contact {
            channel: parsed(&row.try_get::<String, _>("channel")?)?,
            raw: address.clone(),
            address,
        },
        since: moment(row, "since")?,
        lane: parsed(&row.try_get::<String, _>("lane")?)?,
        reason: row.try_get("reason")?,
    })
}

fn register_of(row: &AnyRow) -> Result<RegisterRow> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let at = |column: &str| timestamp(row.try_get(column)?);
    Ok(RegisterRow {
        place: Place {
            contact: text("contact")?,
            channel: parsed(&text("channel")?)?,
            scope: text("scope")?,
            source: text("source")?,
            lane: parsed(&text("lane")?)?,
        },
        suppressed: row.try_get::<i64, _>("suppressed")? == 1,
        kind: parsed(&text("kind")?)?,
        occurred_at: at("occurred_at")?,
        event_id: parsed(&text("event_id")?)?,
        updated_at: at("updated_at")?,
    })
}
