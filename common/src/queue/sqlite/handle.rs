//! The way to the writer: what it can be asked, and what it tells everyone.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    super::{Error, Result},
    statements::{Incoming, Taken},
};

pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// What the writer is asked.
pub(super) enum Command {
    Declare {
        name: String,
        answer: Answer<i64>,
    },
    Publish {
        messages: Vec<Incoming>,
        answer: Answer<()>,
    },
    Take {
        session: i64,
        queue: i64,
        max: usize,
        answer: Answer<Taken>,
    },
    Ack {
        session: i64,
        ids: Vec<u64>,
        answer: Answer<()>,
    },
    /// Without an answer: a consumer was dropped.
    Release {
        session: i64,
        ids: Vec<u64>,
        answer: Option<Answer<()>>,
    },
}

/// What the writer tells everyone.
#[derive(Default)]
pub(super) struct Board {
    session: AtomicI64,
    queues: Mutex<HashMap<i64, watch::Sender<()>>>,
}

impl Board {
    pub(super) fn session(&self) -> i64 {
        self.session.load(Ordering::SeqCst)
    }

    pub(super) fn begin(&self, session: i64) {
        self.session.store(session, Ordering::SeqCst);
    }

    /// Changes whenever it is worth looking into the queue again.
    pub(super) fn watch(&self, queue: i64) -> watch::Receiver<()> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(queue).or_default().subscribe()
    }

    pub(super) fn wake(&self, which: impl Fn(i64) -> bool) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, queue) in queues.iter().filter(|(id, _)| which(**id)) {
            queue.send_replace(());
        }
    }
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Handle {
    /// Unbounded, since whoever sends waits for its answer before it sends again.
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) board: Arc<Board>,
}

impl Handle {
    pub(super) async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer));
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// If the writer has stopped, the command is dropped with its answer, and that is what the asker sees.
    pub(super) fn send(&self, command: Command) {
        drop(self.commands.send(command));
    }
}

pub(super) fn stopped() -> Error {
    Error::Unavailable("the queue's writer has stopped".into())
}

pub(super) fn lease_ended() -> Error {
    Error::Unavailable("the lease on what was in hand has ended".into())
}
