//! Desks: one for each endpoint that there is something for, with its slots, a short line of messages that wait for
//! them, and the pace at which what finds no room in the line comes back. All of it is one loop's, and asks nobody.
//!
//! The line keeps the slots busy, and lets what suppresses or clears overtake what only tells. It is short, since what
//! waits in it is in hand, and what is in hand is bounded for all endpoints together.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use common::{endpoint, event::Effect};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};
use tracing::{debug, error};
use uuid::Uuid;

use super::{Known, Standing};
use crate::{
    Outlet,
    attempt::{Call, Fresh},
    breaker::Admission,
};

/// Messages that wait in one line, of each urgency.
const LINE: usize = 64;

/// Messages that wait in all lines together.
const LINES: usize = 1024;

/// What is put off comes back no sooner.
const SHORTEST: Duration = Duration::from_secs(1);

/// And no later, or a little later: so long an endpoint that works again may have to wait for what was put off.
const LONGEST: Duration = Duration::from_mins(15);

/// The time between two messages that come back to an endpoint that works: what its slots are likely to take, between
/// these.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// The same for an endpoint that does not: what comes back is mostly put off again.
const BETWEEN_FAILING: Duration = Duration::from_millis(10);

/// What to do with the messages that came, and with those that can go now.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) calls: Vec<Call<Fresh>>,
    pub(super) later: Vec<(Fresh, Duration)>,
    pub(super) parked: Vec<Fresh>,
    pub(super) deleted: Vec<Fresh>,
}

/// A call that ended; it took that long.
pub(super) struct Ended {
    id: Uuid,
    took: Duration,
}

/// A slot, which tells when it is free again.
struct Slot {
    id: Uuid,
    begun: Instant,
    ended: UnboundedSender<Ended>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (id, took) = (self.id, self.begun.elapsed());
        if self.ended.send(Ended { id, took }).is_err() {
            debug!("a call ended after its loop");
        }
    }
}

/// The desks of one loop.
pub(super) struct Desks {
    slots: u16,
    /// Where the end of each call is told.
    ended: UnboundedSender<Ended>,
    of: HashMap<Uuid, Desk>,
    /// Messages that wait in the lines.
    waiting: usize,
}

/// One endpoint's desk.
struct Desk {
    id: Uuid,
    free: u16,
    urgent: Lane,
    bulk: Lane,
    /// What a call takes, on average of the last ones.
    took: Duration,
}

/// What waits and what was put off, of one urgency.
#[derive(Default)]
struct Lane {
    line: VecDeque<Fresh>,
    /// When the last that was put off comes back.
    booked: Option<Instant>,
}

impl Desks {
    /// Desks with so many slots each. The end of each call is told to `ended`, for [`Desks::plan`].
    pub(super) fn new(slots: u16, ended: UnboundedSender<Ended>) -> Self {
        Self {
            slots,
            ended,
            of: HashMap::new(),
            waiting: 0,
        }
    }

    /// Puts the messages that came into their lines, frees the slots of the calls that ended, and plans for the
    /// endpoints that this concerns.
    pub(super) fn plan(&mut self, known: &Known, fresh: Vec<Fresh>, ended: Vec<Ended>) -> Plan {
        let (mut plan, mut ids) = (Plan::default(), BTreeSet::new());
        for Ended { id, took } in ended {
            if let Some(desk) = self.of.get_mut(&id) {
                desk.free += 1;
                desk.took = (desk.took * 7 + took) / 8;
                ids.insert(id);
            }
        }
        for one in fresh {
            let Some(id) = endpoint::id_of(&one.delivery.target) else {
                error!(delivery.id = %one.delivery.id, "a delivery lies in the endpoints' queue, but is to no endpoint");
                continue;
            };
            ids.insert(id);
            self.waiting += 1;
            let desk = self.of.entry(id);
            let desk = desk.or_insert_with(|| Desk::new(id, self.slots));
            desk.lane(&one).line.push_back(one);
        }
        for id in ids {
            let Some(desk) = self.of.get_mut(&id) else {
                continue;
            };
            self.waiting -= desk.waiting();
            match known.standing(id) {
                Standing::Enabled(outlet) => {
                    let room = LINES.saturating_sub(self.waiting);
                    desk.serve(outlet, room, &self.ended, &mut plan);
                    self.waiting += desk.waiting();
                }
                Standing::Disabled => plan.parked.extend(desk.clear()),
                Standing::Deleted => {
                    plan.deleted.extend(desk.clear());
                    self.of.remove(&id);
                }
            }
        }
        plan
    }

