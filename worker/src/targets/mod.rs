//! Targets: the systems that are told, one file each, with its settings, what it sends and its tests.
//!
//! # Adding a target
//! One new file and its two lines here: `mod name;` and `name::KIND` in [`KINDS`]. The file reads its own settings from
//! the [`Section`], so no central list of options grows. A target knows no queue and no ledger: it is given deliveries
//! and says what came of them; slots, rate, breaker, schedule and recording are the deliver stage's.

mod database;
mod file;
mod http;
mod jira;
mod payload;
mod slack;
mod template;
mod zendesk;

use std::time::Duration;

use async_trait::async_trait;
use common::{
    delivery::{Answer, Delivery},
    settings::Section,
};

use crate::outbound::Outbound;

/// Every kind of target, by name in alphabetical order.
pub const KINDS: &[Kind] = &[database::KIND, file::KIND, http::KIND, jira::KIND, slack::KIND, zendesk::KIND];

/// A system that is told of events.
#[async_trait]
pub trait Target: Send + Sync {
    /// How many deliveries it takes in one call. More than one only where the system takes several in one request.
    fn batch(&self) -> usize {
        1
    }

    /// Tells it of these deliveries (1 to [`Target::batch`]); the answers are in their order, one each.
    ///
    /// May be called again for a delivery whose outcome was lost, with the same id: what it sends carries that id, so
    /// that the system can recognise the repeat. Dropped at the deadline, which counts as a failed attempt.
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer>;
}

/// A kind of target: its name in the configuration and how one is built from its settings.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    /// Pauses that suit the system, where `rate` is not set: Slack allows about one message a second.
    pub rate: Option<Rate>,
    /// Reads the settings that are this kind's own; mistakes are noted in the section, and then there is no target.
    /// Connects to nothing: a target that is away must not keep the others from starting.
    pub build: fn(&mut Section, &Outbound) -> Option<Box<dyn Target>>,
}

/// At most `calls` in `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub calls: u32,
    pub per: Duration,
}

/// The kind called `name`.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
