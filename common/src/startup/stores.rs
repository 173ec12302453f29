//! Stores that a process can start without: until the first connection stands they are away, just as they are when a
//! broker goes down later. So a process is alive, answers (503) and shows what it lacks before RabbitMQ is there.

use std::{
    fmt::Display,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use tokio::{
    sync::{SetOnce, oneshot},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    claims::{self, Claim, Claims, Wish},
    config::Config,
    lifecycle::Lifecycle,
    queue::{self, Consumer, Depth, Message, Queue, QueueName, SqliteQueue},
};

/// How long a process waits for the first attempt to reach a store before it goes on without it.
const FIRST: Duration = Duration::from_secs(1);

/// The queue, with `queues` declared. Comes back when the first attempt is over, or after a second; what is not connected
/// by then is away, and is tried for ever in the background.
///
/// An attempt has no deadline here. Each wait for the store within it has one of its own, and one for the whole would
/// end every attempt of a process that has so much else to do that many short waits add up to more.
pub async fn queue(
    config: &Config,
    queues: Vec<QueueName>,
    lifecycle: &Lifecycle,
) -> Arc<dyn Queue> {
    let (url, prefix, delays) = (
        config.queue.url.clone(),
        config.queue.prefix.clone(),
        config.delays(),
    );
    let queues: Arc<[QueueName]> = queues.into();
    let late: Arc<Late<dyn Queue>> = Arc::new(Late::new("queue"));
    let attempt = move || {
        let (url, prefix, delays, queues) = (
            url.clone(),
            prefix.clone(),
            delays.clone(),
            Arc::clone(&queues),
        );
        async move {
            let queue = queue::connect(url.expose_secret(), &prefix, &delays).await?;
            queue.declare(&queues).await?;
            Ok::<_, queue::Error>(queue)
        }
    };
    late.connect(attempt, lifecycle).await;
    late
}

/// The spool, with `queues` declared, on the same terms as [`queue()`]; none if none is configured.
pub async fn spool(
    config: &Config,
    queues: Vec<QueueName>,
    lifecycle: &Lifecycle,
) -> Option<Arc<Late<SqliteQueue>>> {
    // A path may hold what has a meaning in a URL.
    let path = config.ingress.spool.as_ref()?.path.to_string_lossy();
    let url = format!("sqlite:{}", utf8_percent_encode(&path, NON_ALPHANUMERIC));
    let queues: Arc<[QueueName]> = queues.into();
    let late = Arc::new(Late::new("spool"));
    let attempt = move || {
        let (url, queues) = (url.clone(), Arc::clone(&queues));
        async move {
            let file = SqliteQueue::open(&url).await?;
            file.declare(&queues).await?;
            Ok::<_, queue::Error>(Arc::new(file))
        }
    };
    late.connect(attempt, lifecycle).await;
    Some(late)
}

/// The claims store, on the same terms as [`queue()`].
pub async fn claims(config: &Config, lifecycle: &Lifecycle) -> Arc<dyn Claims> {
    let (url, prefix) = (config.claims.url.clone(), config.claims.prefix.clone());
    let late: Arc<Late<dyn Claims>> = Arc::new(Late::new("claims"));
    let attempt = move || {
        let (url, prefix) = (url.clone(), prefix.clone());
        async move { claims::connect(url.expose_secret(), &prefix).await }
    };
    late.connect(attempt, lifecycle).await;
    late
}

/// A store that may still be on its way.
pub struct Late<T: ?Sized> {
    name: &'static str,
    store: SetOnce<Arc<T>>,
    /// Why it is not there yet.
    why: Mutex<String>,
}

impl<T: ?Sized + Send + Sync + 'static> Late<T> {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            store: SetOnce::new(),
            why: Mutex::new("not connected yet".to_owned()),
        }
    }

    /// Tries for ever in the background, and waits for the first attempt, but no longer than [`FIRST`].
    async fn connect<A, F, E>(self: &Arc<Self>, attempt: A, lifecycle: &Lifecycle)
    where
        A: Fn() -> F + Send + 'static,
        F: Future<Output = Result<Arc<T>, E>> + Send,
        E: Display + Send,
    {
        let (late, stopping) = (Arc::clone(self), lifecycle.clone());
        let (tried, first) = oneshot::channel();
        lifecycle.spawn_work(async move {
            tokio::select! {
                () = late.insist(attempt, tried) => {}
                () = stopping.stopping() => {}
            }
        });
        // That the sender was dropped is what tells that the attempt is over.
        if timeout(FIRST, first).await.is_err() {
            self.note("no answer yet".to_owned());
        }
    }

    async fn insist<F, E>(&self, attempt: impl Fn() -> F, tried: oneshot::Sender<()>)
    where
        F: Future<Output = Result<Arc<T>, E>>,
        E: Display,
    {
        if self.try_connect(attempt()).await {
            return;
        }
        drop(tried);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times();
        for pause in pauses.build() {
            tokio::time::sleep(pause).await;
            if self.try_connect(attempt()).await {
                return;
            }
        }
    }

    async fn try_connect<E: Display>(
        &self,
        attempt: impl Future<Output = Result<Arc<T>, E>>,
    ) -> bool {
        match attempt.await {
            Ok(store) => {
                info!(store = self.name, "connected");
                self.store.set(store).is_ok()
            }
            Err(error) => {
                self.note(error.to_string());
                false
            }
        }
    }

    /// Notes why it is not there. A store that is away for an hour is one line, not a thousand.
    fn note(&self, why: String) {
        let mut last = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != why {
            warn!(
                store = self.name,
                error = why,
                "cannot connect; trying for ever"
            );
            *last = why;
        }
    }

    /// The store once it is there.
    pub async fn opened(&self) -> &Arc<T> {
        self.store.wait().await
    }

    /// The store, or why it is not there yet.
    pub fn get(&self) -> Result<&Arc<T>, Box<dyn std::error::Error + Send + Sync>> {
        self.store.get().ok_or_else(|| {
            self.why
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .into()
        })
    }
}

