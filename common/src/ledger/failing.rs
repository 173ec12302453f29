//! How endpoints fare: when one last took a delivery, and since when it has done nothing but fail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use super::{Ledger, Result, in_order, leases::storable, micros, parsed, rows, timestamp};

/// What an attempt at an endpoint came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fared {
    pub endpoint: Uuid,
    pub at: Timestamp,
    /// Why it failed; None if it did not.
    pub error: Option<String>,
}

/// An enabled endpoint that has done nothing but fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    pub endpoint: Uuid,
    pub url: String,
    pub since: Timestamp,
}

/// What several attempts at one endpoint came to.
#[derive(Debug, Default)]
struct Sum<'a> {
    success: Option<Timestamp>,
    failure: Option<(Timestamp, &'a str)>,
    /// The first failure after the last success.
    failing_from: Option<Timestamp>,
}

impl Ledger {
    /// Notes what attempts came to, and gives the endpoints among them that fail and are enabled. Noted twice, or in
    /// another order, it says the same.
    pub async fn note_fared(&self, fared: &[Fared]) -> Result<Vec<Failing>> {
        let text = "
            UPDATE endpoints SET
                failing_since = CASE
                    WHEN CAST(rows.value->>'success' AS BIGINT) >= COALESCE(failing_since, 0)
                        AND CAST(rows.value->>'success' AS BIGINT) >= COALESCE(last_success_at, 0)
                        THEN CAST(rows.value->>'failing_from' AS BIGINT)
                    WHEN CAST(rows.value->>'failing_from' AS BIGINT) > COALESCE(last_success_at, 0)
                        THEN COALESCE(failing_since, CAST(rows.value->>'failing_from' AS BIGINT))
                    ELSE failing_since END,
                last_success_at = CASE WHEN CAST(rows.value->>'success' AS BIGINT) > COALESCE(last_success_at, 0)
                    THEN CAST(rows.value->>'success' AS BIGINT) ELSE last_success_at END,
                last_error = CASE WHEN CAST(rows.value->>'failure' AS BIGINT) > COALESCE(last_failure_at, 0)
                    THEN rows.value->>'error' ELSE last_error END,
                last_failure_at = CASE WHEN CAST(rows.value->>'failure' AS BIGINT) > COALESCE(last_failure_at, 0)
                    THEN CAST(rows.value->>'failure' AS BIGINT) ELSE last_failure_at END
            FROM {rows}
            WHERE endpoints.id = rows.value->>'id' AND deleted_at IS NULL
            RETURNING endpoints.id, url, failing_since, enabled";
        let mut values: Vec<_> = sums(fared)
            .into_iter()
            .map(|(id, sum)| sum.row(id))
            .collect();
        if values.is_empty() {
            return Ok(vec![]);
        }
        in_order(&mut values);
        let noted = self.query(text).bind(rows(&values));
        let mut failing = vec![];
        for row in noted.fetch_all(&self.writer).await? {
            let enabled = row.try_get::<i64, _>(3)? != 0;
            let Some(since) = row.try_get::<Option<i64>, _>(2)?.filter(|_| enabled) else {
                continue;
            };
            failing.push(Failing {
                endpoint: parsed(&row.try_get::<String, _>(0)?)?,
                url: row.try_get(1)?,
                since: timestamp(since)?,
            });
        }
        Ok(failing)
    }
}

fn sums(fared: &[Fared]) -> BTreeMap<Uuid, Sum<'_>> {
    let mut in_time: Vec<_> = fared.iter().collect();
    in_time.sort_by_key(|one| one.at);
    let mut sums = BTreeMap::<Uuid, Sum<'_>>::new();
    for one in in_time {
        let sum = sums.entry(one.endpoint).or_default();
        match &one.error {
            None => {
                sum.success = Some(one.at);
                sum.failing_from = None;
            }
            Some(error) => {
                sum.failure = Some((one.at, error));
                sum.failing_from.get_or_insert(one.at);
            }
        }
    }
    sums
}

impl Sum<'_> {
    fn row(&self, id: Uuid) -> Value {
        json!({
            "id": id, "success": self.success.map(micros), "failure": self.failure.map(|(at, _)| micros(at)),
            "error": self.failure.map(|(_, error)| storable(error)), "failing_from": self.failing_from.map(micros),
        })
    }
}
