//! The spool: where envelopes wait while the broker is away. A local file, the embedded queue's, which every ingress of
//! a machine may share: what one of them left there, any other one sends on.
//!
//! - [`Spool::put`] returns `Ok` only after an fsynced commit, so a 200 means durable here, too.
//! - A file that holds `max_size` takes no more until it is drained. Asked of the file before each write, so it counts
//!   what others wrote; it may be passed by one message of each process.
//! - While the broker is known to be away ([`Spool::bypasses`]) no request waits for it: the [`drain`] finds out when it
//!   is back. What the spool does not take is offered to the broker all the same, so a full or broken file is never worse
//!   than none.
//!
//! What is true if the process dies: before the commit, nothing was answered, and the provider sends it again; after it,
//! the message is in the file, and is sent on by the next process that opens it. It can be in the broker as well, when
//! that had taken it and was too slow to say so: the worker knows its envelopes by their ids.

pub(crate) mod drain;

use std::sync::Arc;

use common::{
    config::Config,
    fault,
    lifecycle::Lifecycle,
    ops::Ops,
    queue::{self, Message, Queue, SqliteQueue},
    startup::{self, Late},
};
use metrics::counter;
use tokio::sync::watch;
use tracing::{info, warn};

/// The file, and what is known of the broker.
pub struct Spool {
    file: Arc<Late<SqliteQueue>>,
    max_size: u64,
    /// Whether the broker is known to be away.
    away: watch::Sender<bool>,
}

/// Why the spool does not take a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the spool is full: it holds the {0} bytes that ingress.spool.max_size allows")]
    Full(u64),
    #[error("the spool's file cannot be used: {0}")]
    Unavailable(#[from] queue::Error),
}

impl Spool {
    /// The configured spool; none if there is none. A file that cannot be opened yet is tried for ever, and does not
    /// keep the door shut: the broker may be there.
    pub async fn open(config: &Config, lifecycle: &Lifecycle) -> Option<Arc<Self>> {
        let max_size = config.ingress.spool.as_ref()?.max_size;
        let file = startup::spool(config, crate::queues(), lifecycle).await?;
        let away = watch::Sender::new(false);
        Some(Arc::new(Self {
            file,
            max_size,
            away,
        }))
    }

    /// Stores a message of `envelopes` envelopes.
    pub(crate) async fn put(&self, message: Message, envelopes: usize) -> Result<(), Error> {
        let file = self.file.get().map_err(queue::Error::Unavailable)?;
        self.room(file, message.body.len()).await?;
        let queue = message.queue.to_string();
        fault::point("spool.before_put");
        file.publish(vec![message]).await?;
        fault::point("spool.put");
        counter!("optout_spool_envelopes_total", "queue" => queue).increment(envelopes as u64);
        Ok(())
    }

    async fn room(&self, file: &SqliteQueue, wanted: usize) -> Result<(), Error> {
        if file.used().await?.saturating_add(wanted as u64) > self.max_size {
            return Err(Error::Full(self.max_size));
        }
        Ok(())
    }

    /// Whether messages go to the spool without asking the broker.
    pub(crate) fn bypasses(&self) -> bool {
        *self.away.borrow()
    }

    /// Notes that the broker did not take a message in time.
    pub(crate) fn lost(&self, why: &str) {
        if !self.away.send_replace(true) {
            warn!(
                error = why,
                "the broker does not take webhooks; they go to the spool until it does"
            );
        }
    }

    /// Notes that the broker took one.
    pub(crate) fn regained(&self) {
        if self.away.send_replace(false) {
            info!("the broker takes webhooks again");
        }
    }

    /// Has `ops` name the spool, by whether it takes more.
    pub fn watched(self: &Arc<Self>, ops: Ops) -> Ops {
        let spool = Arc::clone(self);
        ops.depends("spool", move || {
            let spool = Arc::clone(&spool);
            Box::pin(async move { spool.check().await.map_err(|error| error.to_string()) })
        })
    }

    async fn check(&self) -> Result<(), Error> {
        let file = self.file.get().map_err(queue::Error::Unavailable)?;
        file.ping().await?;
        self.room(file, 1).await
    }
}
