//! What may be written as a statement is one, or a mistake; and its values stay what they are.

use hostile::{text, withstands};

use super::statement::{Dialect, Statement};

#[test]
fn no_text_makes_the_reader_of_statements_panic() {
    let samples = [
        "UPDATE users SET opted_out_at = :occurred_at::timestamptz, note = ':email' WHERE lower(email) = :email",
        "INSERT INTO t VALUES (:event_id, E'it\\'s', $tag$ :phone $tag$) ON CONFLICT DO NOTHING -- :scope",
        "UPDATE `a``b` SET \"c\"\"d\" = :reason, [e] = :kind /* :source /* nested */ */ WHERE x[1:2] = :contact # :x",
    ];
    withstands("statements", file!(), &text(samples), |statement| {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
            if let Ok(read) = Statement::parse(&statement, dialect) {
                assert!(!read.sql.trim().is_empty());
            }
        }
    });
}
