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
    let mut answers = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match standing(app, delivery).await? {
            Some(answer) => answers.push(answer),
            None => answers.extend(outlet.target.deliver(std::slice::from_ref(delivery)).await),
        }
    }
    Ok(answers)
}

/// Why the target is not told, if it is not.
async fn standing(app: &App, delivery: &Delivery) -> ledger::Result<Option<Answer>> {
    let event = &delivery.event;
    let (Effect::Clear, Some(contact)) = (event.effect, &event.contact) else {
        return Ok(None);
    };
    let standing = app.ledger.check(contact, Some(&event.scope)).await?;
    Ok(standing.first().map(|by| {
        Answer::withheld(format!(
            "not told, since the contact is suppressed all the same: {} by {} in the scope {}",
            by.kind, by.source, by.scope
        ))
    }))
}
