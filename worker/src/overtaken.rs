//! Leave to send that is none any more.
//!
//! Targets are told of events one by one, and a retry may come after what happened later. For a target that only hears
//! of it that does no harm. One that decides by it who is sent to must not take a lift for leave to send while anything
//! suppresses the contact still, or again: another source, or an opt-out since. It hears of the last lift, after which
//! nothing does. A platform has a list of its own, too, which may know of opt-outs that we do not: it hears of no lift
//! where it heard of no suppression.

use common::{
    delivery::{Answer, Delivery},
    event::Effect,
    ledger,
};

use crate::{App, Outlet};

/// Tells the target of the deliveries, but not of lifts that are none any more.
///
/// Between the look at the ledger and the call an opt-out may be recorded: its own delivery then reaches the target
/// later, or at the same time.
pub(crate) async fn deliver(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
) -> ledger::Result<Vec<Answer>> {
    if !outlet.target.decides() {
        return Ok(outlet.target.deliver(deliveries).await);
    }
    let standing = standing(app, outlet, deliveries).await?;
    let due = deliveries.iter().zip(&standing);
    let due: Vec<_> = due
        .filter(|(_, why)| why.is_none())
        .map(|(delivery, _)| delivery.clone())
        .collect();
    let told = if due.is_empty() {
        vec![]
    } else {
        outlet.target.deliver(&due).await
    };
    let mut told = told.into_iter();
    let none = || Answer::retry("the target's code gave no answer");
    let answers = standing
        .into_iter()
        .map(|why| why.unwrap_or_else(|| told.next().unwrap_or_else(none)));
    Ok(answers.collect())
}

/// Why the target is not told, of each delivery of which it is not.
async fn standing(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
) -> ledger::Result<Vec<Option<Answer>>> {
    let mut answers = vec![None; deliveries.len()];
    let lifts: Vec<_> = (0..)
        .zip(deliveries)
        .filter(|(_, delivery)| delivery.event.effect == Effect::Clear)
        .filter_map(|(at, delivery)| Some((at, &delivery.event, delivery.event.contact.as_ref()?)))
        .collect();
    if lifts.is_empty() {
        return Ok(answers);
    }
    let contacts: Vec<_> = lifts.iter().map(|(_, _, contact)| *contact).collect();
    // In all scopes, since only the target knows which of them one of its lists stands for.
    let questions: Vec<_> = contacts.iter().map(|contact| (*contact, None)).collect();
    let standing = app.ledger.check_each(&questions).await?;
    let known = if outlet.target.lifts_only_known() {
        let source = outlet.mirrors.as_deref();
        let known = app.ledger.accounted_for(&contacts, &outlet.name, source);
        known.await?
    } else {
        vec![true; contacts.len()]
    };
    for (((at, event, _), standing), known) in lifts.into_iter().zip(standing).zip(known) {
        let mut standing = standing.into_iter();
        let by = standing.find(|by| outlet.target.keeps(&event.scope, &by.scope));
        answers[at] = match by {
            Some(by) => Some(Answer::withheld(format!(
                "not told, since the contact is suppressed all the same: {} by {} in the scope {}",
                by.kind, by.source, by.scope
            ))),
            None if !known => Some(Answer::withheld(
                "not told, since it was told of no suppression: one that stands there is of others",
            )),
            None => None,
        };
    }
    Ok(answers)
}
