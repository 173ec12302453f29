//! Echoes: what a platform reports of the changes that we made there ourselves.
//!
//! A target that `mirrors` a source tells the same platform whose webhooks that source receives. What it is told comes back
//! there as an event, of which nobody is to hear: platforms that all echo would tell each other for ever, and a platform's
//! own register, set by an echo, would outlive the lift of what was told. So an event is an echo if an attempt to tell its
//! platform of the same began around the time that it states.
//!
//! | in doubt | then |
//! |---|---|
//! | its request says that the recipient did it | it is no echo |
//! | it is a complaint, or a bounce and no bounce was told | it is no echo: that comes of a mail |
//! | the nearest change that was told before is a lift, and it suppresses | it is no echo |
//! | a lift was told, and it lifts | it is an echo, whatever was told since: it lifts nothing |
//!
//! The nearest before is the one that counts, else the first after. It is decided once, right before the event is
//! recorded, and kept with it. If the process dies before the record, nothing has happened; after it, what the ledger holds
//! is what the event is, whatever would be found now.

use std::collections::HashMap;

use common::{
    contact::Contact,
    delivery::{Delivery, State},
    event::{Effect, Event, Kind},
    ledger::{Entry, Question, Result, Told},
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{App, Outlet};

/// How long before the time that an event states an attempt may have begun: as long as a call lasts and a platform then
/// takes to make the change. Postmark says a minute (<https://github.com/activecampaign/postmark-php/wiki/Managing-Suppressions>),
/// bulk interfaces a few. A longer time takes more of what people do themselves for echoes.
const BEFORE: SignedDuration = SignedDuration::from_mins(10);

/// And how long after: the clocks of a platform and of the ledger differ, a time may be cut to the second or the minute, and
/// an attempt that died with its worker counts from when it is made again. A clock that is further off than signed webhooks
/// allow ([Standard Webhooks](https://www.standardwebhooks.com): five minutes) breaks more than this.
const AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Leaves out whose platform the event came from, and so knows of it. Where a lift of ours may undo an opt-out there, that
/// is decided only once the opt-out is recorded: [`known_there`].
pub(crate) fn leave_out(app: &App, event: &Event, told: &mut Vec<(String, State)>) {
    let later = |outlet: &Outlet| event.effect == Effect::Suppress && outlet.target.decides();
    let mirrors = mirrors(app, &event.source);
    for outlet in mirrors.filter(|outlet| knows(app, outlet, event) && !later(outlet)) {
        told.retain(|(target, _)| *target != outlet.name);
    }
}

/// A complaint concerns everything, and was reported in one scope: the platform is told of the others. What a bounce is to
/// it is its own affair. Of several targets it is not known which one's part of the platform reported it.
fn knows(app: &App, outlet: &Outlet, event: &Event) -> bool {
    let is_only = mirrors(app, &event.source).nth(1).is_none();
    is_only
        && event.kind != Kind::Bounced
        && event.reach() == event.scope
        && outlet.target.knows(&event.scope)
}

/// Of each delivery, whether it is an opt-out that the target's own platform reported, and that no lift can have undone
/// there since.
///
/// It is asked after the opt-out is recorded. A lift takes its leave before it looks for what stands: so either it sees the
/// opt-out, or it is seen here.
pub(crate) async fn known_there(
    app: &App,
    outlet: &Outlet,
    deliveries: &[Delivery],
) -> Result<Vec<bool>> {
    let is_own = |event: &Event| {
        event.effect == Effect::Suppress
            && outlet.mirrors.as_deref() == Some(event.source.as_str())
            && knows(app, outlet, event)
    };
    let mut known: Vec<_> = deliveries
        .iter()
        .map(|delivery| is_own(&delivery.event))
        .collect();
    let own: Vec<_> = (0..known.len()).filter(|at| known[*at]).collect();
    if own.is_empty() {
        return Ok(known);
    }
    let question = |at: &usize| {
        let event = &deliveries[*at].event;
        Question {
            event,
            target: &outlet.name,
            from: window(event).0,
            to: Timestamp::MAX,
        }
    };
    let questions: Vec<_> = own.iter().map(question).collect();
    for (at, told) in own.iter().zip(app.ledger.told(&questions).await?) {
        let event = &deliveries[*at].event;
        let from = window(event).0;
        let undoes = |told: &Told| {
            told.effect == Effect::Clear
                && told.began >= from
                && outlet.target.keeps(&told.scope, event.reach())
        };
        known[*at] = !told.iter().any(undoes);
    }
    Ok(known)
}

/// Notes with the entries which of their events are echoes.
pub(crate) fn mark(entries: &mut [Entry<'_>], echoes: &HashMap<Uuid, Uuid>) {
    for entry in entries {
        let marks = entry.events().filter_map(|event| {
            let of = echoes.get(&event.id)?;
            Some((event.id, *of))
        });
        entry.echoes = marks.collect();
    }
}

/// The echoes among these events, each with the event that was told. Where no target mirrors their sources it asks nothing.
pub(crate) async fn find<'a>(
    app: &App,
    events: impl Iterator<Item = &'a Event>,
) -> Result<HashMap<Uuid, Uuid>> {
    let suspect = events.filter(|event| may_be(app, event));
    let asked: Vec<_> = suspect
        .flat_map(|event| mirrors(app, &event.source).map(move |outlet| (event, outlet)))
        .collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let questions: Vec<_> = asked
        .iter()
        .map(|(event, outlet)| {
            let (from, to) = window(event);
            Question {
                event,
                target: &outlet.name,
                from,
                to,
            }
        })
        .collect();
    let answers = app.ledger.told(&questions).await?;
    // A platform may have several targets: what counts is what it was told by any of them.
    let mut heard: HashMap<Uuid, (&Event, Vec<Told>)> = HashMap::new();
    for ((event, outlet), told) in asked.iter().zip(answers) {
        let reported = told
            .into_iter()
            .filter(|told| outlet.target.reports(&told.scope, event.reach()));
        let (_, heard) = heard.entry(event.id).or_insert((event, vec![]));
        heard.extend(reported);
    }
    let echoes = heard.values().filter_map(|(event, told)| {
        let of = echo_of(event, told)?;
        Some((event.id, of))
    });
    Ok(echoes.collect())
}

fn mirrors<'a>(app: &'a App, source: &str) -> impl Iterator<Item = &'a Outlet> {
    let outlets = app.outlets.iter().map(|outlet| &**outlet);
    outlets.filter(move |outlet| outlet.mirrors.as_deref() == Some(source))
}

