//! The SQL of the embedded queue: what one transaction of the writer is made of.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, Result, Row, SqliteConnection, sqlite::SqliteRow};

use super::super::{DELIVERY_LIMIT, Received};

/// Bodies go in by as few statements as these numbers of rows allow: few enough texts to stay prepared.
const ROWS: [usize; 3] = [64, 8, 1];

/// Hands messages out: to session `?1`, from queue `?2`, what is due at `?3`, at most `?4`.
pub(in super::super) const TAKE: &str = "UPDATE message SET session = ?1, deliveries = deliveries + 1 WHERE id IN \
    (SELECT id FROM message WHERE queue = ?2 AND session IS NULL AND due_at <= ?3 ORDER BY due_at LIMIT ?4) \
    RETURNING id, deliveries, published_at, (SELECT name FROM queue WHERE queue.id = parked_from) AS parked_from, \
    (SELECT bytes FROM body WHERE body.message = message.id) AS bytes";

/// A message on its way into the tables.
pub(super) struct Incoming {
    pub(super) queue: i64,
    pub(super) delay: Duration,
    pub(super) body: Bytes,
}

/// What a consumer gets when it asks for messages.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) messages: Vec<Received>,
    /// When the next one is due, if all that were due have been taken.
    pub(super) next_due: Option<Timestamp>,
}

/// Makes sure that a queue exists, and tells its id.
pub(super) async fn declare(connection: &mut SqliteConnection, name: &str) -> Result<i64> {
    sqlx::query("INSERT OR IGNORE INTO queue (name) VALUES (?)")
        .bind(name)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("SELECT id FROM queue WHERE name = ?")
        .bind(name)
        .fetch_one(connection)
        .await
}

pub(super) async fn open_session(
    connection: &mut SqliteConnection,
    lease_until: i64,
) -> Result<i64> {
    let session = sqlx::query("INSERT INTO session (lease_until) VALUES (?)")
        .bind(lease_until)
        .execute(connection)
        .await?;
    Ok(session.last_insert_rowid())
}

/// Renews the lease; false if it had ended, and others have been given what this session had in hand.
pub(super) async fn renew_session(
    connection: &mut SqliteConnection,
    session: i64,
    lease_until: i64,
) -> Result<bool> {
    let renew = sqlx::query("UPDATE session SET lease_until = ? WHERE id = ?")
        .bind(lease_until)
        .bind(session);
    Ok(renew.execute(connection).await?.rows_affected() == 1)
}

/// Gives back what sessions whose lease has ended had in hand. Tells the queues that gained by it.
pub(super) async fn end_sessions(
    connection: &mut SqliteConnection,
    poison: i64,
    now: i64,
) -> Result<BTreeSet<i64>> {
    let gained = give_back(
        connection,
        poison,
        "session IN (SELECT id FROM session WHERE lease_until < ?3)",
        now,
    )
    .await?;
    sqlx::query("DELETE FROM session WHERE lease_until < ?")
        .bind(now)
        .execute(connection)
        .await?;
    Ok(gained)
}

/// Ends this session, and gives back all that it still has in hand.
pub(super) async fn leave_session(
    connection: &mut SqliteConnection,
    poison: i64,
    session: i64,
) -> Result<()> {
    give_back(connection, poison, "session = ?3", session).await?;
    sqlx::query("DELETE FROM session WHERE id = ?")
        .bind(session)
        .execute(connection)
        .await?;
    Ok(())
}

/// Brings to the present what is dated ahead of it, since the clock was set back meanwhile: a delay begins anew, and
/// nobody's lease holds for longer than one given now. Done twice it changes nothing more.
pub(super) async fn set_back(
    connection: &mut SqliteConnection,
    now: i64,
    lease_until: i64,
) -> Result<()> {
    let messages = "UPDATE message SET due_at = ?1 + due_at - published_at, published_at = ?1 WHERE published_at > ?1";
    sqlx::query(messages)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE session SET lease_until = ?1 WHERE lease_until > ?1")
        .bind(lease_until)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn publish(
    connection: &mut SqliteConnection,
    incoming: &[&Incoming],
    now: i64,
) -> Result<()> {
    if incoming.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(incoming.len()).unwrap_or(i64::MAX);
    let reserve =
        sqlx::query_scalar("UPDATE sequence SET last = last + ? RETURNING last").bind(count);
    let last: i64 = reserve.fetch_one(&mut *connection).await?;
    let ids = last - count + 1..;

    let rows: Vec<_> = ids
        .clone()
        .zip(incoming)
        .map(|(id, message)| json!([id, message.queue, now.saturating_add(micros(message.delay))]))
        .collect();
    let insert = "INSERT INTO message (id, queue, published_at, due_at) SELECT value ->> 0, value ->> 1, ?2, value ->> 2 FROM json_each(?1)";
    sqlx::query(insert)
        .bind(json!(rows).to_string())
        .bind(now)
        .execute(&mut *connection)
        .await?;

    let mut bodies: Vec<_> = ids
        .zip(incoming.iter().map(|message| &message.body))
        .collect();
    for rows in ROWS {
        while bodies.len() >= rows {
            let rest = bodies.split_off(rows);
            insert_bodies(connection, &bodies).await?;
            bodies = rest;
        }
    }
    Ok(())
}

async fn insert_bodies(connection: &mut SqliteConnection, bodies: &[(i64, &Bytes)]) -> Result<()> {
    let values = vec!["(?, ?)"; bodies.len()].join(", ");
    let mut insert = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO body (message, bytes) VALUES {values}"
    )));
    for (id, body) in bodies {
        insert = insert.bind(id).bind(body.to_vec());
    }
    insert.execute(connection).await?;
    Ok(())
}

