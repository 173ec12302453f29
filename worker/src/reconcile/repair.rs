//! What is done about differences, where that was asked for: what either side suppresses is suppressed on both.
//!
//! Whom the platform lists is entered for the cause that it states, else as having opted out, by an envelope of the api like any
//! other change, in the scope that the list is to us and at the time at which the reconciliation was asked for, so that whatever happens later counts. Where
//! the target mirrors a source it is that source's register, so that a re-subscription there lifts it. Whom only we suppress
//! the platform is told of again, by the delivery that there is, or ought to be.
//!
//! It is published first and noted then. If the process dies in between, the list is begun anew: what is entered are the same
//! events, and the platform is told once more what it knows.

use std::time::Duration;

use common::{
    envelope::{self, Envelope},
    event::{BounceClass, Draft, GLOBAL, Identity, Kind, Lane, Origin, Register},
    fault,
    ledger::{Difference, Gap},
    queue::{Message, Priority, QueueName},
    request::Request,
};
use serde_json::json;

use super::{Left, Session, compare::contact};
use crate::attempt::again;

/// What the events and requests are called, and whoever asks for them.
const REPAIR: &str = "reconciliation.repair";
const ACTOR: &str = "worker";

/// Envelopes of one message.
const TOGETHER: usize = 50;

/// What may wait in a queue while this adds to it: enough to keep workers busy, far from what troubles a broker.
const MOST_WAITING: u64 = 20_000;

/// How often it is looked for room.
const ROOM: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Notes whom only the platform suppresses, and enters them where that was asked for. In bulk: so that who opts out now
    /// does not wait behind them.
    pub(super) async fn enter(&mut self, mut found: Vec<Difference>) -> Result<(), Left> {
        if found.is_empty() {
            return Ok(());
        }
        if self.held.repair {
            let scopes = self.book.scopes_of(&self.tally.list);
            let envelopes: Vec<_> = found
                .iter()
                .map(|one| self.envelope(one, &scopes))
                .collect();
            let messages = envelopes.chunks(TOGETHER).map(|together| Message {
                queue: QueueName::Inbound(Priority::Bulk),
                body: envelope::encode(together),
                delay: Duration::ZERO,
            });
            self.publish(messages.collect()).await?;
            for one in &mut found {
                one.repaired = true;
            }
        }
        self.note(found).await
    }

    /// Notes whom only we suppress, and tells the platform again where that was asked for.
    pub(super) async fn tell_again(&mut self, mut found: Vec<Difference>) -> Result<(), Left> {
        if found.is_empty() {
            return Ok(());
        }
        if self.held.repair {
            let events: Vec<_> = found.iter().filter_map(|one| one.event_id).collect();
            let target = &self.outlet.name;
            let restart = || self.app.ledger.tell_again(target, &events);
            let deliveries = self.step(restart).await?;
            let messages = deliveries
                .iter()
                .map(|delivery| again(target, delivery.encode(), Duration::ZERO));
            self.publish(messages.collect()).await?;
            for one in &mut found {
                let mut told = deliveries.iter().map(|delivery| delivery.event.id);
                one.repaired = told.any(|event| Some(event) == one.event_id);
            }
        }
        self.note(found).await
    }

    /// What enters a contact. A complaint and a bounce concern the address, in whichever list they stand.
    fn envelope(&self, of: &Difference, scopes: &[String]) -> Envelope {
        let lane = of.listed_lane.unwrap_or(Lane::Consent);
        let everything = [GLOBAL.to_owned()];
        let (kind, scopes) = match lane {
            Lane::Consent => (Kind::Unsubscribed, scopes),
            Lane::Manual => (Kind::Suppressed, scopes),
            Lane::Complaint => (Kind::Complained, &everything[..]),
            Lane::Deliverability => (Kind::Bounced, &everything[..]),
        };
        let drafts = scopes.iter().map(|scope| {
            let identity = [
                REPAIR,
                &self.held.id.to_string(),
                &of.target,
                &of.list,
                &of.contact,
                scope,
            ];
            let identity = Identity::Derived(identity.map(str::to_owned).to_vec());
            let mirrored = self.outlet.mirrors.clone();
            Draft {
                bounce_class: (kind == Kind::Bounced).then_some(BounceClass::Hard),
                contact: Some(contact(&of.contact, of.channel)),
                scope: Some(scope.clone()),
                occurred_at: Some(self.held.asked_at),
                // The same however often the list is read; what the platform said is in the request.
                reason: Some(format!("listed by {}", of.target)),
                origin: Origin::Provider,
                register: mirrored.map(|source| Register { source, lane }),
                ..Draft::new(kind, REPAIR, identity)
            }
        });
        let request = Request {
            actor: ACTOR.to_owned(),
            action: REPAIR.to_owned(),
            request: json!({
                "reconciliation": self.held.id, "target": of.target, "list": of.list, "listed_since": of.listed_since,
                "listed_lane": of.listed_lane, "listed_reason": of.listed_reason,
            }),
            drafts: drafts.collect(),
        };
        request.into_envelope()
    }

    /// Publishes once there is room.
    async fn publish(&self, messages: Vec<Message>) -> Result<(), Left> {
        let Some(first) = messages.first() else {
            return Ok(());
        };
        let queue = first.queue.clone();
        while self.step(|| self.app.queue.depth(&queue)).await?.ready > MOST_WAITING {
            self.beating(tokio::time::sleep(ROOM)).await?;
        }
        self.step(|| self.app.queue.publish(messages.clone()))
            .await?;
        fault::point("reconcile.published");
        Ok(())
    }

    async fn note(&mut self, found: Vec<Difference>) -> Result<(), Left> {
        for one in &found {
            let count = match one.difference {
                Gap::OnlyTheirs => &mut self.tally.only_theirs,
                Gap::OnlyOurs => &mut self.tally.only_ours,
                Gap::Differs => &mut self.tally.differs,
            };
            *count += 1;
            self.tally.repaired += u64::from(one.repaired);
        }
        self.holding(|| {
            self.app
                .ledger
                .note_differences(self.held, &self.tally, &found)
        })
        .await
    }
}
