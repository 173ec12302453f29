//! RabbitMQ as the ceilings use it: a connection of their own, and quorum queues, as the product's are.

use std::collections::BTreeMap;

use anyhow::Context;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};

/// A channel of a connection of its own.
pub(crate) async fn channel(url: &str) -> anyhow::Result<Channel> {
    let connection = Connection::connect(url, ConnectionProperties::default());
    let connection = connection.await.context("RabbitMQ")?;
    Ok(connection.create_channel().await?)
}

/// One that confirms.
pub(crate) async fn confirming(url: &str) -> anyhow::Result<Channel> {
    let channel = channel(url).await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

/// Makes a durable quorum queue.
pub(crate) async fn declare(url: &str, queue: &str) -> anyhow::Result<()> {
    let quorum = AMQPValue::LongString("quorum".into());
    let arguments = FieldTable::from(BTreeMap::from([("x-queue-type".into(), quorum)]));
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let channel = channel(url).await?;
    let declared = channel.queue_declare(queue.into(), options, arguments);
    declared.await.context("a queue")?;
    Ok(())
}

/// How many messages a queue has, as far as the broker has counted them.
pub(crate) async fn depth(url: &str, queue: &str) -> anyhow::Result<u64> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let channel = channel(url).await?;
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    Ok(declared.await.context("a queue")?.message_count().into())
}

/// Deletes a queue with all that is in it.
pub(crate) async fn delete(url: &str, queue: &str) -> anyhow::Result<()> {
    let channel = channel(url).await?;
    let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
    deleted.await.context("a queue")?;
    Ok(())
}

pub(crate) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}
