//! The one way by which the api changes what is suppressed: as an envelope of the source `api`, which goes the way of
//! every webhook.
//!
//! In this order, so that whatever is answered is durable and is told to every target, without a second mechanism:
//! 1. the audit trail says who asks for what: no change without its record;
//! 2. the envelope is published: the worker will record it and tell the targets, whatever becomes of this process;
//! 3. the ledger records it: the answer is synchronous, and what the worker records afterwards is the same.
//!
//! What is true if the process dies: after 1, somebody asked and nothing changed; after 2, the change takes effect
//! though nobody was told; after 3, all is done. If 2 fails nothing has changed, and the answer is 503; if 3 fails the
//! answer is 503, and the worker does it.
//!
//! A change is known by the value that it replaces ([`successor`]): of the same change asked twice at once the second
//! one is a duplicate, and a change to what is so already is none.

use std::time::Duration;

use common::{
    clock,
    config::Source,
    contact::Contact,
    envelope::{self, Envelope},
    event::{Event, Identity},
    fault,
    ledger::{Act, Entry, Recorded},
    providers::Provider,
    queue::{Priority, QueueName},
    request::{Api, Request},
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    App,
    error::{Result, asked},
};

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Whether each of the events is new, in the order of the drafts.
    pub(crate) new: Vec<bool>,
}

/// Does what the request's drafts say. The acts are recorded whether or not there are drafts.
pub(crate) async fn apply(
    app: &App,
    request: Request,
    acts: &[Act],
    priority: Priority,
) -> Result<Applied> {
    asked(app.ledger.audit(acts)).await?;
    if request.drafts.is_empty() {
        return Ok(Applied { new: vec![] });
    }
    let envelope = request.into_envelope();
    let events = events(&envelope);
    app.publish(QueueName::Inbound(priority), envelope::encode([&envelope]))
        .await?;
    fault::point("api.changed");
    let entry = Entry {
        envelope: &envelope,
        provider: Api.name(),
        // Who is told is the worker's affair, which enters the deliveries when it records the same.
        events: events.iter().map(|event| (event, vec![])).collect(),
        duplicates: vec![],
        echoes: vec![],
        unreadable: vec![],
    };
    let recorded = asked(app.ledger.record(&[entry])).await?;
    let new = recorded
        .iter()
        .map(|recorded| *recorded == Recorded::Owned)
        .collect();
    Ok(Applied { new })
}

/// The events as the worker will read them.
fn events(envelope: &Envelope) -> Vec<Event> {
    let undetermined = Source::api().undetermined_bounce;
    let drafts = Api.parse(envelope).expect("the api reads what it wrote");
    drafts
        .into_iter()
        .flatten()
        .map(|draft| draft.into_event(envelope, Api.name(), undetermined))
        .collect()
}

/// When a change by hand counts as made: now, or right after the value that it replaces where that is dated later, since
/// the later value of a register stands.
pub(crate) fn moment(replaces: Option<Timestamp>) -> Timestamp {
    let now = clock::now();
    let after = replaces.and_then(|at| at.checked_add(Duration::from_micros(1)).ok());
    after.map_or(now, |after| after.max(now))
}

/// The identity of a change to one register: what is changed to what, and the event that set the value which it
/// replaces. None for a register that was never set.
pub(crate) fn successor(
    action: &str,
    contact: &Contact,
    scope: &str,
    replaces: Option<Uuid>,
) -> Identity {
    Identity::Derived(vec![
        action.to_owned(),
        contact.channel.to_string(),
        contact.address.clone(),
        scope.to_owned(),
        replaces.map(|event| event.to_string()).unwrap_or_default(),
    ])
}

/// An object, as acts hold it.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
