//! The end of a run: the load stops, all that was sent is accepted, everything comes to rest, and is counted.

use std::collections::{HashMap, HashSet};

use common::{
    delivery::Delivery,
    queue::{self, Feed, Priority, QueueName},
};
use tests::{Told, until};

use crate::{
    event::{Event, Key, by_hand, fold},
    load::Counts,
    platforms,
    world::{TARGETS, World},
};

/// What was found in the end.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Different events that were answered 200.
    pub(crate) events: u64,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    /// Deliveries that were to be made.
    pub(crate) deliveries: u64,
    /// Events that are not in the ledger, or not once, and deliveries that their target did not hear of.
    pub(crate) lost: u64,
    /// Events in the ledger that nobody sent.
    pub(crate) invented: u64,
    /// Contacts whose suppression is not what the events amount to.
    pub(crate) wrong: u64,
    /// Times that a target heard again of what it had answered 200.
    pub(crate) repeated: u64,
    /// Deliveries that were in hand when a process died: the most that may be repeated.
    pub(crate) in_hand: u64,
    /// Reports of platforms that only report back what they were told.
    pub(crate) echoes: u64,
    /// Those that were taken for news.
    pub(crate) news: u64,
    /// The most that may be: an attempt that died is known only by the next one, and a clock that jumped tells nothing of
    /// what was on its way.
    pub(crate) explained: u64,
    /// Messages that are left in some queue.
    pub(crate) left: u64,
    /// Bodies in quarantine that can be read.
    pub(crate) wrongly_held: u64,
}

/// Reports that may be on their way when a clock jumps: a change a second, two platforms, and what waits elsewhere.
const ON_THE_WAY: u64 = 16;

/// Brings the world to rest and counts.
pub(crate) async fn all(world: &mut World) -> Settled {
    world.load.end().await;
    let counts = &world.load.counts;
    let (events, by_hand) = (Counts::of(&counts.offered), Counts::of(&counts.by_hand));
    let sent = sent(events, by_hand);
    until("everything is in the ledger and told", async || {
        let reports = world.platforms.heard();
        let recorded = world.ledger.events().await?.len() as u64 + world.ledger.echoes().await?;
        let all = recorded >= sent.len() as u64 + reports;
        let told = world.ledger.undelivered(i64::MAX).await? == 0;
        // What was told meanwhile is still to be reported.
        (all && told && world.platforms.heard() == reports).then_some(())
    })
    .await;
    let mut settled = Settled {
        events: events + by_hand,
        requests: Counts::of(&counts.requests),
        refused: Counts::of(&counts.refused),
        in_hand: world.in_hand,
        explained: world.in_hand + world.jumps * ON_THE_WAY,
        wrongly_held: world.ledger.wrongly_held().await.unwrap(),
        ..Settled::default()
    };
    settled.compare_events(world, &sent).await;
    settled.compare_reports(world).await;
    settled.compare_targets(world).await;
    settled.compare_registers(world, events, by_hand).await;
    assert_eq!(
        world.receiver.count("/internal"),
        0,
        "no redirect is followed"
    );
    settled.left = left_at_rest(world).await;
    settled
}

/// What is left in the queues in the end. A second message for a delivery that another worker has in hand is held back, and
/// goes back to its queue when its worker stops, though the delivery is made by then. Any worker clears it.
async fn left_at_rest(world: &mut World) -> u64 {
    world.stop().await;
    if left(world).await > 0 {
        world.again().await;
        until("the queues drain", async || {
            (left(world).await == 0).then_some(())
        })
        .await;
        world.stop().await;
    }
    left(world).await
}

/// What must be in the ledger once, and nothing else.
fn sent(events: u64, changes: u64) -> HashSet<Key> {
    let received = (0..events).map(|n| Event::nth(n).key());
    received.chain((0..changes).map(|n| by_hand(n).1)).collect()
}

