//! A load of so many events a second for so long.

use std::time::Duration;

use tests::Process;

use crate::{
    load::{Pace, Plan},
    world::address,
};

/// A load that ends by its count is never to be cut off before.
const LIMIT: Duration = Duration::from_mins(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Steady {
    pub(crate) rate: f64,
    pub(crate) count: u64,
}

impl Steady {
    pub(crate) fn of(rate: f64, time: Duration) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small number of events"
        )]
        let count = (rate * time.as_secs_f64()) as u64;
        Self { rate, count }
    }

    /// Sent to a process's door.
    pub(crate) fn at(self, process: &Process) -> anyhow::Result<Plan> {
        Ok(Plan {
            address: address(&process.door)?,
            connections: 16,
            pace: Pace::PerSecond(self.rate),
            count: self.count,
            time: LIMIT,
        })
    }
}
