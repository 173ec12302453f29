//! A queue that writes down what it is given, and can be told to refuse or to hang.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use common::queue::{self, Consumer, Depth, Message, Queue, QueueName};

/// Writes down what is published.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) published: Mutex<Vec<Message>>,
    pub(super) refuses: AtomicBool,
    pub(super) hangs: AtomicBool,
    /// Says of no queue how much waits there.
    pub(super) blind: AtomicBool,
    /// How much waits in every queue.
    pub(super) waiting: AtomicU64,
}

impl Recorder {
    pub(super) fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.published.lock().unwrap())
    }
}

#[async_trait]
impl Queue for Recorder {
    async fn declare(&self, _: &[QueueName]) -> queue::Result<()> {
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> queue::Result<()> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(queue::Error::Refused("told to".to_owned()));
        }
        self.published.lock().unwrap().extend(messages);
        Ok(())
    }

    async fn consume(&self, _: &QueueName, _: u16) -> queue::Result<Box<dyn Consumer>> {
        Err(queue::Error::Refused(
            "nothing is taken from here".to_owned(),
        ))
    }

    async fn depth(&self, _: &QueueName) -> queue::Result<Depth> {
        if self.blind.load(Ordering::SeqCst) {
            return Err(queue::Error::Refused("told to".to_owned()));
        }
        Ok(Depth {
            ready: self.waiting.load(Ordering::SeqCst),
            oldest: None,
        })
    }

    async fn ping(&self) -> queue::Result<()> {
        Ok(())
    }
}
