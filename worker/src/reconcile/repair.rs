//! What is done about differences, where that was asked for: what either side suppresses is suppressed on both.
//!
//! Whom the platform lists is entered for the cause that it states, else as having opted out, by an envelope of the api like any
//! other change, at the time at which the reconciliation was asked for: in the scope that the list is to us, or, of whom a lift
//! is taken back, in the very register that was lifted. Where the target mirrors a source it is that source's register, so
//! that a re-subscription there lifts it. Whom only we suppress the platform is told of again, by the delivery that there is,
//! or ought to be; of what it reported itself it would not be told, so that is entered once more as it stands.
//!
//! What differs is noted first, and published then. If the process dies in between, the list is begun anew and it is found
//! again: what is entered are the same events. A delivery that was begun again and not published the sweep finds.

use std::time::Duration;

use common::{
    delivery::State,
    envelope::{self, Envelope},
    event::{BounceClass, Draft, GLOBAL, Identity, Kind, Lane, Origin, Register},
    fault,
    ledger::{Difference, Gap},
    queue::{self, Feed, Message, Priority, QueueName},
    request::Request,
};
use jiff::Timestamp;
use serde_json::json;

use super::{
    Left, Session,
    compare::{Found, contact},
};
use crate::attempt::again;

/// What the events and requests are called.
pub(crate) const REPAIR: &str = "reconciliation.repair";

/// Who asks for them.
const ACTOR: &str = "worker";

/// Envelopes of one message.
const TOGETHER: usize = 50;

/// What may wait in a queue while this adds to it: enough to keep workers busy, far from what troubles a broker.
const MOST_WAITING: u64 = 20_000;

/// How often it is looked for room.
const ROOM: Duration = Duration::from_secs(1);

/// What is entered of a contact: in which scope and register, for which cause, and as of when.
struct Entered {
    scope: String,
    register: Option<Register>,
    lane: Lane,
    at: Timestamp,
}

