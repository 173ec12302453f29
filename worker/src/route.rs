//! The route stage: parse, normalise, claim, record, publish one delivery per target.
//!
//! What is true if the process dies:
//! - before the record commits: nothing has happened; the message is handed out again. Its claims are its own envelopes'.
//! - after the record, before the publish: the deliveries are in the ledger as pending; the message is handed out again,
//!   the ledger says that the events are its own, and they are published.
//! - after the publish, before the acknowledgement: the deliveries are published twice; the deliver stage asks the ledger
//!   for leave, which it gives once.
//! - before the claims are settled: they stay contested, and a duplicate asks the ledger.

use std::sync::Arc;

use common::{
    claims::{Claim, Wish},
    clock,
    contact::Contact,
    delivery::{Delivery, State},
    endpoint,
    envelope::{self, Envelope},
    event::{Event, derived_id},
    fault,
    ledger::{self, Entry, Recorded},
    lifecycle::Lifecycle,
    patience::{answered, until_done},
    queue::{Feed, Message, Priority, QueueName},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, warn};

use crate::{
    App,
    batches::{BATCH, batches, is_full, is_suspect},
    echo,
    endpoints::Known,
    moved,
    parse::{Parsed, parse},
    reconcile::REPAIR,
    reused,
    stage::{Item, SUSPECT},
    tally::count,
};

/// Batches under way at a time: one uses the processors while another waits for a store. The second is a full one, since
/// what a batch costs hardly depends on how much is in it, and what is in a hurry would pay twice.
const UNDER_WAY: usize = 2;

/// Routes what comes, until the stage that feeds it ends.
pub(crate) async fn run(
    app: Arc<App>,
    priority: Priority,
    mut from: UnboundedReceiver<Item>,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let mut items = Vec::with_capacity(BATCH);
    let mut under_way = FuturesUnordered::new();
    let mut has_ended = false;
    loop {
        let room = BATCH - items.len();
        let takes_more = !has_ended && !is_full(&items);
        tokio::select! {
            biased;
            Some(()) = under_way.next() => {}
            taken = from.recv_many(&mut items, room), if takes_more => {
                has_ended = taken == 0;
            }
            else => return Ok(()),
        }
        let may_go = under_way.is_empty() || under_way.len() < UNDER_WAY && is_full(&items);
        if items.is_empty() || !may_go {
            continue;
        }
        for batch in batches(items.drain(..)) {
            let is_suspect = is_suspect(&batch);
            while under_way.len() == UNDER_WAY || is_suspect && !under_way.is_empty() {
                under_way.next().await;
            }
            under_way.push(settle(&app, priority, batch, &lifecycle));
            if is_suspect {
                // If it kills its worker, it takes nothing along.
                under_way.next().await;
            }
        }
    }
}

/// Routes a batch and acknowledges it; if the worker is stopping, the messages are dropped, and so go back to the queue.
async fn settle(app: &App, priority: Priority, batch: Vec<Item>, lifecycle: &Lifecycle) {
    if route(app, priority, &batch, lifecycle).await.is_some() {
        batch.into_iter().for_each(Item::ack);
    }
}

/// Does all that the messages ask for. None if the worker is told to stop in the middle.
async fn route(app: &App, priority: Priority, items: &[Item], lifecycle: &Lifecycle) -> Option<()> {
    fault::point("route.received");
    let mut envelopes = vec![];
    for item in items {
        match envelope::decode(item.body().clone()) {
            // One envelope that kills its worker is to take no other along.
            Ok(found) if found.len() > 1 && item.message.deliveries >= SUSPECT => {
                split(app, priority, &found, lifecycle).await?;
            }
            Ok(found) => envelopes.extend(found),
            Err(error) => undecodable(app, item, &error, lifecycle).await?,
        }
    }
    let parsed: Vec<_> = envelopes
        .iter()
        .map(|envelope| parse(app, envelope))
        .collect();
    record_all(app, &parsed, lifecycle).await
}

