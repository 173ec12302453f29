//! Erasure on request: what names a contact goes, and a hash with a key stays in its place, which still suppresses.
//!
//! What goes: the address in events, suppressions, submissions, what reconciliations found and the audit trail, whatever was
//! said beside it (reasons, metadata, notes, what targets answered), and the requests that brought it, whole. What stays: that
//! something happened, when, of what kind, who was told, and the hash ([`Pepper`](super::pepper)). A check by the address finds
//! the hash; when an event names the contact again, its suppressions are called by the address again
//! ([`Ledger::call_by_address`]).
//!
//! All in one transaction: if the process dies before its commit nothing has happened, and done twice it finds nothing
//! the second time. It is recorded in the audit trail in the same transaction.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::{Any, Row, Transaction};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Act, Ledger, Result, micros, parsed, pepper::Pepper, rows, wrong_pepper};
use crate::{clock, contact::Contact, request::SOURCE};

/// The most that are named of what stands in the way.
const NAMED: i64 = 20;

/// By then the worker has routed a change, or its sweep has found that it did not.
const ROUTED_AFTER: Duration = Duration::from_mins(20);

/// Bodies in quarantine that are looked through together.
const PAGE: i64 = 100;

/// Who asks for an erasure, and how.
#[derive(Debug, Clone)]
pub struct Request {
    pub actor: String,
    /// Such as the number of the request. Kept for good, so it is not to be personal.
    pub reference: Option<String>,
    /// Do it although what would still be done about the contact is then never done.
    pub force: bool,
}

/// What came of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erased {
    Done(Erasure),
    /// Not done: targets are still to be told of opt-outs by the contact's address, or bodies that name it wait in
    /// quarantine to be read. The first of them.
    Waits {
        deliveries: Vec<Uuid>,
        /// Changes of the api that may not be on their way to the targets yet.
        changes: Vec<Uuid>,
        quarantined: Vec<Uuid>,
    },
    /// Not done: no pepper is configured.
    NoPepper,
}

/// How many rows were erased of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Erasure {
    /// What stands in the address's place.
    pub contact: String,
    pub suppressions: u64,
    pub events: u64,
    /// Requests as they came, whole: those that named other contacts, too.
    pub envelopes: u64,
    pub deliveries: u64,
    pub submissions: u64,
    pub audit_records: u64,
    /// Other contacts of the submissions: the same person's, perhaps, and erased by a request of their own.
    pub linked: Vec<String>,
}

/// One erasure under way.
struct Work<'a> {
    ledger: &'a Ledger,
    transaction: Transaction<'static, Any>,
    address: String,
    pseudonym: String,
}

impl Ledger {
    /// Erases a contact. It waits for what is still to be done about it unless it is told not to.
    pub async fn erase(&self, contact: &Contact, request: &Request) -> Result<Erased> {
        let Some(pepper) = &self.pepper else {
            return Ok(Erased::NoPepper);
        };
        let naming = self.quarantined_naming(contact).await?;
        let mut work = Work {
            ledger: self,
            transaction: self.begin().await?,
            address: contact.address.clone(),
            pseudonym: pepper.pseudonym(contact),
        };
        work.keep_pepper(pepper).await?;
        if !request.force {
            let deliveries = work.still_told().await?;
            let changes = work.not_routed().await?;
            let mut quarantined = work.held_beside().await?;
            quarantined.extend(naming.iter().map(|(entry, _)| *entry));
            quarantined.sort_unstable();
            quarantined.dedup();
            if !(deliveries.is_empty() && changes.is_empty() && quarantined.is_empty()) {
                return Ok(Erased::Waits {
                    deliveries,
                    changes,
                    quarantined,
                });
            }
        }
        let erasure = work.everything(&naming).await?;
        work.record(contact, request, &erasure).await?;
        work.transaction.commit().await?;
        Ok(Erased::Done(erasure))
    }

    /// The entries held in quarantine whose request names the contact, each with its envelope. All bodies are looked at:
    /// there are few, and what they say is not known otherwise.
    async fn quarantined_naming(&self, contact: &Contact) -> Result<Vec<(Uuid, Uuid)>> {
        let text = "
            SELECT quarantine.id, envelope_id, body, headers FROM quarantine JOIN envelopes ON envelopes.id = envelope_id
            WHERE state = 'held' AND quarantine.id > $1 ORDER BY quarantine.id LIMIT $2";
        let (mut found, mut after) = (vec![], String::new());
        loop {
            let page = self.query(text).bind(after.clone()).bind(PAGE);
            let page = page.fetch_all(&self.pool).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = last.try_get(0)?;
            for row in &page {
                // What a link says stands in a header.
                let headers: String = row.try_get(3)?;
                if names(&row.try_get::<Vec<u8>, _>(2)?, &contact.address)
                    || names(headers.as_bytes(), &contact.address)
                {
                    let id = |column| parsed(&row.try_get::<String, _>(column)?);
                    found.push((id(0)?, id(1)?));
                }
            }
        }
    }
}

