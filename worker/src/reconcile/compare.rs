//! The second half: both sides gone through, each in the order of its addresses.

use std::collections::HashMap;

use common::{
    clock,
    contact::{Channel, Contact},
    delivery::State,
    ledger::{Difference, Gap, Listed, RegisterRow},
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Left, Session};

/// How many are looked at together.
const PAGE: i64 = 500;

/// What was recorded so shortly before the list was asked for may have been on its way to the platform, or from there, when
/// it was read. So much may two clocks differ, too.
const RECENTLY: SignedDuration = SignedDuration::from_mins(5);

impl Session<'_> {
    /// Of whom the platform suppresses and we do not.
    pub(super) async fn compare_theirs(&mut self) -> Result<(), Left> {
        let mut last: Option<Contact> = None;
        loop {
            let next = || {
                self.app
                    .ledger
                    .next_listed(self.held.id, last.as_ref(), PAGE)
            };
            let page = self.step(next).await?;
            let Some(end) = page.last() else {
                return Ok(());
            };
            last = Some(end.contact.clone());
            let contacts: Vec<_> = page.iter().map(|listed| &listed.contact).collect();
            let registers = || self.app.ledger.registers_of(&contacts);
            let registers = self.step(registers).await?;
            let pairs = page.iter().zip(&registers);
            let found = pairs.filter_map(|(listed, registers)| self.only_theirs(listed, registers));
            let found = found.collect();
            let found = self.settled(found).await?;
            self.enter(found).await?;
        }
    }

    /// Of whom we suppress and the platform does not, though it is to be told so.
    pub(super) async fn compare_ours(&mut self) -> Result<(), Left> {
        let mut last: Option<RegisterRow> = None;
        loop {
            let place = last.as_ref().map(|last| &last.place);
            let next = || self.app.ledger.suppressing(place, PAGE);
            let page = self.step(next).await?;
            let Some(end) = page.last() else {
                return Ok(());
            };
            // The last contact of a page may go on on the next.
            let before = last
                .as_ref()
                .map(key)
                .map(|(contact, channel)| (contact.to_owned(), channel));
            last = Some(end.clone());
            let mut due: Vec<&RegisterRow> = vec![];
            for register in page.iter().filter(|register| self.is_due(register)) {
                let is_before = before.as_ref().is_some_and(|(contact, channel)| {
                    key(register) == (contact.as_str(), *channel)
                });
                match due.last_mut() {
                    _ if is_before => {}
                    Some(one) if key(one) == key(register) => {
                        if register.occurred_at > one.occurred_at {
                            *one = register;
                        }
                    }
                    _ => due.push(register),
                }
            }
            let keys: Vec<_> = due.iter().map(|register| key(register)).collect();
            let listed = || self.app.ledger.are_listed(self.held.id, &keys);
            let listed = self.step(listed).await?;
            due.retain(|register| {
                let (contact, channel) = key(register);
                !listed.contains(&(contact.to_owned(), channel))
            });
            let found = due.into_iter().map(|register| self.only_ours(register));
            let found = found.collect();
            let found = self.settled(found).await?;
            self.tell_again(found).await?;
        }
    }

    /// The difference, if whom the platform lists nothing suppresses here.
    fn only_theirs(&self, listed: &Listed, registers: &[RegisterRow]) -> Option<Difference> {
        let covering = registers
            .iter()
            .filter(|register| self.book.covers(&self.tally.list, &register.place.scope));
        let covering: Vec<_> = covering.collect();
        if covering
            .iter()
            .any(|register| register.suppressed || self.is_recent(register))
        {
            return None;
        }
        let clear = covering
            .into_iter()
            .max_by_key(|register| register.occurred_at);
        let gap = match clear {
            Some(_) => Gap::Differs,
            None => Gap::OnlyTheirs,
        };
        let Contact {
            address, channel, ..
        } = &listed.contact;
        let difference = self.difference(gap, address, *channel, clear);
        Some(Difference {
            listed_since: listed.since,
            listed_lane: Some(listed.lane),
            listed_reason: listed.reason.clone(),
            ..difference
        })
    }

    fn only_ours(&self, register: &RegisterRow) -> Difference {
        let (contact, channel) = key(register);
        self.difference(Gap::OnlyOurs, contact, channel, Some(register))
    }

    fn difference(
        &self,
        difference: Gap,
        contact: &str,
        channel: Channel,
        register: Option<&RegisterRow>,
    ) -> Difference {
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
            scope: register.map(|register| register.place.scope.clone()),
            source: register.map(|register| register.place.source.clone()),
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
            && !self.is_recent(register)
            && !contact(&place.contact, place.channel).is_erased()
    }

    fn is_recent(&self, register: &RegisterRow) -> bool {
        let recent = self.held.asked_at.saturating_sub(RECENTLY);
        register.updated_at >= recent.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The differences of which the target is not still to be told.
    async fn settled(&self, found: Vec<Difference>) -> Result<Vec<Difference>, Left> {
        if found.is_empty() {
            self.hold().await?;
            return Ok(found);
        }
        let events: Vec<_> = found.iter().filter_map(|one| one.event_id).collect();
        let standing = || {
            self.app
                .ledger
                .standing_deliveries(&self.outlet.name, &events)
        };
        let standing: HashMap<Uuid, State> = self.step(standing).await?;
        let with_delivery = found.into_iter().map(|one| Difference {
            delivery: one.event_id.and_then(|event| standing.get(&event).copied()),
            ..one
        });
        let is_settled =
            |one: &Difference| matches!(one.delivery, None | Some(State::Delivered | State::Dead));
        Ok(with_delivery.filter(is_settled).collect())
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
