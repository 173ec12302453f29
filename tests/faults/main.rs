//! The fault suite: real processes over real servers of their own, under steady load with one event in ten sent twice,
//! while one thing after the other is broken and mended.
//!
//! What is shown, on each of three sets of stores: every event that was answered 200 is in the ledger once and told to every
//! target; duplicates change nothing, nor do platforms that report back what they are told; a target hears again of no more
//! than was in hand at the kills; the queues drain; and no process needs a hand, but that a killed one is started again, as
//! whatever keeps it running would.
//!
//! `scripts/test` runs the short ones of [`fault::FAULTS`] once; `scripts/faults` runs all for as long as it is told.
#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod disk;
mod event;
mod exhaustion;
mod fault;
mod harm;
mod ledger;
mod load;
mod platforms;
mod report;
mod run;
mod settle;
mod world;

use crate::{fault::Set, run::Plan};

#[tokio::test(flavor = "multi_thread")]
async fn services_over_rabbitmq_redis_and_postgresql_lose_nothing_to_any_fault() {
    run::all(Set::Scaled, &Plan::asked_for()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_over_sqlite_loses_nothing_to_any_fault() {
    run::all(Set::Embedded, &Plan::asked_for()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_rabbitmq_nodes_loses_nothing_to_any_fault() {
    run::all(Set::Cluster, &Plan::asked_for()).await;
}
