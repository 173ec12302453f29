//! `[reconcile]`: how often platforms' lists are compared with the ledger by themselves.

use std::time::Duration;

use crate::settings::Section;

/// Reading a list takes many requests, of which platforms allow so many in an hour or a day.
const SHORTEST: Duration = Duration::from_hours(1);

/// What was found is kept three times as long.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// `[reconcile]`.
#[derive(Debug, Clone, Copy)]
pub struct Reconcile {
    /// None for only when somebody asks.
    pub every: Option<Duration>,
    /// Whether what differs is then made suppressed on both sides.
    pub repair: bool,
}

impl Reconcile {
    pub(super) fn read(mut section: Section) -> Self {
        let is_given = section.keys().contains(&"every".to_owned());
        let reconcile = Self {
            every: section.optional("every"),
            repair: section.or("repair", false),
        };
        if reconcile
            .every
            .is_some_and(|every| !(SHORTEST..=LONGEST).contains(&every))
        {
            section.mistake("every", "is out of range: 1h to 30d");
        }
        if reconcile.repair && !is_given {
            let why = "is true, but nothing is compared by itself: set every, such as \"1d\", or leave it out";
            section.mistake("repair", why);
        }
        section.finish();
        reconcile
    }
}