impl Settled {
    async fn compare_events(&mut self, world: &World, sent: &HashSet<Key>) {
        let recorded = world.ledger.events().await.unwrap();
        let mut times: HashMap<Key, u64> = HashMap::new();
        for (key, _) in recorded.into_iter().filter(|(key, _)| !is_report(key)) {
            *times.entry(key).or_default() += 1;
        }
        for key in sent {
            self.lost += u64::from(!times.contains_key(key));
        }
        for (key, times) in times {
            self.invented += if sent.contains(&key) {
                times - 1
            } else {
                times
            };
        }
    }

    /// What the platforms reported is in the ledger, each report once.
    async fn compare_reports(&mut self, world: &World) {
        let recorded = world.ledger.events().await.unwrap();
        let news = recorded.iter().filter(|(key, _)| is_report(key));
        self.news = news.count() as u64;
        self.echoes = world.ledger.echoes().await.unwrap();
        let (reports, found) = (world.platforms.heard(), self.news + self.echoes);
        self.lost += reports.saturating_sub(found);
        self.invented += found.saturating_sub(reports);
    }

    /// Every event was told to every target that takes its kind, by the delivery's id, which is derived from both; but not
    /// to the platform that it came from.
    async fn compare_targets(&mut self, world: &World) {
        let recorded = world.ledger.events().await.unwrap();
        let deliveries = world.ledger.deliveries().await.unwrap();
        let delivered: HashSet<_> = deliveries
            .iter()
            .filter(|delivery| delivery.state == "delivered")
            .map(|delivery| {
                (
                    delivery.event.as_str(),
                    delivery.target.as_str(),
                    delivery.id.as_str(),
                )
            })
            .collect();
        for target in &TARGETS {
            let told = world.receiver.told(&target.path());
            let taken = |key: &Key| target.takes(&key.kind) && key.source != target.name;
            for (_, event) in recorded.iter().filter(|(key, _)| taken(key)) {
                let id = Delivery::id_of(event.parse().unwrap(), target.name).to_string();
                let is_told = told.get(&id).is_some_and(|told: &Told| told.accepted > 0);
                let is_recorded = delivered.contains(&(event.as_str(), target.name, id.as_str()));
                self.deliveries += 1;
                self.lost += u64::from(!is_told || !is_recorded);
            }
            if !target.is_told_again {
                let repeats = told.values().map(|told| u64::from(told.repeated));
                self.repeated += repeats.sum::<u64>();
            }
        }
    }

    async fn compare_registers(&mut self, world: &World, events: u64, changes: u64) {
        let stand = world.ledger.suppressed().await.unwrap();
        let mut expected = fold(events);
        expected.extend((0..changes).map(|n| (by_hand(n).0, true)));
        for (contact, suppressed) in &expected {
            self.wrong += u64::from(stand.get(contact) != Some(suppressed));
        }
        let unheard_of = stand
            .keys()
            .filter(|contact| !expected.contains_key(*contact));
        self.wrong += unheard_of.count() as u64;
    }
}

fn is_report(key: &Key) -> bool {
    platforms::NAMES.contains(&key.source.as_str())
}

/// How many messages are in the queues, those that the processes gave back when they ended among them.
async fn left(world: &World) -> u64 {
    let queue = queue::connect(&world.stores.queue, &world.stores.prefix, &[])
        .await
        .unwrap();
    let inbound = Priority::ALL
        .iter()
        .map(|priority| QueueName::Inbound(*priority));
    let targets = TARGETS.iter().flat_map(|target| {
        let name = |feed: &Feed| QueueName::Target(target.name.to_owned(), *feed);
        Feed::ALL.iter().map(name)
    });
    let names: Vec<_> = inbound.chain(targets).chain([QueueName::Poison]).collect();
    queue.declare(&names).await.unwrap();
    let mut left = 0;
    for name in &names {
        left += queue.depth(name).await.unwrap().ready;
    }
    left
}
