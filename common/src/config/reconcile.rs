//! `[reconcile]`: how often platforms' lists are compared with the ledger by themselves.

use std::time::Duration;

use crate::settings::Section;

/// Reading a list takes many requests, of which platforms allow so many in an hour or a day.
const SHORTEST: Duration = Duration::from_hours(1);

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
        let reconcile = Self {
            every: section.optional("every"),
            repair: section.or("repair", false),
        };
        if reconcile.every.is_some_and(|every| every < SHORTEST) {
            section.mistake("every", "is out of range: 1h or more");
        }
        if reconcile.repair && reconcile.every.is_none() {
            let why = "is true, but nothing is compared by itself: set every, such as \"1d\", or leave it out";
            section.mistake("repair", why);
        }
        section.finish();
        reconcile
    }
}
