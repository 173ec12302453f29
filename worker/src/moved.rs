//! People who have another address now, as a provider tells it: what they opted out of under the one before holds for the one
//! since.
//!
//! What is carried over is what stands of their own will and of complaints, whoever told of it, at the time at which it was
//! said; not bounces, which are the old mailbox's. It is entered as changes of the api, each of the very register that it
//! is taken from, so it is told to the targets and lifted like any other. Nothing else is: no lift, and nothing older
//! than what is known of the new address in the same place.
//!
//! Either may be recorded first. So it is looked for after the record, both ways: at a change of address for what stands, and at
//! an opt-out for a change. Whichever is recorded later finds the other. If the process dies before what is carried is
//! published, the message is handed out again and it is found again; published twice it is the same events. Going in a ring it
//! comes to what is there already.

use std::collections::{BTreeMap, HashMap};

use common::{
    contact::{Channel, Contact},
    envelope,
    event::{Draft, Effect, Event, Identity, Kind, Lane, Register},
    ledger::{Entry, Recorded, Result, Standing, Suppression},
    providers::Moves,
    queue::{Message, Priority, QueueName},
    request::Request,
};
use serde_json::json;
use uuid::Uuid;

use crate::App;

/// What the events are called, and whoever asks for them.
const CHANGED: &str = "address.changed";
const ACTOR: &str = "worker";
const WHY: &str = "said under the address before";

/// A person's two addresses, and the event that told so.
struct Change {
    before: Contact,
    since: Contact,
    event: Uuid,
}

impl Change {
    fn addresses(&self) -> [&str; 2] {
        [&self.before.address, &self.since.address]
    }
}

/// What is to be entered besides, now that these are recorded. Where no source tells of changes of address it asks nothing.
pub(crate) async fn carried(
    app: &App,
    entries: &[Entry<'_>],
    recorded: &[Recorded],
) -> Result<Vec<Message>> {
    let telling: BTreeMap<_, _> = app
        .sources
        .values()
        .filter_map(|source| Some((source.provider.name(), source.provider.moves()?)))
        .collect();
    if telling.is_empty() {
        return Ok(vec![]);
    }
    let events = entries.iter().flat_map(Entry::events).zip(recorded);
    let owned = events.filter(|(_, recorded)| **recorded == Recorded::Owned);
    let owned: Vec<_> = owned.map(|(event, _)| event).collect();
    let mut changes = changes(&owned, &telling);
    let opted_out = owned.iter().filter(|event| may_be_carried(event));
    let contacts: Vec<_> = opted_out
        .filter_map(|event| event.contact.clone())
        .collect();
    for (provider, moves) in &telling {
        for (before, since, event) in app.ledger.moved(&contacts, provider, *moves).await? {
            changes.push(Change {
                before,
                since,
                event,
            });
        }
    }
    if changes.is_empty() {
        return Ok(vec![]);
    }
    once_each(&mut changes);
    let both = changes
        .iter()
        .flat_map(|change| [&change.before, &change.since]);
    let both: Vec<_> = both.cloned().collect();
    let mut stands: HashMap<String, Vec<Suppression>> = HashMap::new();
    for register in app.ledger.registers(&both).await? {
        stands
            .entry(register.contact.clone())
            .or_default()
            .push(register);
    }
    let told = changes.iter().filter_map(|change| tell(change, &stands));
    Ok(told.collect())
}

/// The changes of address that these events tell of, two by two.
fn changes(owned: &[&Event], telling: &BTreeMap<&str, Moves>) -> Vec<Change> {
    let called = |event: &Event, name: fn(Moves) -> &'static str| {
        let moves = telling.get(event.provider.as_str());
        moves.is_some_and(|moves| event.provider_event == name(*moves))
    };
    let before = owned.iter().filter(|event| called(event, |it| it.before));
    let pairs = before.filter_map(|before| {
        let mut since = owned.iter();
        let since = since.find(|event| {
            event.envelope_id == before.envelope_id && called(event, |it| it.since)
        })?;
        Some(Change {
            before: before.contact.clone()?,
            since: since.contact.clone()?,
            event: since.id,
        })
    });
    pairs.collect()
}

/// A change that several audiences told of is one, and the same one whatever was recorded together.
fn once_each(changes: &mut Vec<Change>) {
    changes
        .sort_by(|one, other| (one.addresses(), one.event).cmp(&(other.addresses(), other.event)));
    changes.dedup_by(|one, other| one.addresses() == other.addresses());
}

fn may_be_carried(event: &Event) -> bool {
    let is_email = |contact: &Contact| contact.channel == Channel::Email;
    event.effect == Effect::Suppress
        && event.kind != Kind::Bounced
        && event.contact.as_ref().is_some_and(is_email)
}

