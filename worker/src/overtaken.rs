//! Leave to send that is none any more.
//!
//! Targets are told of events one by one, and a retry may come after what happened later. For a target that only hears
//! of it that does no harm. One that decides by it who is sent to must not take a lift for leave to send while anything
//! suppresses the contact still, or again: another source, or an opt-out since. It hears of the last lift, after which
//! nothing does.
//!
//! A platform has lists of its own, into which contacts opt out by other ways, too:
//! - it hears of no lift of what is not accounted for here;
//! - a lift may reach it after an opt-out that was recorded meanwhile, and told by another slot: so once a lift was told it
//!   is looked again, and a suppression follows if something stands. A lift that was tried before may have come late as
//!   well: if something stands by now, it is a suppression that is told. So nothing is open if the process dies between the
//!   lift and the second look: the message is handed out again.
//! - what it reported itself it is told again only if a lift of ours may have undone it.

use common::{
    delivery::{Answer, Delivery, Outcome},
    event::Effect,
    ledger,
};

use crate::{App, Outlet, echo};

/// Why a target is not told of a delivery.
enum Held {
    /// A lift, but something suppresses the contact all the same.
    Stands(String),
    Other(&'static str),
}

/// Tells the target of the deliveries, but not of lifts that are none any more. `tried` says of each whether there was an
/// attempt before.
pub(crate) async fn deliver(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
    tried: &[bool],
) -> ledger::Result<Vec<Answer>> {
    if !outlet.target.decides() {
        return Ok(outlet.target.deliver(deliveries).await);
    }
    let mut answers = vec![None; deliveries.len()];
    let (mut due, mut undone) = (vec![], vec![]);
    for (at, held) in held(app, outlet, deliveries).await?.into_iter().enumerate() {
        match held {
            None => due.push(at),
            Some(Held::Stands(why)) if outlet.target.has_lists() && tried[at] => {
                undone.push((at, why));
            }
            Some(Held::Stands(why)) => answers[at] = Some(Answer::withheld(why)),
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
        let lifted: Vec<_> = lifted.collect();
        undone.extend(standing(app, outlet, deliveries, lifted).await?);
    }
    suppress(outlet, deliveries, undone, &mut answers).await;
    let none = || Answer::retry("the target's code gave no answer");
    let answers = answers.into_iter();
    Ok(answers.map(|answer| answer.unwrap_or_else(none)).collect())
}

/// Those of the lifts, which the target was told of, that are none any more.
async fn standing(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
    lifted: Vec<usize>,
) -> ledger::Result<Vec<(usize, String)>> {
    let lifts: Vec<_> = lifted.iter().map(|at| deliveries[*at].clone()).collect();
    let held = held(app, outlet, &lifts).await?;
    let undone = lifted
        .into_iter()
        .zip(held)
        .filter_map(|(at, held)| match held {
            Some(Held::Stands(why)) => Some((at, why)),
            Some(Held::Other(_)) | None => None,
        });
    Ok(undone.collect())
}

/// Tells the opposite of lifts that have come too late, or may have; what is not done is tried again.
async fn suppress(
    outlet: &Outlet,
    deliveries: &[Delivery],
    undone: Vec<(usize, String)>,
    answers: &mut [Option<Answer>],
) {
    let opposite = |(at, _): &(usize, String)| {
        let mut delivery = deliveries[*at].clone();
        delivery.event.effect = Effect::Suppress;
        delivery
    };
    let suppressions: Vec<_> = undone.iter().map(opposite).collect();
    for ((at, why), answer) in undone.into_iter().zip(tell(outlet, &suppressions).await) {
        answers[at] = Some(match answer.outcome {
            Outcome::Retry { .. } => answer,
            _ => Answer::withheld(why),
        });
    }
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
        let mut standing = standing.into_iter();
        let by = standing.find(|by| outlet.target.keeps(&event.scope, &by.scope));
        let is_accounted = accounted
            .get(number)
            .is_none_or(|by| outlet.target.accounts(&event.scope, by));
        answers[at] = match by {
            Some(by) => Some(Held::Stands(format!(
                "not told, since the contact is suppressed all the same: {} by {} in the scope {}",
                by.kind, by.source, by.scope
            ))),
            None if !is_accounted => Some(Held::Other(
                "not told, since it was told of no suppression there: one that stands is of others",
            )),
            None => None,
        };
    }
    Ok(answers)
}
