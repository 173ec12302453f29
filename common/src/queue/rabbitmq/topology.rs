//! What must exist on the broker, for a prefix `P`. Everything is durable, every queue is a quorum queue, and only
//! arguments that RabbitMQ 3.10 and 4.x both understand are used.
//!
//! ```text
//! P.work (direct exchange)  --NAME-->  P.NAME (the work queues and P.poison)
//!                           --poison-- when P.NAME has handed a message out DELIVERY_LIMIT times
//! P.wait.5000ms (fanout)    ------->   P.wait.5000ms (the message lives 5 s) --its own routing key--> P.work
//! ```
//!
//! A delayed message waits in the queue of the smallest step that is not shorter than its delay, and expires there after
//! exactly its delay. It is never early. It is late by what is left of a longer one before it in the same queue, since
//! only the head of a queue expires: at most by the difference to the step.
//!
//! Dead-lettering is at least once: the message leaves its queue after the next one has confirmed it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::super::{DELIVERY_LIMIT, QueueName};
use crate::schedule;

/// Always there, beside the steps of the schedule: the shortest, for work that is put off for a moment, and the longest
/// that any delay can have.
const BUILT_IN: [Duration; 2] = [Duration::from_secs(1), schedule::LONGEST];

/// Everything that this process has declared, and declares again after each reconnection.
pub(in super::super) struct Topology {
    prefix: String,
    steps: BTreeSet<Duration>,
    queues: Mutex<BTreeSet<String>>,
}

/// Where a message is published.
pub(super) struct Route {
    pub(super) exchange: ShortString,
    pub(super) expiration: Option<ShortString>,
}

impl Topology {
    pub(in super::super) fn new(prefix: &str, delays: &[Duration]) -> Self {
        Self {
            prefix: prefix.to_owned(),
            steps: delays.iter().copied().chain(BUILT_IN).collect(),
            queues: Mutex::new(BTreeSet::from([QueueName::Poison.to_string()])),
        }
    }

    /// Makes the queue known; it still has to be declared.
    pub(in super::super) fn add(&self, queue: &QueueName) {
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(queue.to_string());
    }

    pub(super) fn knows(&self, queue: &QueueName) -> bool {
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&queue.to_string())
    }

    /// The queue's name on the broker.
    pub(in super::super) fn queue(&self, queue: &QueueName) -> ShortString {
        self.named(queue).into()
    }

    /// The name of a queue of ours, from its name on the broker.
    pub(super) fn parse(&self, queue: &str) -> Option<QueueName> {
        queue
            .strip_prefix(&self.prefix)?
            .strip_prefix('.')?
            .parse()
            .ok()
    }

    /// A delay above the longest step, a day, is cut to it.
    pub(super) fn route(&self, delay: Duration) -> Route {
        if delay.is_zero() {
            return Route {
                exchange: self.work(),
                expiration: None,
            };
        }
        let Some(step) = self.steps.range(delay..).next() else {
            return self.route(schedule::LONGEST);
        };
        let expiration = delay.as_nanos().div_ceil(1_000_000).to_string(); // up, so as not to be early
        Route {
            exchange: self.wait(*step).into(),
            expiration: Some(expiration.into()),
        }
    }

    /// Declares all that is known. The broker is told all at once: a process that has much else to do may take a second
    /// for each answer, and these are a hundred.
    pub(super) async fn declare(&self, connection: &Connection) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        exchange(&channel, self.work(), ExchangeKind::Direct).await?;
        try_join_all(
            self.steps
                .iter()
                .map(|step| self.declare_wait(&channel, *step)),
        )
        .await?;
        let queues = self
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        try_join_all(queues.iter().map(|name| self.declare_work(&channel, name))).await?;
        channel.close(200, "".into()).await
    }

    /// Declares the exchange and the queue of one step.
    async fn declare_wait(&self, channel: &Channel, step: Duration) -> lapin::Result<()> {
        let name: ShortString = self.wait(step).into();
        exchange(channel, name.clone(), ExchangeKind::Fanout).await?;
        let mut arguments = self.arguments(None);
        let milliseconds = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-message-ttl".into(), milliseconds.into());
        queue(channel, name.clone(), arguments).await?;
        let options = QueueBindOptions::default();
        channel
            .queue_bind(
                name.clone(),
                name,
                "".into(),
                options,
                FieldTable::default(),
            )
            .await
    }

    /// Declares one work queue.
    pub(super) async fn declare_work(&self, channel: &Channel, name: &str) -> lapin::Result<()> {
        let is_poison = name == QueueName::Poison.to_string();
        let mut arguments = if is_poison {
            quorum()
        } else {
            self.arguments(Some(QueueName::Poison))
        };
        // The limit counts hand-outs after the first. In poison it is out of reach, for there RabbitMQ 4 has a limit of
        // its own by default, and would drop the message.
        let limit = if is_poison {
            i32::MAX.unsigned_abs()
        } else {
            DELIVERY_LIMIT - 1
        };
        arguments.insert("x-delivery-limit".into(), i64::from(limit).into());
        let queue_name: ShortString = self.named(name).into();
        queue(channel, queue_name.clone(), arguments).await?;
        channel
            .queue_bind(
                queue_name,
                self.work(),
                name.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
    }

    /// Of a quorum queue that dead-letters to the work exchange: to `key`, or to the message's own routing key.
    fn arguments(&self, key: Option<QueueName>) -> FieldTable {
        let mut arguments = quorum();
        arguments.insert("x-dead-letter-exchange".into(), text(self.work().as_str()));
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish")); // at-least-once wants it
        if let Some(key) = key {
            arguments.insert("x-dead-letter-routing-key".into(), text(&key.to_string()));
        }
        arguments
    }

    fn work(&self) -> ShortString {
        self.named("work").into()
    }

    fn wait(&self, step: Duration) -> String {
        self.named(format_args!("wait.{}ms", step.as_millis()))
    }

    fn named(&self, name: impl std::fmt::Display) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Every queue and exchange of this prefix, for tests to delete.
    #[cfg(test)]
    pub(in super::super) fn names(&self) -> Vec<String> {
        let queues = self
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let queues = queues.into_iter().map(|name| self.named(name));
        queues
            .chain(self.steps.iter().map(|step| self.wait(*step)))
            .chain([self.named("work")])
            .collect()
    }
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

async fn exchange(channel: &Channel, name: ShortString, kind: ExchangeKind) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name, kind, options, FieldTable::default())
        .await
}

async fn queue(channel: &Channel, name: ShortString, arguments: FieldTable) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name, options, arguments)
        .await
        .map(drop)
}