/// Claims, records and publishes. If the ledger refuses the rows, each envelope is tried by itself, so that the one which
/// it refuses costs no other.
async fn record_all(app: &App, parsed: &[Parsed<'_>], lifecycle: &Lifecycle) -> Option<()> {
    let Err(refused) = record(app, parsed, lifecycle).await? else {
        return Some(());
    };
    if let [one] = parsed {
        error!(envelope.id = %one.envelope.id, error = %refused, "the ledger refuses an envelope's events; it goes to quarantine");
        let reason = format!("the ledger refused its events: {refused}");
        return quarantine(app, one.envelope, one.provider, &reason, lifecycle).await;
    }
    for one in parsed {
        Box::pin(record_all(app, std::slice::from_ref(one), lifecycle)).await?;
    }
    Some(())
}

async fn record(
    app: &App,
    parsed: &[Parsed<'_>],
    lifecycle: &Lifecycle,
) -> Option<Result<(), ledger::Error>> {
    let wishes: Vec<_> = parsed
        .iter()
        .flat_map(|parsed| &parsed.events)
        .map(wish)
        .collect();
    let claims = until_done(lifecycle, "claim", || app.claims.claim(&wishes)).await?;
    fault::point("route.claimed");
    // Asked after the messages were taken: an endpoint that was registered before they were accepted is known here.
    let known = until_done(lifecycle, "endpoints", || {
        app.endpoints.current(&app.ledger)
    });
    let known = known.await?;
    let other = answered(lifecycle, "tokens", || {
        reused::find(app, parsed.iter().map(|one| (one.envelope, &*one.events)))
    });
    let other = match other.await? {
        Ok(other) => other,
        Err(refused) => return Some(Err(refused)),
    };

    let mut claims = claims.into_iter();
    let mut entries: Vec<_> = parsed
        .iter()
        .map(|parsed| entry(app, &known, parsed, &mut claims))
        .collect();
    reused::set_aside(&mut entries, &other);
    let echoes = answered(lifecycle, "echoes", || {
        echo::find(app, entries.iter().flat_map(Entry::events))
    });
    match echoes.await? {
        Ok(echoes) => echo::mark(&mut entries, &echoes),
        Err(refused) => return Some(Err(refused)),
    }
    let recorded = answered(lifecycle, "record", || app.ledger.record(&entries));
    let recorded = match recorded.await? {
        Ok(recorded) => recorded,
        Err(refused) => return Some(Err(refused)),
    };
    fault::point("route.recorded");
    count(&entries, &recorded);

    let carried = answered(lifecycle, "moved", || {
        moved::carried(app, &entries, &recorded)
    });
    let carried = match carried.await? {
        Ok(carried) => carried,
        Err(refused) => return Some(Err(refused)),
    };
    let (mut deliveries, settled) = consequences(&entries, &recorded);
    deliveries.extend(carried);
    until_done(lifecycle, "publish", || {
        app.queue.publish(deliveries.clone())
    })
    .await?;
    fault::point("route.published");
    until_done(lifecycle, "settle", || app.claims.settle(&settled)).await?;
    fault::point("route.settled");
    Some(Ok(()))
}

fn wish(event: &Event) -> Wish {
    Wish {
        event: event.id,
        envelope: event.envelope_id,
        fingerprint: event.fingerprint(),
    }
}

/// What is to be recorded of one envelope: all its events but those that the claims store knows to be recorded.
fn entry<'a>(
    app: &App,
    known: &Known,
    parsed: &'a Parsed<'_>,
    claims: &mut impl Iterator<Item = Claim>,
) -> Entry<'a> {
    let mut duplicates = vec![];
    let mut events = Vec::with_capacity(parsed.events.len());
    for event in &parsed.events {
        match claims.next() {
            Some(Claim::Settled) => duplicates.push(event.id),
            Some(Claim::Owned | Claim::Contested) | None => {
                events.push((event, told_of(app, event, known)));
            }
        }
    }
    let unreadable = parsed.unreadable.clone();
    Entry {
        envelope: parsed.envelope,
        provider: parsed.provider,
        events,
        duplicates,
        echoes: vec![],
        unreadable,
    }
}

