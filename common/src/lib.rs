//! The contracts that Optout's services share: what an envelope, an event, a contact and a delivery are, the three
//! stores behind their ports (queue, claims, ledger), the providers, and what every process needs to start, to be
//! watched and to stop.

pub mod calendar;
pub mod claims;
pub mod clock;
pub mod config;
pub mod contact;
pub mod delivery;
pub mod endpoint;
pub mod envelope;
pub mod event;
pub mod fault;
#[cfg(test)]
mod hostile;
pub mod hosts;
pub mod http;
pub mod key;
pub mod ledger;
pub mod lifecycle;
pub mod link;
mod names;
pub mod one_click;
pub mod ops;
pub mod outbound;
pub mod pace;
pub mod patience;
pub mod providers;
#[cfg(any(test, feature = "faults"))]
pub mod proxy;
pub mod queue;
pub mod refused;
pub mod request;
pub mod schedule;
pub mod seal;
pub mod settings;
pub mod signature;
pub mod startup;
pub mod telemetry;
pub mod webhook;

/// The URL of a store that `scripts/test` started.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment where their servers are"
)]
fn test_store(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the tests by scripts/test"))
}
