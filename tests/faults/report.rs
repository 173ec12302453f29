//! What came of a run: a table to read, the same as JSON, and the assertions.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tests::binary;

use crate::{fault::Set, settle::Settled};

/// What was seen of one fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Line {
    pub(crate) times: u64,
    /// Events that were accepted while it lasted, and until all was well again.
    pub(crate) events: u64,
    pub(crate) lasted: Duration,
    /// From its mending until all was well again, at the longest.
    pub(crate) back_after: Duration,
}

impl Line {
    pub(crate) fn add(&mut self, other: &Self) {
        self.times += other.times;
        self.events += other.events;
        self.lasted += other.lasted;
        self.back_after = self.back_after.max(other.back_after);
    }
}

pub(crate) struct Report {
    set: Set,
    seed: u64,
    took: Duration,
    lines: BTreeMap<&'static str, Line>,
    settled: Settled,
}

impl Report {
    pub(crate) fn new(
        set: Set,
        seed: u64,
        took: Duration,
        lines: BTreeMap<&'static str, Line>,
        settled: Settled,
    ) -> Self {
        Self {
            set,
            seed,
            took,
            lines,
            settled,
        }
    }

    fn stores(&self) -> &'static str {
        match self.set {
            Set::Embedded => "embedded",
            Set::Scaled => "scaled",
            Set::Cluster => "cluster",
        }
    }

    /// Prints the table, and writes it as JSON to `target/faults/`.
    #[expect(
        clippy::print_stdout,
        reason = "the table is what the long form is run for"
    )]
    pub(crate) fn publish(&self) {
        println!("{}", self.table());
        let folder = target().join("faults");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{}.json", self.stores()));
        std::fs::write(file, format!("{:#}\n", self.json())).unwrap();
    }

    fn faults(&self) -> u64 {
        self.lines.values().map(|line| line.times).sum()
    }

    fn table(&self) -> String {
        let settled = &self.settled;
        let head = format!(
            "\n{:34} {:>5} {:>8} {:>11}\n",
            "fault", "times", "events", "back after"
        );
        let lines = self.lines.iter().map(|(name, line)| {
            let (times, events, back_after) =
                (line.times, line.events, line.back_after.as_secs_f64());
            format!("{name:34} {times:>5} {events:>8} {back_after:>9.1} s\n")
        });
        head + &lines.collect::<String>()
            + &format!(
                "{}, seed {}, {:.0} s: {} faults, {} events in {} requests ({} refused and sent again), {} deliveries, {} lost, \
                 {} repeated of {} in hand at kills, {} echoes, {} taken for news\n",
                self.stores(),
                self.seed,
                self.took.as_secs_f64(),
                self.faults(),
                settled.events,
                settled.requests,
                settled.refused,
                settled.deliveries,
                settled.lost,
                settled.repeated,
                settled.in_hand,
                settled.echoes,
                settled.news,
            )
    }

    fn json(&self) -> Value {
        let lines = self.lines.iter().map(|(name, line)| {
            json!({
                "fault": name, "times": line.times, "events": line.events,
                "lasted_seconds": line.lasted.as_secs_f64(), "back_after_seconds": line.back_after.as_secs_f64(),
            })
        });
        let settled = &self.settled;
        json!({
            "stores": self.stores(), "seed": self.seed, "seconds": self.took.as_secs(), "lines": lines.collect::<Vec<_>>(),
            "faults": self.faults(), "events": settled.events, "requests": settled.requests,
            "refused": settled.refused, "deliveries": settled.deliveries, "lost": settled.lost,
            "invented": settled.invented, "wrong_registers": settled.wrong, "repeated": settled.repeated,
            "in_hand_at_kills": settled.in_hand, "left_in_queues": settled.left, "wrongly_held": settled.wrongly_held, "echoes": settled.echoes, "echoes_taken_for_news": settled.news,
        })
    }

    /// What is promised.
    pub(crate) fn assert(&self) {
        let settled = &self.settled;
        assert_eq!(settled.lost, 0, "lost: {settled:?}");
        assert_eq!(
            settled.invented, 0,
            "recorded twice, or never sent: {settled:?}"
        );
        assert_eq!(
            settled.wrong, 0,
            "registers are not the fold of what was sent: {settled:?}"
        );
        assert_eq!(settled.left, 0, "queues do not drain: {settled:?}");
        assert_eq!(
            settled.wrongly_held, 0,
            "put aside though it can be read: {settled:?}"
        );
        assert!(settled.echoes > 0, "no platform reported: {settled:?}");
        assert!(
            settled.news <= settled.explained,
            "platforms tell each other of what they were told: {settled:?}"
        );
        assert!(
            settled.repeated <= settled.in_hand,
            "repeated more than was in hand at the kills: {settled:?}"
        );
    }
}

/// The folder that cargo builds into: the profile's is the one that holds the binaries.
fn target() -> PathBuf {
    let profile = binary("optout").parent().map(Path::to_owned).unwrap();
    profile.parent().unwrap().to_owned()
}