#[async_trait]
impl Queue for Late<dyn Queue> {
    async fn declare(&self, queues: &[QueueName]) -> queue::Result<()> {
        self.get()
            .map_err(queue::Error::Unavailable)?
            .declare(queues)
            .await
    }

    async fn publish(&self, messages: Vec<Message>) -> queue::Result<()> {
        self.get()
            .map_err(queue::Error::Unavailable)?
            .publish(messages)
            .await
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> queue::Result<Box<dyn Consumer>> {
        self.get()
            .map_err(queue::Error::Unavailable)?
            .consume(queue, prefetch)
            .await
    }

    async fn depth(&self, queue: &QueueName) -> queue::Result<Depth> {
        self.get()
            .map_err(queue::Error::Unavailable)?
            .depth(queue)
            .await
    }

    async fn ping(&self) -> queue::Result<()> {
        self.get().map_err(queue::Error::Unavailable)?.ping().await
    }
}

#[async_trait]
impl Claims for Late<dyn Claims> {
    async fn claim(&self, wishes: &[Wish]) -> claims::Result<Vec<Claim>> {
        self.get().map_err(claims::Error)?.claim(wishes).await
    }

    async fn settle(&self, wishes: &[Wish]) -> claims::Result<()> {
        self.get().map_err(claims::Error)?.settle(wishes).await
    }

    async fn ping(&self) -> claims::Result<()> {
        self.get().map_err(claims::Error)?.ping().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Store;

    #[async_trait]
    impl Claims for Store {
        async fn claim(&self, _: &[Wish]) -> claims::Result<Vec<Claim>> {
            Ok(vec![])
        }
        async fn settle(&self, _: &[Wish]) -> claims::Result<()> {
            Ok(())
        }
        async fn ping(&self) -> claims::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_at_the_start_is_away_and_then_there() {
        let lifecycle = Lifecycle::new();
        let attempts = AtomicU32::new(0);
        let late: Arc<Late<dyn Claims>> = Arc::new(Late::new("claims"));
        let attempt = move || {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                match attempt {
                    0 | 1 => Err("connection refused"),
                    _ => Ok(Arc::new(Store) as Arc<dyn Claims>),
                }
            }
        };
        late.connect(attempt, &lifecycle).await;
        assert!(
            late.ping()
                .await
                .unwrap_err()
                .to_string()
                .contains("connection refused")
        );
        late.store.wait().await;
        assert!(late.ping().await.is_ok());
        lifecycle.stop();
        assert!(lifecycle.finish(Duration::from_secs(5)).await);
    }

    /// An attempt is many round trips, each of which a busy process may take a second for.
    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_takes_long_is_awaited_and_not_begun_anew() {
        let (lifecycle, attempts) = (Lifecycle::new(), Arc::new(AtomicU32::new(0)));
        let late: Arc<Late<dyn Claims>> = Arc::new(Late::new("claims"));
        let counted = Arc::clone(&attempts);
        let attempt = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::time::sleep(Duration::from_secs(25)).await;
                Ok::<_, String>(Arc::new(Store) as Arc<dyn Claims>)
            }
        };
        let begun = tokio::time::Instant::now();
        late.connect(attempt, &lifecycle).await;
        assert!(
            begun.elapsed() < 2 * FIRST,
            "the process goes on without it"
        );
        assert!(late.ping().await.is_err());
        timeout(Duration::from_mins(1), late.opened())
            .await
            .unwrap();
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_process_that_is_asked_to_stop_does_not_wait_for_a_store() {
        let lifecycle = Lifecycle::new();
        let late: Arc<Late<dyn Claims>> = Arc::new(Late::new("claims"));
        late.connect(
            || async { Err::<Arc<dyn Claims>, _>("connection refused") },
            &lifecycle,
        )
        .await;
        lifecycle.stop();
        assert!(lifecycle.finish(Duration::from_secs(5)).await);
    }
}
