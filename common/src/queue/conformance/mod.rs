//! What every queue must do, run against both adapters. What only one of them can show is in a file of its own.

/// Each behaviour becomes one test for each adapter.
macro_rules! behaviours {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::run(super::Store::sqlite(), |store| super::FutureExt::boxed(super::$name(store))).await;
            })+
        }

        mod on_rabbitmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::run(super::Store::rabbitmq(), |store| super::FutureExt::boxed(super::$name(store))).await;
            })+
        }
    };
}

mod delays;
mod rabbitmq;
mod sqlite;
mod suite;
mod tls;

use std::{fmt::Display, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use lapin::{
    Connection, ConnectionProperties,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{
    Consumer, Feed, Message, Priority, Queue, QueueName, Received, connect, rabbitmq::Topology,
};

/// Where a test's queue is kept: a file, or a prefix of its own on the broker.
pub(super) struct Store {
    url: String,
    prefix: String,
    _folder: Option<TempDir>,
}

const URGENT: QueueName = QueueName::Inbound(Priority::Urgent);
const BULK: QueueName = QueueName::Inbound(Priority::Bulk);

/// Longer than anything takes that a test waits for.
const LONG: Duration = Duration::from_secs(20);

/// Long enough to see that something does not happen.
const SHORT: Duration = Duration::from_millis(300);

fn retried() -> QueueName {
    QueueName::Target("slack".to_owned(), Feed::Retried)
}

/// Known to the adapter in one test, and not declared.
fn unbound() -> QueueName {
    QueueName::Target("unbound".to_owned(), Feed::Bulk)
}

impl Store {
    fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}/data/queue.db", folder.path().display());
        Self {
            url,
            prefix: String::new(),
            _folder: Some(folder),
        }
    }

    fn rabbitmq() -> Self {
        Self::rabbitmq_at(test_url("OPTOUT_TEST_AMQP_URL"))
    }

    fn rabbitmq_at(url: String) -> Self {
        let prefix = format!("test-{}", Uuid::now_v7().simple());
        Self {
            url,
            prefix,
            _folder: None,
        }
    }

    /// The queue, as a process that has just started sees it.
    async fn open(&self) -> Arc<dyn Queue> {
        let queue = connect(&self.url, &self.prefix, &[Duration::from_secs(3)])
            .await
            .unwrap();
        queue.declare(&[URGENT, BULK, retried()]).await.unwrap();
        queue
    }

    async fn broker(&self) -> Connection {
        Connection::connect(
            &test_url("OPTOUT_TEST_AMQP_URL"),
            ConnectionProperties::default(),
        )
        .await
        .unwrap()
    }

    async fn clean(&self) {
        if self.prefix.is_empty() {
            return;
        }
        let topology = Topology::new(&self.prefix, &[Duration::from_secs(3)]);
        for queue in [URGENT, BULK, retried(), unbound()] {
            topology.add(&queue);
        }
        let connection = self.broker().await;
        let channel = connection.create_channel().await.unwrap();
        for name in topology.names() {
            channel
                .queue_delete(name.as_str().into(), QueueDeleteOptions::default())
                .await
                .unwrap();
            channel
                .exchange_delete(name.into(), ExchangeDeleteOptions::default())
                .await
                .unwrap();
        }
    }
}

/// A service's URL. The tests never skip: one that cannot reach what it tests has failed.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by scripts/test where its private servers listen"
)]
pub(crate) fn test_url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests by scripts/test, which starts what they need")
    })
}

/// Runs a behaviour, and leaves nothing behind on the broker whether it holds or not.
async fn run(store: Store, behaviour: impl for<'a> FnOnce(&'a Store) -> BoxFuture<'a, ()>) {
    let outcome = AssertUnwindSafe(timeout(LONG * 3, behaviour(&store)))
        .catch_unwind()
        .await;
    store.clean().await;
    match outcome {
        Ok(outcome) => outcome.expect("the behaviour is shown in time"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn message(queue: &QueueName, body: impl Display) -> Message {
    Message {
        queue: queue.clone(),
        body: body.to_string().into(),
        delay: Duration::ZERO,
    }
}

fn delayed(queue: &QueueName, body: impl Display, milliseconds: u64) -> Message {
    Message {
        delay: Duration::from_millis(milliseconds),
        ..message(queue, body)
    }
}

fn tokens(messages: &[Received]) -> Vec<u64> {
    messages.iter().map(|message| message.token).collect()
}

fn bodies(messages: &[Received]) -> Vec<String> {
    let mut bodies: Vec<_> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.body).into_owned())
        .collect();
    bodies.sort();
    bodies
}

/// Receives until `count` messages have come.
async fn receive(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Received> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let more = timeout(LONG, consumer.receive(count - messages.len()))
            .await
            .expect("messages arrive");
        messages.extend(more.unwrap());
    }
    messages
}

async fn receive_one(consumer: &mut Box<dyn Consumer>) -> Received {
    receive(consumer, 1).await.remove(0)
}

/// Sees that nothing is handed out.
async fn nothing(consumer: &mut Box<dyn Consumer>) {
    let came = timeout(SHORT, consumer.receive(10)).await;
    assert!(came.is_err(), "nothing should come: {came:?}");
}

/// Waits for a condition.
async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < LONG, "the condition never came true");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ready(queue: &Arc<dyn Queue>, name: &QueueName, count: u64) {
    eventually(|| async { queue.depth(name).await.unwrap().ready == count }).await;
}

/// Publishes again for as long as the queue says no.
async fn publish_at_last(queue: &Arc<dyn Queue>, message: Message) {
    eventually(|| async { queue.publish(vec![message.clone()]).await.is_ok() }).await;
}
