//! Tells people of requests that proved nothing: after a minute, and then every hour for as long as there are more. So a
//! stranger makes a source tell of 24 a day, however many they send.
//!
//! What is counted is in memory: a process that ends tells nothing of the last hour. The metric and the log have each of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{
    envelope,
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{Message, Priority, Queue, QueueName},
    refused::Refused,
};
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

const FIRST: Duration = Duration::from_mins(1);
const AGAIN: Duration = Duration::from_hours(1);

/// What one source has refused since it was told of.
#[derive(Debug)]
pub(crate) struct Strangers {
    source: String,
    seen: Mutex<Option<Refused>>,
}

impl Strangers {
    pub(crate) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            seen: Mutex::default(),
        }
    }

    /// Counts one.
    pub(crate) fn note(&self, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get_or_insert_with(|| Refused {
            source: self.source.clone(),
            requests: 0,
            first_at: now,
            last_at: now,
        });
        seen.requests = seen.requests.saturating_add(1);
        seen.last_at = seen.last_at.max(now);
    }

    fn take(&self) -> Option<Refused> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Who tells of them, and when each source was told of last.
pub(crate) struct Teller {
    ingress: Uuid,
    doors: Vec<Arc<Strangers>>,
    told: HashMap<String, Instant>,
}

impl Teller {
    pub(crate) fn of(doors: impl Iterator<Item = Arc<Strangers>>) -> Self {
        Self {
            ingress: Uuid::now_v7(),
            doors: doors.collect(),
            told: HashMap::new(),
        }
    }

    /// What is to be told now.
    fn due(&mut self, now: Instant) -> Vec<Message> {
        let is_due = |strangers: &&Arc<Strangers>| {
            let last = self.told.get(&strangers.source);
            last.is_none_or(|last| now.duration_since(*last) >= AGAIN)
        };
        let due = self.doors.iter().filter(is_due);
        let due: Vec<_> = due.filter_map(|strangers| strangers.take()).collect();
        for refused in &due {
            self.told.insert(refused.source.clone(), now);
        }
        let message = |refused: Refused| Message {
            queue: QueueName::Inbound(Priority::Bulk),
            body: envelope::encode([&refused.into_request(self.ingress).into_envelope()]),
            delay: Duration::ZERO,
        };
        due.into_iter().map(message).collect()
    }

    /// Looks every minute. What it tells of is published until the queue has it; published twice it is one event.
    pub(crate) async fn run(
        mut self,
        queue: Arc<dyn Queue>,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(FIRST) => {}
                () = lifecycle.stopping() => return Ok(()),
            }
            let due = self.due(Instant::now());
            if due.is_empty() {
                continue;
            }
            let published = until_done(&lifecycle, "publish", || queue.publish(due.clone()));
            if published.await.is_none() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told, by source and number.
    fn told(messages: &[Message]) -> Vec<(String, u64)> {
        let one = |message: &Message| {
            let envelope = envelope::decode(message.body.clone()).unwrap().remove(0);
            let body: serde_json::Value = serde_json::from_slice(&envelope.body).unwrap();
            let refused: Refused = serde_json::from_value(body["request"].clone()).unwrap();
            (refused.source, refused.requests)
        };
        messages.iter().map(one).collect()
    }

    #[tokio::test]
    async fn a_source_is_told_of_at_once_and_then_once_an_hour_with_all_that_came_meanwhile() {
        let (shop, crm) = (Strangers::new("shop"), Strangers::new("crm"));
        let (shop, crm) = (Arc::new(shop), Arc::new(crm));
        let mut teller = Teller::of([Arc::clone(&shop), Arc::clone(&crm)].into_iter());
        let (start, now) = (Instant::now(), Timestamp::UNIX_EPOCH);
        assert!(teller.due(start).is_empty());
        let several = |strangers: &Strangers, count: u32| {
            for _ in 0..count {
                strangers.note(now);
            }
        };
        several(&shop, 3);
        assert_eq!(told(&teller.due(start)), [("shop".to_owned(), 3)]);
        several(&shop, 5);
        crm.note(now);
        let later = start + FIRST;
        assert_eq!(told(&teller.due(later)), [("crm".to_owned(), 1)]);
        shop.note(now);
        let hour = start + AGAIN;
        assert_eq!(told(&teller.due(hour)), [("shop".to_owned(), 6)]);
        assert!(teller.due(hour + AGAIN).is_empty(), "there were no more");
    }

    #[test]
    fn it_is_told_from_when_until_when() {
        let strangers = Strangers::new("shop");
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        for seconds in [5, 9, 7] {
            strangers.note(at(seconds));
        }
        let refused = strangers.take().unwrap();
        assert_eq!((refused.first_at, refused.last_at), (at(5), at(9)));
        assert_eq!(strangers.take(), None);
    }
}
