//! A draft: what a provider's parser reads, before it has its identity and its time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BounceClass, Effect, Event, GLOBAL, Kind, Origin, Register, derived_id};
use crate::{clock, contact::Contact, envelope::Envelope, names::names};

/// A stated time further ahead of receipt than this is a wrong clock, which would block all later changes.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// How a provider tells one event from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The provider's own event id: unique per source, the same in a repeat.
    Own(String),
    /// The fields that make the event what it is, as they were sent.
    Derived(Vec<String>),
}

/// What a provider's parser reads from one element of a body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub kind: Kind,
    pub bounce_class: Option<BounceClass>,
    #[serde(flatten)]
    pub contact: Option<Contact>,
    /// None where the provider has no scopes: [`GLOBAL`].
    pub scope: Option<String>,
    pub occurred_at: Option<Timestamp>,
    pub reason: Option<String>,
    pub origin: Origin,
    /// Only what comes in by the api names one.
    pub register: Option<Register>,
    pub provider_event: String,
    pub identity: Identity,
    pub message_id: Option<String>,
    pub campaign_id: Option<String>,
    pub metadata: Map<String, Value>,
}

impl Draft {
    /// A draft with nothing but what every event has.
    pub fn new(kind: Kind, provider_event: impl Into<String>, identity: Identity) -> Self {
        Self {
            kind,
            bounce_class: None,
            contact: None,
            scope: None,
            occurred_at: None,
            reason: None,
            origin: Origin::Unknown,
            register: None,
            provider_event: provider_event.into(),
            identity,
            message_id: None,
            campaign_id: None,
            metadata: Map::new(),
        }
    }

    /// The event that `envelope` brought. `undetermined` says whether a bounce of unknown class suppresses.
    pub fn into_event(
        self,
        envelope: &Envelope,
        provider: &str,
        undetermined: Undetermined,
    ) -> Event {
        let latest = envelope
            .received_at
            .saturating_add(CLOCK_SKEW)
            .unwrap_or(envelope.received_at);
        let stated = self
            .occurred_at
            .map(clock::truncate)
            .filter(|stated| *stated <= latest && *stated > Timestamp::UNIX_EPOCH);
        let effect = effect(self.kind, self.bounce_class, undetermined);
        let (id, provider_event_id) = match self.identity {
            Identity::Own(own) => (
                derived_id("own", &envelope.source, [own.as_str()]),
                Some(own),
            ),
            Identity::Derived(fields) => (
                derived_id(
                    "derived",
                    &envelope.source,
                    fields.iter().map(String::as_str),
                ),
                None,
            ),
        };
        Event {
            id,
            envelope_id: envelope.id,
            source: envelope.source.clone(),
            provider: provider.to_owned(),
            kind: self.kind,
            bounce_class: self.bounce_class,
            contact: self.contact,
            scope: self
                .scope
                .filter(|scope| !scope.is_empty())
                .unwrap_or_else(|| GLOBAL.to_owned()),
            occurred_at: stated.unwrap_or(envelope.received_at),
            received_at: envelope.received_at,
            time_assumed: stated.is_none(),
            reason: self.reason,
            origin: self.origin,
            effect,
            register: self.register,
            echo_of: None,
            provider_event: self.provider_event,
            provider_event_id,
            message_id: self.message_id,
            campaign_id: self.campaign_id,
            metadata: self.metadata,
        }
    }
}

/// Whether an event of this kind and class may change a register, and so must say whom it is about.
pub(crate) fn has_effect(kind: Kind, class: Option<BounceClass>) -> bool {
    effect(kind, class, Undetermined::Suppress) != Effect::None
}

names! {
    /// What a bounce of unknown class does: `undetermined_bounce` of a source.
    Undetermined { Suppress = "suppress", Ignore = "ignore" }
}

fn effect(kind: Kind, class: Option<BounceClass>, undetermined: Undetermined) -> Effect {
    match (kind, class) {
        (Kind::Unsubscribed | Kind::Complained | Kind::Suppressed, _)
        | (Kind::Bounced, Some(BounceClass::Hard)) => Effect::Suppress,
        (Kind::Resubscribed, _) => Effect::Clear,
        (Kind::Bounced, Some(BounceClass::Undetermined) | None) => match undetermined {
            Undetermined::Suppress => Effect::Suppress,
            Undetermined::Ignore => Effect::None,
        },
        (Kind::Bounced, Some(BounceClass::Soft | BounceClass::Block))
        | (Kind::Delivered | Kind::Opened | Kind::Clicked | Kind::Other, _) => Effect::None,
    }
}
