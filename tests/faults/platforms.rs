//! Two platforms that report back whatever they are told, as a change that was made there just now: each is a target, and
//! the source that it mirrors. They would tell each other for ever if their reports were taken for news.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::clock;
use serde_json::json;
use tests::{Heard, Receiver};
use tokio::task::JoinSet;

use crate::load::{Counts, Doors, Sender};

pub(crate) const NAMES: [&str; 2] = ["east", "west"];

/// How long it takes until a report is sent, at the longest. A quarter of them is there before the call was answered.
const DELAY: Duration = Duration::from_millis(600);

/// The platforms, at work as long as the receiver hears anything.
pub(crate) struct Platforms {
    heard: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Platforms {
    pub(crate) fn start(receiver: &Receiver, doors: &Doors) -> Self {
        let heard = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        for name in NAMES {
            let platform = Platform {
                name,
                sender: Sender::new(doors.clone(), Arc::default()),
                heard: Arc::clone(&heard),
            };
            let mut told = receiver.listen(&format!("/{name}"));
            tasks.spawn(async move {
                let mut reports = JoinSet::new();
                while let Some(told) = told.recv().await {
                    reports.spawn(platform.clone().report(told));
                    while let Some(ended) = reports.try_join_next() {
                        ended.unwrap();
                    }
                }
            });
        }
        Self {
            heard,
            _tasks: tasks,
        }
    }

    /// How often they were told of something: as often as they report.
    pub(crate) fn heard(&self) -> u64 {
        Counts::of(&self.heard)
    }
}

#[derive(Clone)]
struct Platform {
    name: &'static str,
    sender: Sender,
    heard: Arc<AtomicU64>,
}

impl Platform {
    /// A change that it hears of twice it reports twice, as two events.
    async fn report(self, told: Heard) {
        let number = self.heard.fetch_add(1, Ordering::SeqCst);
        let at = clock::now();
        let change = told.json();
        let report = json!({
            "id": format!("{}-{number}", told.header("webhook-id")), "event": change["type"], "email": change["recipient"],
            "timestamp": at.to_string(),
        });
        tokio::time::sleep(DELAY * u32::try_from(number % 4).unwrap() / 3).await;
        let url = format!("{}/webhooks/{}", self.sender.doors.ingress, self.name);
        self.sender.until_taken(&url, &report.to_string()).await;
    }
}
