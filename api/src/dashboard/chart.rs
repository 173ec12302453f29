//! Events per minute as a picture: bars on each other, one for each kind, drawn here so that it needs no script.

use std::collections::BTreeMap;

use common::{event::Kind, ledger::Minute};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

/// The minutes that are drawn.
pub(super) const MINUTES: i64 = 60;

/// The size of the picture, in its own units.
const WIDTH: i64 = 720;
const HEIGHT: i64 = 140;

/// Kinds that matter most lie at the bottom, where they are compared best.
const ORDER: [Kind; 9] = [
    Kind::Unsubscribed,
    Kind::Complained,
    Kind::Bounced,
    Kind::Suppressed,
    Kind::Resubscribed,
    Kind::Delivered,
    Kind::Opened,
    Kind::Clicked,
    Kind::Other,
];

/// The picture, and what it says in words.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    width: i64,
    height: i64,
    bars: Vec<Bar>,
    /// How many events the top stands for.
    top: i64,
    from: Timestamp,
    to: Timestamp,
    /// Kinds with their sums, in the order of the bars.
    sums: Vec<Sum>,
    total: i64,
    /// The most of a minute.
    most: i64,
}

#[derive(Debug, Serialize)]
struct Bar {
    x: i64,
    y: f64,
    width: i64,
    height: f64,
    kind: Kind,
    events: i64,
    begin: Timestamp,
}

#[derive(Debug, Serialize)]
struct Sum {
    kind: Kind,
    events: i64,
    /// Of the last whole minute.
    last: i64,
}

/// The minute that a moment is in.
pub(super) fn minute(at: Timestamp) -> Timestamp {
    let second = at.as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap_or(at)
}

impl Chart {
    /// Draws the hour until the end of the present minute.
    pub(super) fn of(minutes: &[Minute], now: Timestamp) -> Self {
        let last = minute(now);
        let ago = |minutes: i64| last.checked_sub(minutes.minutes()).unwrap_or(last);
        let from = ago(MINUTES - 1);
        let mut counted: BTreeMap<(Timestamp, usize), i64> = BTreeMap::new();
        for one in minutes.iter().filter(|one| one.begin >= from) {
            let place = ORDER.iter().position(|kind| *kind == one.kind);
            *counted
                .entry((one.begin, place.unwrap_or_default()))
                .or_default() += one.events;
        }
        let of_minute = |begin| {
            let found = counted.range((begin, 0)..(begin, ORDER.len()));
            found.map(|(_, events)| *events).sum::<i64>()
        };
        let begins: Vec<_> = (0..MINUTES).map(|place| ago(MINUTES - 1 - place)).collect();
        let most = begins
            .iter()
            .map(|begin| of_minute(*begin))
            .max()
            .unwrap_or_default();
        let top = round_up(most);
        let bars = bars(&counted, &begins, top);
        let sums: Vec<_> = ORDER
            .iter()
            .enumerate()
            .map(|(place, kind)| {
                let of_kind = counted.iter().filter(|((_, other), _)| *other == place);
                let last = counted.get(&(ago(1), place));
                Sum {
                    kind: *kind,
                    events: of_kind.map(|(_, events)| *events).sum(),
                    last: last.copied().unwrap_or_default(),
                }
            })
            .filter(|sum| sum.events > 0)
            .collect();
        Self {
            width: WIDTH,
            height: HEIGHT,
            bars,
            top,
            from,
            to: ago(-1),
            total: sums.iter().map(|sum| sum.events).sum(),
            sums,
            most,
        }
    }
}

/// The bars of each minute, from below.
fn bars(counted: &BTreeMap<(Timestamp, usize), i64>, begins: &[Timestamp], top: i64) -> Vec<Bar> {
    let mut bars = vec![];
    for (place, begin) in (0..).zip(begins) {
        let mut below = 0;
        for ((_, kind), events) in counted.range((*begin, 0)..(*begin, ORDER.len())) {
            below += events;
            bars.push(Bar {
                x: place * WIDTH / MINUTES,
                y: tall(top - below, top),
                width: WIDTH / MINUTES - 2,
                height: tall(*events, top),
                kind: ORDER[*kind],
                events: *events,
                begin: *begin,
            });
        }
    }
    bars
}

/// The height of so many events, to a tenth.
#[expect(clippy::cast_precision_loss, reason = "it is a picture")]
fn tall(events: i64, top: i64) -> f64 {
    (events as f64 * HEIGHT as f64 / top as f64 * 10.0).round() / 10.0
}

/// The next round number: 1, 2 or 5 and noughts.
fn round_up(most: i64) -> i64 {
    let mut tens = 1;
    loop {
        for step in [1, 2, 5] {
            if most <= step * tens {
                return step * tens;
            }
        }
        tens *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_is_a_stack_of_its_kinds_as_high_as_there_are_events() {
        let now: Timestamp = "2026-04-02T14:30:20Z".parse().unwrap();
        let at = |text: &str, kind, events| Minute {
            begin: text.parse().unwrap(),
            kind,
            events,
        };
        let chart = Chart::of(
            &[
                at("2026-04-02T14:29:00Z", Kind::Opened, 30),
                at("2026-04-02T14:29:00Z", Kind::Unsubscribed, 20),
                at("2026-04-02T14:30:00Z", Kind::Unsubscribed, 1),
                at("2026-04-02T13:30:00Z", Kind::Complained, 9),
            ],
            now,
        );
        assert_eq!((chart.top, chart.most, chart.total), (50, 50, 51));
        let bars: Vec<_> = chart
            .bars
            .iter()
            .map(|bar| (bar.x, bar.y, bar.height, bar.kind))
            .collect();
        let (last, before) = (WIDTH - 12, WIDTH - 24);
        let expected = [
            (before, 84.0, 56.0, Kind::Unsubscribed),
            (before, 0.0, 84.0, Kind::Opened),
            (last, 137.2, 2.8, Kind::Unsubscribed),
        ];
        assert_eq!(bars, expected, "what is an hour old is not drawn");
        let sums: Vec<_> = chart
            .sums
            .iter()
            .map(|sum| (sum.kind, sum.events, sum.last))
            .collect();
        assert_eq!(sums, [(Kind::Unsubscribed, 21, 20), (Kind::Opened, 30, 30)]);
        assert_eq!(chart.from.to_string(), "2026-04-02T13:31:00Z");
        assert_eq!(chart.to.to_string(), "2026-04-02T14:31:00Z");
    }

    #[test]
    fn an_hour_without_events_is_drawn_too() {
        let chart = Chart::of(&[], Timestamp::UNIX_EPOCH);
        assert_eq!((chart.top, chart.total, chart.bars.len()), (1, 0, 0));
        let rounds: Vec<_> = [0, 1, 2, 3, 6, 11, 500, 501].map(round_up).into();
        assert_eq!(rounds, [1, 1, 2, 5, 10, 20, 500, 1000]);
    }
}
