//! The queue on RabbitMQ, 3.10 or later.
//!
//! - `publish` returns `Ok` when the broker has confirmed every message as persistent and routed ([`publisher`]).
//! - A lost connection is opened again for ever, in the background, and everything is declared again ([`topology`]).
//!   `publish` waits for that for [`PATIENCE`], then fails with [`Error::Unavailable`]: a blip costs no webhook a 503, and
//!   nothing piles up while the broker is away for long.
//! - The URL may name several hosts, the nodes of a cluster: each connection tries them in turn, the first from a
//!   random one on, so that the processes spread over the nodes and a node that died costs a reconnection.
//! - Publishing and consuming each have a connection. A broker that is short of memory or disk stops reading from a
//!   connection that publishes; the consumers' acknowledgements, which relieve it, must still get through.
//! - lapin's own recovery stays off: it hides from a consumer that its messages have gone to another.

mod consumer;
mod link;
mod publisher;
mod topology;
mod traffic;

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use lapin::{Connection, ErrorKind, options::QueueDeclareOptions, types::FieldTable};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

pub(super) use self::topology::Topology;
use self::{
    consumer::RabbitConsumer,
    link::Link,
    publisher::{Batch, Opened, Publisher},
};
use super::{Consumer, Depth, Error, Message, Queue, QueueName, Result, undeclared};
use crate::clock;

/// Header: when the message was published, in milliseconds (the AMQP property has seconds).
const PUBLISHED: &str = "x-published-ms";

/// Header: by how much it was then delayed.
const DELAY: &str = "x-delay-ms";

/// How long `publish` waits for a connection that is away.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the broker may take to connect, or to answer anything but a publish.
const ANSWER: Duration = Duration::from_secs(10);

/// How long it may take to declare everything.
const DECLARE: Duration = Duration::from_secs(30);

/// Batches on their way to the publisher.
const INBOX: usize = 1024;

/// When what was last handed out of a queue had been due.
type LastSeen = Arc<SyncMutex<HashMap<QueueName, Timestamp>>>;

/// The queue on a broker.
pub struct RabbitMq {
    link: Arc<Link>,
    batches: mpsc::Sender<Batch>,
    publishing: watch::Receiver<Option<Arc<Connection>>>,
    consuming: Mutex<Option<Arc<Connection>>>,
    last_seen: LastSeen,
    /// Holds the publisher: it stops when the adapter is dropped.
    _publisher: JoinSet<()>,
}

impl RabbitMq {
    /// Connects and declares. The first connection must succeed; it is kept up from then on.
    pub async fn connect(url: &str, prefix: &str, delays: &[Duration]) -> Result<Self> {
        let link = Arc::new(Link::new(url, Topology::new(prefix, delays))?);
        let first = Opened::open(&link).await?;
        let (batches, inbox) = mpsc::channel(INBOX);
        let (current, publishing) = watch::channel(Some(first.connection.clone()));
        let mut owner = JoinSet::new();
        owner.spawn(Publisher::new(link.clone(), inbox, current).run(first));
        Ok(Self {
            link,
            batches,
            publishing,
            consuming: Mutex::default(),
            last_seen: LastSeen::default(),
            _publisher: owner,
        })
    }

    /// The connection that publishes, if need be after a moment.
    pub(super) async fn publishing(&self) -> Result<Arc<Connection>> {
        let mut publishing = self.publishing.clone();
        let connection = timeout(PATIENCE, publishing.wait_for(Option::is_some))
            .await
            .map_err(|_| away())?
            .map_err(|_| away())?;
        connection.clone().ok_or_else(away)
    }

    /// The connection that consumes, opened when it is wanted.
    async fn consuming(&self) -> Result<Arc<Connection>> {
        let mut consuming = self.consuming.lock().await;
        if let Some(connection) = consuming
            .as_ref()
            .filter(|connection| connection.status().connected())
        {
            return Ok(connection.clone());
        }
        let connection = Arc::new(self.link.connect().await?);
        *consuming = Some(connection.clone());
        Ok(connection)
    }

    #[cfg(test)]
    pub(super) fn topology(&self) -> &Topology {
        &self.link.topology
    }
}

#[async_trait]
impl Queue for RabbitMq {
    async fn declare(&self, queues: &[QueueName]) -> Result<()> {
        for queue in queues {
            self.link.topology.add(queue);
        }
        let connection = self.publishing().await?;
        within(DECLARE, async {
            let channel = connection.create_channel().await?;
            let names: Vec<_> = queues.iter().map(QueueName::to_string).collect();
            let declared = names
                .iter()
                .map(|name| self.link.topology.declare_work(&channel, name));
            try_join_all(declared).await?;
            channel.close(200, "".into()).await
        })
        .await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        if let Some(message) = messages
            .iter()
            .find(|message| !self.link.topology.knows(&message.queue))
        {
            return Err(undeclared(&message.queue));
        }
        if self.publishing().await?.status().blocked() {
            return Err(Error::Refused(
                "the broker is short of memory or disk".to_owned(),
            ));
        }
        let (answer, answered) = oneshot::channel();
        self.batches
            .send(Batch { messages, answer })
            .await
            .map_err(|_| away())?;
        answered.await.unwrap_or_else(|_| Err(away()))
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Box<dyn Consumer>> {
        if !self.link.topology.knows(queue) {
            return Err(undeclared(queue));
        }
        let connection = self.consuming().await?;
        let start = RabbitConsumer::start(
            self.link.clone(),
            connection,
            self.last_seen.clone(),
            queue.clone(),
            prefetch,
        );
        Ok(Box::new(within(ANSWER, start).await?))
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth> {
        let connection = self.consuming().await?;
        let ready = within(ANSWER, async {
            // A channel of its own, since the broker closes it if the queue does not exist.
            let channel = connection.create_channel().await?;
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let found = channel
                .queue_declare(
                    self.link.topology.queue(queue),
                    options,
                    FieldTable::default(),
                )
                .await?;
            channel.close(200, "".into()).await?;
            Ok(u64::from(found.message_count()))
        })
        .await?;
        let last_seen = self
            .last_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(queue)
            .copied();
        let oldest = last_seen
            .filter(|_| ready > 0)
            .map(|due| clock::now().duration_since(due).unsigned_abs());
        Ok(Depth { ready, oldest })
    }

    async fn ping(&self) -> Result<()> {
        let connection = self.publishing().await?;
        within(ANSWER, async {
            connection
                .create_channel()
                .await?
                .close(200, "".into())
                .await
        })
        .await
    }
}

fn away() -> Error {
    Error::Unavailable("the broker is away".into())
}

/// What the broker answers about one channel is a refusal; anything else means that it is not to be reached.
fn unavailable(error: lapin::Error) -> Error {
    match error.kind() {
        ErrorKind::ProtocolError(answer) if error.is_amqp_soft_error() => {
            Error::Refused(answer.to_string())
        }
        _ => Error::Unavailable(Box::new(error)),
    }
}

/// Bounds a wait for the broker.
async fn within<T>(limit: Duration, answer: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(unavailable),
        Err(elapsed) => Err(Error::Unavailable(Box::new(elapsed))),
    }
}
