//! Platforms that send, told whom they must not send to: what they have in common.
//!
//! An event becomes a suppression or a lift in some of the platform's lists, by `[targets.scopes]`; what is left to each
//! kind is how one of its lists is told. A lift takes back what the ledger knows of, for a contact may have opted out there
//! of what nobody told us, and what the platform lets be taken back; what it does not is a final answer. What was set is the same when it is set again, so repeats are harmless.
//!
//! A credential that is refused says nothing of the contact: it is tried again, and counts towards the breaker, which
//! keeps the rest of the queue from spending attempts until someone has seen to it.
//!
//! Settings of every kind: `token` (secret), `scopes` (a table), `url` (for another region), `allow_http`.

mod api;
mod book;
#[cfg(test)]
pub(super) mod rehearsal;
mod scopes;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use async_trait::async_trait;
use common::{
    contact::{Channel, Contact},
    delivery::{Answer, Delivery, Outcome},
    event::{Effect, Lane},
    ledger::Accounted,
    outbound::{Outbound, Reply},
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Probe, Setup, Target, ticket::said};

pub(super) use api::{Api, Credential, accepted, page, path, read, too_large};
pub use book::Book;
pub(crate) use book::{Lists, Page, Why};
pub(super) use scopes::Scopes;

/// A platform's own part.
#[async_trait]
pub(crate) trait Platform: Send + Sync {
    /// Which contacts it knows.
    fn channels(&self) -> &[Channel] {
        &[Channel::Email]
    }

    /// The most contacts that it is told of with one request.
    fn most(&self) -> usize {
        1
    }

    /// How many at a time are suppressed in this list, or else lifted.
    fn batch(&self, list: &str, suppress: bool) -> usize {
        let _ = (list, suppress);
        self.most()
    }

    /// The most requests that it bears at a time.
    fn slots(&self) -> u16 {
        u16::MAX
    }

    /// The scope of what a source of this platform tells of a list.
    fn scope_of<'a>(&self, list: &'a str) -> &'a str {
        list
    }

    /// The answer to a read that needs the same credential, changes nothing, and reads nothing of any contact.
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer>;

    /// Suppresses the contacts in a list of the platform's, or lifts them there. The answers are in the contacts' order;
    /// an error is what became of the whole request.
    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer>;

    /// How its lists are read, where its API says whom they suppress.
    fn reads(&self) -> Option<&dyn Lists> {
        None
    }
}

/// What is to be told in one go.
pub(crate) struct Call<'a> {
    pub list: &'a str,
    /// Else they are lifted.
    pub suppress: bool,
    /// One to as many as a batch has, each once.
    pub contacts: &'a [Told<'a>],
    pub deadline: Instant,
}

/// A contact, why it is suppressed or lifted, and since when.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub contact: &'a Contact,
    pub lane: Lane,
    pub at: Timestamp,
}

impl Call<'_> {
    /// The contacts' addresses.
    pub(super) fn addresses(&self) -> Vec<&str> {
        let contacts = self.contacts.iter();
        contacts.map(|told| told.contact.address.as_str()).collect()
    }

    /// The address of the one contact, where there is one at a time.
    pub(super) fn address(&self) -> &str {
        &self.contacts[0].contact.address
    }

    /// It is now as it should be, or was already.
    pub(super) fn done(&self, reply: &Reply) -> Answer {
        let verb = if self.suppress {
            "suppressed"
        } else {
            "not suppressed"
        };
        said(reply, format!("{verb} in {}", self.list))
    }

    /// All of them are, if the answer is a 2xx or one of those codes by which the platform says that they were already.
    pub(super) fn settled(&self, reply: Reply, already: &[u16]) -> Result<Vec<Answer>, Answer> {
        let reply = if already.contains(&reply.status.as_u16()) {
            reply
        } else {
            accepted(reply)?
        };
        Ok(vec![self.done(&reply); self.contacts.len()])
    }
}

/// Refused for good, and why; the ledger keeps what the platform said.
pub(super) fn refused(reply: &Reply, why: impl Into<String>) -> Answer {
    let told = reply.answer();
    Answer {
        status: told.status,
        excerpt: told.excerpt,
        ..Answer::dead(why)
    }
}

/// The target that tells the platform.
pub(super) fn target<P: Platform + 'static>(
    platform: P,
    scopes: Scopes,
    setup: &Setup<'_>,
) -> Box<dyn Target> {
    Box::new(Teller {
        platform,
        scopes,
        outbound: setup.outbound.clone(),
    })
}

struct Teller<P> {
    platform: P,
    scopes: Scopes,
    outbound: Outbound,
}

/// What a delivery asks for.
struct Change<'a> {
    suppress: bool,
    told: Told<'a>,
    lists: BTreeSet<&'a str>,
}

#[async_trait]
impl<P: Platform> Target for Teller<P> {
    fn batch(&self) -> usize {
        self.platform.most()
    }

    fn slots(&self) -> u16 {
        self.platform.slots()
    }

    fn decides(&self) -> bool {
        true
    }

    fn keeps(&self, lifted: &str, standing: &str) -> bool {
        // Its own source calls a list by the list's name.
        self.scopes.keep(lifted, standing) || self.reports(lifted, standing)
    }

    fn has_lists(&self) -> bool {
        true
    }

    fn accounts(&self, lifted: &str, by: &Accounted) -> bool {
        let is_accounted = |list: &&str| {
            by.told
                .iter()
                .any(|scope| self.scopes.lists(scope).contains(list))
                || by
                    .reported
                    .iter()
                    .any(|scope| self.platform.scope_of(list) == scope)
        };
        self.scopes.lists(lifted).iter().all(is_accounted)
    }

