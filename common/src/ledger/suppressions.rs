//! The suppression list: the registers as people see them, and which of them say "do not send".

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{
    Any, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Error, Ledger, Page, Result, events, micros, page::Cursor, parsed, rows, timestamp};
use crate::{
    contact::{Channel, Contact},
    event::{Event, Kind, Lane, Origin},
    names::names,
};

names! {
    /// Whether a suppression stands.
    Standing { Active = "active", Lifted = "lifted" }
}

/// A suppression, standing or lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Suppression {
    pub id: Uuid,
    pub state: Standing,
    pub channel: Channel,
    pub contact: String,
    pub scope: String,
    pub source: String,
    pub lane: Lane,
    /// When what it says now happened.
    pub occurred_at: Timestamp,
    /// The event that set it.
    pub event_id: Uuid,
    pub kind: Kind,
    pub reason: Option<String>,
    pub origin: Origin,
}

/// Which suppressions are listed; what is None does not filter.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SuppressionFilter {
    #[param(ignore)]
    pub contact: Option<Contact>,
    pub scope: Option<String>,
    pub source: Option<String>,
    #[param(inline)]
    pub lane: Option<Lane>,
    #[param(inline)]
    pub kind: Option<Kind>,
    pub reason: Option<String>,
    #[param(inline)]
    pub origin: Option<Origin>,
    #[param(inline)]
    pub state: Option<Standing>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// Which of many contacts are suppressed, by the key of `registers`, which begins with the contact.
pub(super) const CHECK_ALL: &str = "
    SELECT DISTINCT rows.value->>'asked', registers.channel
    FROM {rows} JOIN registers
        ON registers.contact = rows.value->>'contact' AND registers.channel = rows.value->>'channel'
    WHERE suppressed = 1 AND ($2 IS NULL OR scope = $2 OR scope = 'global')";

/// The columns that [`suppression`] reads.
const COLUMNS: &str = "registers.id AS id, suppressed, registers.channel AS channel, registers.contact AS contact, scope, source, lane,
    occurred_at, event_id, kind, reason, origin";

impl Ledger {
    /// What suppresses a contact in `scope`: that scope's registers and the global ones. Without a scope, whatever
    /// suppresses it anywhere: the strictest answer.
    pub async fn check(&self, contact: &Contact, scope: Option<&str>) -> Result<Vec<Suppression>> {
        let mut answers = self.check_each(&[(contact, scope)]).await?;
        Ok(answers.swap_remove(0))
    }

    /// The same of each of these contacts, each in a scope of its own, by one query.
    pub async fn check_each(
        &self,
        questions: &[(&Contact, Option<&str>)],
    ) -> Result<Vec<Vec<Suppression>>> {
        self.can_find_erased()?;
        let wanted = (0..).zip(questions).flat_map(|(number, (contact, scope))| {
            self.both_names(contact).map(move |name| {
                json!({ "number": number, "contact": name, "channel": contact.channel, "scope": scope })
            })
        });
        // One statement, however large: a contact that is given its other name between two might be found by neither.
        let wanted = rows(&wanted.collect::<Vec<_>>());
        let query = self.query(&check_each()).bind(wanted);
        let found = query.fetch_all(&self.pool).await?;
        let mut answers = vec![vec![]; questions.len()];
        for row in found {
            let number: i64 = row.try_get("number")?;
            let number = usize::try_from(number).map_err(|_| Error::Corrupt(number.to_string()))?;
            answers[number].push(Suppression {
                contact: questions[number].0.address.clone(),
                ..suppression(&row)?
            });
        }
        Ok(answers)
    }

    /// Which of these contacts [`Ledger::check`] would find suppressed, in their order, by one query.
    pub async fn check_all(&self, contacts: &[Contact], scope: Option<&str>) -> Result<Vec<bool>> {
        self.can_find_erased()?;
        let query = self.query(CHECK_ALL).bind(rows(&self.wanted(contacts)));
        let found = query
            .bind(scope.map(str::to_owned))
            .fetch_all(&self.pool)
            .await?;
        let suppressed = found
            .iter()
            .map(|row| Ok((row.try_get(0)?, parsed(&row.try_get::<String, _>(1)?)?)))
            .collect::<Result<HashSet<(String, Channel)>>>()?;
        let answer =
            |contact: &Contact| suppressed.contains(&(contact.address.clone(), contact.channel));
        Ok(contacts.iter().map(answer).collect())
    }