/// Whether the event could report back what its platform was told.
fn may_be(app: &App, event: &Event) -> bool {
    let says_recipient = || {
        let source = app.sources.get(&event.source);
        source.is_some_and(|source| source.provider.says_recipient(event))
    };
    event.effect != Effect::None
        && event.kind != Kind::Complained
        && !event.contact.as_ref().is_none_or(Contact::is_erased)
        && !says_recipient()
}

/// When an attempt began of which the event may tell.
fn window(event: &Event) -> (Timestamp, Timestamp) {
    let at = event.occurred_at;
    let from = at.saturating_sub(BEFORE).unwrap_or(at);
    let to = at.saturating_add(AFTER).unwrap_or(at);
    (from, to)
}

/// Of what the event's platform was told, what it reports back.
fn echo_of(event: &Event, told: &[Told]) -> Option<Uuid> {
    let is_same = |told: &&Told| told.effect == event.effect;
    let told = || {
        told.iter().filter(|told| {
            event.kind != Kind::Bounced
                || told.kind == Kind::Bounced
                || told.effect == Effect::Clear
        })
    };
    // As it was told, time and all: some platforms take over the time that we state.
    let second = |at: Timestamp| at.as_second();
    let as_told =
        |told: &&Told| !event.time_assumed && second(told.occurred_at) == second(event.occurred_at);
    // Unless that was taken back since: then whoever opts out does so anew.
    let stands = |of: &&Told| {
        event.effect == Effect::Clear
            || !told().any(|since| since.effect == Effect::Clear && since.began > of.began)
    };
    let mut exact = told().filter(|told| is_same(told) && as_told(told));
    if let Some(told) = exact.find(stands) {
        return Some(told.event);
    }
    let (from, to) = window(event);
    // What a lift may report are lifts only.
    let counts = |told: &&Told| {
        (from..=to).contains(&told.began)
            && (event.effect == Effect::Suppress || told.effect == Effect::Clear)
    };
    let (before, after): (Vec<_>, Vec<_>) = told()
        .filter(counts)
        .partition(|told| told.began <= event.occurred_at);
    // At the same instant the lift, so that the opt-out is none of it.
    let lifts = |told: &Told| told.effect == Effect::Clear;
    let nearest = before
        .into_iter()
        .max_by_key(|told| (told.began, lifts(told)))
        .or_else(|| {
            after
                .into_iter()
                .min_by_key(|told| (told.began, !lifts(told)))
        });
    nearest.filter(is_same).map(|told| told.event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        envelope::Envelope,
        event::{Draft, GLOBAL, Identity, Undetermined},
    };

    const AT: &str = "2026-05-04T12:00:00Z";

    fn at(seconds: i64) -> Timestamp {
        let at: Timestamp = AT.parse().unwrap();
        at + SignedDuration::from_secs(seconds)
    }

    /// A report of a change at [`AT`].
    fn reported(kind: Kind) -> Event {
        let envelope = Envelope {
            id: Uuid::now_v7(),
            source: "crm".to_owned(),
            received_at: at(3600),
            content_type: None,
            headers: vec![],
            body: bytes::Bytes::new(),
        };
        let mut draft = Draft::new(kind, "x", Identity::Own(Uuid::now_v7().to_string()));
        draft.contact = Contact::email("jane@example.com").ok();
        draft.occurred_at = Some(at(0));
        draft.into_event(&envelope, "generic", Undetermined::Suppress)
    }

    /// What was told so many seconds after [`AT`].
    fn told(kind: Kind, seconds: i64) -> Told {
        Told {
            event: Uuid::now_v7(),
            kind,
            effect: reported(kind).effect,
            scope: GLOBAL.to_owned(),
            occurred_at: at(-86400),
            began: at(seconds),
        }
    }

    use Kind::{Bounced, Resubscribed, Suppressed, Unsubscribed};

    #[test]
    fn what_was_told_at_about_the_time_is_reported_back_and_what_was_told_at_another_is_not() {
        for (seconds, is_echo) in [
            (-601, false),
            (-600, true),
            (-1, true),
            (0, true),
            (300, true),
            (301, false),
        ] {
            for kind in [Unsubscribed, Resubscribed] {
                let told = told(kind, seconds);
                let expected = is_echo.then_some(told.event);
                assert_eq!(echo_of(&reported(kind), &[told]), expected, "{seconds}");
            }
        }
    }

    #[test]
    fn an_opt_out_reports_the_nearest_change_before_and_none_if_that_is_a_lift() {
        let report = reported(Suppressed);
        let (first, lift, last) = (
            told(Unsubscribed, -20),
            told(Resubscribed, -10),
            told(Unsubscribed, -5),
        );
        let expected = Some(last.event);
        let all = [first.clone(), lift.clone(), last];
        assert_eq!(echo_of(&report, &all), expected);
        assert_eq!(echo_of(&report, &[first.clone(), lift]), None);
        // What was told after counts only where nothing was before.
        let expected = Some(first.event);
        let later = told(Resubscribed, 5);
        assert_eq!(echo_of(&report, &[later.clone(), first]), expected);
        let after = told(Unsubscribed, 30);
        assert_eq!(echo_of(&report, &[after, later]), None);
    }

    #[test]
    fn a_lift_reports_a_lift_that_was_told_whatever_was_told_since() {
        let report = reported(Resubscribed);
        let lift = told(Resubscribed, -20);
        let expected = Some(lift.event);
        assert_eq!(echo_of(&report, &[lift, told(Unsubscribed, -1)]), expected);
        assert_eq!(echo_of(&report, &[told(Unsubscribed, -1)]), None);
    }

    #[test]
    fn a_bounce_reports_back_bounces_only_and_an_opt_out_whatever_suppresses() {
        let bounce = told(Bounced, -1);
        let expected = Some(bounce.event);
        assert_eq!(
            echo_of(&reported(Bounced), std::slice::from_ref(&bounce)),
            expected
        );
        assert_eq!(echo_of(&reported(Unsubscribed), &[bounce]), expected);
        assert_eq!(echo_of(&reported(Bounced), &[told(Unsubscribed, -1)]), None);
    }

    #[test]
    fn a_report_of_just_the_time_that_was_told_is_an_echo_whenever_that_was() {
        let mut old = told(Unsubscribed, -86400);
        assert_eq!(echo_of(&reported(Unsubscribed), &[old.clone()]), None);
        old.occurred_at = at(0) + SignedDuration::from_millis(300);
        let mut report = reported(Unsubscribed);
        assert_eq!(echo_of(&report, &[old.clone()]), Some(old.event));
        report.time_assumed = true;
        assert_eq!(echo_of(&report, &[old]), None);
    }
}
