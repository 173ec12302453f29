//! Deliveries as they are listed and counted, with the attempts at them.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Ledger, Page, Result, micros, page::Cursor, parsed, timestamp};
use crate::{
    delivery::{Attempt, State},
    event::Kind,
};

/// A delivery as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryRow {
    pub id: Uuid,
    pub event_id: Uuid,
    pub target: String,
    pub kind: Kind,
    pub state: State,
    /// How many were made, ever.
    #[serde(rename = "attempts_made")]
    pub attempts: i64,
    pub next_attempt_at: Option<Timestamp>,
    pub last_status: Option<i64>,
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
    /// Its contact was erased: it is not told again.
    pub erased: bool,
}

/// Which deliveries are listed; what is None does not filter.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryFilter {
    pub target: Option<String>,
    #[param(inline)]
    pub state: Option<State>,
    #[param(inline)]
    pub kind: Option<Kind>,
    pub event: Option<Uuid>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

pub(super) const COLUMNS: &str = "id, event_id, target, kind, state, attempts_ever, next_attempt_at, last_status, last_error, created_at, delivered_at, erased";

/// What no index over the finished ones has.
const UNFINISHED: &str = "state <> 'delivered'";

/// The condition on a state, worded as the partial index that serves it: SQLite uses one only where a query says just that.
/// Pending ones have none of their own, which every delivery would enter and leave: they are the newest, so a list walks
/// from there.
pub(super) fn in_state(state: State) -> String {
    match state {
        State::Delivered => "state = 'delivered'".to_owned(),
        State::Pending => format!("{UNFINISHED} AND state = 'pending'"),
        State::Retrying | State::Parked | State::Dead => {
            format!("{UNFINISHED} AND state <> 'pending' AND state = '{state}'")
        }
    }
}

/// Selects deliveries in one of `states`, each by an index of its own.
pub(super) fn union(columns: &str, states: &[String], condition: &str, order: &str) -> String {
    let arms: Vec<_> = states
        .iter()
        .map(|state| {
            format!("SELECT * FROM (SELECT {columns} FROM deliveries WHERE {state} AND {condition} {order}) AS arm")
        })
        .collect();
    arms.join(" UNION ALL ")
}

/// The columns that [`attempt`] reads, in this order.
pub(super) const ATTEMPT_COLUMNS: &str =
    "number, started_at, duration_ms, outcome, status, error, answer";

impl Ledger {
    /// Lists deliveries, newest first.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<DeliveryRow>> {
        let after = Cursor::read(cursor, filter.to)?;
        let states = match (&filter.target, filter.state) {
            (_, Some(state)) => vec![in_state(state)],
            (Some(_), None) => vec![in_state(State::Delivered), UNFINISHED.to_owned()],
            (None, None) => vec!["TRUE".to_owned()],
        };
        // Written out where it is asked for, so that the index is used that fits.
        let given = |is: bool, column: &str, parameter: &str| {
            if is {
                format!("{column} = {parameter}")
            } else {
                format!("{parameter} IS NULL")
            }
        };
        let condition = format!(
            "{} AND {} AND {} AND created_at >= $4 AND (created_at, id) < ($5, $6)",
            given(filter.target.is_some(), "target", "$1"),
            given(filter.kind.is_some(), "kind", "$2"),
            given(filter.event.is_some(), "event_id", "$3"),
        );
        let order = "ORDER BY created_at DESC, id DESC LIMIT $7";
        let text = format!(
            "SELECT {COLUMNS} FROM ({}) AS deliveries {order}",
            union(COLUMNS, &states, &condition, order)
        );
        let query = self.query(&text);
        let query = query
            .bind(filter.target.clone())
            .bind(filter.kind.map(|kind| kind.to_string()))
            .bind(filter.event.map(|event| event.to_string()))
            .bind(filter.from.map_or(i64::MIN, micros))
            .bind(after.at)
            .bind(after.id)
            .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.pool).await?;
        Page::of(&found, limit, listed, |row| (row.created_at, row.id))
    }

    /// One delivery.
    pub async fn delivery(&self, delivery: Uuid) -> Result<Option<DeliveryRow>> {
        let text = format!("SELECT {COLUMNS} FROM deliveries WHERE id = $1");
        let row = self
            .query(&text)
            .bind(delivery.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| listed(&row)).transpose()
    }

    /// The attempts at a delivery, in order.
    pub async fn attempts(&self, delivery: Uuid) -> Result<Vec<Attempt>> {
        let text = format!(
            "SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE delivery_id = $1 ORDER BY number"
        );
        let found = self
            .query(&text)
            .bind(delivery.to_string())
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(attempt).collect()
    }

    /// The attempts at all deliveries of an event, in order, each with its delivery.
    pub async fn attempts_of_event(&self, event: Uuid) -> Result<Vec<(Uuid, Attempt)>> {
        let text = format!(
            "SELECT {ATTEMPT_COLUMNS}, delivery_id FROM deliveries JOIN attempts ON delivery_id = deliveries.id
            WHERE event_id = $1 ORDER BY delivery_id, number"
        );
        let found = self
            .query(&text)
            .bind(event.to_string())
            .fetch_all(&self.pool)
            .await?;
        found
            .iter()
            .map(|row| {
                Ok((
                    parsed(&row.try_get::<String, _>("delivery_id")?)?,
                    attempt(row)?,
                ))
            })
            .collect()
    }

    /// How many deliveries are dead, by target.
    pub async fn dead(&self) -> Result<Vec<(String, i64)>> {
        let found = self
            // SQLite uses the index of what is unfinished only where a query says just that.
            .query("SELECT target, COUNT(*) FROM deliveries WHERE state <> 'delivered' AND state = 'dead' GROUP BY target");
        let found = found.fetch_all(&self.pool).await?;
        found
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }
}

pub(super) fn listed(row: &AnyRow) -> Result<DeliveryRow> {
    let time = |micros: Option<i64>| micros.map(timestamp).transpose();
    Ok(DeliveryRow {
        id: parsed(&row.try_get::<String, _>(0)?)?,
        event_id: parsed(&row.try_get::<String, _>(1)?)?,
        target: row.try_get(2)?,
        kind: parsed(&row.try_get::<String, _>(3)?)?,
        state: parsed(&row.try_get::<String, _>(4)?)?,
        attempts: row.try_get(5)?,
        next_attempt_at: time(row.try_get(6)?)?,
        last_status: row.try_get(7)?,
        last_error: row.try_get(8)?,
        created_at: timestamp(row.try_get(9)?)?,
        delivered_at: time(row.try_get(10)?)?,
        erased: row.try_get::<i64, _>(11)? == 1,
    })
}

pub(super) fn attempt(row: &AnyRow) -> Result<Attempt> {
    Ok(Attempt {
        number: row.try_get(0)?,
        started_at: timestamp(row.try_get(1)?)?,
        duration_ms: row.try_get(2)?,
        outcome: row.try_get(3)?,
        status: row.try_get(4)?,
        error: row.try_get(5)?,
        answer: row.try_get(6)?,
    })
}