    /// Every suppression of these contacts, standing or lifted: what a change to one of them replaces. One of a contact
    /// that was erased is told by the address that was asked for.
    pub async fn registers(&self, contacts: &[Contact]) -> Result<Vec<Suppression>> {
        let text = format!(
            "SELECT {COLUMNS}, rows.value->>'asked' AS asked FROM {{rows}} JOIN registers
                ON registers.contact = rows.value->>'contact' AND registers.channel = rows.value->>'channel'
            ORDER BY registers.contact, scope, source, lane"
        );
        let found = self.query(&text).bind(rows(&self.wanted(contacts)));
        let as_asked = |row: &AnyRow| {
            Ok(Suppression {
                contact: row.try_get("asked")?,
                ..suppression(row)?
            })
        };
        found
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(as_asked)
            .collect()
    }

    /// The contacts to be looked for, each under both of its names.
    fn wanted(&self, contacts: &[Contact]) -> Vec<Value> {
        let names = contacts.iter().flat_map(|contact| {
            self.both_names(contact).map(
                move |name| json!({ "contact": name, "asked": contact.address, "channel": contact.channel }),
            )
        });
        names.collect()
    }

    pub(super) fn both_names(&self, contact: &Contact) -> impl Iterator<Item = String> + use<> {
        let (address, pseudonym) = self.names(contact);
        [Some(address), pseudonym].into_iter().flatten()
    }
}

impl Ledger {
    /// Lists suppressions, standing and lifted, newest first by when what they say happened.
    pub async fn suppressions(
        &self,
        filter: &SuppressionFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<Suppression>> {
        let after = Cursor::read(cursor, filter.to)?;
        // The cursor has that bound in it.
        let filter = SuppressionFilter {
            to: None,
            ..filter.clone()
        };
        let query = self.listed(&filter, Order::NewestFirst, after.id, limit + 1);
        let found = query.bind(after.at).fetch_all(&self.pool).await?;
        Page::of(&found, limit, suppression, |item| {
            (item.occurred_at, item.id)
        })
    }

    /// Suppressions in the order of their ids, which never change: read page by page to the end, each that stands in the
    /// list all the while is told once, however many change their times meanwhile. `after` is the last of the page before.
    pub async fn every_suppression(
        &self,
        filter: &SuppressionFilter,
        limit: usize,
        after: Option<Uuid>,
    ) -> Result<Vec<Suppression>> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let query = self.listed(filter, Order::ById, after, limit);
        let found = query.fetch_all(&self.pool).await?;
        found.iter().map(suppression).collect()
    }

    /// One suppression, standing or lifted.
    pub async fn suppression(&self, id: Uuid) -> Result<Option<Suppression>> {
        let text = format!("SELECT {COLUMNS} FROM registers WHERE id = $1");
        let row = self.query(&text).bind(id.to_string());
        let row = row.fetch_optional(&self.pool).await?;
        row.as_ref().map(suppression).transpose()
    }

    /// The events that set this suppression or tried to, oldest first: at most the last `limit` of those that set
    /// anything of its contact's.
    pub async fn history(&self, suppression: &Suppression, limit: i64) -> Result<Vec<Event>> {
        let contact = Contact {
            channel: suppression.channel,
            address: suppression.contact.clone(),
            raw: String::new(),
        };
        let (address, pseudonym) = self.names(&contact);
        let text = format!(
            "SELECT {} FROM events
            WHERE contact IN ($1, $2) AND channel = $3 AND effect <> 'none' AND COALESCE(register_source, source) = $4
            ORDER BY occurred_at DESC, id DESC LIMIT $5",
            events::COLUMNS
        );
        let query = self
            .query(&text)
            .bind(address)
            .bind(pseudonym)
            .bind(suppression.channel.to_string())
            .bind(suppression.source.clone())
            .bind(limit);
        let found = query.fetch_all(&self.pool).await?;
        let mut events = found
            .iter()
            .map(events::event_of)
            .collect::<Result<Vec<_>>>()?;
        events.retain(|event| {
            let mut changes = event.changes().into_iter();
            changes.any(|change| {
                (change.scope, change.lane) == (suppression.scope.as_str(), suppression.lane)
            })
        });
        events.reverse();
        Ok(events)
    }

