//! Leave to send that is none any more.
//!
//! Targets are told of events one by one, and a retry may come after what happened later. For a target that only hears
//! of it that does no harm. One that decides by it who is sent to must not take a lift for leave to send while anything
//! suppresses the contact still, or again: another source, or an opt-out since. It hears of the last lift, after which
//! nothing does.
//!
//! A platform has lists of its own, into which contacts opt out by other ways, too:
//! - it hears of no lift of what is not accounted for here;
//! - a lift may reach it after an opt-out that was recorded meanwhile, and told by another slot. So once a lift was told it is
//!   looked again, and what stands is told after it. Whether the process died between the two, or an attempt before was
//!   slower than it seemed, nobody knows: so of a lift that is none any more it is always told what stands instead. It may
//!   hear so twice; what it ends with is right.
//! - what it reported itself it is told again only if a lift of ours may have undone it.

use std::collections::BTreeSet;

use common::{
    delivery::{Answer, Delivery, Outcome},
    event::Effect,
    ledger::{self, Suppression},
};

use crate::{App, Outlet, echo};

/// Why a target is not told of a delivery.
enum Held {
    /// A lift, but these suppress the contact all the same.
    Stands(Vec<Suppression>),
    Other(&'static str),
}

/// Tells the target of the deliveries, but not of lifts that are none any more.
pub(crate) async fn deliver(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
) -> ledger::Result<Vec<Answer>> {
    if !outlet.target.decides() {
        return Ok(outlet.target.deliver(deliveries).await);
    }
    let mut answers = vec![None; deliveries.len()];
    let (mut due, mut stands) = (vec![], vec![]);
    for (at, held) in held(app, outlet, deliveries).await?.into_iter().enumerate() {
        match held {
            None => due.push(at),
            Some(Held::Stands(by)) => stands.push((at, by)),
            Some(Held::Other(why)) => answers[at] = Some(Answer::withheld(why)),
        }
    }
    let told: Vec<_> = due.iter().map(|at| deliveries[*at].clone()).collect();
    for (at, answer) in due.iter().zip(tell(outlet, &told).await) {
        answers[*at] = Some(answer);
    }
    if outlet.target.has_lists() {
        let lifted = due.into_iter().filter(|at| {
            let done = answers[*at].as_ref().map(|answer| &answer.outcome);
            done == Some(&Outcome::Done) && deliveries[*at].event.effect == Effect::Clear
        });
        stands.extend(overtaken(app, outlet, deliveries, lifted.collect()).await?);
    }
    for (at, answer) in uphold(outlet, deliveries, stands).await {
        answers[at] = Some(answer);
    }
    let none = || Answer::retry("the target's code gave no answer");
    let answers = answers.into_iter();
    Ok(answers.map(|answer| answer.unwrap_or_else(none)).collect())
}

/// Those of the lifts, which the target was told of just now, that are none any more, and what stands.
async fn overtaken(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
    lifted: Vec<usize>,
) -> ledger::Result<Vec<(usize, Vec<Suppression>)>> {
    let lifts: Vec<_> = lifted.iter().map(|at| deliveries[*at].clone()).collect();
    let held = lifted.into_iter().zip(held(app, outlet, &lifts).await?);
    let overtaken = held.filter_map(|(at, held)| match held {
        Some(Held::Stands(by)) => Some((at, by)),
        Some(Held::Other(_)) | None => None,
    });
    Ok(overtaken.collect())
}

/// Tells a platform, instead of each of these lifts, what stands; any other target nothing. The lift is withheld then; what
/// could not be told is tried again.
async fn uphold(
    outlet: &Outlet,
    deliveries: &[Delivery],
    stands: Vec<(usize, Vec<Suppression>)>,
) -> Vec<(usize, Answer)> {
    let (mut lifts, mut suppressions) = (vec![], vec![]);
    for (at, by) in stands.iter().filter(|_| outlet.target.has_lists()) {
        let scopes: BTreeSet<_> = by.iter().map(|by| &by.scope).collect();
        for scope in scopes {
            let mut delivery = deliveries[*at].clone();
            delivery.event.effect = Effect::Suppress;
            delivery.event.scope.clone_from(scope);
            lifts.push(*at);
            suppressions.push(delivery);
        }
    }
    let told = lifts.into_iter().zip(tell(outlet, &suppressions).await);
    let failed = told.filter(|(_, answer)| matches!(answer.outcome, Outcome::Retry { .. }));
    let withheld = stands.into_iter().map(|(at, by)| (at, withheld(&by)));
    withheld.chain(failed).collect()
}

fn withheld(by: &[Suppression]) -> Answer {
    let by = by
        .iter()
        .map(|by| format!("{} by {} in the scope {}", by.kind, by.source, by.scope));
    let by: Vec<_> = by.collect();
    Answer::withheld(format!(
        "not told of the lift, since the contact is suppressed all the same: {}",
        by.join(", ")
    ))
}

/// Tells the target of these, if there are any.
async fn tell(outlet: &Outlet, deliveries: &[Delivery]) -> Vec<Answer> {
    if deliveries.is_empty() {
        return vec![];
    }
    outlet.target.deliver(deliveries).await
}

/// Why the target is not told, of each delivery of which it is not.
async fn held(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
) -> ledger::Result<Vec<Option<Held>>> {
    let known = echo::known_there(app, outlet, deliveries).await?;
    let mut answers: Vec<_> = known
        .into_iter()
        .map(|known| known.then_some(Held::Other("not told: it reported this itself")))
        .collect();
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
    let accounted = if outlet.target.has_lists() {
        let source = outlet.mirrors.as_deref();
        let asked = app.ledger.accounted_for(&contacts, &outlet.name, source);
        asked.await?
    } else {
        vec![]
    };
    for (number, ((at, event, _), standing)) in lifts.into_iter().zip(standing).enumerate() {
        let by = standing.into_iter();
        let by: Vec<_> = by
            .filter(|by| outlet.target.keeps(&event.scope, &by.scope))
            .collect();
        let is_accounted = accounted
            .get(number)
            .is_none_or(|by| outlet.target.accounts(&event.scope, by));
        if !by.is_empty() {
            answers[at] = Some(Held::Stands(by));
        } else if !is_accounted {
            answers[at] = Some(Held::Other(
                "not told, since it was told of no suppression there: one that stands is of others",
            ));
        }
    }
    Ok(answers)
}
