//! Endpoints: targets that users register over the api, beside those that are configured.
//!
//! Each is a target of its own, with a name that no configured one can have; all of them share one set of queues, since
//! a thousand endpoints are no reason for three thousand queues.

use jiff::Timestamp;
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    config::Filter,
    ledger::Breaker,
    queue::{Feed, QueueName},
    webhook::Key,
};

/// The name of all of them together: of their queues, and in metrics.
pub const ALL: &str = "endpoints";

/// A configured name holds no dot.
const PREFIX: &str = "endpoint.";

/// What a person sees of an endpoint; never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Endpoint {
    pub id: Uuid,
    pub url: String,
    pub events: Filter,
    pub description: Option<String>,
    pub enabled: bool,
    pub disabled_reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The first of nothing but failures.
    pub failing_since: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
    pub last_failure_at: Option<Timestamp>,
    pub last_error: Option<String>,
    /// Why its deliveries wait though it is enabled. The ledger does not know: it follows from the configuration.
    pub held_back: Option<&'static str>,
    /// Where its breaker stands at some worker at which it is not closed.
    pub breaker: Option<Breaker>,
}

/// What a person asks of an endpoint.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub url: Url,
    pub events: Filter,
    pub description: Option<String>,
    /// None to leave it as it is.
    pub enabled: Option<bool>,
}

/// An endpoint as it is sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct Sendable {
    pub id: Uuid,
    pub url: String,
    pub events: Filter,
    pub enabled: bool,
    /// The secret's, and those of the secrets before it that are signed with still.
    pub keys: Vec<Key>,
}

/// The endpoint's name as a target.
pub fn target(id: Uuid) -> String {
    format!("{PREFIX}{id}")
}

/// The endpoint that is called so as a target; None for a configured one.
pub fn id_of(target: &str) -> Option<Uuid> {
    target.strip_prefix(PREFIX)?.parse().ok()
}

/// The queue in which a target's deliveries of this feed wait: its own, or the endpoints'.
pub fn queue_of(target: &str, feed: Feed) -> QueueName {
    let name = id_of(target).map_or(target, |_| ALL);
    QueueName::Target(name.to_owned(), feed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_share_their_queues_and_a_configured_target_has_its_own() {
        let id = Uuid::from_u128(7);
        let shared = QueueName::Target("endpoints".to_owned(), Feed::Bulk);
        assert_eq!(queue_of(&target(id), Feed::Bulk), shared);
        assert_eq!(id_of(&target(id)), Some(id));
        let own = QueueName::Target("slack".to_owned(), Feed::Bulk);
        assert_eq!(queue_of("slack", Feed::Bulk), own);
        assert_eq!(id_of("endpoint"), None);
    }
}