/// Whether a body names an address, also where a form or JSON has escaped its `@` or its `+`.
fn names(body: &[u8], address: &str) -> bool {
    let mut text = String::from_utf8_lossy(body).to_lowercase();
    for (escaped, plain) in [
        ("%40", "@"),
        ("\\u0040", "@"),
        ("%2b", "+"),
        ("\\u002b", "+"),
    ] {
        text = text.replace(escaped, plain);
    }
    text.contains(address)
}

/// The contact's events, and the envelopes that brought them, first or again.
const EVENTS: &str = "SELECT id FROM events WHERE contact = $1";
const ENVELOPES: &str = "
    SELECT envelope_id FROM events WHERE contact = $1
    UNION SELECT repeats.envelope_id FROM events JOIN repeats ON repeats.event_id = events.id WHERE contact = $1";

impl Work<'_> {
    /// Notes the pepper, or finds that contacts were erased by another.
    async fn keep_pepper(&mut self, pepper: &Pepper) -> Result<()> {
        let insert =
            "INSERT INTO pepper (only_one, id) VALUES (1, $1) ON CONFLICT (only_one) DO NOTHING";
        self.run(insert, &[pepper.id()]).await?;
        let kept: String = sqlx::query_scalar("SELECT id FROM pepper")
            .fetch_one(&mut *self.transaction)
            .await?;
        if kept == pepper.id() {
            Ok(())
        } else {
            Err(wrong_pepper())
        }
    }

    /// Deliveries by which a target is still to hear of an opt-out or of a lift, dead ones, too.
    async fn still_told(&mut self) -> Result<Vec<Uuid>> {
        let text = "
            SELECT deliveries.id FROM events JOIN deliveries ON event_id = events.id
            WHERE contact = $1 AND effect <> 'none' AND state <> 'delivered' AND deliveries.erased = 0
            ORDER BY deliveries.id LIMIT $2";
        self.ids(text).await
    }

    /// Changes that the api has recorded of late and that no target is being told of: the worker may still have to route
    /// them, which it does by the address.
    async fn not_routed(&mut self) -> Result<Vec<Uuid>> {
        let since = clock::now().checked_sub(ROUTED_AFTER).map_or(0, micros);
        let text = format!(
            "SELECT id FROM events WHERE contact = $1 AND source = '{SOURCE}' AND effect <> 'none'
                AND recorded_at > {since} AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = events.id)
            ORDER BY id LIMIT $2"
        );
        self.ids(&text).await
    }

    /// Held entries of envelopes that brought the contact's events: erasing those would take the rest along.
    async fn held_beside(&mut self) -> Result<Vec<Uuid>> {
        let text = format!(
            "SELECT id FROM quarantine WHERE state = 'held' AND envelope_id IN ({ENVELOPES}) ORDER BY id LIMIT $2"
        );
        self.ids(&text).await
    }

    async fn everything(&mut self, quarantined: &[(Uuid, Uuid)]) -> Result<Erasure> {
        let linked = self.linked().await?;
        let (address, pseudonym) = (self.address.clone(), self.pseudonym.clone());
        let (one, both) = ([&*address], [&*address, &*pseudonym]);
        let envelopes = self.envelopes(quarantined).await?;
        self.run(
            &format!("UPDATE attempts SET error = NULL, answer = NULL WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id IN ({EVENTS}))"),
            &one,
        )
        .await?;
        let deliveries = format!(
            "UPDATE deliveries SET erased = 1, next_attempt_at = NULL, lease_owner = NULL, lease_until = NULL,
                last_error = CASE WHEN state = 'delivered' THEN NULL ELSE 'the contact was erased' END,
                state = CASE WHEN state = 'delivered' THEN state ELSE 'dead' END
            WHERE event_id IN ({EVENTS})"
        );
        let deliveries = self.run(&deliveries, &one).await?;
        let suppressions = self.registers().await?;
        let submissions = "
            UPDATE submissions SET email = NULL, email_raw = NULL, phone = NULL, phone_raw = NULL, metadata = '{}'
            WHERE email = $1 OR phone = $1";
        let submissions = self.run(submissions, &one).await?;
        // What is left of a record is in its hash: the chain stays whole.
        let audit =
            "UPDATE audit SET contact = $2, personal = NULL, salt = NULL WHERE contact = $1";
        let audit_records = self.run(audit, &both).await?;
        let differences =
            "UPDATE differences SET contact = $2, listed_reason = NULL WHERE contact = $1";
        self.run(differences, &both).await?;
        let listed = "DELETE FROM listed WHERE contact = $1 AND reconciliation IN (
            SELECT id FROM reconciliations)";
        self.run(listed, &one).await?;
        // Last, since the others are found by it.
        let events = "
            UPDATE events SET contact = $2, contact_raw = NULL, reason = NULL, message_id = NULL, campaign_id = NULL,
                provider_event_id = NULL, metadata = '{}', fingerprint = 0
            WHERE contact = $1";
        let events = self.run(events, &both).await?;
        Ok(Erasure {
            contact: pseudonym,
            suppressions,
            events,
            envelopes,
            deliveries,
            submissions,
            audit_records,
            linked,
        })
    }

    /// Empties the envelopes that brought the contact's events, and those in quarantine that name it.
    async fn envelopes(&mut self, quarantined: &[(Uuid, Uuid)]) -> Result<u64> {
        let address = self.address.clone();
        let reason =
            format!("UPDATE quarantine SET reason = 'erased' WHERE envelope_id IN ({ENVELOPES})");
        self.run(&reason, &[&address]).await?;
        let emptied = "erased = 1, body = CAST('' AS {bytes}), headers = '[]'";
        let text =
            format!("UPDATE envelopes SET {emptied} WHERE erased = 0 AND id IN ({ENVELOPES})");
        let brought = self.run(&text, &[&address]).await?;
        let ids: Vec<_> = quarantined
            .iter()
            .map(|(entry, envelope)| json!({ "entry": entry, "envelope": envelope }))
            .collect();
        let ids = rows(&ids);
        let reason = "UPDATE quarantine SET reason = 'erased' FROM {rows} WHERE quarantine.id = rows.value->>'entry'";
        self.run(reason, &[&ids]).await?;
        let text = format!(
            "UPDATE envelopes SET {emptied} WHERE erased = 0
                AND id IN (SELECT rows.value->>'envelope' FROM {{rows}})"
        );
        Ok(brought + self.run(&text, &[&ids]).await?)
    }

    /// Calls the registers by the hash. Where there is one of that name already, as when a check of two processes
    /// crossed, the later of the two stays.
    async fn registers(&mut self) -> Result<u64> {
        let (address, pseudonym) = (self.address.clone(), self.pseudonym.clone());
        let both = [&*address, &*pseudonym];
        let same_place = "other.channel = registers.channel AND other.scope = registers.scope
            AND other.source = registers.source AND other.lane = registers.lane";
        let rank = |of: &str| format!("({of}.occurred_at, {of}.suppressed, {of}.event_id)");
        for (name, other) in [("$2", "$1"), ("$1", "$2")] {
            let text = format!(
                "DELETE FROM registers WHERE contact = {name} AND EXISTS (
                    SELECT 1 FROM registers AS other WHERE other.contact = {other} AND {same_place}
                        AND {} <= {})",
                rank("registers"),
                rank("other")
            );
            self.run(&text, &both).await?;
        }
        let text = "UPDATE registers SET contact = $2, reason = NULL WHERE contact = $1";
        self.run(text, &both).await
    }

    /// The other contacts of the submissions that name this one.
    async fn linked(&mut self) -> Result<Vec<String>> {
        let text = "
            SELECT phone FROM submissions WHERE email = $1 AND phone IS NOT NULL
            UNION SELECT email FROM submissions WHERE phone = $1 AND email IS NOT NULL";
        let found = self.ledger.query(text).bind(self.address.clone());
        let found = found.fetch_all(&mut *self.transaction).await?;
        let mut linked = found
            .iter()
            .map(|row| Ok(row.try_get(0)?))
            .collect::<Result<Vec<_>>>()?;
        linked.sort_unstable();
        Ok(linked)
    }

    async fn record(
        &mut self,
        contact: &Contact,
        request: &Request,
        erasure: &Erasure,
    ) -> Result<()> {
        let details = json!({
            "reference": request.reference, "force": request.force, "events": erasure.events,
            "suppressions": erasure.suppressions, "envelopes": erasure.envelopes, "deliveries": erasure.deliveries,
            "submissions": erasure.submissions, "audit_records": erasure.audit_records,
        });
        let act = Act {
            actor: request.actor.clone(),
            action: "contact.erase",
            subject: None,
            details: match details {
                Value::Object(details) => details,
                _ => Map::new(),
            },
            contact: Some(Contact {
                channel: contact.channel,
                address: self.pseudonym.clone(),
                raw: String::new(),
            }),
            personal: Map::new(),
        };
        self.ledger.chain(&mut self.transaction, &[act]).await
    }

    /// Runs a statement with these texts, and says how many rows it touched.
    async fn run(&mut self, text: &str, values: &[&str]) -> Result<u64> {
        let mut query = self.ledger.query(text);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        let done = query.execute(&mut *self.transaction).await?;
        Ok(done.rows_affected())
    }

    /// The ids that a question about the contact gives.
    async fn ids(&mut self, text: &str) -> Result<Vec<Uuid>> {
        let query = self
            .ledger
            .query(text)
            .bind(self.address.clone())
            .bind(NAMED);
        let found = query.fetch_all(&mut *self.transaction).await?;
        found
            .iter()
            .map(|row| parsed(&row.try_get::<String, _>(0)?))
            .collect()
    }
}