/// Who is told of an event: nobody of a contact that was erased, whom no target could know by its hash; not the platform
/// that it came from.
fn told_of(app: &App, event: &Event, known: &Known) -> Vec<(String, State)> {
    if event.contact.as_ref().is_some_and(Contact::is_erased) {
        return vec![];
    }
    let mut told = app.told_of(event.kind, known);
    echo::leave_out(app, event, &mut told);
    told
}

/// The deliveries to publish, and the claims to settle for whoever owns the events.
fn consequences(entries: &[Entry<'_>], recorded: &[Recorded]) -> (Vec<Message>, Vec<Wish>) {
    let events = entries.iter().flat_map(|entry| &entry.events);
    let (mut deliveries, mut settled) = (vec![], vec![]);
    for ((event, targets), recorded) in events.zip(recorded) {
        match recorded {
            Recorded::Owned => {
                let pending = targets.iter().filter(|(_, state)| *state == State::Pending);
                deliveries.extend(pending.map(|(target, _)| message(event, target)));
                settled.push(wish(event));
            }
            Recorded::Duplicate {
                owner,
                conflicting: false,
            } => {
                settled.push(Wish {
                    envelope: *owner,
                    ..wish(event)
                });
            }
            Recorded::Echo => settled.push(wish(event)),
            Recorded::Erased => {}
            Recorded::Duplicate {
                conflicting: true, ..
            } => {
                warn!(event.id = %event.id, envelope.id = %event.envelope_id, source = event.source,
                    "an event came again with another content; the first is kept");
            }
        }
    }
    (deliveries, settled)
}

fn message(event: &Event, target: &str) -> Message {
    let delivery = Delivery::new(event.clone(), target);
    Message {
        queue: endpoint::queue_of(target, feed(event)),
        body: delivery.encode(),
        delay: std::time::Duration::ZERO,
    }
}

/// What suppresses or clears overtakes what only tells, and what somebody does now what was found to be missing.
fn feed(event: &Event) -> Feed {
    match event.effect {
        _ if event.provider_event == REPAIR => Feed::Retried,
        common::event::Effect::Suppress | common::event::Effect::Clear => Feed::Urgent,
        common::event::Effect::None => Feed::Bulk,
    }
}

/// Publishes each envelope of a message by itself; the message may then be acknowledged.
async fn split(
    app: &App,
    priority: Priority,
    envelopes: &[Envelope],
    lifecycle: &Lifecycle,
) -> Option<()> {
    warn!(
        envelopes = envelopes.len(),
        "a message keeps coming back; its envelopes are tried one by one"
    );
    let alone = |envelope: &Envelope| Message {
        queue: QueueName::Inbound(priority),
        body: envelope::encode([envelope]),
        delay: std::time::Duration::ZERO,
    };
    let messages: Vec<_> = envelopes.iter().map(alone).collect();
    until_done(lifecycle, "publish", || app.queue.publish(messages.clone())).await
}

/// Keeps bytes that are no message of ours, under an id that is the same however often they come.
pub(crate) async fn undecodable(
    app: &App,
    item: &Item,
    error: &envelope::DecodeError,
    lifecycle: &Lifecycle,
) -> Option<()> {
    error!(%error, "a message cannot be decoded; it goes to quarantine");
    let body = item.body().clone();
    let id = derived_id("undecodable", &format!("{body:?}"), []);
    let source = "unknown".to_owned();
    let envelope = Envelope {
        id,
        source,
        received_at: clock::now(),
        content_type: None,
        headers: vec![],
        body,
    };
    quarantine(app, &envelope, "", &error.to_string(), lifecycle).await
}

/// Puts a whole envelope into quarantine.
pub(crate) async fn quarantine(
    app: &App,
    envelope: &Envelope,
    provider: &str,
    reason: &str,
    lifecycle: &Lifecycle,
) -> Option<()> {
    until_done(lifecycle, "quarantine", || {
        app.ledger.quarantine(envelope, provider, reason)
    })
    .await
}
