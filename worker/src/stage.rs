//! A stage: a loop over one queue, and the only place that acknowledges.
//!
//! The loop takes messages and hands each on as an [`Item`]; whoever finishes with one says so through it. An item that
//! is dropped, because a step gave up, panicked or was told to stop, goes back to the queue. Acknowledgements that come
//! together go out together.
//!
//! When the queue is away the loop connects again, for ever, with pauses. What was in hand then has gone back to
//! the queue: its items are finished in vain, and will be seen again.
//!
//! A message that was handed out several times may be one that kills its worker, and what is in hand beside it is handed
//! out again as often. So every connection starts with one message in hand, and takes more only once a message was
//! settled, or borne for a while, that is above suspicion: a killer comes to its limit alone, and is parked alone. Only
//! for a while, since in a queue that several targets share a slow call is no reason for the others to wait.
//!
//! Dying anywhere here loses nothing: what is not acknowledged is handed out again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    lifecycle::Lifecycle,
    queue::{self, Consumer, Queue, QueueName, Received},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};
use tracing::{debug, info};

use common::patience::until_done;

/// A message that was handed out this often may be one that kills its worker.
pub(crate) const SUSPECT: u32 = 3;

/// Messages are taken in gulps of at most this many.
const GULP: usize = 256;

/// A connection that ended is not opened again at once: a store in trouble may end each one as it begins.
const PAUSE: Duration = Duration::from_millis(100);

/// A message in hand.
#[derive(Debug)]
pub(crate) struct Item {
    pub message: Received,
    settle: Option<UnboundedSender<Settled>>,
}

#[derive(Debug, Clone, Copy)]
enum Settled {
    Acknowledged(u64),
    Released(u64),
}

impl Item {
    /// What it caused is confirmed: it may leave the queue.
    pub(crate) fn ack(mut self) {
        self.settle(Settled::Acknowledged(self.message.token));
    }

    /// The message's bytes.
    pub(crate) fn body(&self) -> &Bytes {
        &self.message.body
    }

    /// A message of `size` bytes that no queue waits for.
    #[cfg(test)]
    pub(crate) fn test(size: usize, deliveries: u32) -> Self {
        let message = Received {
            token: 0,
            body: vec![0; size].into(),
            deliveries,
            published_at: None,
            parked_from: None,
        };
        Self {
            message,
            settle: None,
        }
    }

    fn settle(&mut self, settled: Settled) {
        // The other end is gone once the connection is: then the queue has taken the message back already.
        if let Some(settle) = self.settle.take()
            && settle.send(settled).is_err()
        {
            debug!("a message was settled after its connection ended; it will be handed out again");
        }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.settle(Settled::Released(self.message.token));
    }
}

/// Takes from `name`, at most `prefetch` in hand, and hands on to `to`, until the lifecycle stops and all is settled.
pub(crate) async fn run(
    queue: Arc<dyn Queue>,
    name: QueueName,
    prefetch: u16,
    lifecycle: Lifecycle,
    to: UnboundedSender<Item>,
) -> anyhow::Result<()> {
    let mut careful = true;
    loop {
        let consumer = until_done(&lifecycle, "consume", || async {
            queue.declare(std::slice::from_ref(&name)).await?;
            queue
                .consume(&name, if careful { 1 } else { prefetch })
                .await
        });
        let Some(consumer) = consumer.await else {
            return Ok(());
        };
        let mut connection = Connection::new(consumer);
        match connection.take(careful, &lifecycle, &to).await {
            Ok(End::Stopped) => return Ok(()),
            Ok(End::Trusted) => {
                careful = false;
                lifecycle.spawn_work(connection.finish());
            }
            Err(error) => {
                info!(queue = %name, %error, "connecting to the queue again");
                careful = true;
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = lifecycle.stopping() => return Ok(()),
                }
            }
        }
    }
}

/// What was in hand for so long has not killed its worker, though it is not settled yet.
const BORNE: Duration = Duration::from_millis(500);

