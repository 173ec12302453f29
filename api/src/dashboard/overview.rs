//! The overview: what comes in, what waits, what is in trouble, and whether the deadlines hold.

use std::{collections::BTreeMap, sync::Arc};

use axum::response::Response;
use common::{
    clock,
    delivery::State,
    endpoint,
    ledger::{Breaker, Due, MANY, Percentiles, TargetTimes, Unfinished},
};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

use super::{chart::Chart, page, pulse::Waiting, visitor::Visitor};
use crate::{
    App,
    error::{Error, Result},
};

#[derive(Serialize)]
struct View {
    chart: Chart,
    /// None while it is being counted.
    day: Option<Day>,
    targets: Vec<Row>,
    /// None while the queue does not answer.
    inbound: Option<Waiting>,
    queue_is_away: bool,
    pending: i64,
    retrying: i64,
    parked: i64,
    dead: i64,
    held: i64,
    /// There is more that is unfinished than was counted.
    more: bool,
}

/// How the opt-outs of the last day fared.
#[derive(Serialize)]
struct Day {
    applied: Percentiles,
    opt_outs: i64,
    over_48_hours: i64,
    over_10_business_days: i64,
    due: Vec<Deadline>,
    taken_at: Timestamp,
}

/// An opt-out that waits, and until when it has to hold.
#[derive(Serialize)]
struct Deadline {
    #[serde(flatten)]
    due: Due,
    until: Timestamp,
    left_ms: i64,
    /// `passed`, `near` or `far`.
    urgency: &'static str,
}

/// A target as it fares.
#[derive(Serialize)]
struct Row {
    name: String,
    is_endpoint: bool,
    /// None for one that is not there any more.
    enabled: Option<bool>,
    /// Of the opt-outs of the last day.
    day: Option<TargetTimes>,
    /// Of those that are decided, how many were delivered: tenths of a percent.
    success: Option<String>,
    states: BTreeMap<&'static str, i64>,
    waiting: Option<Waiting>,
    /// None where no worker has said of late where it stands.
    breaker: Option<Breaker>,
}

/// `GET /`
pub(super) async fn show(app: &Arc<App>, visitor: &Visitor) -> Result<Response> {
    let pulse = &app.dashboard.pulse;
    let (minutes, trouble, report, enabled) = tokio::try_join!(
        pulse.minutes(app),
        pulse.trouble(app),
        pulse.report(app),
        async { crate::error::asked(app.enabled()).await },
    )?;
    // A queue that is away is no reason not to see the ledger.
    let depths = pulse.depths(app).await.inspect_err(Error::log).ok();
    let waiting = |name: &str| depths.as_ref().and_then(|depths| depths.get(name)).copied();
    let now = clock::now();
    let sum = |state| of_state(&trouble.unfinished, state);
    let inbound = ["inbound.urgent", "inbound.bulk"].map(waiting);
    let times = report
        .as_ref()
        .map_or(&[][..], |report| &report.day.targets);
    let view = View {
        chart: Chart::of(&minutes, now),
        day: report.as_ref().map(|report| Day {
            applied: report.day.applied,
            opt_outs: report.day.opt_outs,
            over_48_hours: report.day.over_48_hours.count,
            over_10_business_days: report.day.over_10_business_days.count,
            due: report.due.iter().map(|due| deadline(due, now)).collect(),
            taken_at: report.day.to,
        }),
        targets: rows(app, &enabled, times, &trouble.unfinished)
            .map(|row| Row {
                waiting: waiting(&row.name),
                breaker: trouble.breakers.get(&row.name).cloned(),
                ..row
            })
            .collect(),
        queue_is_away: depths.is_none(),
        inbound: inbound.into_iter().flatten().reduce(|one, other| Waiting {
            ready: one.ready + other.ready,
            oldest_ms: one.oldest_ms.max(other.oldest_ms),
        }),
        pending: sum(State::Pending),
        retrying: sum(State::Retrying),
        parked: sum(State::Parked),
        dead: sum(State::Dead),
        held: trouble.held,
        more: trouble.unfinished.iter().map(|one| one.count).sum::<i64>() >= MANY,
    };
    Ok(page::render(
        app,
        Some(visitor),
        "overview",
        "overview.html",
        &view,
    ))
}

