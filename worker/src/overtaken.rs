//! Leave to send that is none any more.
//!
//! Targets are told of events one by one, and a retry may come after what happened later. For a target that only hears
//! of it that does no harm. One that decides by it who is sent to must not take a lift for leave to send while anything
//! suppresses the contact still, or again: another source, or an opt-out since. It hears of the last lift, after which
//! nothing does.

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
    let lifted = |delivery: &Delivery| delivery.event.effect == Effect::Clear;
    let lifts = deliveries.iter().filter(|delivery| lifted(delivery));
    // In all scopes, since only the target knows which of them one of its lists stands for.
    let questions: Vec<_> = lifts
        .filter_map(|delivery| Some((delivery.event.contact.as_ref()?, None)))
        .collect();
    let found = if questions.is_empty() {
        vec![]
    } else {
        app.ledger.check_each(&questions).await?
    };
    let mut found = found.into_iter();
    let answers = deliveries.iter().map(|delivery| {
        let event = &delivery.event;
        if !lifted(delivery) || event.contact.is_none() {
            return None;
        }
        let mut standing = found.next()?.into_iter();
        let by = standing.find(|by| outlet.target.keeps(&event.scope, &by.scope))?;
        Some(Answer::withheld(format!(
            "not told, since the contact is suppressed all the same: {} by {} in the scope {}",
            by.kind, by.source, by.scope
        )))
    });
    Ok(answers.collect())
}