/// How a connection ended that was not lost.
enum End {
    /// Stopped, and all is settled.
    Stopped,
    /// It was careful, and a message above suspicion was settled or borne; in the second case it is in hand still.
    Trusted,
}

/// One connection to the queue, and what of its messages is in hand.
struct Connection {
    consumer: Box<dyn Consumer>,
    in_hand: usize,
    settle: UnboundedSender<Settled>,
    settled: UnboundedReceiver<Settled>,
}

impl Connection {
    fn new(consumer: Box<dyn Consumer>) -> Self {
        let (settle, settled) = unbounded_channel();
        Self {
            consumer,
            in_hand: 0,
            settle,
            settled,
        }
    }

    /// Takes messages and settles them, until there is a reason to end.
    async fn take(
        &mut self,
        careful: bool,
        lifecycle: &Lifecycle,
        to: &UnboundedSender<Item>,
    ) -> queue::Result<End> {
        let mut stopping = lifecycle.is_stopping();
        // Since when there was a message above suspicion, until when it is borne.
        let mut trusted: Option<Instant> = None;
        loop {
            if self.in_hand == 0 && stopping {
                return Ok(End::Stopped);
            }
            let borne = trusted.filter(|_| careful && !stopping);
            if self.in_hand == 0 && borne.is_some() {
                return Ok(End::Trusted);
            }
            tokio::select! {
                biased;
                Some(first) = self.settled.recv() => self.acknowledge(first).await?,
                () = lifecycle.stopping(), if !stopping => stopping = true,
                () = sleep_until(borne.unwrap_or_else(Instant::now)), if borne.is_some() => return Ok(End::Trusted),
                received = self.consumer.receive(GULP), if !stopping => {
                    for message in received? {
                        self.in_hand += 1;
                        trusted = (message.deliveries < SUSPECT).then(|| Instant::now() + BORNE);
                        let item = Item { message, settle: Some(self.settle.clone()) };
                        if to.send(item).is_err() {
                            // Nobody takes any more: the process is coming down, and the dropped item goes back.
                            stopping = true;
                        }
                    }
                }
            }
        }
    }

    /// Settles what is in hand still, and takes no more. If that fails it goes back to the queue.
    async fn finish(mut self) {
        while self.in_hand > 0
            && let Some(first) = self.settled.recv().await
        {
            if let Err(error) = self.acknowledge(first).await {
                info!(%error, "a message was settled after its connection ended; it will be handed out again");
                return;
            }
        }
    }

