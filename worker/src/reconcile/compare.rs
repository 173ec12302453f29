//! The second half: both sides gone through, each in the order of its addresses.

use std::collections::HashMap;

use common::{
    clock,
    contact::{Channel, Contact},
    delivery::State,
    event::Lane,
    ledger::{Difference, Gap, Listed, RegisterRow},
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Left, Session};

/// How many are looked at together.
const PAGE: i64 = 500;

/// What was recorded, or told, so shortly before the list was asked for may have been on its way when it was read. Platforms
/// take their time, and two clocks differ.
const RECENTLY: SignedDuration = SignedDuration::from_mins(10);

/// What differs.
pub(super) struct Found {
    pub(super) difference: Difference,
    /// What the ledger says of it.
    pub(super) register: Option<RegisterRow>,
    /// The events of which the target may still have to hear.
    events: Vec<Uuid>,
}

impl Session<'_> {
    /// Of whom the platform suppresses and we do not.
    pub(super) async fn compare_theirs(&self) -> Result<(), Left> {
        let mut last: Option<Contact> = None;
        loop {
            self.room().await?;
            let ledger = &self.app.ledger;
            let next = || ledger.next_listed(self.held.id, last.as_ref(), PAGE);
            let page = self.step(next).await?;
            let Some(end) = page.last() else {
                return Ok(());
            };
            last = Some(end.contact.clone());
            let contacts: Vec<_> = page.iter().map(|listed| &listed.contact).collect();
            let registers = || ledger.registers_of(&contacts);
            let registers = self.step(registers).await?;
            let pairs = page.iter().zip(&registers);
            let found = pairs.filter_map(|(listed, registers)| self.only_theirs(listed, registers));
            let found = self.settled(found.collect()).await?;
            self.enter(found).await?;
        }
    }

    /// Of whom we suppress and the platform does not, though it is to be told so.
    pub(super) async fn compare_ours(&self) -> Result<(), Left> {
        let mut last: Option<RegisterRow> = None;
        // A contact's registers may go on on the next page.
        let mut considered: Option<RegisterRow> = None;
        loop {
            self.room().await?;
            let place = last.as_ref().map(|last| &last.place);
            let next = || self.app.ledger.suppressing(place, PAGE);
            let page = self.step(next).await?;
            let Some(end) = page.last() else {
                return Ok(());
            };
            last = Some(end.clone());
            let mut due: Vec<&RegisterRow> = vec![];
            for register in page.iter().filter(|register| self.is_due(register)) {
                if considered.as_ref().map(key) == Some(key(register)) {
                    continue;
                }
                match due.last_mut() {
                    Some(one) if key(one) == key(register) => {
                        if register.occurred_at > one.occurred_at {
                            *one = register;
                        }
                    }
                    _ => due.push(register),
                }
            }
            considered = due.last().map(|last| (*last).clone()).or(considered);
            let keys: Vec<_> = due.iter().map(|register| key(register)).collect();
            let listed = || self.app.ledger.are_listed(self.held.id, &keys);
            let listed = self.step(listed).await?;
            due.retain(|register| {
                let (contact, channel) = key(register);
                !listed.contains(&(contact.to_owned(), channel))
            });
            let found = due.into_iter().map(|register| self.only_ours(register));
            let found = self.settled(found.collect()).await?;
            self.tell_again(found).await?;
        }
    }

    /// The difference, if whom the platform lists nothing suppresses here.
    fn only_theirs(&self, listed: &Listed, registers: &[RegisterRow]) -> Option<Found> {
        let covering = registers
            .iter()
            .filter(|register| self.book.covers(&self.tally.list, &register.place.scope));
        let covering: Vec<_> = covering.collect();
        if covering
            .iter()
            .any(|register| register.suppressed || self.is_recent(register.updated_at))
        {
            return None;
        }
        let events = covering.iter().map(|register| register.event_id).collect();
        // A re-subscription clears several: the one of the cause that the platform states.
        let clear = covering.into_iter().max_by_key(|register| {
            let lane = register.place.lane;
            (
                lane == listed.lane,
                lane == Lane::Consent,
                register.occurred_at,
            )
        });
        let gap = match clear {
            Some(_) => Gap::Differs,
            None => Gap::OnlyTheirs,
        };
        let Contact {
            address, channel, ..
        } = &listed.contact;
        let difference = Difference {
            listed_since: listed.since,
            listed_lane: Some(listed.lane),
            listed_reason: listed.reason.clone(),
            ..self.difference(gap, address, *channel, clear)
        };
        Some(Found {
            difference,
            register: clear.cloned(),
            events,
        })
    }

    fn only_ours(&self, register: &RegisterRow) -> Found {
        let (contact, channel) = key(register);
        Found {
            difference: self.difference(Gap::OnlyOurs, contact, channel, Some(register)),
            register: Some(register.clone()),
            events: vec![register.event_id],
        }
    }

    fn difference(
        &self,
        difference: Gap,
        contact: &str,
        channel: Channel,
        register: Option<&RegisterRow>,
    ) -> Difference {
        let place = register.map(|register| &register.place);
        Difference {
            id: Uuid::now_v7(),
            found_at: clock::now(),
            target: self.tally.target.clone(),
            list: self.tally.list.clone(),
            difference,
            channel,
            contact: contact.to_owned(),
            listed_since: None,
            listed_lane: None,
            listed_reason: None,
            scope: place.map(|place| place.scope.clone()),
            source: place.map(|place| place.source.clone()),
            lane: place.map(|place| place.lane),
            occurred_at: register.map(|register| register.occurred_at),
            event_id: register.map(|register| register.event_id),
            delivery: None,
            repaired: false,
        }
    }

    /// Whether the platform ought to hold by now whom this register suppresses. Of who was erased nobody can be told.
    fn is_due(&self, register: &RegisterRow) -> bool {
        let place = &register.place;
        self.book.channels().contains(&place.channel)
            && self.outlet.events.takes(register.kind)
            && self
                .book
                .lists_of(&place.scope)
                .contains(self.tally.list.as_str())
            && !self.is_recent(register.updated_at)
            && !contact(&place.contact, place.channel).is_erased()
    }

    fn is_recent(&self, at: Timestamp) -> bool {
        let recent = self.held.asked_at.saturating_sub(RECENTLY);
        at >= recent.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The differences of which the target is not still to be told, nor was just told.
    async fn settled(&self, mut found: Vec<Found>) -> Result<Vec<Found>, Left> {
        let events: Vec<_> = found.iter().flat_map(|one| one.events.clone()).collect();
        if events.is_empty() {
            return Ok(found);
        }
        let target = &self.outlet.name;
        let standing = || self.app.ledger.standing_deliveries(target, &events);
        let standing: HashMap<Uuid, (State, Timestamp)> = self.step(standing).await?;
        let is_on_its_way = |event: &Uuid| {
            standing.get(event).is_some_and(|(state, moved_at)| {
                !matches!(state, State::Delivered | State::Dead) || self.is_recent(*moved_at)
            })
        };
        found.retain(|one| !one.events.iter().any(is_on_its_way));
        for Found { difference, .. } in &mut found {
            let event = difference.event_id.as_ref();
            let standing = event.and_then(|event| standing.get(event));
            difference.delivery = standing.map(|(state, _)| *state);
        }
        Ok(found)
    }
}

fn key(register: &RegisterRow) -> (&str, Channel) {
    (&register.place.contact, register.place.channel)
}

/// A contact by what the ledger calls it.
pub(super) fn contact(address: &str, channel: Channel) -> Contact {
    Contact {
        channel,
        address: address.to_owned(),
        raw: address.to_owned(),
    }
}