/// What stands under the address before and is not known to be so under the one since, as a request to enter it.
fn tell(change: &Change, stands: &HashMap<String, Vec<Suppression>>) -> Option<Message> {
    let of = |contact: &Contact| stands.get(&contact.address).map(Vec::as_slice);
    let since = of(&change.since).unwrap_or_default();
    // Of what was said there at the same time or later, that stands.
    let is_news = |register: &&Suppression| {
        let place = |it: &Suppression| (it.source.clone(), it.scope.clone(), it.lane);
        let mut there = since.iter().filter(|it| place(it) == place(register));
        !there.any(|it| {
            it.occurred_at > register.occurred_at
                || (it.occurred_at == register.occurred_at && it.state == Standing::Active)
        })
    };
    let standing = of(&change.before).unwrap_or_default().iter();
    let (from, drafts): (Vec<_>, Vec<_>) = standing
        .filter(|register| register.state == Standing::Active)
        .filter(is_news)
        .filter_map(|register| Some((register.event_id, draft(change, register)?)))
        .unzip();
    let request = Request {
        actor: ACTOR.to_owned(),
        action: CHANGED.to_owned(),
        request: json!({ "event": change.event, "carried_from": from }),
        drafts,
    };
    (!request.drafts.is_empty()).then(|| Message {
        queue: QueueName::Inbound(Priority::Urgent),
        body: envelope::encode([&request.into_envelope()]),
        delay: std::time::Duration::ZERO,
    })
}

/// The register as it stands, of the address since. None of a mailbox's.
fn draft(change: &Change, register: &Suppression) -> Option<Draft> {
    let kind = match register.lane {
        Lane::Consent => Kind::Unsubscribed,
        Lane::Complaint => Kind::Complained,
        Lane::Manual => Kind::Suppressed,
        Lane::Deliverability => return None,
    };
    // By what it says and not by the event that said it: so a ring of addresses comes to an end. Nor is that in the event,
    // which says the same whoever told of it, but in the request.
    let identity = [
        CHANGED,
        &change.since.address,
        &register.source,
        &register.scope,
        register.lane.as_str(),
        &register.occurred_at.to_string(),
    ];
    let identity = Identity::Derived(identity.map(str::to_owned).to_vec());
    Some(Draft {
        contact: Some(change.since.clone()),
        scope: Some(register.scope.clone()),
        occurred_at: Some(register.occurred_at),
        // Not what was said of the other, which is erased with that.
        reason: Some(WHY.to_owned()),
        origin: register.origin,
        register: Some(Register {
            source: register.source.clone(),
            lane: register.lane,
        }),
        ..Draft::new(kind, CHANGED, identity)
    })
}

#[cfg(test)]
mod tests {
    use common::{
        clock,
        event::{Origin, Undetermined},
        request::SOURCE,
    };

    use super::*;

    fn change(before: &str, since: &str, event: u128) -> Change {
        Change {
            before: Contact::email(before).unwrap(),
            since: Contact::email(since).unwrap(),
            event: Uuid::from_u128(event),
        }
    }

    fn opted_out(email: &str) -> Suppression {
        Suppression {
            id: Uuid::from_u128(1),
            state: Standing::Active,
            channel: Channel::Email,
            contact: email.to_owned(),
            scope: "news".to_owned(),
            source: "shop".to_owned(),
            lane: Lane::Consent,
            occurred_at: clock::now(),
            event_id: Uuid::from_u128(2),
            kind: Kind::Unsubscribed,
            reason: None,
            origin: Origin::Recipient,
        }
    }

    #[test]
    fn whoever_told_of_it_what_is_carried_is_the_same_event_and_the_request_says_who() {
        let stands = HashMap::from([(
            "old@example.com".to_owned(),
            vec![opted_out("old@example.com")],
        )]);
        let told = |event: u128| {
            let change = change("old@example.com", "new@example.com", event);
            let message = tell(&change, &stands).unwrap();
            let envelope = envelope::decode(message.body).unwrap().remove(0);
            let request: Request = serde_json::from_slice(&envelope.body).unwrap();
            let id = Uuid::from_u128;
            let evidence = json!({ "event": id(event), "carried_from": [id(2)] });
            assert_eq!(request.request, evidence);
            let draft = request.drafts.into_iter().next().unwrap();
            draft.into_event(&envelope, SOURCE, Undetermined::Suppress)
        };
        let (one, other) = (told(8), told(9));
        assert_eq!(one.id, other.id);
        assert_eq!(one.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_change_that_several_told_of_is_told_once_and_by_the_same_event_in_any_order() {
        let [old, new, third] = ["old@example.com", "new@example.com", "third@example.com"];
        for events in [[7, 8, 9], [9, 7, 8]] {
            let mut changes = events
                .map(|event| change(old, new, event))
                .into_iter()
                .collect::<Vec<_>>();
            changes.insert(1, change(old, third, 1));
            once_each(&mut changes);
            let left: Vec<_> = changes
                .iter()
                .map(|it| (it.addresses(), it.event.as_u128()))
                .collect();
            assert_eq!(left, [([old, new], 7), ([old, third], 1)]);
        }
    }
}