    /// Settles what has been finished by now.
    async fn acknowledge(&mut self, first: Settled) -> queue::Result<()> {
        let (mut finished, mut released) = (vec![], vec![]);
        let mut next = Some(first);
        while let Some(settled_now) = next {
            match settled_now {
                Settled::Acknowledged(token) => finished.push(token),
                Settled::Released(token) => released.push(token),
            }
            next = self.settled.try_recv().ok();
        }
        if !finished.is_empty() {
            self.consumer.ack(&finished).await?;
        }
        if !released.is_empty() {
            self.consumer.release(&released).await?;
        }
        self.in_hand -= finished.len() + released.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use common::queue::{Depth, Error, Message, Priority, Result, SqliteQueue};

    use super::*;

    /// A queue with `messages` in it that were handed out twice already.
    async fn suspects(folder: &tempfile::TempDir, messages: u8) -> Arc<dyn Queue> {
        let url = format!("sqlite:{}", folder.path().join("queue.db").display());
        let queue: Arc<dyn Queue> = Arc::new(SqliteQueue::open(&url).await.unwrap());
        queue.declare(&[name()]).await.unwrap();
        publish(&*queue, 0..messages).await;
        for _ in 1..SUSPECT {
            let mut consumer = queue.consume(&name(), 100).await.unwrap();
            let mut tokens = vec![];
            while tokens.len() < usize::from(messages) {
                let received = consumer.receive(100).await.unwrap();
                tokens.extend(received.iter().map(|message| message.token));
            }
            consumer.release(&tokens).await.unwrap();
        }
        queue
    }

    fn name() -> QueueName {
        QueueName::Inbound(Priority::Urgent)
    }

    async fn publish(queue: &dyn Queue, bodies: std::ops::Range<u8>) {
        let message = |body: u8| Message {
            queue: name(),
            body: vec![body].into(),
            delay: std::time::Duration::ZERO,
        };
        queue.publish(bodies.map(message).collect()).await.unwrap();
    }

    #[tokio::test]
    async fn suspects_are_taken_one_at_a_time_and_the_rest_together() {
        let folder = tempfile::tempdir().unwrap();
        let queue = suspects(&folder, 3).await;
        let (to, mut items) = unbounded_channel();
        let lifecycle = Lifecycle::new();
        let run = run(Arc::clone(&queue), name(), 100, lifecycle.clone(), to);
        lifecycle.spawn("take", run);
        for left in [2, 1, 0] {
            let item = items.recv().await.unwrap();
            assert_eq!(item.message.deliveries, SUSPECT);
            assert_eq!(queue.depth(&name()).await.unwrap().ready, left);
            assert!(items.try_recv().is_err(), "the others stay in the queue");
            item.ack();
        }
        publish(&*queue, 10..20).await;
        items.recv().await.unwrap().ack();
        let mut in_hand = vec![];
        while in_hand.len() < 9 {
            in_hand.push(items.recv().await.unwrap());
        }
        drop(in_hand);
        lifecycle.stop();
    }

    #[tokio::test]
    async fn a_message_that_takes_long_keeps_no_other_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let queue = suspects(&folder, 0).await;
        publish(&*queue, 0..3).await;
        let (to, mut items) = unbounded_channel();
        let lifecycle = Lifecycle::new();
        let run = run(Arc::clone(&queue), name(), 100, lifecycle.clone(), to);
        lifecycle.spawn("take", run);
        let slow = items.recv().await.unwrap();
        for _ in 0..2 {
            items.recv().await.unwrap().ack();
        }
        slow.ack();
        lifecycle.stop();
        assert!(lifecycle.finish(Duration::from_secs(5)).await);
        let mut left = queue.consume(&name(), 100).await.unwrap();
        let left = tokio::time::timeout(Duration::from_millis(200), left.receive(100));
        assert!(left.await.is_err(), "all three were settled");
    }

    /// A queue that lets itself be consumed from, and breaks off whenever it is.
    #[derive(Default)]
    struct Broken {
        consumed: AtomicU32,
    }

    fn broken<T>() -> Result<T> {
        Err(Error::Unavailable("as a full disk would".into()))
    }

    #[async_trait]
    impl Queue for Broken {
        async fn declare(&self, _: &[QueueName]) -> Result<()> {
            Ok(())
        }
        async fn publish(&self, _: Vec<Message>) -> Result<()> {
            broken()
        }
        async fn consume(&self, _: &QueueName, _: u16) -> Result<Box<dyn Consumer>> {
            self.consumed.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Self::default()))
        }
        async fn depth(&self, _: &QueueName) -> Result<Depth> {
            broken()
        }
        async fn ping(&self) -> Result<()> {
            broken()
        }
    }

    #[async_trait]
    impl Consumer for Broken {
        async fn receive(&mut self, _: usize) -> Result<Vec<Received>> {
            broken()
        }
        async fn ack(&mut self, _: &[u64]) -> Result<()> {
            broken()
        }
        async fn release(&mut self, _: &[u64]) -> Result<()> {
            broken()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_breaks_off_at_once_is_not_asked_at_once_again() {
        let (queue, lifecycle) = (Arc::new(Broken::default()), Lifecycle::new());
        let (to, _items) = unbounded_channel();
        let asked = Arc::clone(&queue);
        let stopping = lifecycle.clone();
        lifecycle.spawn("take", run(asked, name(), 1, stopping, to));
        tokio::time::sleep(Duration::from_millis(300)).await;
        lifecycle.stop();
        assert!(lifecycle.finish(Duration::from_secs(5)).await);
        let consumed = queue.consumed.load(Ordering::SeqCst);
        assert!((1..=5).contains(&consumed), "{consumed} times");
    }
}