    /// Gives all that waits back to the queue.
    pub(super) fn clear(&mut self) {
        self.of.values_mut().for_each(|desk| drop(desk.clear()));
        self.waiting = 0;
    }
}

impl Desk {
    fn new(id: Uuid, free: u16) -> Self {
        Self {
            id,
            free,
            urgent: Lane::default(),
            bulk: Lane::default(),
            took: Duration::from_millis(100),
        }
    }

    /// Where a message waits.
    fn lane(&mut self, fresh: &Fresh) -> &mut Lane {
        match fresh.delivery.event.effect {
            Effect::Suppress | Effect::Clear => &mut self.urgent,
            Effect::None => &mut self.bulk,
        }
    }

    fn waiting(&self) -> usize {
        self.urgent.line.len() + self.bulk.line.len()
    }

    fn next(&mut self) -> Option<Fresh> {
        let urgent = self.urgent.line.pop_front();
        urgent.or_else(|| self.bulk.line.pop_front())
    }

    fn clear(&mut self) -> impl Iterator<Item = Fresh> {
        self.urgent.line.drain(..).chain(self.bulk.line.drain(..))
    }

    /// Plans calls for what the slots and the breaker let through. Of the rest as much waits as there is room for.
    fn serve(
        &mut self,
        outlet: &Arc<Outlet>,
        mut room: usize,
        ended: &UnboundedSender<Ended>,
        plan: &mut Plan,
    ) {
        let (now, mut pause) = (Instant::now(), SHORTEST);
        let mut between = (self.took / u32::from(outlet.slots)).clamp(BETWEEN.0, BETWEEN.1);
        while self.free > 0 && self.waiting() > 0 {
            let begun = Instant::now();
            let probing = match outlet.breaker.admit(begun) {
                Admission::Free => false,
                Admission::Probe => true,
                Admission::Wait(until) => {
                    pause = pause.max(until - begun);
                    between = BETWEEN_FAILING;
                    room = 0;
                    break;
                }
            };
            self.free -= 1;
            let (id, ended) = (self.id, ended.clone());
            plan.calls.push(Call {
                outlet: Arc::clone(outlet),
                slot: Box::new(Slot { id, begun, ended }),
                probing,
                deliveries: self.next().into_iter().collect(),
            });
        }
        for lane in [&mut self.urgent, &mut self.bulk] {
            while lane.line.len() > room.min(LINE) {
                let wait = lane.book(now, pause, between);
                let last = lane.line.pop_back();
                plan.later.extend(last.map(|fresh| (fresh, wait)));
            }
            room -= lane.line.len();
        }
    }
}

impl Lane {
    /// How long one more message stays away: until after the last one, and for a pause. So the more are put off the
    /// longer each of them stays away, and they come back one by one.
    fn book(&mut self, now: Instant, pause: Duration, between: Duration) -> Duration {
        let longest = LONGEST.mul_f64(1.0 + 0.2 * rand::random::<f64>());
        let soonest = now + pause;
        let next = self.booked.map_or(soonest, |booked| booked + between);
        let booked = next.max(soonest);
        if booked - now > longest {
            return longest;
        }
        self.booked = Some(booked);
        booked - now
    }
}

#[cfg(test)]
mod tests {
    use common::{
        config::Loaded,
        endpoint::Sendable,
        event::Kind,
        outbound::{DEFAULT_TIMEOUT, Outbound},
    };
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::{endpoints::Endpoints, stage::Item, targets::standin::delivery_of};

    const ID: Uuid = Uuid::from_u128(7);

    /// One endpoint with two slots, whose breaker opens at the first failure.
    fn known() -> Known {
        let text = "[endpoints]\nslots = 2\nbreaker_after = 1";
        let config = Loaded::from_text(text, [].into()).unwrap().config;
        let outbound = Outbound::new(vec![], DEFAULT_TIMEOUT).unwrap();
        let row = Sendable {
            id: ID,
            url: "https://example.com/".to_owned(),
            events: common::config::Filter::All,
            enabled: true,
            keys: vec![],
        };
        Endpoints::new(config.endpoints, &outbound).read(1, vec![row], &Known::default())
    }

