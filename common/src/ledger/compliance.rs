//! How long opt-outs took to hold: from their receipt to the ledger, and from there to every target.
//!
//! A delivery counts by the first time that it was delivered: a replay does not make late what was in time. One that was
//! never delivered counts by its age, also a dead one: it does not hold.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::Serialize;
use sqlx::{Row, any::AnyRow};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Ledger, Result, micros, parsed, period, timestamp};
use crate::{calendar, event::Kind};

/// The most late ones that are named.
const NAMED: usize = 200;

/// What mailbox providers give a sender: Gmail and Yahoo want an opt-out honoured within two days.
const TWO_DAYS: Duration = Duration::from_hours(48);

/// Counting stops here: more is as bad.
const MANY: i64 = 100_000;

const MICROS_A_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// The opt-outs among the events, worded as the index over them.
const OPT_OUTS: &str = "effect = 'suppress' AND received_at >= $1 AND received_at < $2";

/// How the opt-outs of a time span fared.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Compliance {
    /// By when they were received: `from` is in it, `to` is not.
    pub from: Timestamp,
    pub to: Timestamp,
    pub opt_outs: i64,
    /// From the receipt to the ledger, where checks see it.
    pub applied: Percentiles,
    pub targets: Vec<TargetTimes>,
    pub over_48_hours: Overdue,
    pub over_10_business_days: Overdue,
}

/// Exact percentiles (the smallest value that so many do not exceed), in whole milliseconds; null of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Percentiles {
    pub count: i64,
    pub p50_ms: Option<i64>,
    pub p95_ms: Option<i64>,
    pub p99_ms: Option<i64>,
    pub max_ms: Option<i64>,
}

/// From the receipt to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TargetTimes {
    pub target: String,
    pub delivered: i64,
    /// Not delivered yet, and not given up.
    pub waiting: i64,
    /// Given up, never delivered.
    pub dead: i64,
    pub p50_ms: Option<i64>,
    pub p95_ms: Option<i64>,
    pub p99_ms: Option<i64>,
    pub max_ms: Option<i64>,
}

/// What did not hold in time, or does not yet and is late.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Overdue {
    pub count: i64,
    /// The oldest of them, at most 200.
    pub items: Vec<Late>,
}

/// An opt-out that did not hold in time at one place. It names nobody.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Late {
    pub event_id: Uuid,
    pub source: String,
    pub kind: Kind,
    pub received_at: Timestamp,
    /// Null for our own ledger.
    pub target: Option<String>,
    /// When it came to hold there; null if it does not.
    pub delivered_at: Option<Timestamp>,
    /// Until then, or until now.
    pub took_hours: f64,
    /// The delivery's present state; `applied` for our own ledger.
    pub state: String,
}

/// Opt-outs by when they were received, and from when on it is too late for them to hold.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    late_from: LateFrom,
}

#[derive(Debug, Clone, Copy)]
enum LateFrom {
    /// So long after the receipt.
    Age(Duration),
    Moment(Timestamp),
}

/// By when an opt-out has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deadline {
    TwoDays,
    BusinessDays,
}

/// Opt-outs that some target does not know of, by their age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Undelivered {
    pub over_24_hours: i64,
    pub over_48_hours: i64,
}

