//! Steady load through the HTTP door, by a sender that does as providers do: what is not answered 200 is sent again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tests::http;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::event::{Event, by_hand};

/// How long the sender waits before it sends again: each time twice as long, as providers do, up to a bound.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(4);

/// How often somebody is suppressed by hand.
const BY_HAND: Duration = Duration::from_secs(1);

/// Where it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    pub(crate) ingress: String,
    pub(crate) api: String,
    pub(crate) key: &'static str,
}

/// What was sent so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Different events that were sent at least once.
    pub(crate) offered: AtomicU64,
    /// Different events that were answered 200.
    pub(crate) accepted: AtomicU64,
    /// Requests, those that were sent twice or again included.
    pub(crate) requests: AtomicU64,
    /// Requests that were answered otherwise, or not at all.
    pub(crate) refused: AtomicU64,
    /// Contacts that were suppressed by hand, and answered so.
    pub(crate) by_hand: AtomicU64,
    over: AtomicBool,
}

impl Counts {
    pub(crate) fn of(count: &AtomicU64) -> u64 {
        count.load(Ordering::SeqCst)
    }

    fn one(count: &AtomicU64) -> u64 {
        count.fetch_add(1, Ordering::SeqCst)
    }
}

/// The sender, at work until it is told to end.
pub(crate) struct Load {
    pub(crate) counts: Arc<Counts>,
    task: JoinSet<()>,
}

impl Load {
    /// Sends `rate` events a second.
    pub(crate) fn start(doors: Doors, rate: u32) -> Self {
        let counts: Arc<Counts> = Arc::default();
        let mut task = JoinSet::new();
        let sender = Sender::new(doors, Arc::clone(&counts));
        task.spawn(webhooks(sender.clone(), rate));
        task.spawn(changes(sender));
        Self { counts, task }
    }

    /// Sends nothing new any more, and waits until all that was sent is answered 200.
    pub(crate) async fn end(&mut self) {
        self.counts.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.task.join_next().await {
            ended.unwrap();
        }
    }
}

/// Sends again until it is answered.
#[derive(Clone)]
pub(crate) struct Sender {
    client: reqwest::Client,
    pub(crate) doors: Doors,
    counts: Arc<Counts>,
}

async fn webhooks(sender: Sender, rate: u32) {
    let mut beat = interval(Duration::from_secs(1) / rate);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut under_way = JoinSet::new();
    while !sender.is_over() {
        beat.tick().await;
        let n = Counts::one(&sender.counts.offered);
        under_way.spawn(sender.clone().event(n));
        while let Some(ended) = under_way.try_join_next() {
            ended.unwrap();
        }
    }
    under_way.join_all().await;
}

async fn changes(sender: Sender) {
    let mut beat = interval(BY_HAND);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !sender.is_over() {
        beat.tick().await;
        let (email, _) = by_hand(Counts::of(&sender.counts.by_hand));
        let body = json!({ "email": email, "reason": "asked on the phone" }).to_string();
        let url = format!("{}/api/v1/suppressions", sender.doors.api);
        sender.until_taken(&url, &body).await;
        Counts::one(&sender.counts.by_hand);
    }
}

impl Sender {
    pub(crate) fn new(doors: Doors, counts: Arc<Counts>) -> Self {
        Self {
            client: http(),
            doors,
            counts,
        }
    }

    fn is_over(&self) -> bool {
        self.counts.over.load(Ordering::SeqCst)
    }

    /// Sends the `n`th event, one in ten twice at once.
    async fn event(self, n: u64) {
        let event = Event::nth(n);
        let url = format!("{}/webhooks/{}", self.doors.ingress, event.source);
        if Event::is_sent_twice(n) {
            tokio::join!(
                self.until_taken(&url, &event.body),
                self.until_taken(&url, &event.body)
            );
        } else {
            self.until_taken(&url, &event.body).await;
        }
        Counts::one(&self.counts.accepted);
    }

    pub(crate) async fn until_taken(&self, url: &str, body: &str) {
        let mut pause = AGAIN;
        while !self.is_taken(url, body).await {
            Counts::one(&self.counts.refused);
            tokio::time::sleep(pause).await;
            pause = AGAIN_AT_MOST.min(pause * 2);
        }
    }

    async fn is_taken(&self, url: &str, body: &str) -> bool {
        Counts::one(&self.counts.requests);
        let request = self.client.post(url).bearer_auth(self.doors.key);
        let request = request.header("content-type", "application/json");
        let Ok(answer) = request.body(body.to_owned()).send().await else {
            return false;
        };
        let status = answer.status().as_u16();
        assert!(
            matches!(status, 200 | 201 | 503),
            "{url} answered {status}, at which a provider would give up"
        );
        status != 503
    }
}