    fn desks() -> (Desks, UnboundedReceiver<Ended>) {
        let (to, ended) = unbounded_channel();
        (Desks::new(2, to), ended)
    }

    fn fresh(kind: Kind, number: u32) -> Fresh {
        let contact = common::contact::Contact::email("user@example.com").ok();
        let mut delivery = delivery_of(kind, contact, number);
        delivery.target = endpoint::target(ID);
        Fresh {
            item: Item::test(1, 1),
            delivery,
        }
    }

    fn opens(count: u32) -> Vec<Fresh> {
        (0..count)
            .map(|number| fresh(Kind::Opened, number))
            .collect()
    }

    fn fail(known: &Known) {
        for outlet in known.enabled() {
            outlet.breaker.failed(Instant::now());
        }
    }

    #[test]
    fn as_many_go_as_there_are_slots_and_the_next_when_one_is_free() {
        let (known, (mut desks, mut ended)) = (known(), desks());
        let mut calls = desks.plan(&known, opens(5), vec![]).calls;
        assert_eq!((calls.len(), desks.waiting), (2, 3));
        drop(calls.pop());
        let freed = vec![ended.try_recv().unwrap()];
        let next = desks.plan(&known, vec![], freed);
        assert_eq!((next.calls.len(), desks.waiting), (1, 2));
        assert!(next.later.is_empty());
    }

    #[test]
    fn what_suppresses_overtakes_what_only_tells() {
        let (known, (mut desks, mut ended)) = (known(), desks());
        let calls = desks.plan(&known, opens(5), vec![]).calls;
        let urgent = vec![fresh(Kind::Unsubscribed, 9)];
        assert!(desks.plan(&known, urgent, vec![]).calls.is_empty());
        drop(calls);
        let freed = vec![ended.try_recv().unwrap()];
        let next = desks.plan(&known, vec![], freed).calls;
        assert_eq!(
            next[0].deliveries[0].delivery.event.kind,
            Kind::Unsubscribed
        );
    }

    #[test]
    fn what_finds_no_room_in_the_line_is_put_off_and_comes_back_one_by_one() {
        let (known, (mut desks, _ended)) = (known(), desks());
        let plan = desks.plan(&known, opens(500), vec![]);
        assert_eq!((plan.calls.len(), desks.waiting), (2, LINE));
        let times: Vec<_> = plan.later.iter().map(|(_, until)| *until).collect();
        assert_eq!(times.len(), 500 - 2 - LINE);
        assert!(times.is_sorted_by(|one, next| one < next));
        assert!(times[0] > Duration::ZERO);
    }

    #[test]
    fn behind_an_open_breaker_nothing_waits() {
        let (known, (mut desks, _ended)) = (known(), desks());
        fail(&known);
        let plan = desks.plan(&known, opens(10), vec![]);
        assert!(plan.calls.is_empty() && desks.waiting == 0);
        assert_eq!(plan.later.len(), 10);
    }

    #[test]
    fn the_pause_grows_with_what_is_put_off_so_that_a_hundred_thousand_do_not_churn() {
        let (now, mut lane) = (Instant::now(), Lane::default());
        let mut times: Vec<_> = (0..100_000)
            .map(|_| lane.book(now, SHORTEST, BETWEEN_FAILING))
            .collect();
        times.sort();
        // What comes back in the busiest second.
        let busiest = times.iter().enumerate().map(|(from, start)| {
            let end = *start + Duration::from_secs(1);
            times[from..].partition_point(|time| *time < end)
        });
        assert!(busiest.max().unwrap() <= 250);
        assert!(times[times.len() - 1] <= LONGEST.mul_f64(1.2));
    }

    #[test]
    fn an_endpoint_that_is_gone_is_cleared_from_its_desk() {
        let (known, (mut desks, _ended)) = (known(), desks());
        desks.plan(&known, opens(5), vec![]).calls.clear();
        let plan = desks.plan(&Known::default(), opens(1), vec![]);
        assert_eq!((plan.deleted.len(), desks.waiting), (4, 0));
        assert!(desks.of.is_empty());
    }
}
