//! Signatures that were used before: where a provider's does not cover the body, whoever saw one request could have another
//! taken by it. The ledger knows by which token which envelope came first; what came by the same and says something else
//! goes to quarantine.
//!
//! It is asked before the batch is recorded. If the process dies in between, the tokens are their envelopes' already, and it
//! is answered the same. A batch without such a provider asks nothing.

use std::collections::HashMap;

use common::{
    config::{Credential, Source},
    envelope::Envelope,
    event::Event,
    ledger::{Entry, Result, Token, Unreadable},
};
use uuid::Uuid;

use crate::App;

/// Those of the envelopes whose token another one came by first, each with that one.
pub(crate) async fn find<'a>(
    app: &App,
    read: impl Iterator<Item = (&'a Envelope, &'a [Event])>,
) -> Result<HashMap<Uuid, Uuid>> {
    let tokens: Vec<_> = read
        .filter_map(|(envelope, events)| {
            let source = app.sources.get(&envelope.source).filter(|it| signed(it))?;
            let token = source.provider.token(envelope)?;
            let provider = source.provider.name();
            Some(Token::new(provider, &token, envelope.id, events))
        })
        .collect();
    if tokens.is_empty() {
        return Ok(HashMap::new());
    }
    app.ledger.take_tokens(&tokens).await
}

/// Puts what these envelopes say into quarantine.
pub(crate) fn set_aside(entries: &mut [Entry<'_>], reused: &HashMap<Uuid, Uuid>) {
    for entry in entries {
        if let Some(first) = reused.get(&entry.envelope.id) {
            let reason = format!(
                "its signature let in another request before, of the envelope {first}, and does not cover the body: whoever saw that one may have made this one up. If the provider's own log has what it says, enter it by hand"
            );
            entry.events.clear();
            entry.unreadable = vec![Unreadable {
                element: None,
                reason,
            }];
        }
    }
}

/// Whether signatures are checked; else a token is anything that anybody wrote there.
fn signed(source: &Source) -> bool {
    let mut credentials = source.credentials.iter();
    credentials.any(|credential| matches!(credential, Credential::Signature(_)))
}