impl Session<'_> {
    /// Waits until there is room for a page of repairs.
    pub(super) async fn room(&self) -> Result<(), Left> {
        if !self.held.repair {
            return Ok(());
        }
        while self.step(|| self.is_full()).await? {
            self.beating(tokio::time::sleep(ROOM)).await?;
        }
        Ok(())
    }

    async fn is_full(&self) -> queue::Result<bool> {
        let inbound = QueueName::Inbound(Priority::Bulk);
        let inbound = self.app.queue.depth(&inbound).await?.ready * TOGETHER as u64;
        let target = QueueName::Target(self.outlet.name.clone(), Feed::Retried);
        let target = self.app.queue.depth(&target).await?.ready;
        Ok(inbound.max(target) > MOST_WAITING)
    }

    /// Notes whom only the platform suppresses, and enters them where that was asked for. Who was erased is left alone.
    pub(super) async fn enter(&self, mut found: Vec<Found>) -> Result<(), Left> {
        let contacts = found.iter().map(|one| &one.difference);
        let contacts: Vec<_> = contacts
            .map(|one| contact(&one.contact, one.channel))
            .collect();
        if contacts.is_empty() {
            return Ok(());
        }
        let erased = self.step(|| self.app.ledger.erased_of(&contacts)).await?;
        for Found { difference, .. } in &mut found {
            difference.repaired = self.held.repair && !erased.contains_key(&difference.contact);
        }
        self.note(&found).await?;
        let repaired = found.iter().filter(|one| one.difference.repaired);
        let envelopes = repaired.map(|one| self.envelope(&one.difference));
        self.publish(inbound(&envelopes.collect::<Vec<_>>())).await
    }

    /// Notes whom only we suppress, and tells the platform again where that was asked for. What it refused for good it hears
    /// again only where a person asks.
    pub(super) async fn tell_again(&self, mut found: Vec<Found>) -> Result<(), Left> {
        if found.is_empty() {
            return Ok(());
        }
        for Found { difference, .. } in &mut found {
            let is_refused = difference.delivery == Some(State::Dead);
            difference.repaired = self.held.repair && !(is_refused && self.held.is_scheduled);
        }
        self.note(&found).await?;
        found.retain(|one| one.difference.repaired);
        let (own, told): (Vec<_>, Vec<_>) = found
            .iter()
            .partition(|one| one.difference.source == self.outlet.mirrors);
        let envelopes: Vec<_> = own
            .iter()
            .map(|one| self.envelope(&one.difference))
            .collect();
        let mut messages = inbound(&envelopes);
        let registers: Vec<_> = told.iter().filter_map(|one| one.register.clone()).collect();
        if !registers.is_empty() {
            let target = &self.outlet.name;
            let ledger = &self.app.ledger;
            let restart = || ledger.tell_again(self.held, target, &registers);
            let deliveries = self.step(restart).await?.ok_or(Left::Lost)?;
            let told = deliveries.iter();
            messages.extend(told.map(|delivery| again(target, delivery.encode(), Duration::ZERO)));
        }
        self.publish(messages).await
    }

    async fn note(&self, found: &[Found]) -> Result<(), Left> {
        let found: Vec<_> = found.iter().map(|one| one.difference.clone()).collect();
        let ledger = &self.app.ledger;
        self.holding(|| ledger.note_differences(self.held, &self.tally, &found))
            .await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), Left> {
        if messages.is_empty() {
            return Ok(());
        }
        self.step(|| self.app.queue.publish(messages.clone()))
            .await?;
        fault::point("reconcile.published");
        Ok(())
    }

    /// What enters a contact.
    fn envelope(&self, of: &Difference) -> Envelope {
        let drafts = self
            .entered(of)
            .into_iter()
            .map(|entered| self.draft(of, entered));
        let request = Request {
            actor: ACTOR.to_owned(),
            action: REPAIR.to_owned(),
            request: json!({
                "reconciliation": self.held.id, "target": of.target, "list": of.list, "difference": of.difference,
                "listed_since": of.listed_since, "listed_lane": of.listed_lane, "listed_reason": of.listed_reason,
            }),
            drafts: drafts.collect(),
        };
        request.into_envelope()
    }

    fn entered(&self, of: &Difference) -> Vec<Entered> {
        let listed = of.listed_lane.unwrap_or(Lane::Consent);
        let at = self.held.asked_at;
        // What was lifted for another cause is not what the platform states.
        let is_will = |lane| matches!(lane, Lane::Consent | Lane::Manual);
        let is_same = |lane| lane == listed || (is_will(lane) && is_will(listed));
        let is_own = |lane| of.difference == Gap::OnlyOurs || is_same(lane);
        let own = match (&of.scope, &of.source, of.lane) {
            (Some(scope), Some(source), Some(lane)) if is_own(lane) => Some((
                scope.clone(),
                Register {
                    source: source.clone(),
                    lane,
                },
            )),
            _ => None,
        };
        if let Some((scope, register)) = own {
            let stands = of.occurred_at.filter(|_| of.difference == Gap::OnlyOurs);
            return vec![Entered {
                scope,
                lane: register.lane,
                register: Some(register),
                at: stands.unwrap_or(at),
            }];
        }
        let mirrored = self.outlet.mirrors.as_ref();
        let scopes = match listed {
            Lane::Consent | Lane::Manual => self.book.scopes_of(&of.list, mirrored.is_some()),
            Lane::Complaint | Lane::Deliverability => vec![GLOBAL.to_owned()],
        };
        let entered = scopes.into_iter().map(|scope| Entered {
            scope,
            register: mirrored.map(|source| Register {
                source: source.clone(),
                lane: listed,
            }),
            lane: listed,
            at,
        });
        entered.collect()
    }

    /// The same however often the list is read; what the platform said is in the request.
    fn draft(&self, of: &Difference, entered: Entered) -> Draft {
        let kind = match entered.lane {
            Lane::Consent => Kind::Unsubscribed,
            Lane::Manual => Kind::Suppressed,
            Lane::Complaint => Kind::Complained,
            Lane::Deliverability => Kind::Bounced,
        };
        let identity = [
            REPAIR,
            &self.held.id.to_string(),
            &of.target,
            &of.list,
            &of.contact,
            &entered.scope,
            entered.lane.as_str(),
        ];
        let identity = Identity::Derived(identity.map(str::to_owned).to_vec());
        let reason = match of.difference {
            Gap::OnlyTheirs | Gap::Differs => "listed by",
            Gap::OnlyOurs => "not listed by",
        };
        Draft {
            bounce_class: (kind == Kind::Bounced).then_some(BounceClass::Hard),
            contact: Some(contact(&of.contact, of.channel)),
            scope: Some(entered.scope),
            occurred_at: Some(entered.at),
            reason: Some(format!("{reason} {}", of.target)),
            origin: Origin::Provider,
            register: entered.register,
            ..Draft::new(kind, REPAIR, identity)
        }
    }
}

/// In bulk: so that who opts out now does not wait behind them.
fn inbound(envelopes: &[Envelope]) -> Vec<Message> {
    let messages = envelopes.chunks(TOGETHER).map(|together| Message {
        queue: QueueName::Inbound(Priority::Bulk),
        body: envelope::encode(together),
        delay: Duration::ZERO,
    });
    messages.collect()
}