    /// The question for [`listing`], but for the time that a page begins at.
    fn listed(
        &self,
        filter: &SuppressionFilter,
        order: Order,
        after: String,
        limit: usize,
    ) -> Query<'static, Any, AnyArguments> {
        let (address, pseudonym) = filter
            .contact
            .as_ref()
            .map(|contact| self.names(contact))
            .unzip();
        let active = |state| i64::from(state == Standing::Active);
        self.query(&listing(filter, order))
            .bind(address)
            .bind(pseudonym.flatten())
            .bind(filter.scope.clone())
            .bind(filter.source.clone())
            .bind(filter.lane.map(|lane| lane.to_string()))
            .bind(filter.kind.map(|kind| kind.to_string()))
            .bind(filter.reason.clone())
            .bind(filter.origin.map(|origin| origin.to_string()))
            .bind(filter.state.map(active))
            .bind(filter.from.map(micros))
            .bind(filter.to.map(micros))
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    }
}

/// In which order a list is read; each is that of an index.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    NewestFirst,
    ById,
}

/// One page of the suppressions that match. A condition is written out only where it is asked for: a database that plans
/// for any filter at once expects few rows of each, and would rather sort them than read them in the order of an index.
pub(super) fn listing(filter: &SuppressionFilter, order: Order) -> String {
    let (time, page) = match order {
        Order::NewestFirst => (
            "occurred_at",
            "(occurred_at, id) < ($14, $12) ORDER BY occurred_at DESC, id DESC",
        ),
        // The plus keeps the index on the time out of it, for the same reason.
        Order::ById => ("+occurred_at", "id > $12 ORDER BY id"),
    };
    let conditions = [
        (filter.scope.is_some(), "scope ="),
        (filter.source.is_some(), "source ="),
        (filter.lane.is_some(), "lane ="),
        (filter.kind.is_some(), "kind ="),
        (filter.reason.is_some(), "reason ="),
        (filter.origin.is_some(), "origin ="),
        (filter.state.is_some(), "suppressed ="),
        (filter.from.is_some(), &format!("{time} >=")),
        (filter.to.is_some(), &format!("{time} <")),
    ];
    // Of the other channel no address or what stands for one can be.
    let contact = if filter.contact.is_some() {
        "contact IN ($1, $2)"
    } else {
        "$1 IS NULL AND $2 IS NULL"
    };
    let conditions: Vec<_> = (3..)
        .zip(conditions)
        .map(|(place, (asked, condition))| {
            if asked {
                format!("{condition} ${place}")
            } else {
                format!("${place} IS NULL")
            }
        })
        .collect();
    // They are few, and have an index, which is used only where a query says just that.
    let lifted = match (filter.state, order) {
        (Some(Standing::Lifted), Order::NewestFirst) => "AND suppressed = 0",
        _ => "",
    };
    format!(
        "SELECT {COLUMNS} FROM registers WHERE {contact} AND {} {lifted} AND {page} LIMIT $13",
        conditions.join(" AND ")
    )
}

/// What suppresses each of many contacts, each in a scope of its own, by the same key as [`CHECK_ALL`].
pub(super) fn check_each() -> String {
    format!(
        "SELECT {COLUMNS}, CAST(rows.value->>'number' AS BIGINT) AS number
        FROM {{rows}} JOIN registers
            ON registers.contact = rows.value->>'contact' AND registers.channel = rows.value->>'channel'
        WHERE suppressed = 1
            AND (rows.value->>'scope' IS NULL OR scope = rows.value->>'scope' OR scope = 'global')
        ORDER BY number, scope, source, lane"
    )
}

fn suppression(row: &AnyRow) -> Result<Suppression> {
    let needed = |column: &str| row.try_get::<String, _>(column);
    Ok(Suppression {
        id: parsed(&needed("id")?)?,
        state: if row.try_get::<i64, _>("suppressed")? == 1 {
            Standing::Active
        } else {
            Standing::Lifted
        },
        channel: parsed(&needed("channel")?)?,
        contact: needed("contact")?,
        scope: needed("scope")?,
        source: needed("source")?,
        lane: parsed(&needed("lane")?)?,
        occurred_at: timestamp(row.try_get("occurred_at")?)?,
        event_id: parsed(&needed("event_id")?)?,
        kind: parsed(&needed("kind")?)?,
        reason: row.try_get("reason")?,
        origin: parsed(&needed("origin")?)?,
    })
}