/// Hands out up to `max` messages that are due.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    session: i64,
    queue: i64,
    max: usize,
    now: i64,
) -> Result<Taken> {
    let take = sqlx::query(TAKE)
        .bind(session)
        .bind(queue)
        .bind(now)
        .bind(i64::try_from(max).unwrap_or(i64::MAX));
    let rows = take.fetch_all(&mut *connection).await?;
    let mut messages = rows.iter().map(received).collect::<Result<Vec<_>>>()?;
    messages.sort_unstable_by_key(|message| message.token); // RETURNING promises no order

    let mut next_due = None;
    if messages.len() < max {
        let due =
            "SELECT min(due_at) FROM message WHERE queue = ? AND session IS NULL AND due_at > ?";
        let due: Option<i64> = sqlx::query_scalar(due)
            .bind(queue)
            .bind(now)
            .fetch_one(connection)
            .await?;
        next_due = due.and_then(timestamp);
    }
    Ok(Taken { messages, next_due })
}

fn received(row: &SqliteRow) -> Result<Received> {
    let parked_from: Option<String> = row.try_get("parked_from")?;
    Ok(Received {
        token: row.try_get::<i64, _>("id")?.cast_unsigned(),
        body: row.try_get::<Vec<u8>, _>("bytes")?.into(),
        deliveries: row.try_get("deliveries")?,
        published_at: timestamp(row.try_get("published_at")?),
        parked_from: parked_from.and_then(|name| name.parse().ok()),
    })
}

/// Deletes what is finished, as far as this session still has it in hand.
pub(super) async fn ack(
    connection: &mut SqliteConnection,
    session: i64,
    ids: &[u64],
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = json!(ids).to_string();
    for delete in [
        "DELETE FROM body WHERE message IN (SELECT id FROM message WHERE id IN (SELECT value FROM json_each(?1)) AND session = ?2)",
        "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?1)) AND session = ?2",
    ] {
        sqlx::query(delete)
            .bind(&ids)
            .bind(session)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Gives these back, as far as this session still has them in hand. Tells the queues that gained by it.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    poison: i64,
    session: i64,
    ids: &[u64],
) -> Result<BTreeSet<i64>> {
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let which = "id IN (SELECT value FROM json_each(?4)) AND session = ?3";
    let rows = sqlx::query(give_back_sql(which))
        .bind(DELIVERY_LIMIT)
        .bind(poison)
        .bind(session)
        .bind(json!(ids).to_string());
    rows.fetch_all(connection)
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect()
}

async fn give_back(
    connection: &mut SqliteConnection,
    poison: i64,
    which: &'static str,
    bound: i64,
) -> Result<BTreeSet<i64>> {
    let rows = sqlx::query(give_back_sql(which))
        .bind(DELIVERY_LIMIT)
        .bind(poison)
        .bind(bound)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Back to its queue, or to poison if it was handed out as often as is allowed. `?1` is the limit, `?2` poison's id.
fn give_back_sql(which: &'static str) -> AssertSqlSafe<String> {
    const SPENT: &str = "deliveries >= ?1 AND queue <> ?2";
    AssertSqlSafe(format!(
        "UPDATE message SET session = NULL, queue = CASE WHEN {SPENT} THEN ?2 ELSE queue END, \
         parked_from = CASE WHEN {SPENT} THEN queue ELSE parked_from END, \
         deliveries = CASE WHEN {SPENT} THEN 0 ELSE deliveries END WHERE {which} RETURNING queue"
    ))
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn timestamp(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}
