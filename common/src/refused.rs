//! Requests to a source that proved nothing, as people are told of them: how many there were, and when. A secret that was
//! exchanged on one side only keeps opt-outs out, for as long as nobody sees that; so it is an event like any other, about nobody.
//! Of the requests themselves nothing is kept: whoever sends them is not known.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    event::{Draft, Identity, Kind},
    request::Request,
};

/// What the event is called.
pub const REFUSED: &str = "source.refused";

const ACTOR: &str = "ingress";

/// What one ingress refused of one source, their credentials being wrong or missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub source: String,
    pub requests: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

impl Refused {
    /// The request to record it. `ingress` is the process that tells it: two may have refused at the same time.
    pub fn into_request(self, ingress: Uuid) -> Request {
        let identity = [
            REFUSED.to_owned(),
            ingress.to_string(),
            self.source.clone(),
            self.first_at.to_string(),
        ];
        let told = serde_json::to_value(&self).expect("its fields have text keys");
        let mut draft = Draft::new(Kind::Other, REFUSED, Identity::Derived(identity.to_vec()));
        draft.occurred_at = Some(self.last_at);
        draft.reason = Some(format!(
            "requests to the source {:?} that were refused since {}: {}; their credentials were wrong or missing",
            self.source, self.first_at, self.requests
        ));
        if let Value::Object(told) = &told {
            draft.metadata.clone_from(told);
        }
        Request {
            actor: ACTOR.to_owned(),
            action: REFUSED.to_owned(),
            request: told,
            drafts: vec![draft],
        }
    }
}
