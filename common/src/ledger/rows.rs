//! Rows on their way into a statement: as one JSON parameter, or as several.

use serde::Serialize;
use serde_json::Value;
use sqlx::{Any, Transaction};

use super::{Dialect, Ledger, Result};

/// The most bytes of rows in one statement to PostgreSQL, unless one row has more. sqlx 0.9.0 leaves Nagle's algorithm on
/// (its issue 4335; mended, and not released yet): what follows a first TLS record, of 16 KiB, waits for the server's
/// delayed acknowledgement, 40 ms. A batch had ten such waits; more statements, each within one record, have none.
const MOST_AT_ONCE: usize = 14 << 10;

impl Ledger {
    /// Writes rows by a statement that takes them as `{rows}`, in their order; by several where they are many.
    pub(super) async fn put(
        &self,
        transaction: &mut Transaction<'_, Any>,
        text: &str,
        values: &[Value],
    ) -> Result<()> {
        for rows in self.parameters(values) {
            self.query(text)
                .bind(rows)
                .execute(&mut **transaction)
                .await?;
        }
        Ok(())
    }

    /// Rows as JSON parameters, each as large as a statement's may be. None if there are no rows.
    pub(super) fn parameters(&self, values: &[Value]) -> Vec<String> {
        let most = match self.dialect {
            Dialect::Postgres => MOST_AT_ONCE,
            Dialect::Sqlite => usize::MAX,
        };
        let mut parameters: Vec<String> = vec![];
        for value in values {
            let row = value.to_string();
            match parameters.last_mut() {
                Some(rows) if rows.len() + row.len() < most => {
                    rows.pop();
                    rows.extend([",", &row, "]"]);
                }
                _ => parameters.push(format!("[{row}]")),
            }
        }
        parameters
    }
}

/// Rows as one JSON parameter.
pub(super) fn rows<T: Serialize>(rows: &[T]) -> String {
    serde_json::to_string(rows).expect("rows have text keys")
}

/// Puts rows in the order of their ids: the same for all workers, so that two that write the same rows do not wait for
/// each other in a ring.
pub(super) fn in_order(rows: &mut [Value]) {
    rows.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn rows_go_in_as_few_parameters_as_hold_them_and_a_larger_row_by_itself() {
        let ledger = |url| Ledger::open(url, 1).unwrap();
        let (postgres, sqlite) = (
            ledger("postgres://localhost/none"),
            ledger("sqlite::memory:"),
        );
        let row = |size: usize| json!({ "id": "x".repeat(size) });
        let values = [
            row(10),
            row(MOST_AT_ONCE),
            row(MOST_AT_ONCE / 2),
            row(MOST_AT_ONCE / 3),
            row(MOST_AT_ONCE / 3),
        ];
        let parameters = postgres.parameters(&values);
        let read = |text: &String| serde_json::from_str::<Vec<Value>>(text).unwrap();
        let counts: Vec<_> = parameters.iter().map(|text| read(text).len()).collect();
        assert_eq!(counts, [1, 1, 2, 1]);
        let all: Vec<_> = parameters.iter().flat_map(read).collect();
        assert_eq!(all, values);
        assert_eq!(sqlite.parameters(&values), [rows(&values)]);
        assert_eq!(postgres.parameters(&[]), Vec::<String>::new());
    }
}
