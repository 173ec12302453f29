//! The ceilings of the worker: each step alone, with nothing that makes it safe to die in.

use std::time::Instant;

use anyhow::{Context, ensure};
use common::envelope;
use futures_util::{StreamExt, TryStreamExt};
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions},
    types::FieldTable,
};
use redis::{Client, aio::MultiplexedConnection};
use sqlx::{Any, AnyPool, AssertSqlSafe, Pool, any::install_default_drivers};
use tests::{Stores, http};

use crate::{broker, event, load::rate};

/// Messages in hand.
const PREFETCH: u16 = 512;

/// Claims in a pipeline, and rows in an insert.
const BATCH: usize = 512;

/// Calls to a target under way, as many as the product makes by default.
const SLOTS: usize = 16;

/// The tables that an opt-out without a target leaves rows in.
const TABLES: [&str; 3] = ["events", "registers", "envelopes"];

/// Consumes and acknowledges what ingress has left in its queue: envelopes a second.
pub(crate) async fn consume(stores: &Stores, count: u64) -> anyhow::Result<f64> {
    let channel = broker::channel(&stores.queue).await?;
    let queue = format!("{}.inbound.urgent", stores.prefix);
    let mut consumer = consumer(&channel, &queue).await?;
    let (begun, mut taken, mut unacknowledged) = (Instant::now(), 0, 0);
    while taken < count {
        let delivery = consumer.next().await.context("the broker ended it")??;
        taken += envelope::decode(delivery.data.into())?.len() as u64;
        unacknowledged += 1;
        if unacknowledged == PREFETCH / 2 || taken >= count {
            let options = BasicAckOptions { multiple: true };
            channel.basic_ack(delivery.delivery_tag, options).await?;
            unacknowledged = 0;
        }
    }
    ensure!(taken == count, "{taken} envelopes instead of {count}");
    Ok(rate(count, begun.elapsed()))
}

async fn consumer(channel: &Channel, queue: &str) -> anyhow::Result<Consumer> {
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments);
    Ok(consumer.await?)
}

/// Claims in pipelines: claims a second.
pub(crate) async fn claim(url: &str, count: u64) -> anyhow::Result<f64> {
    let mut redis = redis(url).await?;
    let (begun, mut next) = (Instant::now(), 0);
    while next < count {
        let mut pipeline = redis::pipe();
        for n in (next..count).take(BATCH) {
            pipeline.add_command(set(&format!("bare:{n}"))).ignore();
        }
        pipeline.query_async::<()>(&mut redis).await?;
        next += BATCH as u64;
    }
    Ok(rate(count, begun.elapsed()))
}

async fn redis(url: &str) -> anyhow::Result<MultiplexedConnection> {
    let connection = Client::open(url)?;
    let connection = connection.get_multiplexed_async_connection().await;
    connection.context("Redis")
}

fn set(key: &str) -> redis::Cmd {
    let mut set = redis::cmd("SET");
    set.arg(key).arg("0192a3b4-c5d6-7e8f-9012-3456789abcde");
    set.arg("NX").arg("EX").arg(600);
    set
}

/// Inserts the rows that the ledger holds into tables like its own, by batches, each in a transaction: events a second.
pub(crate) async fn insert(url: &str, count: u64) -> anyhow::Result<f64> {
    install_default_drivers();
    let pool = AnyPool::connect(url).await?;
    let mut tables = vec![];
    for table in TABLES {
        let text = format!("CREATE TABLE bare_{table} (LIKE {table} INCLUDING ALL)");
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&pool).await?;
        tables.push(batches(&pool, table).await?);
    }
    let begun = Instant::now();
    for batch in 0..tables[0].len() {
        let mut transaction = pool.begin().await?;
        for (table, batches) in TABLES.iter().zip(&tables) {
            let text = format!(
                "INSERT INTO bare_{table} SELECT * FROM jsonb_populate_recordset(NULL::bare_{table}, CAST($1 AS JSONB))"
            );
            let rows = batches.get(batch).context("as many rows in each table")?;
            let insert = sqlx::query(AssertSqlSafe(text)).bind(rows.clone());
            insert.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    let inserted = rate(count, begun.elapsed());
    pool.close().await;
    Ok(inserted)
}

/// A table's rows as JSON, in batches.
async fn batches(pool: &Pool<Any>, table: &str) -> anyhow::Result<Vec<String>> {
    let text = format!("SELECT CAST(to_jsonb(rows) AS TEXT) FROM {table} AS rows");
    let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(text));
    let rows = rows.fetch_all(pool).await?;
    let batches = rows
        .chunks(BATCH)
        .map(|rows| format!("[{}]", rows.join(",")));
    Ok(batches.collect())
}

/// Consumes, claims, posts and acknowledges, one by one: deliveries a second.
pub(crate) async fn deliver(stores: &Stores, url: &str, count: u64) -> anyhow::Result<f64> {
    const QUEUE: &str = "bare";
    broker::declare(&stores.queue, QUEUE).await?;
    publish(&stores.queue, QUEUE, count).await?;
    let channel = broker::channel(&stores.queue).await?;
    let consumer = consumer(&channel, QUEUE).await?;
    let (redis, client) = (redis(&stores.claims).await?, http());
    let begun = Instant::now();
    let deliveries = consumer
        .take(usize::try_from(count)?)
        .err_into::<anyhow::Error>();
    let one = async |delivery: lapin::message::Delivery| {
        let mut redis = redis.clone();
        let key = format!("bare:delivery:{}", delivery.delivery_tag);
        set(&key).query_async::<()>(&mut redis).await?;
        let answer = client.post(url).body(delivery.data).send().await?;
        answer.error_for_status()?.bytes().await?;
        let options = BasicAckOptions::default();
        channel.basic_ack(delivery.delivery_tag, options).await?;
        Ok(())
    };
    let all = deliveries.try_for_each_concurrent(SLOTS, one);
    all.await?;
    let delivered = rate(count, begun.elapsed());
    broker::delete(&stores.queue, QUEUE).await?;
    Ok(delivered)
}

/// Fills a queue with bodies of a delivery's size.
async fn publish(url: &str, queue: &str, count: u64) -> anyhow::Result<()> {
    let channel = broker::confirming(url).await?;
    let mut confirms = vec![];
    for n in 0..count {
        let body = event::Kind::Unsubscribed.body(n).repeat(2);
        let options = BasicPublishOptions::default();
        let (to, properties) = (queue.into(), broker::persistent());
        let sent = channel.basic_publish("".into(), to, options, body.as_bytes(), properties);
        confirms.push(sent.await?);
        if confirms.len() == BATCH || n + 1 == count {
            for confirm in confirms.drain(..) {
                confirm.await?;
            }
        }
    }
    Ok(())
}
