//! Taking from an embedded queue: asks the writer, and when there is nothing, waits until something has changed or the
//! next delayed message is due.

use std::collections::{HashSet, VecDeque};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use super::{
    super::{Consumer, Received, Result},
    handle::{Command, Handle, lease_ended, stopped},
    statements::Taken,
};
use crate::clock;

pub(super) struct SqliteConsumer {
    writer: Handle,
    session: i64,
    queue: i64,
    prefetch: usize,
    changed: watch::Receiver<()>,
    /// What was asked for when the last call was cancelled.
    asked: Option<oneshot::Receiver<Result<Taken>>>,
    /// In hand, and not yet returned.
    arrived: VecDeque<Received>,
    /// In hand, returned, not yet settled.
    returned: HashSet<u64>,
}

impl SqliteConsumer {
    pub(super) fn new(writer: Handle, queue: i64, prefetch: u16) -> Self {
        let (session, changed) = (writer.board.session(), writer.board.watch(queue));
        let prefetch = usize::from(prefetch.max(1));
        Self {
            writer,
            session,
            queue,
            prefetch,
            changed,
            asked: None,
            arrived: VecDeque::new(),
            returned: HashSet::new(),
        }
    }

    /// Asks for what there is room for; says when to look again if nothing came.
    async fn fill(&mut self, max: usize) -> Result<Option<Timestamp>> {
        if self.asked.is_none() {
            let (answer, asked) = oneshot::channel();
            let max = max.min(self.prefetch - self.returned.len());
            // Before the question, so that nothing that happens after it goes unseen.
            self.changed.mark_unchanged();
            self.writer.send(Command::Take {
                session: self.session,
                queue: self.queue,
                max,
                answer,
            });
            self.asked = Some(asked);
        }
        let Some(asked) = &mut self.asked else {
            return Ok(None);
        };
        let answer = asked.await;
        self.asked = None;
        let taken = answer.unwrap_or_else(|_| Err(stopped()))?;
        self.arrived.extend(taken.messages);
        Ok(taken.next_due)
    }

    fn forget(&mut self, tokens: &[u64]) {
        for token in tokens {
            self.returned.remove(token);
        }
    }

    fn mine(&self, tokens: &[u64]) -> Vec<u64> {
        tokens
            .iter()
            .copied()
            .filter(|token| self.returned.contains(token))
            .collect()
    }
}

#[async_trait]
impl Consumer for SqliteConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Received>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        while self.arrived.is_empty() {
            if self.session != self.writer.board.session() {
                return Err(lease_ended());
            }
            let mut next_due = None;
            if self.asked.is_some() || self.returned.len() < self.prefetch {
                next_due = self.fill(max).await?;
            }
            if self.arrived.is_empty() {
                let pause = next_due.map(|due| clock::now().duration_until(due).unsigned_abs());
                tokio::select! {
                    changed = self.changed.changed() => changed.map_err(|_| stopped())?,
                    () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                }
            }
        }
        let messages: Vec<_> = self.arrived.drain(..max.min(self.arrived.len())).collect();
        self.returned
            .extend(messages.iter().map(|message| message.token));
        Ok(messages)
    }

    async fn ack(&mut self, tokens: &[u64]) -> Result<()> {
        let ids = self.mine(tokens);
        let (session, settled) = (self.session, ids.clone());
        self.writer
            .ask(|answer| Command::Ack {
                session,
                ids,
                answer,
            })
            .await?;
        self.forget(&settled);
        Ok(())
    }

    async fn release(&mut self, tokens: &[u64]) -> Result<()> {
        let ids = self.mine(tokens);
        let (session, settled) = (self.session, ids.clone());
        self.writer
            .ask(|answer| Command::Release {
                session,
                ids,
                answer: Some(answer),
            })
            .await?;
        self.forget(&settled);
        Ok(())
    }
}

impl Drop for SqliteConsumer {
    fn drop(&mut self) {
        if let Some(mut asked) = self.asked.take() {
            // Closed first: an answer is either here now, or comes back to the writer, which gives it back.
            asked.close();
            if let Ok(Ok(taken)) = asked.try_recv() {
                self.arrived.extend(taken.messages);
            }
        }
        let ids: Vec<u64> = self
            .arrived
            .iter()
            .map(|message| message.token)
            .chain(self.returned.drain())
            .collect();
        if !ids.is_empty() {
            self.writer.send(Command::Release {
                session: self.session,
                ids,
                answer: None,
            });
        }
    }
}
