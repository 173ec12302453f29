//! The stages in this process, over SQLite: what happens to messages that no provider would send.
#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    claims::{self, Claims},
    clock,
    config::Loaded,
    contact::Contact,
    delivery::{Answer, Attempt, Delivery, State},
    envelope::{self, Envelope},
    event::{Draft, Event, Identity, Kind, Undetermined},
    ledger::{DeliveryFilter, Finished, HeldFilter, Leave, Ledger, Quarantined},
    lifecycle::Lifecycle,
    providers::{self, Provider},
    queue::{self, DELIVERY_LIMIT, Feed, Message, Priority, Queue, QueueName},
};
use tempfile::TempDir;
use uuid::Uuid;

/// A worker's stores and its one target, a file. The worker itself is started by [`Bench::work`].
struct Bench {
    folder: TempDir,
    loaded: Loaded,
    queue: Arc<dyn Queue>,
    claims: Arc<dyn Claims>,
    ledger: Ledger,
    lifecycle: Lifecycle,
}

impl Bench {
    async fn new() -> Self {
        Self::with("", "").await
    }

    /// With these settings of the target, and these in all.
    async fn with(target: &str, settings: &str) -> Self {
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

    async fn publish(&self, queue: QueueName, body: Bytes) {
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
    async fn bounce(&self, queue: &QueueName, times: u32) {
        for _ in 0..times {
            let mut consumer = self.queue.consume(queue, 1).await.unwrap();
            let received = consumer.receive(1).await.unwrap();
            consumer.release(&[received[0].token]).await.unwrap();
        }
    }

    fn work(&self) {
        self.work_with(|_| {});
    }

    /// Starts the worker, its outlet or its parser exchanged before.
    fn work_with(&self, exchange: impl FnOnce(&mut worker::App)) {
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

    async fn held(&self, count: usize) -> Vec<Quarantined> {
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

    async fn delivery(&self, state: State, count: usize) {
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
    async fn taken(&self, feed: Feed) {
        until(async || {
            let depth = self.queue.depth(&log(feed)).await.unwrap();
            (depth.ready == 0).then_some(())
        })
        .await;
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

async fn until<T>(mut found: impl AsyncFnMut() -> Option<T>) -> T {
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

fn inbound() -> QueueName {
    QueueName::Inbound(Priority::Urgent)
}

fn log(feed: Feed) -> QueueName {
    QueueName::Target("log".to_owned(), feed)
}

fn envelope_of(source: &str, email: &str) -> Envelope {
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

fn event() -> Event {
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

#[tokio::test]
async fn bytes_that_are_no_message_go_to_quarantine() {
    let bench = Bench::new().await;
    bench
        .publish(inbound(), Bytes::from_static(b"\xff\x00 no envelope"))
        .await;
    bench.work();
    let held = bench.held(1).await;
    let kept = bench
        .ledger
        .envelope(held[0].envelope_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.envelope.body, &b"\xff\x00 no envelope"[..]);
}

#[tokio::test]
async fn bytes_that_differ_where_they_are_no_text_are_both_kept() {
    let bench = Bench::new().await;
    for body in [&b"\xff"[..], b"\xfe"] {
        bench.publish(inbound(), Bytes::from_static(body)).await;
    }
    bench.work();
    bench.held(2).await;
}

#[tokio::test]
async fn an_envelope_of_a_source_that_was_removed_is_kept() {
    let bench = Bench::new().await;
    bench
        .publish(
            inbound(),
            envelope::encode([&envelope_of("gone", "user@example.com")]),
        )
        .await;
    bench.work();
    assert!(
        bench.held(1).await[0]
            .reason
            .contains("\"gone\" is not configured")
    );
}

#[tokio::test]
async fn an_envelope_that_kept_killing_its_worker_is_shown_in_quarantine() {
    let bench = Bench::new().await;
    let envelope = envelope_of("shop", "user@example.com");
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
    bench.bounce(&inbound(), DELIVERY_LIMIT).await;
    bench.work();
    let held = bench.held(1).await;
    assert_eq!(
        (held[0].envelope_id, held[0].source.as_str()),
        (envelope.id, "shop")
    );
}

#[tokio::test]
async fn a_worker_whose_only_target_is_disabled_goes_on() {
    let bench = Bench::with("enabled = false", "").await;
    let envelope = envelope_of("shop", "user@example.com");
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
    bench.work();
    bench.delivery(State::Parked, 1).await;
    assert!(!bench.lifecycle.is_stopping());
    bench.lifecycle.stop();
    assert!(bench.lifecycle.finish(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_delivery_that_kept_killing_its_worker_is_dead() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    let lease = Duration::from_mins(1);
    let ids = [delivery.id];
    let killed = bench.ledger.take(&ids, Uuid::now_v7(), lease);
    assert!(matches!(killed.await.unwrap()[..], [Leave::Granted { .. }]));
    bench.publish(log(Feed::Urgent), delivery.encode()).await;
    bench.bounce(&log(Feed::Urgent), DELIVERY_LIMIT).await;
    bench.work();
    bench.delivery(State::Dead, 1).await;
    assert!(!bench.file().exists(), "it is not attempted again");
}

#[tokio::test]
async fn a_delivery_that_only_waited_while_its_worker_died_is_made() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    bench.publish(log(Feed::Bulk), delivery.encode()).await;
    bench.bounce(&log(Feed::Bulk), DELIVERY_LIMIT).await;
    bench.work();
    bench.delivery(State::Delivered, 1).await;
}

#[tokio::test]
async fn a_message_whose_delivery_is_in_other_hands_keeps_its_count() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    let lease = Duration::from_mins(1);
    let ids = [delivery.id];
    let killed = bench.ledger.take(&ids, Uuid::now_v7(), lease);
    assert!(matches!(killed.await.unwrap()[..], [Leave::Granted { .. }]));
    bench.publish(log(Feed::Urgent), delivery.encode()).await;
    bench.bounce(&log(Feed::Urgent), DELIVERY_LIMIT - 1).await;
    bench.work();
    bench.taken(Feed::Urgent).await;
    bench.lifecycle.stop();
    assert!(bench.lifecycle.finish(Duration::from_secs(10)).await);
    let mut poison = bench.queue.consume(&QueueName::Poison, 1).await.unwrap();
    let parked = tokio::time::timeout(Duration::from_secs(5), poison.receive(1)).await;
    assert_eq!(parked.unwrap().unwrap()[0].body, delivery.encode());
}

#[tokio::test]
async fn a_leftover_message_does_not_use_up_a_call_that_the_rate_allows() {
    let bench = Bench::with("rate = '1/1m'", "").await;
    let delivered = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivered).await.unwrap();
    let me = Uuid::now_v7();
    let lease = Duration::from_mins(1);
    bench.ledger.take(&[delivered.id], me, lease).await.unwrap();
    let attempt = Attempt {
        number: 1,
        started_at: clock::now(),
        duration_ms: 1,
        outcome: "done".to_owned(),
        status: None,
        error: None,
        answer: None,
    };
    let finished = Finished {
        delivery: delivered.id,
        state: State::Delivered,
        next_attempt_at: None,
        attempt,
    };
    bench.ledger.finish(&[finished], me).await.unwrap();
    bench.publish(log(Feed::Urgent), delivered.encode()).await;
    bench.work();
    bench.taken(Feed::Urgent).await;
    let mut other = event();
    other.id = Uuid::now_v7();
    let other = Delivery::new(other, "log");
    bench.ledger.adopt(&other).await.unwrap();
    bench.publish(log(Feed::Bulk), other.encode()).await;
    bench.delivery(State::Delivered, 2).await;
}

/// A target with a bug.
struct Panicking;

#[async_trait::async_trait]
impl worker::targets::Target for Panicking {
    async fn deliver(&self, _: &[Delivery]) -> Vec<Answer> {
        panic!("as a bug would")
    }
}

#[tokio::test]
async fn a_target_that_panics_spends_its_attempts_and_keeps_nothing_waiting() {
    let bench = Bench::with(
        "breaker_after = 1",
        "[retry]\nschedule = ['100ms', '100ms']",
    )
    .await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    bench.publish(log(Feed::Urgent), delivery.encode()).await;
    bench.work_with(|app| {
        Arc::get_mut(&mut app.outlets[0]).unwrap().target = Box::new(Panicking);
    });
    bench.delivery(State::Dead, 1).await;
    assert_eq!(bench.ledger.attempts(delivery.id).await.unwrap().len(), 3);
}

/// A parser with a bug.
#[derive(Debug)]
struct Careless;

impl Provider for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn priority(&self, _: &[u8]) -> Priority {
        Priority::Urgent
    }

    fn parse(&self, _: &Envelope) -> providers::Parsed {
        panic!("as a bug would")
    }

    fn samples(&self) -> &'static [providers::Sample] {
        &[]
    }
}

#[tokio::test]
async fn a_body_that_a_parser_panics_at_goes_to_quarantine() {
    let bench = Bench::new().await;
    let envelope = envelope_of("shop", "user@example.com");
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
    bench.work_with(|app| app.sources.get_mut("shop").unwrap().provider = &Careless);
    assert!(bench.held(1).await[0].reason.contains("panicked"));
    assert!(!bench.lifecycle.is_stopping());
}

#[tokio::test]
async fn a_message_that_keeps_coming_back_is_split_and_loses_no_envelope() {
    let bench = Bench::new().await;
    let envelopes: Vec<_> = (0..5)
        .map(|n| envelope_of("shop", &format!("user{n}@example.com")))
        .collect();
    bench.publish(inbound(), envelope::encode(&envelopes)).await;
    bench.bounce(&inbound(), 3).await;
    bench.work();
    bench.delivery(State::Delivered, 5).await;
    assert_eq!(
        std::fs::read_to_string(bench.file())
            .unwrap()
            .lines()
            .count(),
        5
    );
}

#[tokio::test]
async fn a_delivery_that_the_ledger_lost_is_entered_again_and_made() {
    let bench = Bench::new().await;
    bench
        .publish(log(Feed::Bulk), Delivery::new(event(), "log").encode())
        .await;
    bench.work();
    bench.delivery(State::Delivered, 1).await;
    let standing = bench
        .ledger
        .check(&Contact::email("user@example.com").unwrap(), None)
        .await
        .unwrap();
    assert_eq!(standing.len(), 1);
}

#[tokio::test]
async fn two_messages_for_one_delivery_make_one_attempt() {
    let bench = Bench::new().await;
    let delivery = Delivery::new(event(), "log");
    bench.ledger.adopt(&delivery).await.unwrap();
    for feed in [Feed::Urgent, Feed::Bulk, Feed::Retried] {
        bench.publish(log(feed), delivery.encode()).await;
    }
    bench.work();
    bench.delivery(State::Delivered, 1).await;
    until(async || {
        let mut ready = 0;
        for feed in Feed::ALL {
            ready += bench.queue.depth(&log(*feed)).await.unwrap().ready;
        }
        (ready == 0).then_some(())
    })
    .await;
    assert_eq!(bench.ledger.attempts(delivery.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_stops() {
    let bench = Bench::new().await;
    bench.work();
    bench
        .publish(
            inbound(),
            envelope::encode([&envelope_of("shop", "user@example.com")]),
        )
        .await;
    bench.delivery(State::Delivered, 1).await;
    bench.lifecycle.stop();
    assert!(bench.lifecycle.finish(Duration::from_secs(10)).await);
}
