//! The embedded queue: one SQLite file in WAL mode, which several processes may share.
//!
//! - `synchronous=FULL`: a commit survives a power failure. One task writes, and many callers share a commit ([`writer`]).
//! - A message in hand is leased to its process. The lease is renewed while the process lives; when it ends, another
//!   process gives the messages back. A consumer that is dropped gives them back at once.
//! - What this process does wakes its own consumers at once. What others do is seen within [`TIMING`]`.poll`.

mod consumer;
pub(crate) mod file;
mod handle;
mod statements;
mod writer;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    SqlitePool,
    sqlite::{SqlitePoolOptions, SqliteSynchronous},
};

#[cfg(test)]
pub(super) use self::statements::TAKE;
pub(super) use self::writer::Timing;
use self::{
    consumer::SqliteConsumer,
    handle::{Command, Handle},
    statements::{Incoming, timestamp},
};
use super::{Consumer, Depth, Error, Message, Queue, QueueName, Result};
use crate::clock;

const SCHEMA: &str = include_str!("schema.sql");

const TIMING: Timing = Timing {
    lease: Duration::from_secs(15),
    poll: Duration::from_millis(200),
};

/// SQLite's result code for "database or disk is full".
const FULL: u32 = 13;

/// The queue in a file. It keeps writing what it was asked until it and all of its consumers are dropped.
pub struct SqliteQueue {
    writer: Handle,
    /// Counting reads alongside the writer, instead of holding it up.
    readers: SqlitePool,
    declared: Mutex<HashMap<QueueName, i64>>,
}

impl SqliteQueue {
    /// Opens the file that `sqlite:PATH` names, and creates what is missing of it.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, TIMING).await
    }

    pub(super) async fn open_with(url: &str, timing: Timing) -> Result<Self> {
        let open = async {
            let options = file::options(url, SqliteSynchronous::Full)?;
            let mut connection = file::open(&options, SCHEMA).await?;
            let poison =
                statements::declare(&mut connection, &QueueName::Poison.to_string()).await?;
            let readers = SqlitePoolOptions::new()
                .max_connections(2)
                .connect_lazy_with(options.clone());
            let writer = writer::start(connection, options, poison, timing).await?;
            Ok(Self {
                writer,
                readers,
                declared: Mutex::new(HashMap::from([(QueueName::Poison, poison)])),
            })
        };
        open.await.map_err(|error| failure(Arc::new(error)))
    }

    /// The bytes of the file that hold something: what was acknowledged makes room, though the file does not shrink.
    pub async fn used(&self) -> Result<u64> {
        let used = "SELECT (pages.page_count - free.freelist_count) * size.page_size
            FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size";
        let used = sqlx::query_scalar::<_, i64>(used).fetch_one(&self.readers);
        let used = used.await.map_err(|error| failure(Arc::new(error)))?;
        Ok(used.cast_unsigned())
    }

    fn id(&self, queue: &QueueName) -> Result<i64> {
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        declared
            .get(queue)
            .copied()
            .ok_or_else(|| super::undeclared(queue))
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn declare(&self, queues: &[QueueName]) -> Result<()> {
        for queue in queues {
            let id = self
                .writer
                .ask(|answer| Command::Declare {
                    name: queue.to_string(),
                    answer,
                })
                .await?;
            self.declared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(queue.clone(), id);
        }
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let incoming = |message: Message| {
            Ok(Incoming {
                queue: self.id(&message.queue)?,
                delay: message.delay,
                body: message.body,
            })
        };
        let messages = messages
            .into_iter()
            .map(incoming)
            .collect::<Result<Vec<_>>>()?;
        self.writer
            .ask(|answer| Command::Publish { messages, answer })
            .await
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(SqliteConsumer::new(
            self.writer.clone(),
            self.id(queue)?,
            prefetch,
        )))
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth> {
        let now = clock::now();
        let count = "SELECT count(*), min(due_at) FROM message WHERE queue = ? AND session IS NULL AND due_at <= ?";
        let count = sqlx::query_as(count)
            .bind(self.id(queue)?)
            .bind(now.as_microsecond());
        let (ready, oldest): (i64, Option<i64>) = count
            .fetch_one(&self.readers)
            .await
            .map_err(|error| failure(Arc::new(error)))?;
        let oldest = oldest
            .and_then(timestamp)
            .map(|due| now.duration_since(due).unsigned_abs());
        Ok(Depth {
            ready: ready.cast_unsigned(),
            oldest,
        })
    }

    async fn ping(&self) -> Result<()> {
        self.writer
            .ask(|answer| Command::Publish {
                messages: Vec::new(),
                answer,
            })
            .await
    }
}

/// Shared, since one error answers all callers of a transaction.
fn failure(error: Arc<sqlx::Error>) -> Error {
    if file::result_code(&error) == Some(FULL) {
        return Error::Refused(format!("the disk is full: {error}"));
    }
    Error::Unavailable(Box::new(error))
}
