//! The drain: sends on what waits in the spool, as soon as the broker takes it, in the order of arrival within each
//! priority, what is urgent first. It runs beside new webhooks, which go to the broker themselves once that is back;
//! nothing depends on their order.
//!
//! A batch is taken, published with the broker's confirmation, and then acknowledged. What is true if the process dies:
//! - before the publish: the batch goes back when this process's lease on it ends, and another process or the next
//!   start takes it;
//! - after the publish, before the acknowledgement: the same, so the batch is published twice. Envelopes are known by
//!   their ids, so that has no effect.
//!
//! Nothing is dropped, however old. A message that was handed out too often, as by a process that keeps dying, is parked
//! by the embedded queue, and is sent on from there as well, last.

use std::{sync::Arc, time::Duration};

use common::{
    fault,
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{self, Consumer, Depth, Message, Priority, Queue, QueueName, Received, SqliteQueue},
};
use metrics::{Counter, counter, gauge};
use tokio::time::sleep;

use super::Spool;

/// Messages that are published together. Under load each holds up to 100 KiB of envelopes.
const BATCH: u16 = 32;

/// How long nothing urgent has to come after a full batch of it, for the rest to have its turn.
const BREATH: Duration = Duration::from_secs(1);

/// The pause after a failure of the file.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the gauges are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// Drains until the process stops.
pub(crate) async fn run(
    spool: Arc<Spool>,
    broker: Arc<dyn Queue>,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let drain = async {
        let file = spool.file.opened().await;
        // Failing, the consumers are of no further use; what they had in hand is back in the file.
        loop {
            let drained = drain(&spool, file, broker.as_ref(), &lifecycle).await;
            if lifecycle.is_stopping() {
                return;
            }
            if let Err(error) = drained {
                tracing::warn!(%error, "the spool's file cannot be read, trying again");
                sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        () = drain => {}
        () = gauges(&spool) => {}
        () = lifecycle.stopping() => {}
    }
    Ok(())
}

/// Sends on what comes, until the file fails or the process is told to stop.
async fn drain(
    spool: &Spool,
    file: &SqliteQueue,
    broker: &dyn Queue,
    lifecycle: &Lifecycle,
) -> queue::Result<()> {
    let [urgent, bulk] = [Priority::Urgent, Priority::Bulk].map(QueueName::Inbound);
    let mut first = Feed::open(file, urgent.clone(), urgent.clone()).await?;
    let mut second = Feed::open(file, bulk.clone(), bulk).await?;
    let mut last = Feed::open(file, QueueName::Poison, urgent).await?;
    let mut pause = Duration::ZERO;
    loop {
        // A receive that is cut off loses nothing: what it asked for is handed out by the next.
        let (feed, breath, taken) = tokio::select! {
            biased;
            taken = first.take(Duration::ZERO) => (&mut first, BREATH, taken?),
            taken = second.take(pause) => (&mut second, Duration::ZERO, taken?),
            taken = last.take(pause) => (&mut last, Duration::ZERO, taken?),
        };
        let full = taken.len() == usize::from(BATCH);
        pause = if full { breath } else { Duration::ZERO };
        fault::point("spool.taken");
        let messages = feed.messages(&taken);
        if send_on(spool, broker, &messages, lifecycle).await.is_none() {
            return Ok(());
        }
        fault::point("spool.published");
        feed.finish(&taken).await?;
        fault::point("spool.finished");
    }
}

/// One queue of the file.
struct Feed {
    consumer: Box<dyn Consumer>,
    /// Where its messages go, unless they say so themselves.
    to: QueueName,
    sent_on: Counter,
}

impl Feed {
    async fn open(file: &SqliteQueue, from: QueueName, to: QueueName) -> queue::Result<Self> {
        Ok(Self {
            consumer: file.consume(&from, BATCH).await?,
            sent_on: counter!("optout_spool_sent_on_messages_total", "queue" => from.to_string()),
            to,
        })
    }

    /// Waits for the next messages, not to begin with for `pause`.
    async fn take(&mut self, pause: Duration) -> queue::Result<Vec<Received>> {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        self.consumer.receive(usize::from(BATCH)).await
    }

    /// The same messages for the broker.
    fn messages(&self, taken: &[Received]) -> Vec<Message> {
        let message = |received: &Received| Message {
            queue: received.parked_from.as_ref().unwrap_or(&self.to).clone(),
            body: received.body.clone(),
            delay: Duration::ZERO,
        };
        taken.iter().map(message).collect()
    }

    async fn finish(&mut self, taken: &[Received]) -> queue::Result<()> {
        let tokens: Vec<_> = taken.iter().map(|message| message.token).collect();
        self.consumer.ack(&tokens).await?;
        self.sent_on.increment(taken.len() as u64);
        Ok(())
    }
}

/// Publishes a batch, however long the broker stays away. None if the process is told to stop before.
async fn send_on(
    spool: &Spool,
    broker: &dyn Queue,
    messages: &[Message],
    lifecycle: &Lifecycle,
) -> Option<()> {
    until_done(lifecycle, "spool", || async {
        let published = broker.publish(messages.to_vec()).await;
        match &published {
            Ok(()) => spool.regained(),
            Err(error) => spool.lost(&error.to_string()),
        }
        published
    })
    .await
}

/// Keeps the gauges. A file that cannot be read leaves them as they were.
async fn gauges(spool: &Spool) {
    let file = spool.file.opened().await;
    loop {
        if let Ok(used) = file.used().await {
            gauge!("optout_spool_used_bytes").set(float(used));
        }
        for queue in crate::queues().into_iter().chain([QueueName::Poison]) {
            if let Ok(Depth { ready, oldest }) = file.depth(&queue).await {
                let queue = queue.to_string();
                gauge!("optout_spool_messages", "queue" => queue.clone()).set(float(ready));
                gauge!("optout_spool_oldest_age_seconds", "queue" => queue)
                    .set(oldest.unwrap_or_default().as_secs_f64());
            }
        }
        sleep(GAUGES_EVERY).await;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float, exact to 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}
