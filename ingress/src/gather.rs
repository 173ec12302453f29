//! The gatherer: puts what has arrived while the last publish went out into one message, publishes it, and answers all
//! of it on the one confirm.
//!
//! It never waits for more: at one request at a time a message holds one envelope, under load up to [`MOST_ENVELOPES`].
//! Each priority has one task with one publish outstanding, which measured better than several: they would take the
//! arrivals from each other. A publish that hangs is given up after the time that a request waits for it anyway, so
//! it does not hold up the next for ever.
//!
//! With a [`Spool`] a broker that does not confirm in a part of that time is taken to be away: the same message goes to
//! the spool, and its requests are answered on that commit.

use std::{sync::Arc, time::Duration};

use common::{
    config,
    envelope::{self, Envelope},
    fault,
    lifecycle::Lifecycle,
    queue::{Message, Priority, Queue, QueueName},
};
use metrics::{Counter, Histogram, counter, histogram};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tracing::{info, warn};

use crate::{Hand, Spool};

/// The most envelopes in a message.
const MOST_ENVELOPES: usize = 256;

/// The most bytes in a message, by the estimate of [`weight`]. A single larger envelope goes alone.
const MOST_BYTES: usize = 100 * 1024;

/// With a spool, the part of the time that a request waits which the broker is given.
const BROKERS_SHARE: u32 = 5;

/// Hands envelopes to the gatherer's tasks. They end when the last clone of it is gone.
#[derive(Debug, Clone)]
pub struct Gatherer {
    urgent: mpsc::Sender<Waiting>,
    bulk: mpsc::Sender<Waiting>,
    patience: Duration,
}

/// The envelope is not known to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue did not confirm the envelope")]
pub(crate) struct Unconfirmed;

/// An envelope on its way, with the request that waits for it.
#[derive(Debug)]
struct Waiting {
    envelope: Envelope,
    /// When the request is answered without it.
    deadline: Instant,
    confirmed: oneshot::Sender<()>,
    /// Goes back when the publish has ended.
    _hand: Hand,
}

impl Gatherer {
    /// Starts a task for each priority.
    pub fn start(
        queue: Arc<dyn Queue>,
        spool: Option<&Arc<Spool>>,
        settings: &config::Ingress,
        lifecycle: &Lifecycle,
    ) -> Self {
        let patience = settings.publish_timeout;
        let open = |queue, priority: Priority| {
            // Each entry holds one of the `max_in_flight` hands, so a channel of that size never is full.
            let (sender, arrivals) = mpsc::channel(settings.max_in_flight);
            let lane = Lane::new(queue, spool.cloned(), priority, patience);
            lifecycle.spawn(format!("ingress.gather.{priority}"), lane.run(arrivals));
            sender
        };
        Self {
            urgent: open(Arc::clone(&queue), Priority::Urgent),
            bulk: open(queue, Priority::Bulk),
            patience,
        }
    }

    /// Publishes an envelope with whatever else has arrived, and waits for the confirm.
    pub(crate) async fn publish(
        &self,
        priority: Priority,
        envelope: Envelope,
        hand: Hand,
    ) -> Result<(), Unconfirmed> {
        let deadline = Instant::now() + self.patience;
        let (confirmed, confirm) = oneshot::channel();
        let lane = match priority {
            Priority::Urgent => &self.urgent,
            Priority::Bulk => &self.bulk,
        };
        lane.try_send(Waiting {
            envelope,
            deadline,
            confirmed,
            _hand: hand,
        })
        .map_err(|_| Unconfirmed)?;
        match timeout_at(deadline, confirm).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unconfirmed),
        }
    }
}

/// One priority's task.
struct Lane {
    queue: Arc<dyn Queue>,
    spool: Option<Arc<Spool>>,
    name: QueueName,
    patience: Duration,
    /// Why the last publish failed; none if it did not. A broker that is away for an hour is one line of the log.
    failing: Option<String>,
    envelopes: Counter,
    messages: Counter,
    seconds: Histogram,
}

impl Lane {
    fn new(
        queue: Arc<dyn Queue>,
        spool: Option<Arc<Spool>>,
        priority: Priority,
        patience: Duration,
    ) -> Self {
        let label = priority.as_str();
        Self {
            queue,
            spool,
            name: QueueName::Inbound(priority),
            patience,
            failing: None,
            envelopes: counter!("optout_ingress_gathered_envelopes_total", "priority" => label),
            messages: counter!("optout_ingress_gathered_messages_total", "priority" => label),
            seconds: histogram!("optout_ingress_publish_seconds", "priority" => label),
        }
    }