fn of_state(unfinished: &[Unfinished], state: State) -> i64 {
    let of_state = unfinished.iter().filter(|one| one.state == state);
    of_state.map(|one| one.count).sum()
}

fn deadline(due: &Due, now: Timestamp) -> Deadline {
    let until = due
        .received_at
        .checked_add(48.hours())
        .unwrap_or(Timestamp::MAX);
    let left = until.duration_since(now);
    Deadline {
        due: due.clone(),
        until,
        left_ms: i64::try_from(left.as_millis()).unwrap_or(i64::MAX),
        urgency: match left.as_hours() {
            _ if left.is_negative() => "passed",
            0..12 => "near",
            _ => "far",
        },
    }
}

/// Every target that is configured, enabled or has something to tell.
fn rows(
    app: &App,
    enabled: &[String],
    day: &[TargetTimes],
    unfinished: &[Unfinished],
) -> impl Iterator<Item = Row> {
    let mut names: BTreeMap<String, Row> = BTreeMap::new();
    let known = app.targets.keys().chain(enabled);
    let told = day.iter().map(|times| &times.target);
    let waiting = unfinished.iter().map(|one| &one.target);
    for name in known.chain(told).chain(waiting) {
        let of_it = unfinished.iter().filter(|one| one.target == *name);
        let times = day.iter().find(|times| times.target == *name);
        let is_endpoint = endpoint::id_of(name).is_some();
        let is_there = is_endpoint || app.targets.contains_key(name);
        let row = Row {
            name: name.clone(),
            is_endpoint,
            enabled: is_there.then(|| enabled.contains(name)),
            success: times.and_then(success),
            day: times.cloned(),
            states: of_it.map(|one| (one.state.as_str(), one.count)).collect(),
            waiting: None,
            breaker: None,
        };
        names.entry(name.clone()).or_insert(row);
    }
    names.into_values()
}

/// How many of the decided ones were delivered, in percent. Never rounded up to all of them.
fn success(times: &TargetTimes) -> Option<String> {
    let decided = times.delivered + times.dead;
    let tenths = times.delivered.checked_mul(1000)?.checked_div(decided)?;
    Some(format!("{}.{} %", tenths / 10, tenths % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_day_is_counted_the_page_says_so_and_tells_no_numbers_of_it() {
        let row = Row {
            name: "slack".to_owned(),
            is_endpoint: false,
            enabled: Some(true),
            day: None,
            success: None,
            states: BTreeMap::from([("dead", 3)]),
            waiting: None,
            breaker: None,
        };
        let view = View {
            chart: Chart::of(&[], clock::now()),
            day: None,
            targets: vec![row],
            inbound: None,
            queue_is_away: false,
            pending: 0,
            retrying: 0,
            parked: 0,
            dead: 3,
            held: 0,
            more: false,
        };
        let html = page::Pages::new().html(None, "overview", "overview.html", &view);
        let html = html.unwrap();
        assert!(html.contains("The opt-outs of the last 24 hours are being counted."));
        assert!(html.contains("/deliveries?state=dead&amp;target=slack"));
        for untrue in [
            "opt-outs of the last 24 hours, ",
            "is known everywhere",
            "were taken at",
        ] {
            assert!(!html.contains(untrue), "{untrue}");
        }
    }

    #[test]
    fn success_is_of_what_is_decided_and_a_hundred_percent_of_all_of_it() {
        let times = |delivered, dead| TargetTimes {
            target: String::new(),
            delivered,
            waiting: 7,
            dead,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
            max_ms: None,
        };
        for (delivered, dead, shown) in [
            (0, 0, None),
            (5, 0, Some("100.0 %")),
            (99_999, 1, Some("99.9 %")),
            (0, 3, Some("0.0 %")),
            (2, 1, Some("66.6 %")),
        ] {
            assert_eq!(success(&times(delivered, dead)).as_deref(), shown);
        }
    }
}
