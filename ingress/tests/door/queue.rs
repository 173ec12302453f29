//! A queue in memory that stores, refuses, hangs or holds, as the test asks: for what a real one cannot be made to do.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use common::{
    envelope::{self, Envelope},
    queue::{Consumer, Depth, Error, Message, Queue, QueueName, Result},
};
use tokio::{sync::Semaphore, time::timeout};

use crate::harness::STUCK;

/// What a publish does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Store,
    Refuse,
    Away,
    /// Never comes back.
    Hang,
}

#[derive(Debug)]
pub(crate) struct TestQueue {
    behaviour: Mutex<Behaviour>,
    stored: Mutex<Vec<Message>>,
    /// One permit for each publish that has begun.
    begun: Semaphore,
    /// A publish takes one; closed where none is held back.
    gate: Semaphore,
}

impl TestQueue {
    pub(crate) fn new(behaviour: Behaviour) -> Arc<Self> {
        let queue = Self::holding();
        queue.become_(behaviour);
        queue.gate.close();
        queue
    }

    /// A queue that stores, each message only when it is released.
    pub(crate) fn holding() -> Arc<Self> {
        Arc::new(Self {
            behaviour: Mutex::new(Behaviour::Store),
            stored: Mutex::default(),
            begun: Semaphore::new(0),
            gate: Semaphore::new(0),
        })
    }

    pub(crate) fn become_(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Lets `count` publishes through.
    pub(crate) fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }

    /// Waits until one more publish has begun.
    pub(crate) async fn begun(&self) {
        let begun = timeout(STUCK, self.begun.acquire()).await;
        begun.expect("a publish should begin").unwrap().forget();
    }

    /// How many more publishes have begun.
    pub(crate) fn offered(&self) -> usize {
        self.begun.available_permits()
    }

    /// The envelopes of each stored message, with the message's queue.
    pub(crate) fn stored(&self) -> Vec<(QueueName, Vec<Envelope>)> {
        let stored = self.stored.lock().unwrap();
        let decoded = stored.iter().map(|message| {
            let envelopes = envelope::decode(message.body.clone()).unwrap();
            (message.queue.clone(), envelopes)
        });
        decoded.collect()
    }

    /// The sizes of the stored messages.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.stored
            .lock()
            .unwrap()
            .iter()
            .map(|message| message.body.len())
            .collect()
    }

    /// All stored envelopes.
    pub(crate) fn envelopes(&self) -> Vec<Envelope> {
        self.stored()
            .into_iter()
            .flat_map(|(_, envelopes)| envelopes)
            .collect()
    }

    /// The one stored envelope.
    pub(crate) fn only(&self) -> Envelope {
        let mut envelopes = self.envelopes();
        assert_eq!(envelopes.len(), 1, "{envelopes:?}");
        envelopes.remove(0)
    }
}

#[async_trait]
impl Queue for TestQueue {
    async fn declare(&self, _: &[QueueName]) -> Result<()> {
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<()> {
        self.begun.add_permits(1);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Store => self.stored.lock().unwrap().extend(messages),
            Behaviour::Refuse => return Err(Error::Refused("the disk is full".to_owned())),
            Behaviour::Away => return Err(Error::Unavailable("connection refused".into())),
            Behaviour::Hang => std::future::pending().await,
        }
        Ok(())
    }

    async fn consume(&self, _: &QueueName, _: u16) -> Result<Box<dyn Consumer>> {
        Err(Error::Refused("the door does not consume".to_owned()))
    }

    async fn depth(&self, _: &QueueName) -> Result<Depth> {
        Ok(Depth::default())
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}