    fn reports(&self, told: &str, reported: &str) -> bool {
        let lists = self.scopes.lists(told);
        lists
            .iter()
            .any(|list| self.platform.scope_of(list) == reported)
    }

    /// Of several lists it has reported one at the most, and which one only where it names it.
    fn knows(&self, reported: &str) -> bool {
        let lists = self.scopes.lists(reported);
        lists.iter().all(|list| *list == reported)
    }

    fn book(&self) -> Option<Book<'_>> {
        Some(Book {
            platform: &self.platform,
            lists: self.platform.reads()?,
            scopes: &self.scopes,
            outbound: &self.outbound,
        })
    }

    async fn probe(&self) -> Probe {
        Probe::of(self.platform.look(self.outbound.deadline()).await)
    }

    /// In their order as far as it matters: all that is suppressed up to the next lift is told at once, and so on.
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let deadline = self.outbound.deadline();
        let mut answers = vec![None; deliveries.len()];
        let mut changes = vec![];
        for (at, delivery) in deliveries.iter().enumerate() {
            match self.change(delivery) {
                Ok(change) => changes.push((at, change)),
                Err(answer) => answers[at] = Some(answer),
            }
        }
        let mut turn = Turn {
            answers,
            deadline,
            stopped: None,
        };
        for run in changes.chunk_by(|(_, a), (_, b)| a.suppress == b.suppress) {
            let lists: BTreeSet<_> = run.iter().flat_map(|(_, change)| &change.lists).collect();
            for list in lists {
                let of_list = run.iter().filter(|(_, change)| change.lists.contains(list));
                self.tell(list, &of_list.collect::<Vec<_>>(), &mut turn)
                    .await;
            }
        }
        let none = || Answer::retry("it was not told");
        let answers = turn.answers.into_iter();
        answers.map(|answer| answer.unwrap_or_else(none)).collect()
    }
}

/// How far a call has come.
struct Turn {
    answers: Vec<Option<Answer>>,
    deadline: Instant,
    /// What has just been refused for lack of time, health or leave would be refused again.
    stopped: Option<Answer>,
}

impl Turn {
    /// Of a delivery that concerns several lists the graver answer stands: what is to be tried again is.
    fn note(&mut self, at: usize, answer: Answer) {
        let grave = |answer: &Answer| match answer.outcome {
            Outcome::Done | Outcome::Withheld => 0,
            Outcome::Dead { .. } => 1,
            Outcome::Retry { .. } => 2,
        };
        match &self.answers[at] {
            Some(before) if grave(before) >= grave(&answer) => {}
            _ => self.answers[at] = Some(answer),
        }
    }
}

impl<P: Platform> Teller<P> {
    /// What is to be told of a delivery, or why nothing is.
    fn change<'a>(&'a self, delivery: &'a Delivery) -> Result<Change<'a>, Answer> {
        let event = &delivery.event;
        let not_told = |why: String| Answer::withheld(format!("not told: {why}"));
        let changes = event.changes();
        let Some(change) = changes.first() else {
            return Err(not_told(
                "the event suppresses nobody and lifts nothing".to_owned(),
            ));
        };
        let Some(contact) = &event.contact else {
            return Err(not_told("the event names nobody".to_owned()));
        };
        if !self.platform.channels().contains(&contact.channel) {
            let why = format!(
                "contacts by {} are none of this platform's",
                contact.channel
            );
            return Err(not_told(why));
        }
        let lists = self.scopes.lists(change.scope);
        if lists.is_empty() {
            let why = format!("the scope {:?} is not in [targets.scopes]", change.scope);
            return Err(not_told(why));
        }
        Ok(Change {
            suppress: event.effect == Effect::Suppress,
            told: Told {
                contact,
                lane: change.lane,
                at: event.occurred_at,
            },
            lists,
        })
    }

    /// Tells one list of one run, each contact once. Of a request that is refused for what is in it the halves are tried
    /// by themselves, so that one contact that the platform does not take costs no other.
    async fn tell(&self, list: &str, run: &[&(usize, Change<'_>)], turn: &mut Turn) {
        let mut contacts: Vec<(Told<'_>, Vec<usize>)> = vec![];
        for (at, change) in run {
            let same = |(told, _): &&mut (Told<'_>, _)| {
                told.contact.address == change.told.contact.address
            };
            match contacts.iter_mut().find(same) {
                Some((_, deliveries)) => deliveries.push(*at),
                None => contacts.push((change.told, vec![*at])),
            }
        }
        let suppress = run[0].1.suppress;
        let mut parts: Vec<_> = contacts
            .chunks(self.platform.batch(list, suppress))
            .rev()
            .collect();
        while let Some(part) = parts.pop() {
            let told: Vec<_> = part.iter().map(|(told, _)| *told).collect();
            let call = Call {
                list,
                suppress,
                contacts: &told,
                deadline: turn.deadline,
            };
            let answers = match &turn.stopped {
                Some(why) => Err(why.clone()),
                None => self.platform.tell(&call).await,
            };
            if let (Err(answer), true) = (&answers, part.len() > 1)
                && refused_for_content(answer)
            {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
                continue;
            }
            let answers = answers.unwrap_or_else(|answer| {
                if matches!(answer.outcome, Outcome::Retry { .. }) {
                    turn.stopped = Some(answer.clone());
                }
                vec![answer; part.len()]
            });
            for ((_, deliveries), answer) in part.iter().zip(answers) {
                for at in deliveries {
                    turn.note(*at, answer.clone());
                }
            }
        }
    }
}

fn refused_for_content(answer: &Answer) -> bool {
    matches!(answer.outcome, Outcome::Dead { .. }) && matches!(answer.status, Some(400 | 413 | 422))
}
