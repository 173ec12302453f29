//! The queue: what it promises, and its two adapters, RabbitMQ and SQLite. Both pass `conformance`.
//!
//! - `publish` returns `Ok` only when every message is durable: confirmed by the broker as persistent and routed, or
//!   committed and fsynced. On `Err` some of them may be in the queue; whoever publishes again makes a duplicate, which
//!   every consumer must bear.
//! - A message is handed to one consumer at a time and stays the queue's until it is acknowledged: a consumer that dies,
//!   is dropped or loses its connection gives back all that it holds.
//! - A message comes with the number of times that it was handed out. One that was handed out more than
//!   [`DELIVERY_LIMIT`] times without an acknowledgement has been killing its workers: it is moved to
//!   [`QueueName::Poison`].
//! - A delayed message is not handed out before its delay has passed.
//! - There is no promise of order between messages.

mod rabbitmq;
mod sqlite;

#[cfg(test)]
pub(crate) mod conformance;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::names::names;

pub use rabbitmq::RabbitMq;
pub use sqlite::SqliteQueue;
pub(crate) use sqlite::file;

/// How often a message is handed out before it is parked as poison.
pub const DELIVERY_LIMIT: u32 = 10;

names! {
    /// What must not wait behind what.
    Priority { Urgent = "urgent", Bulk = "bulk" }
}

names! {
    /// The three queues of a target: fresh work of two priorities, and work that comes back.
    Feed { Urgent = "urgent", Bulk = "bulk", Retried = "retried" }
}

impl From<Priority> for Feed {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Urgent => Self::Urgent,
            Priority::Bulk => Self::Bulk,
        }
    }
}

/// One of the queues. Its text (`inbound.urgent`, `target.slack.retried`, `poison`) is its name in the stores.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueueName {
    /// Messages of envelopes, from ingress to the route stage.
    Inbound(Priority),
    /// Messages of one delivery each, from the route stage to the deliver stage.
    Target(String, Feed),
    /// What kept killing its worker.
    Poison,
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbound(priority) => write!(f, "inbound.{priority}"),
            Self::Target(target, feed) => write!(f, "target.{target}.{feed}"),
            Self::Poison => f.write_str("poison"),
        }
    }
}

impl FromStr for QueueName {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        if text == "poison" {
            return Ok(Self::Poison);
        }
        let (stage, rest) = text.split_once('.').ok_or(())?;
        match (stage, rest.rsplit_once('.')) {
            ("inbound", None) => Ok(Self::Inbound(rest.parse().map_err(|_| ())?)),
            ("target", Some((target, feed))) => Ok(Self::Target(
                target.to_owned(),
                feed.parse().map_err(|_| ())?,
            )),
            _ => Err(()),
        }
    }
}

/// A message on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub queue: QueueName,
    pub body: Bytes,
    /// Zero for work that is due now. RabbitMQ may hand it out late by up to the next longer wait queue's step, and cuts
    /// what is longer than a day to a day.
    pub delay: Duration,
}

/// A message in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Names the message to the consumer that handed it out, and to no other.
    pub token: u64,
    pub body: Bytes,
    /// How often it was handed out, this time included: 1 for the first.
    pub deliveries: u32,
    pub published_at: Option<Timestamp>,
    /// In [`QueueName::Poison`]: the queue that it was parked from.
    pub parked_from: Option<QueueName>,
}

/// How much waits in a queue: ready, not in hand and not delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    pub ready: u64,
    /// The age of the oldest, as far as the adapter knows it: RabbitMQ tells it only of what was last handed out.
    pub oldest: Option<Duration>,
}

/// Why the queue did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store is away, or went away in the middle: connect again and ask again.
    #[error("the queue is not reachable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store answered, and refused (a nack, an unroutable message, a full disk).
    #[error("the queue refused the message: {0}")]
    Refused(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// The port. One value is shared by a whole process.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Makes sure that the queues exist, with all that belongs to them, now and after each reconnection.
    async fn declare(&self, queues: &[QueueName]) -> Result<()>;

    /// Puts the messages in. `Ok` means that all are durable. A queue that this process has not declared is refused.
    async fn publish(&self, messages: Vec<Message>) -> Result<()>;

    /// Starts taking from a queue, with at most `prefetch` messages in hand. Dropping the consumer gives them back.
    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Box<dyn Consumer>>;

    /// How much waits there.
    async fn depth(&self, queue: &QueueName) -> Result<Depth>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<()>;
}

/// Takes from one queue. After an error it is of no further use: what it held has gone back to the queue, and a new
/// one is to be asked for.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for something to arrive, then takes what has arrived, at most `max`. Cancel safe: a message is either
    /// returned or still the queue's (or this consumer's, to be returned by the next call).
    async fn receive(&mut self, max: usize) -> Result<Vec<Received>>;

    /// These are finished: they leave the queue for good. `Ok` means that it is told (RabbitMQ, which does not answer) or
    /// done (SQLite). Tokens that are not in hand are passed over.
    async fn ack(&mut self, tokens: &[u64]) -> Result<()>;

    /// These go back to the queue, to be handed out again.
    async fn release(&mut self, tokens: &[u64]) -> Result<()>;
}

/// A process declares what it uses: a mistaken name is caught here, where a broker might drop the message.
fn undeclared(queue: &QueueName) -> Error {
    Error::Refused(format!("this process has not declared the queue {queue}"))
}

/// Connects to the queue that `url` names: `amqp://`, `amqps://` or `sqlite:PATH`; the first two with several hosts, if
/// need be ([`crate::hosts`]).
///
/// `prefix` stands before every name on a shared broker; `delays` are the steps that delayed messages will want (a second
/// and a day are always there). The first connection must succeed; from then on it is the adapter that keeps it up.
pub async fn connect(url: &str, prefix: &str, delays: &[Duration]) -> Result<Arc<dyn Queue>> {
    if url.starts_with("sqlite:") {
        Ok(Arc::new(SqliteQueue::open(url).await?))
    } else {
        Ok(Arc::new(RabbitMq::connect(url, prefix, delays).await?))
    }
}