    /// Publishes until nobody is left who could hand in more, and all that was handed in is settled.
    async fn run(mut self, mut arrivals: mpsc::Receiver<Waiting>) -> anyhow::Result<()> {
        let mut waiting = Vec::with_capacity(MOST_ENVELOPES);
        loop {
            if waiting.is_empty() && arrivals.recv_many(&mut waiting, MOST_ENVELOPES).await == 0 {
                return Ok(());
            }
            while waiting.len() < MOST_ENVELOPES
                && let Ok(arrived) = arrivals.try_recv()
            {
                waiting.push(arrived);
            }
            // Its provider has been told to send it again: after a long hang only what is still wanted is published.
            let now = Instant::now();
            waiting.retain(|waiting| waiting.deadline > now);
            let fitting = fitting(waiting.iter().map(|waiting| weight(&waiting.envelope)));
            if fitting > 0 {
                let batch: Vec<_> = waiting.drain(..fitting).collect();
                self.publish(batch).await;
            }
        }
    }

    async fn publish(&mut self, batch: Vec<Waiting>) {
        let body = envelope::encode(batch.iter().map(|waiting| &waiting.envelope));
        let message = Message {
            queue: self.name.clone(),
            body,
            delay: Duration::ZERO,
        };
        let failure = match self.store(message, batch.len()).await {
            Ok(()) => {
                self.messages.increment(1);
                self.envelopes.increment(batch.len() as u64);
                for waiting in batch {
                    // Whose client has gone is published all the same.
                    waiting.confirmed.send(()).ok();
                }
                None
            }
            Err(why) => Some(why),
        };
        self.tell(failure);
    }

    /// Makes a message durable: in the broker, or else in the spool.
    async fn store(&self, message: Message, envelopes: usize) -> Result<(), String> {
        let Some(spool) = &self.spool else {
            return self.confirmed(message, self.patience).await;
        };
        let share = self.patience / BROKERS_SHARE;
        let bypasses = spool.bypasses();
        if !bypasses {
            match self.confirmed(message.clone(), share).await {
                Ok(()) => return Ok(()),
                Err(why) => spool.lost(&why),
            }
        }
        let put = spool.put(message.clone(), envelopes);
        let why = match timeout(self.patience, put).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the spool did not commit in time".to_owned(),
        };
        if bypasses {
            let confirmed = self.confirmed(message, share).await;
            confirmed.map_err(|broker| format!("{why}; {broker}"))?;
            spool.regained();
            return Ok(());
        }
        Err(why)
    }

    /// Publishes to the broker.
    async fn confirmed(&self, message: Message, patience: Duration) -> Result<(), String> {
        fault::point("ingress.before_publish");
        let start = Instant::now();
        let published = timeout(patience, self.queue.publish(vec![message])).await;
        self.seconds.record(start.elapsed());
        match published {
            Ok(published) => published.map_err(|error| error.to_string())?,
            Err(_) => return Err("the queue did not confirm in time".to_owned()),
        }
        fault::point("ingress.published");
        Ok(())
    }

    fn tell(&mut self, failure: Option<String>) {
        let queue = &self.name;
        match (&self.failing, &failure) {
            (before, Some(error)) if before.as_ref() != Some(error) => {
                warn!(%queue, error, "webhooks cannot be stored; their providers are told to send them again");
            }
            (Some(_), None) => info!(%queue, "webhooks are stored again"),
            (Some(_), Some(_)) | (None, _) => {}
        }
        self.failing = failure;
    }
}

/// How many of the first fit into one message: at least one, if there is one.
fn fitting(weights: impl Iterator<Item = usize>) -> usize {
    let sums = weights.scan(0_usize, |sum, weight| {
        *sum = sum.saturating_add(weight);
        Some(*sum)
    });
    sums.take(MOST_ENVELOPES)
        .enumerate()
        .take_while(|(index, sum)| *index == 0 || *sum <= MOST_BYTES)
        .count()
}

/// About what an envelope takes in a message: its body, its headers, and the rest of its description.
fn weight(envelope: &Envelope) -> usize {
    const DESCRIPTION: usize = 256;
    let headers = envelope
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum::<usize>();
    DESCRIPTION
        + headers
        + envelope.content_type.as_ref().map_or(0, String::len)
        + envelope.body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_what_fits_and_a_larger_envelope_goes_alone() {
        assert_eq!(fitting([].into_iter()), 0);
        assert_eq!(fitting([1; 1000].into_iter()), MOST_ENVELOPES);
        assert_eq!(fitting([MOST_BYTES / 2, MOST_BYTES / 2, 1].into_iter()), 2);
        assert_eq!(fitting([MOST_BYTES + 1, 1].into_iter()), 1);
        assert_eq!(fitting([1, MOST_BYTES].into_iter()), 1);
    }
}
