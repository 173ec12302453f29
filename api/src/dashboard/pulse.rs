//! What the overview is made of: asked of the ledger and the queue at most every few seconds, however many look.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    clock, endpoint,
    ledger::{Breaker, Compliance, Due, Minute, Unfinished},
    lifecycle::Lifecycle,
    queue::{Feed, Priority, QueueName},
    refused::Refused,
};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::Serialize;

use super::{chart, fresh::Fresh};
use crate::{
    App,
    error::{Error, PATIENCE, Result, asked, reported, within},
};

/// What is counted is good for so long; what takes long to count, for longer.
const QUICK: Duration = Duration::from_secs(1);

/// The queue is asked by a round trip for each of its queues.
const DEPTHS: Duration = Duration::from_secs(3);

/// The percentiles of a day change slowly.
const REPORT: Duration = Duration::from_secs(20);

/// A page waits no longer for them, and does without. A day of a million opt-outs takes a minute to count.
const WAIT: Duration = Duration::from_secs(2);
const COUNTED: Duration = Duration::from_mins(10);

/// For so long it is shown all the same, with the time when it was taken, while it is taken anew: who comes back to the
/// overview does not wait for it.
const SHOWN: Duration = Duration::from_hours(12);

/// Opt-outs that are named whose deadline is next.
const NAMED: i64 = 10;

pub(super) struct Pulse {
    lifecycle: Lifecycle,
    minutes: Fresh<Vec<Minute>>,
    trouble: Fresh<Trouble>,
    depths: Fresh<BTreeMap<String, Waiting>>,
    report: Fresh<Report>,
    heard: Fresh<Vec<(String, Timestamp)>>,
    refused: Fresh<BTreeMap<String, Refused>>,
}

/// What is unfinished, what could not be read, and where the breakers stand.
#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    pub(super) unfinished: Vec<Unfinished>,
    pub(super) held: i64,
    pub(super) breakers: BTreeMap<String, Breaker>,
}

/// What waits in the queues of one stage or target, ready to be taken.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Waiting {
    pub(super) ready: u64,
    /// How old the oldest is, as far as the queue knows.
    pub(super) oldest_ms: Option<u64>,
}

/// How the opt-outs of the last day fared.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) day: Compliance,
    pub(super) due: Vec<Due>,
}

impl Pulse {
    pub(super) fn new(lifecycle: &Lifecycle) -> Self {
        Self {
            lifecycle: lifecycle.clone(),
            minutes: Fresh::new(QUICK),
            trouble: Fresh::new(QUICK),
            depths: Fresh::new(DEPTHS),
            report: Fresh::new(REPORT).shown_for(SHOWN),
            heard: Fresh::new(DEPTHS),
            refused: Fresh::new(DEPTHS),
        }
    }

    /// The events of the last hour by minute and kind.
    pub(super) async fn minutes(&self, app: &Arc<App>) -> Result<Arc<Vec<Minute>>> {
        let app = Arc::clone(app);
        let hour = chart::MINUTES.minutes();
        let make = async move {
            let since = clock::now().checked_sub(hour).map(chart::minute);
            reported(app.ledger.minutes(since.unwrap_or_default())).await
        };
        self.minutes.soon(&self.lifecycle, make).await
    }

    pub(super) async fn trouble(&self, app: &Arc<App>) -> Result<Arc<Trouble>> {
        let app = Arc::clone(app);
        let make = async move {
            let (unfinished, held, breakers) = asked(async {
                let ledger = &app.ledger;
                tokio::try_join!(ledger.unfinished(), ledger.held(), ledger.breakers())
            })
            .await?;
            Ok(Trouble {
                unfinished,
                held,
                breakers,
            })
        };
        self.trouble.soon(&self.lifecycle, make).await
    }

    /// What waits, by stage (`inbound.urgent`, `inbound.bulk`) and target; the registered endpoints are one.
    pub(super) async fn depths(&self, app: &Arc<App>) -> Result<Arc<BTreeMap<String, Waiting>>> {
        let app = Arc::clone(app);
        self.depths
            .soon(&self.lifecycle, async move { depths(&app).await })
            .await
    }

    /// None while it is counted for the first time, if that takes long.
    pub(super) async fn report(&self, app: &Arc<App>) -> Result<Option<Arc<Report>>> {
        let app = Arc::clone(app);
        let make = async move {
            let now = clock::now();
            let yesterday = now.checked_sub(24.hours()).unwrap_or(now);
            let report = async {
                tokio::try_join!(
                    app.ledger.compliance(yesterday, now, now),
                    app.ledger.due_first(NAMED)
                )
            };
            let (day, due) = within(COUNTED, report).await?;
            Ok(Report { day, due })
        };
        self.report.within(WAIT, &self.lifecycle, make).await
    }

    /// When each source was last heard of.
    pub(super) async fn heard(&self, app: &Arc<App>) -> Result<Arc<Vec<(String, Timestamp)>>> {
        let app = Arc::clone(app);
        let make = async move {
            let sources = app.dashboard.sources.iter();
            let names: Vec<_> = sources.map(|source| source.name.clone()).collect();
            reported(app.ledger.last_heard(&names)).await
        };
        self.heard.soon(&self.lifecycle, make).await
    }

    /// What was refused in the last day, by source.
    pub(super) async fn refused(&self, app: &Arc<App>) -> Result<Arc<BTreeMap<String, Refused>>> {
        let app = Arc::clone(app);
        let make = async move {
            let since = clock::now().checked_sub(SignedDuration::from_hours(24));
            reported(app.ledger.strangers(since.unwrap_or_default())).await
        };
        self.refused.soon(&self.lifecycle, make).await
    }
}

async fn depths(app: &App) -> Result<BTreeMap<String, Waiting>> {
    let inbound = Priority::ALL.iter().map(|priority| {
        let queue = QueueName::Inbound(*priority);
        (queue.to_string(), vec![queue])
    });
    let targets = app
        .targets
        .keys()
        .map(String::as_str)
        .chain([endpoint::ALL]);
    let targets = targets.map(|target| {
        let queues = Feed::ALL
            .iter()
            .map(|feed| QueueName::Target(target.to_owned(), *feed));
        (target.to_owned(), queues.collect())
    });
    let ask = async {
        let mut waiting = BTreeMap::new();
        for (name, queues) in inbound.chain(targets) {
            let mut sum = Waiting::default();
            for queue in &queues {
                let depth = app.queue.depth(queue).await?;
                let oldest = depth
                    .oldest
                    .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
                sum.ready += depth.ready;
                sum.oldest_ms = sum.oldest_ms.max(oldest.filter(|_| depth.ready > 0));
            }
            waiting.insert(name, sum);
        }
        Ok(waiting)
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .map_err(|_| Error::Late("queue"))?
}
