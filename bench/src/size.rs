//! What an event costs against the size of what is there already: events in the ledger, endpoints that are not told of it.
//! Flat is what it is to be.

use anyhow::ensure;
use common::ledger::Ledger;
use serde_json::json;
use sqlx::{AnyPool, AssertSqlSafe};
use tests::{API_KEY, Kind, http};

use crate::{
    Options,
    drain::{counter, drained, fill},
    ear::Ear,
    event,
    report::{Limit, Report},
    stage::{COLUMNS, Measured, RECORDED, counting, least, unheeded},
    world::{World, stop},
};

/// What is small, to compare with.
const SMALL: u64 = 10_000;

/// Whom the past events are about: as many contacts at the most.
const CONTACTS: u64 = 1_000_000;

/// During how long they happened, in microseconds.
const HOUR: u64 = 3_600_000_000;

/// How many endpoints are told of each event, and how many others there are at most.
const TOLD: usize = 10;
const OTHERS: usize = 990;

/// What the larger may cost of the smaller, "flat" within what one machine drifts.
const FLAT: f64 = 1.15;

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("size", &COLUMNS);
    for kind in options.kinds() {
        let mut world = World::start(kind).await?;
        let mut costs = vec![];
        for past in [SMALL, options.ledger] {
            world.afresh().await?;
            costs.push(recorded(&world, past, options.events / 4, &mut report).await?);
        }
        compare(&world, "events in the ledger", &costs, &mut report);
        let mut costs = vec![];
        for others in [0, OTHERS] {
            world.afresh().await?;
            costs.push(told(&world, others, options.events / 100, &mut report).await?);
        }
        compare(&world, "endpoints", &costs, &mut report);
    }
    report.publish()
}

fn compare(world: &World, what: &str, costs: &[f64], report: &mut Report) {
    let [small, large] = costs else { return };
    let label = format!("{}, cost with many {what} : with few", world.name());
    report.bound(label, large / small, Limit::AtMost(FLAT));
}

/// Opt-outs into a ledger that has so many events already. What one cost, in microseconds of the worker and the ledger.
async fn recorded(
    world: &World,
    past: u64,
    count: u64,
    report: &mut Report,
) -> anyhow::Result<f64> {
    happened(world, past, HOUR).await?;
    let source = event::source();
    let kind = event::Kind::Unsubscribed;
    fill(world, &source, kind, count, &unheeded()).await?;
    let worker = world.process("worker", &source).await;
    let measured = Measured::begin(world, worker.id())?;
    let found = drained(count, async || counter(&worker, RECORDED).await).await?;
    let figures = measured.end(world, found, count)?;
    ensure!(world.recorded(kind).await? == past + count);
    stop(vec![worker]).await?;
    let cost = cost(&figures);
    let label = format!("{}, {past} events in the ledger", world.name());
    report.row(label, figures);
    Ok(cost)
}

/// Opt-outs to ten endpoints beside so many others that are told of something else. What one cost.
async fn told(
    world: &World,
    others: usize,
    count: u64,
    report: &mut Report,
) -> anyhow::Result<f64> {
    let (ear, heard) = counting(TOLD).await?;
    let text = format!(
        "[outbound]\nallow_networks = [\"127.0.0.0/8\"]\n[endpoints]\nallow_http = true\n{}",
        event::source()
    );
    register(world, &ear, &text, others).await?;
    let kind = event::Kind::Unsubscribed;
    fill(world, &text, kind, count, &unheeded()).await?;
    let worker = world.process("worker", &text).await;
    let measured = Measured::begin(world, worker.id())?;
    let found = drained(count, async || Ok(least(&heard))).await?;
    let figures = measured.end(world, found, count)?;
    stop(vec![worker]).await?;
    let cost = cost(&figures);
    let label = format!("{}, to {TOLD} of {} endpoints", world.name(), TOLD + others);
    report.row(label, figures);
    Ok(cost)
}

