//! The contracts that Optout's services share: what an envelope, an event, a contact and a delivery are, the three
//! stores behind their ports (queue, claims, ledger), the providers, and what every process needs to start, to be
//! watched and to stop.

pub mod claims;
pub mod clock;
pub mod config;
pub mod contact;
pub mod delivery;
pub mod envelope;
pub mod event;
pub mod fault;
pub mod http;
pub mod ledger;
pub mod lifecycle;
mod names;
pub mod ops;
pub mod providers;
pub mod queue;
pub mod schedule;
pub mod settings;
pub mod signature;
pub mod startup;
pub mod telemetry;
