//! What the tests of the stages are written with: a worker in this process over SQLite, and messages for it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    claims::{self, Claims},
    clock,
    config::Loaded,
    contact::Contact,
    delivery::State,
    envelope::Envelope,
    event::{Draft, Event, Identity, Kind, Undetermined},
    ledger::{DeliveryFilter, HeldFilter, Ledger, Quarantined},
    lifecycle::Lifecycle,
    queue::{self, Feed, Message, Priority, Queue, QueueName},
};
use tempfile::TempDir;
use uuid::Uuid;

/// A worker's stores and its one target, a file. The worker itself is started by [`Bench::work`].
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) loaded: Loaded,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) claims: Arc<dyn Claims>,
    pub(crate) ledger: Ledger,
    pub(crate) lifecycle: Lifecycle,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with("", "").await
    }

    /// With these settings of the target, and these in all.
    pub(crate) async fn with(target: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[[sources]]\nname = 'shop'\nprovider = 'notifiedby'\nauth = {{ kind = 'none' }}\n\
             [[targets]]\nname = 'log'\nkind = 'file'\nevents = ['*']\npath = '{}'\n{target}\n{settings}\n",
            folder.path().join("events.jsonl").display()
        );
        let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        let queue = queue::connect(&file("queue.db"), "", &[]).await.unwrap();
        let claims = claims::connect(&file("queue.db"), "").await.unwrap();
        let ledger = Ledger::connect(&file("ledger.db"), 2).await.unwrap();
        let bench = Self {
            folder,
            loaded,
            queue,
            claims,
            ledger,
            lifecycle: Lifecycle::new(),
        };
        let names = [
            inbound(),
            log(Feed::Urgent),
            log(Feed::Retried),
            log(Feed::Bulk),
            QueueName::Poison,
        ];
        bench.queue.declare(&names).await.unwrap();
        bench
    }

    pub(crate) async fn publish(&self, queue: QueueName, body: Bytes) {
        self.queue
            .publish(vec![Message {
                queue,
                body,
                delay: Duration::ZERO,
            }])
            .await
            .unwrap();
    }

    /// Hands a queue's only message out and takes it back, `times` times.
    pub(crate) async fn bounce(&self, queue: &QueueName, times: u32) {
        for _ in 0..times {
            let mut consumer = self.queue.consume(queue, 1).await.unwrap();
            let received = consumer.receive(1).await.unwrap();
            consumer.release(&[received[0].token]).await.unwrap();
        }
    }

    pub(crate) fn work(&self) {
        self.work_with(|_| {});
    }

    /// Starts the worker, its outlet or its parser exchanged before.
    pub(crate) fn work_with(&self, exchange: impl FnOnce(&mut worker::App)) {
        let outlets = worker::outlets(&self.loaded.config).unwrap();
        assert_eq!(self.loaded.mistakes(), []);
        let (queue, claims, ledger) = (
            Arc::clone(&self.queue),
            Arc::clone(&self.claims),
            self.ledger.clone(),
        );
        let mut app = worker::App::new(&self.loaded.config, outlets, queue, claims, ledger);
        exchange(&mut app);
        worker::spawn(&Arc::new(app), &self.lifecycle);
    }

    pub(crate) async fn held(&self, count: usize) -> Vec<Quarantined> {
        until(async || {
            let items = self
                .ledger
                .quarantined(&HeldFilter::default(), 10, None)
                .await
                .unwrap()
                .items;
            (items.len() == count).then_some(items)
        })
        .await
    }

    pub(crate) async fn delivery(&self, state: State, count: usize) {
        until(async || {
            let items = self
                .ledger
                .deliveries(&DeliveryFilter::default(), 50, None)
                .await
                .unwrap()
                .items;
            (items.len() == count && items.iter().all(|row| row.state == state)).then_some(())
        })
        .await;
    }

    /// Waits until the worker has taken everything from a queue of the target.
    pub(crate) async fn taken(&self, feed: Feed) {
        until(async || {
            let depth = self.queue.depth(&log(feed)).await.unwrap();
            (depth.ready == 0).then_some(())
        })
        .await;
    }

    /// Waits until the target has been told of so many events.
    pub(crate) async fn log_has(&self, events: usize) {
        until(async || {
            let log = std::fs::read_to_string(self.file()).unwrap_or_default();
            (log.lines().count() == events).then_some(())
        })
        .await;
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

pub(crate) async fn until<T>(mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            match found().await {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap()
}

pub(crate) fn inbound() -> QueueName {
    QueueName::Inbound(Priority::Urgent)
}

pub(crate) fn log(feed: Feed) -> QueueName {
    QueueName::Target("log".to_owned(), feed)
}

pub(crate) fn envelope_of(source: &str, email: &str) -> Envelope {
    let body = format!(
        r#"{{"event":"unsubscribed","email":"{email}","timestamp":"2024-07-02T18:04:00Z"}}"#
    );
    Envelope {
        id: Uuid::now_v7(),
        source: source.to_owned(),
        received_at: clock::now(),
        content_type: None,
        headers: vec![],
        body: body.into(),
    }
}

pub(crate) fn event() -> Event {
    let mut draft = Draft::new(
        Kind::Unsubscribed,
        "unsubscribed",
        Identity::Own("1".to_owned()),
    );
    draft.contact = Some(Contact::email("user@example.com").unwrap());
    draft.into_event(
        &envelope_of("shop", "user@example.com"),
        "notifiedby",
        Undetermined::Suppress,
    )
}
