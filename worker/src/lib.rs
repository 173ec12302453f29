//! The worker: two stages, each a loop over a queue. `route` parses an envelope, claims and records its events and
//! publishes one delivery per target; `deliver` sends them. Stateless: run as many as you like.

pub mod outbound;
pub mod targets;
