//! Taking from a queue on the broker, on a channel of its own.
//!
//! The broker sends up to `prefetch` messages ahead. Dropping the consumer closes the channel, and with that the broker
//! has back all that was not acknowledged.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, future::try_join_all};
use jiff::Timestamp;
use lapin::{
    Channel, Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable},
};

use super::{
    super::{Consumer, Error, QueueName, Received, Result},
    DELAY, LastSeen, Link, PUBLISHED, unavailable, within,
};

pub(super) struct RabbitConsumer {
    queue: QueueName,
    link: Arc<Link>,
    last_seen: LastSeen,
    stream: lapin::Consumer,
    channel: Channel,
    /// Returned, not yet settled.
    in_hand: BTreeSet<u64>,
    _connection: Arc<Connection>,
}

impl RabbitConsumer {
    pub(super) async fn start(
        link: Arc<Link>,
        connection: Arc<Connection>,
        last_seen: LastSeen,
        queue: QueueName,
        prefetch: u16,
    ) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        link.topology
            .declare_work(&channel, &queue.to_string())
            .await?;
        channel
            .basic_qos(prefetch.max(1), BasicQosOptions::default())
            .await?; // 0 would mean without limit
        let (name, options) = (link.topology.queue(&queue), BasicConsumeOptions::default());
        let stream = channel
            .basic_consume(name, "".into(), options, FieldTable::default())
            .await?;
        Ok(Self {
            queue,
            link,
            last_seen,
            stream,
            channel,
            in_hand: BTreeSet::new(),
            _connection: connection,
        })
    }

    fn received(&self, delivery: Delivery) -> Received {
        let headers = delivery
            .properties
            .headers()
            .as_ref()
            .map(FieldTable::inner);
        let header = |name: &str| headers.and_then(|headers| headers.get(name));
        let number = |name: &str| header(name).and_then(integer);
        let redeliveries = number("x-delivery-count")
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0);
        Received {
            token: delivery.delivery_tag,
            deliveries: redeliveries.saturating_add(1),
            published_at: number(PUBLISHED).and_then(|at| Timestamp::from_millisecond(at).ok()),
            parked_from: header("x-death").and_then(|deaths| self.parked_from(deaths)),
            body: delivery.data.into(),
        }
    }

    /// The queue whose limit was reached. Not `x-first-death-queue`: of a message that was delayed once, that is the
    /// wait queue.
    fn parked_from(&self, deaths: &AMQPValue) -> Option<QueueName> {
        let AMQPValue::FieldArray(deaths) = deaths else {
            return None;
        };
        deaths.as_slice().iter().find_map(|death| {
            let AMQPValue::FieldTable(death) = death else {
                return None;
            };
            let text = |name: &str| death.inner().get(name).and_then(string);
            (text("reason")? == "delivery_limit")
                .then(|| self.link.topology.parse(&text("queue")?))?
        })
    }

    /// Remembers how old what was just handed out was, for `depth`.
    fn remember(&self, delivery: &Delivery) {
        let headers = delivery
            .properties
            .headers()
            .as_ref()
            .map(FieldTable::inner);
        let number = |name: &str| {
            headers
                .and_then(|headers| headers.get(name))
                .and_then(integer)
        };
        let due = number(PUBLISHED).map(|at| at.saturating_add(number(DELAY).unwrap_or(0)));
        if let Some(due) = due.and_then(|at| Timestamp::from_millisecond(at).ok()) {
            self.last_seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(self.queue.clone(), due);
        }
    }

    fn take(&mut self, delivery: Delivery, into: &mut Vec<Received>) {
        self.in_hand.insert(delivery.delivery_tag);
        self.remember(&delivery);
        into.push(self.received(delivery));
    }

    /// Takes these out of what is in hand.
    fn settle(&mut self, tokens: &[u64]) -> BTreeSet<u64> {
        tokens
            .iter()
            .copied()
            .filter(|token| self.in_hand.remove(token))
            .collect()
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Received>> {
        let mut messages = Vec::new();
        if max == 0 {
            return Ok(messages);
        }
        // The one place that waits. After it nothing is awaited, so a cancelled call has taken nothing.
        let first = self
            .stream
            .next()
            .await
            .ok_or_else(ended)?
            .map_err(unavailable)?;
        self.take(first, &mut messages);
        while messages.len() < max {
            match self.stream.next().now_or_never() {
                Some(Some(Ok(delivery))) => self.take(delivery, &mut messages),
                Some(Some(Err(error))) => return Err(unavailable(error)),
                Some(None) => return Err(ended()),
                None => break,
            }
        }
        Ok(messages)
    }

    /// Waits until the acknowledgements are on the socket, not for the broker, which does not answer them.
    async fn ack(&mut self, tokens: &[u64]) -> Result<()> {
        let mut settled = self.settle(tokens);
        // What was sent ahead but not yet returned has higher tags than all that is in hand.
        let stragglers = self
            .in_hand
            .first()
            .map_or(BTreeSet::new(), |first| settled.split_off(first));
        let channel = &self.channel;
        let multiple = settled.last().map(|last| (*last, true));
        let frames = multiple
            .into_iter()
            .chain(stragglers.iter().map(|tag| (*tag, false)));
        let frames =
            frames.map(|(tag, multiple)| channel.basic_ack(tag, BasicAckOptions { multiple }));
        within(WRITE, try_join_all(frames)).await.map(drop)
    }

    /// By `basic.reject`: since RabbitMQ 4.3 a `basic.nack` does not count as a delivery any more.
    async fn release(&mut self, tokens: &[u64]) -> Result<()> {
        let released = self.settle(tokens);
        let channel = &self.channel;
        let frames = released
            .iter()
            .map(|tag| channel.basic_reject(*tag, BasicRejectOptions { requeue: true }));
        within(WRITE, try_join_all(frames)).await.map(drop)
    }
}

/// How long a broker may take no bytes before the connection counts as lost.
const WRITE: Duration = Duration::from_secs(5);

fn ended() -> Error {
    Error::Unavailable("the broker has ended the consumer".into())
}

fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongInt(number) => Some(i64::from(*number)),
        AMQPValue::LongUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}