impl Ledger {
    /// How the opt-outs fared that were received in a time span, seen at `now`.
    pub async fn compliance(
        &self,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<Compliance> {
        let applied = self.applied(from, to).await?;
        Ok(Compliance {
            from,
            to,
            opt_outs: applied.count,
            applied,
            targets: self.target_times(from, to).await?,
            over_48_hours: self.overdue(Deadline::TwoDays, from, to, now).await?,
            over_10_business_days: self.overdue(Deadline::BusinessDays, from, to, now).await?,
        })
    }

    /// How many opt-outs have waited for long at a target, for alerts before a deadline. Counts at most 100,000.
    pub async fn undelivered(&self, now: Timestamp) -> Result<Undelivered> {
        // Worded so that SQLite begins with the unfinished deliveries, which are few: it joins in the order of a CROSS JOIN,
        // and the plus hides the index over all deliveries by creation.
        let text = "
            SELECT COUNT(DISTINCT id), COUNT(DISTINCT CASE WHEN received_at < $2 THEN id END) FROM (
                SELECT events.id AS id, received_at FROM deliveries CROSS JOIN events
                WHERE events.id = event_id AND state <> 'delivered' AND first_delivered_at IS NULL AND +created_at < $1
                    AND effect = 'suppress' AND received_at < $1
                LIMIT $3
            ) AS waiting";
        let ago = |hours: i64| micros(now) - hours * MICROS_A_DAY / 24;
        let query = self.query(text).bind(ago(24)).bind(ago(48)).bind(MANY);
        let row = query.fetch_one(&self.pool).await?;
        Ok(Undelivered {
            over_24_hours: row.try_get(0)?,
            over_48_hours: row.try_get(1)?,
        })
    }

    async fn applied(&self, from: Timestamp, to: Timestamp) -> Result<Percentiles> {
        let times = format!(
            "SELECT '' AS target, recorded_at - received_at AS took FROM events WHERE {OPT_OUTS}"
        );
        let found = self.percentiles(&times, from, to).await?;
        Ok(found.into_iter().next().unwrap_or_default().1)
    }

    async fn target_times(&self, from: Timestamp, to: Timestamp) -> Result<Vec<TargetTimes>> {
        let deliveries =
            format!("FROM events JOIN deliveries ON event_id = events.id WHERE {OPT_OUTS}");
        let text = format!(
            "SELECT target, COUNT(CASE WHEN first_delivered_at IS NULL AND state <> 'dead' THEN 1 END),
                COUNT(CASE WHEN first_delivered_at IS NULL AND state = 'dead' THEN 1 END)
            {deliveries} GROUP BY target ORDER BY target"
        );
        let query = self.query(&text).bind(micros(from)).bind(micros(to));
        let counted = query.fetch_all(&self.pool).await?;
        let times = format!(
            "SELECT target, first_delivered_at - received_at AS took {deliveries} AND first_delivered_at IS NOT NULL"
        );
        let times = self.percentiles(&times, from, to).await?;
        let with_times = |row: &AnyRow| {
            let target: String = row.try_get(0)?;
            let of_it = times.iter().find(|(name, _)| *name == target);
            let times = of_it.map_or_else(Percentiles::default, |(_, times)| *times);
            Ok(TargetTimes {
                target,
                delivered: times.count,
                waiting: row.try_get(1)?,
                dead: row.try_get(2)?,
                p50_ms: times.p50_ms,
                p95_ms: times.p95_ms,
                p99_ms: times.p99_ms,
                max_ms: times.max_ms,
            })
        };
        counted.iter().map(with_times).collect()
    }

    /// The percentiles of `times`, a query for `target` and `took`, by target. The database sorts; four rows of each target
    /// come back.
    async fn percentiles(
        &self,
        times: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(String, Percentiles)>> {
        let text = format!(
            "SELECT target, place, number, took FROM (
                SELECT target, took, ROW_NUMBER() OVER (PARTITION BY target ORDER BY took) AS place,
                    COUNT(*) OVER (PARTITION BY target) AS number
                FROM ({times}) AS times
            ) AS placed
            WHERE place IN ((number * 50 + 99) / 100, (number * 95 + 99) / 100, (number * 99 + 99) / 100, number)
            ORDER BY target, place"
        );
        let query = self.query(&text).bind(micros(from)).bind(micros(to));
        let mut all: Vec<(String, Percentiles)> = vec![];
        for row in query.fetch_all(&self.pool).await? {
            let target: String = row.try_get(0)?;
            if all.last().is_none_or(|(last, _)| *last != target) {
                all.push((target, Percentiles::default()));
            }
            let Some((_, times)) = all.last_mut() else {
                continue;
            };
            let (place, count): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
            // The clock of who received may be ahead of who recorded.
            let took = row.try_get::<i64, _>(3)?.max(0) / 1000;
            times.count = count;
            for (percent, value) in [
                (50, &mut times.p50_ms),
                (95, &mut times.p95_ms),
                (99, &mut times.p99_ms),
                (100, &mut times.max_ms),
            ] {
                if place == (count * percent + 99) / 100 {
                    *value = Some(took);
                }
            }
        }
        Ok(all)
    }

    async fn overdue(
        &self,
        deadline: Deadline,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<Overdue> {
        let spans = match deadline {
            Deadline::TwoDays => vec![Span {
                from,
                to,
                late_from: LateFrom::Age(TWO_DAYS),
            }],
            Deadline::BusinessDays => days(from, to),
        };
        let mut overdue = Overdue {
            count: 0,
            items: vec![],
        };
        for span in spans {
            let late = self.late_of(span, now).await?;
            overdue.count += late.count;
            let room = NAMED.saturating_sub(overdue.items.len());
            overdue.items.extend(late.items.into_iter().take(room));
        }
        Ok(overdue)
    }

    /// What is late of one span. All spans in one query would be shorter; but PostgreSQL takes bounds that it reads from a
    /// table to hold most of the ledger, and reads all of it.
    async fn late_of(&self, span: Span, now: Timestamp) -> Result<Overdue> {
        let (late_from, moment) = match span.late_from {
            LateFrom::Age(age) => ("received_at + $3", period(age)),
            LateFrom::Moment(moment) => ("$3", micros(moment)),
        };
        let query = self.query(&late_text(late_from));
        let query = query.bind(micros(span.from)).bind(micros(span.to));
        let query = query.bind(moment).bind(micros(now));
        let found = query
            .bind(i64::try_from(NAMED).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        let count = found.first().map_or(Ok(0), |row| row.try_get(7))?;
        let items = found
            .iter()
            .map(|row| late(row, now))
            .collect::<Result<_>>()?;
        Ok(Overdue { count, items })
    }
}

/// The opt-outs of a time span ($1, $2) that came to hold in the ledger or at a target after `late_from`, or, seen at $4, do not
/// hold yet.
pub(super) fn late_text(late_from: &str) -> String {
    format!(
        "SELECT id, source, kind, received_at, target, held_at, state, COUNT(*) OVER () FROM (
            SELECT id, source, kind, received_at, CAST(NULL AS TEXT) AS target, recorded_at AS held_at, 'applied' AS state
            FROM events WHERE {OPT_OUTS} AND recorded_at >= {late_from}
            UNION ALL
            SELECT events.id, source, events.kind, received_at, target, first_delivered_at, state
            FROM events JOIN deliveries ON event_id = events.id
            WHERE {OPT_OUTS} AND COALESCE(first_delivered_at, $4) >= {late_from}
        ) AS late ORDER BY received_at, id, target LIMIT $5"
    )
}

/// The UTC days of a time span, each with the moment at which what was received on it is late by law.
fn days(from: Timestamp, to: Timestamp) -> Vec<Span> {
    let start = |day: Date| Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let first = from.to_zoned(TimeZone::UTC).date();
    std::iter::successors(Some(first), |day| day.checked_add(1.day()).ok())
        .map_while(|day| {
            let (begin, end) = (start(day)?, start(day.tomorrow().ok()?)?);
            let late_from = LateFrom::Moment(calendar::late_from(begin)?);
            (begin < to).then(|| Span {
                from: begin.max(from),
                to: end.min(to),
                late_from,
            })
        })
        .collect()
}

fn late(row: &AnyRow, now: Timestamp) -> Result<Late> {
    let received_at = timestamp(row.try_get(3)?)?;
    let held_at: Option<i64> = row.try_get(5)?;
    let delivered_at = held_at.map(timestamp).transpose()?;
    let took = delivered_at.unwrap_or(now).duration_since(received_at);
    Ok(Late {
        event_id: parsed(&row.try_get::<String, _>(0)?)?,
        source: row.try_get(1)?,
        kind: parsed(&row.try_get::<String, _>(2)?)?,
        received_at,
        target: row.try_get(4)?,
        delivered_at,
        took_hours: (took.as_secs_f64() / 36.0).round() / 100.0,
        state: row.try_get(6)?,
    })
}
