//! Postmark's dump of a suppression list, as the lines of a CSV file that says the same.

use common::event::Kind;
use serde::Deserialize;
use utoipa::ToSchema;

/// The columns of [`Dumped::line`].
pub(super) const COLUMNS: [&str; 4] = ["email", "kind", "reason", "occurred_at"];

/// Postmark's dump.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = PostmarkDump)]
pub(super) struct Dump {
    pub(super) suppressions: Vec<Dumped>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = PostmarkDumpEntry)]
pub(super) struct Dumped {
    email_address: String,
    suppression_reason: Option<String>,
    origin: Option<String>,
    created_at: Option<String>,
}

impl Dumped {
    pub(super) fn line(self) -> [String; 4] {
        let reason = self.suppression_reason.unwrap_or_default();
        // What is not known suppresses all the same.
        let kind = match (reason.as_str(), self.origin.as_deref()) {
            ("HardBounce", _) => Kind::Bounced,
            ("SpamComplaint", _) => Kind::Complained,
            (_, Some("Recipient")) => Kind::Unsubscribed,
            _ => Kind::Suppressed,
        };
        let created_at = self.created_at.unwrap_or_default();
        [self.email_address, kind.to_string(), reason, created_at]
    }
}
