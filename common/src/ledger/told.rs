//! What targets were told of a contact, and when: by it an event is known that only reports such a change back.
//!
//! A target counts as told from the moment at which an attempt at it began, which the ledger knows before the call: so what
//! comes back faster than the outcome is recorded is known, too. An attempt that the target refused for good, or that was
//! not made after all, told it nothing. One that died with its worker is known by its lease, until that is given again.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, any::AnyRow};
use uuid::Uuid;

use super::{Error, Ledger, Result, micros, parsed, rows, timestamp};
use crate::{
    contact::Contact,
    event::{Effect, Event, Kind},
};

/// What is asked of one event and one target.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub event: &'a Event,
    pub target: &'a str,
    /// Attempts that began from then on,
    pub from: Timestamp,
    /// until then; and, whenever that was, those at which the target was told of just the time that the event states, or of a
    /// lift.
    pub to: Timestamp,
}

/// A change that the target was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub event: Uuid,
    pub kind: Kind,
    pub effect: Effect,
    /// What it was told of: [`Event::reach`].
    pub scope: String,
    pub occurred_at: Timestamp,
    /// When an attempt to tell began.
    pub began: Timestamp,
}

/// The scopes of suppressions, as [`Event::reach`] has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounted {
    /// Of those that the target was to be told of.
    pub told: Vec<String>,
    /// Of those that the platform's own source reported.
    pub reported: Vec<String>,
}

/// [`Event::reach`] of a row.
const REACH: &str = "CASE WHEN told.effect = 'suppress' AND told.kind IN ('complained', 'bounced') AND told.register_source IS NULL
    THEN 'global' ELSE told.scope END";

impl Ledger {
    /// The changes of each event's contact that its target was told of, by one query for all. Each is there once for
    /// each attempt.
    pub async fn told(&self, questions: &[Question<'_>]) -> Result<Vec<Vec<Told>>> {
        let asked = (0..).zip(questions).flat_map(|(number, question)| {
            let contact = question.event.contact.as_ref();
            contact.into_iter().flat_map(move |contact| {
                self.both_names(contact).map(move |name| {
                    json!({ "number": number, "contact": name, "channel": contact.channel, "target": question.target,
                        "from": micros(question.from), "to": micros(question.to), "second": second(question.event) })
                })
            })
        });
        let asked = rows(&asked.collect::<Vec<_>>());
        let found = self.query(&told()).bind(asked).fetch_all(&self.pool);
        let mut answers = vec![vec![]; questions.len()];
        for row in found.await? {
            let number: i64 = row.try_get("number")?;
            let number = usize::try_from(number).map_err(|_| Error::Corrupt(number.to_string()))?;
            answers[number].push(told_of(&row)?);
        }
        Ok(answers)
    }

    /// Of each contact, how a platform may have come to suppress it, as far as the ledger knows: of what its target was to be
    /// told, and what the platform's own source, if it has one, reported.
    pub async fn accounted_for(
        &self,
        contacts: &[&Contact],
        target: &str,
        source: Option<&str>,
    ) -> Result<Vec<Accounted>> {
        let asked = (0..).zip(contacts).flat_map(|(number, contact)| {
            self.both_names(contact).map(move |name| {
                json!({ "number": number, "contact": name, "channel": contact.channel, "target": target, "source": source })
            })
        });
        let asked = rows(&asked.collect::<Vec<_>>());
        let found = self
            .query(&accounted_for())
            .bind(asked)
            .fetch_all(&self.pool);
        let mut answers = vec![Accounted::default(); contacts.len()];
        for row in found.await? {
            let number: i64 = row.try_get("number")?;
            let number = usize::try_from(number).map_err(|_| Error::Corrupt(number.to_string()))?;
            let scope = row.try_get("scope")?;
            if row.try_get::<i64, _>("reported")? == 1 {
                answers[number].reported.push(scope);
            } else {
                answers[number].told.push(scope);
            }
        }
        Ok(answers)
    }
}

/// The question: by the index of changes by contact, whose condition stands here word for word. What is no column serves no other
/// index: by that of all opt-outs PostgreSQL would read them all.
pub(super) fn accounted_for() -> String {
    let suppressions = |reported: u8| {
        format!(
            "SELECT CAST(rows.value->>'number' AS BIGINT) AS number, {REACH} AS scope, CAST({reported} AS BIGINT) AS reported
            FROM {{rows}}
            JOIN events AS told ON told.contact = rows.value->>'contact' AND told.channel = rows.value->>'channel'
                AND told.effect <> 'none' AND told.effect || '' = 'suppress'"
        )
    };
    format!(
        "{} AND told.source = rows.value->>'source'
        UNION
        {} JOIN deliveries ON deliveries.event_id = told.id AND deliveries.target = rows.value->>'target'",
        suppressions(1),
        suppressions(0)
    )
}

/// The second that an event states. Many state no more of a time, and none is stated where that of receipt took its place.
fn second(event: &Event) -> Option<i64> {
    (!event.time_assumed).then(|| event.occurred_at.as_second())
}

/// The question: by the index of changes by contact, then of deliveries by event, then of attempts by delivery.
pub(super) fn told() -> String {
    // Of the last one the database's clock tells when leave was taken. That of the process that made it may be wrong.
    let ended = arm(
        "JOIN attempts ON attempts.delivery_id = deliveries.id",
        "CASE WHEN attempts.number = deliveries.attempts_ever AND deliveries.lease_until IS NULL
            THEN COALESCE(deliveries.leased_at, attempts.started_at) ELSE attempts.started_at END",
        "attempts.outcome IN ('done', 'retry')",
    );
    let under_way = arm(
        "",
        "deliveries.leased_at",
        "deliveries.lease_until IS NOT NULL",
    );
    format!("{ended} UNION ALL {under_way}")
}

fn arm(join: &str, began: &str, condition: &str) -> String {
    format!(
        "SELECT CAST(rows.value->>'number' AS BIGINT) AS number, told.id AS event, told.kind AS kind, told.effect AS effect,
            {REACH} AS scope, told.occurred_at AS occurred_at, {began} AS began
        FROM {{rows}}
        JOIN events AS told ON told.contact = rows.value->>'contact' AND told.channel = rows.value->>'channel'
            AND told.effect <> 'none'
        JOIN deliveries ON deliveries.event_id = told.id AND deliveries.target = rows.value->>'target'
        {join}
        WHERE {condition}
            AND ({began} BETWEEN CAST(rows.value->>'from' AS BIGINT) AND CAST(rows.value->>'to' AS BIGINT)
                OR told.occurred_at / 1000000 = CAST(rows.value->>'second' AS BIGINT)
                OR told.effect = 'clear')"
    )
}

fn told_of(row: &AnyRow) -> Result<Told> {
    let text = |column: &str| row.try_get::<String, _>(column);
    Ok(Told {
        event: parsed(&text("event")?)?,
        kind: parsed(&text("kind")?)?,
        effect: parsed(&text("effect")?)?,
        scope: text("scope")?,
        occurred_at: timestamp(row.try_get("occurred_at")?)?,
        began: timestamp(row.try_get("began")?)?,
    })
}
