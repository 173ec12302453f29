//! Tokens of signatures that do not cover the body, as Mailgun's: each lets one request in, and whatever says the same.
//!
//! Whoever saw such a request could have another body taken by its signature, for as long as that holds. So the first
//! envelope that came by a token has it, and so do its repeats, which say the same; any other is told from them here. A token
//! is taken before the envelope is recorded, and may be taken twice: it is that envelope's already.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use super::{Ledger, Result, micros, parsed};
use crate::{
    clock,
    event::{Event, derived_id},
};

/// One envelope's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    id: Uuid,
    envelope: Uuid,
    said: Uuid,
}

impl Token {
    /// The token that `envelope` came by: what its provider signed, whichever source it was sent to.
    pub fn new(provider: &str, signed: &str, envelope: Uuid, events: &[Event]) -> Self {
        let said: Vec<_> = events
            .iter()
            .map(|event| event.fingerprint().to_string())
            .collect();
        Self {
            id: derived_id("token", provider, [signed]),
            envelope,
            said: derived_id("said", provider, said.iter().map(String::as_str)),
        }
    }
}

impl Ledger {
    /// Takes the tokens, the first of each in their order. The answer names the envelopes that came by a token of another
    /// one which said something else, each with that other one; such a token is kept for good.
    pub async fn take_tokens(&self, tokens: &[Token]) -> Result<HashMap<Uuid, Uuid>> {
        // In the order of their ids, as all workers write rows.
        let mut first = BTreeMap::new();
        for token in tokens {
            first.entry(token.id.to_string()).or_insert(token);
        }
        let now = micros(clock::now());
        let values: Vec<_> = first
            .values()
            .map(|token| {
                json!({ "id": token.id, "envelope": token.envelope, "said": token.said, "now": now })
            })
            .collect();
        let mut transaction = self.begin().await?;
        let text = "
            INSERT INTO tokens (id, envelope_id, said, seen_at)
            SELECT rows.value->>'id', rows.value->>'envelope', rows.value->>'said', CAST(rows.value->>'now' AS BIGINT)
            FROM {rows} WHERE TRUE
            ON CONFLICT (id) DO NOTHING";
        self.put(&mut transaction, text, &values).await?;
        let text = "
            SELECT tokens.id, envelope_id, said
            FROM {rows} JOIN tokens ON tokens.id = rows.value->>'id' AND tokens.id {listed}";
        let mut taken = HashMap::new();
        for ids in self.parameters(&values) {
            let query = self.query(text).bind(ids);
            for row in query.fetch_all(&mut *transaction).await? {
                let id = |column: usize| parsed::<Uuid>(&row.try_get::<String, _>(column)?);
                taken.insert(id(0)?, (id(1)?, id(2)?));
            }
        }
        let others = tokens.iter().filter_map(|token| {
            let (envelope, said) = taken.get(&token.id)?;
            let is_other = *envelope != token.envelope && *said != token.said;
            is_other.then_some((token, *envelope))
        });
        let others: Vec<_> = others.collect();
        // What is in quarantine may be tried again at any time, which no signature limits.
        let contested: BTreeSet<_> = others.iter().map(|(it, _)| it.id.to_string()).collect();
        let contested: Vec<_> = contested.iter().map(|id| json!({ "id": id })).collect();
        let text = "
            UPDATE tokens SET seen_at = 9223372036854775807
            FROM {rows} WHERE tokens.id = rows.value->>'id' AND tokens.id {listed}";
        self.put(&mut transaction, text, &contested).await?;
        transaction.commit().await?;
        let refused = others.iter().map(|(token, first)| (token.envelope, *first));
        Ok(refused.collect())
    }

    /// Removes at most `most` tokens that were taken before and are not kept for good, and says how many it removed.
    pub async fn expire_tokens(&self, before: Timestamp, most: i64) -> Result<u64> {
        let text = "
            DELETE FROM tokens WHERE id IN (
                SELECT id FROM tokens WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)";
        let removed = self.query(text).bind(micros(before)).bind(most);
        Ok(removed.execute(&self.writer).await?.rows_affected())
    }
}