fn cost(figures: &[Option<f64>]) -> f64 {
    let of = |column| figures.get(column).copied().flatten().unwrap_or_default();
    of(1) + of(3)
}

/// Registers an endpoint at each of the ear's paths, and others that wait for clicks.
async fn register(world: &World, ear: &Ear, text: &str, others: usize) -> anyhow::Result<()> {
    let api = world.process("api", text).await;
    for number in 0..TOLD + others {
        let kinds = if number < TOLD {
            "unsubscribed"
        } else {
            "clicked"
        };
        let request = http()
            .post(format!("{}/api/emails/webhook-endpoints/", api.api))
            .bearer_auth(API_KEY)
            .json(&json!({ "url": ear.url(number % TOLD), "events": [kinds] }));
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
    }
    stop(vec![api]).await
}

/// Puts opt-outs into the ledger that happened an hour ago, each with its request, a delivery and its attempt, past the
/// product: it is what comes after them that is measured.
pub(crate) async fn happened(world: &World, count: u64, during: u64) -> anyhow::Result<()> {
    Ledger::connect(&world.stores.ledger, 1).await?;
    let pool = AnyPool::connect(&world.stores.ledger).await?;
    let (numbers, id, now) = match world.stores.kind {
        Kind::Scaled => (
            format!("SELECT n FROM generate_series(1, {count}) AS n"),
            "CAST(gen_random_uuid() AS TEXT)",
            "CAST(EXTRACT(EPOCH FROM now()) * 1000000 AS BIGINT)",
        ),
        Kind::Embedded => (
            format!(
                "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
                SELECT n FROM numbers"
            ),
            "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(6)))",
            "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
        ),
    };
    let statements = [
        format!(
            "CREATE TABLE past AS SELECT {id} AS id, {id} AS envelope, {id} AS delivery,
                'past' || (n % {CONTACTS}) || '@example.com' AS contact, {now} - {during} + CAST(n AS BIGINT) * {} AS at
            FROM ({numbers}) AS numbers",
            during / count.max(1)
        ),
        "INSERT INTO envelopes (id, source, provider, received_at, content_type, headers, body, events, duplicates, malformed)
            SELECT envelope, 'past', 'postmark', at, 'application/json', '[]', CAST(contact AS BYTES), 1, 0, 0 FROM past"
            .replace("BYTES", if world.stores.kind == Kind::Scaled { "BYTEA" } else { "BLOB" }),
        "INSERT INTO events (id, envelope_id, source, provider, kind, channel, contact, contact_raw, scope, occurred_at,
                received_at, recorded_at, time_assumed, origin, effect, provider_event, metadata, fingerprint, conflicting)
            SELECT id, envelope, 'past', 'postmark', 'unsubscribed', 'email', contact, contact, 'global', at,
                at, at, 0, 'recipient', 'suppress', 'SubscriptionChange', '{}', 0, 0 FROM past"
            .to_owned(),
        format!(
            "INSERT INTO registers (id, channel, contact, scope, source, lane, suppressed, occurred_at, event_id, kind, origin, updated_at)
            SELECT {id}, 'email', contact, 'global', 'past', 'consent', 1, MAX(at), MAX(id), 'unsubscribed', 'recipient', MAX(at)
            FROM past GROUP BY contact"
        ),
        "INSERT INTO deliveries (id, event_id, target, kind, state, attempts, attempts_ever, created_at, moved_at, delivered_at, first_delivered_at)
            SELECT delivery, id, 'past', 'unsubscribed', 'delivered', 1, 1, at, at, at, at FROM past"
            .to_owned(),
        "INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome)
            SELECT delivery, 1, at, 5, 'done' FROM past"
            .to_owned(),
        "DROP TABLE past".to_owned(),
    ];
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&pool)
            .await?;
    }
    if world.stores.kind == Kind::Scaled {
        // As autovacuum does in its time.
        sqlx::raw_sql("VACUUM ANALYZE").execute(&pool).await?;
    }
    pool.close().await;
    Ok(())
}
