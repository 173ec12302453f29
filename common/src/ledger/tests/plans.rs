//! How the databases go about what a sender waits for: by an index, however many contacts there are.

use serde_json::{Value, json};
use sqlx::{
    Any, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};

use super::*;
use crate::ledger::{
    leases::TAKE,
    repeats::known,
    suppressions::{CHECK_ALL, check_each},
};

/// Enough that reading them all is the worse choice.
const CONTACTS: usize = 50_000;

/// So many that to read them all takes much too long, and so few that PostgreSQL thinks it cheaper before it has counted them.
const WAITING: usize = 10_000;

fn contact(number: usize) -> Value {
    json!({ "contact": format!("user{number}@example.com"), "channel": "email", "id": Uuid::now_v7() })
}

/// A register of each of the contacts, every other one suppressed.
async fn fill(ledger: &Ledger) {
    let text = "
        INSERT INTO registers (id, channel, contact, scope, source, lane, suppressed, occurred_at, event_id, kind, origin, updated_at)
        SELECT rows.value->>'id', 'email', rows.value->>'contact', 'global', 'shop', 'consent',
            CAST(rows.value->>'suppressed' AS BIGINT), 0, rows.value->>'id', 'unsubscribed', 'recipient', 0
        FROM {rows} WHERE TRUE";
    let registers: Vec<_> = (0..CONTACTS)
        .map(|number| {
            let mut register = contact(number);
            register["suppressed"] = json!((number % 2).to_string());
            register
        })
        .collect();
    let insert = ledger.query(text).bind(rows(&registers));
    insert.execute(&ledger.pool).await.unwrap();
}

/// The steps by which a question will be answered, one a line.
pub(super) async fn plan(
    ledger: &Ledger,
    text: &str,
    bind: impl Fn(Query<'static, Any, AnyArguments>) -> Query<'static, Any, AnyArguments>,
) -> String {
    let explain = match ledger.dialect {
        Dialect::Postgres => "EXPLAIN",
        Dialect::Sqlite => "EXPLAIN QUERY PLAN",
    };
    let query = bind(ledger.query(&format!("{explain} {text}")));
    let steps = query.fetch_all(&ledger.pool).await.unwrap();
    let last = |row: &AnyRow| row.try_get::<String, _>(row.len() - 1).unwrap();
    steps.iter().map(last).collect::<Vec<_>>().join("\n")
}

fn is_by_key(plan: &str, table: &str) {
    let plan = plan.to_lowercase();
    let keys = [format!("{table}_pkey"), format!("sqlite_autoindex_{table}")];
    assert!(keys.iter().any(|key| plan.contains(key)), "{plan}");
    for whole in [format!("seq scan on {table}"), format!("scan {table}")] {
        assert!(!plan.contains(&whole), "{plan}");
    }
}

/// Enters so many deliveries in this state, and gives their ids.
async fn deliver(ledger: &Ledger, state: &str, count: usize) -> Vec<Value> {
    let text = "
        INSERT INTO deliveries (id, event_id, target, kind, state, attempts, attempts_ever, created_at, moved_at)
        SELECT rows.value->>'id', rows.value->>'id', 'users', 'unsubscribed', $2, 0, 0, 0, 0
        FROM {rows} WHERE TRUE";
    let deliveries: Vec<_> = (0..count).map(contact).collect();
    let insert = ledger.query(text).bind(rows(&deliveries)).bind(state);
    insert.execute(&ledger.pool).await.unwrap();
    deliveries
}

async fn count(ledger: &Ledger) {
    let analyze = sqlx::raw_sql("ANALYZE").execute(&ledger.pool);
    analyze.await.unwrap();
}

#[tokio::test]
async fn leave_is_looked_for_by_the_deliveries_ids_whatever_the_database_has_counted() {
    for delivered in [0, 1_000] {
        for Fresh { ledger, .. } in &fresh().await {
            // Where all that it has counted was delivered it believes that hardly anything waits.
            if delivered > 0 {
                deliver(ledger, "delivered", delivered).await;
                count(ledger).await;
            }
            let waiting = deliver(ledger, "pending", WAITING).await;
            let asked = rows(&waiting[..16]);
            let plan = plan(ledger, TAKE, |query| {
                query.bind(asked.clone()).bind("worker").bind(1_i64)
            });
            let plan = plan.await;
            is_by_key(&plan, "deliveries");
            assert!(!plan.contains("deliveries_unfinished"), "{plan}");
        }
    }
}

#[tokio::test]
async fn what_is_planned_while_a_table_is_empty_finds_its_rows_by_their_ids_all_the_same() {
    for Fresh { ledger, .. } in &fresh().await {
        let asked = rows(&(0..16).map(contact).collect::<Vec<_>>());
        let known = known();
        let found = plan(ledger, &known, |query| query.bind(asked.clone()));
        is_by_key(&found.await, "events");
        let taken = plan(ledger, TAKE, |query| {
            query.bind(asked.clone()).bind("worker").bind(1_i64)
        });
        is_by_key(&taken.await, "deliveries");
    }
}

#[tokio::test]
async fn a_check_reads_the_registers_of_its_contacts_and_no_others() {
    for Fresh { ledger, .. } in &fresh().await {
        fill(ledger).await;
        let asked = rows(&(0..10_000).map(contact).collect::<Vec<_>>());
        // PostgreSQL counts its rows by itself, SQLite when it is told to.
        let counts: &[bool] = match ledger.dialect {
            Dialect::Postgres => &[true],
            Dialect::Sqlite => &[false, true],
        };
        for counted in counts {
            if *counted {
                count(ledger).await;
            }
            for scope in [None, Some("news".to_owned())] {
                let bulk = plan(ledger, CHECK_ALL, |query| {
                    query.bind(asked.clone()).bind(scope.clone())
                });
                is_by_key(&bulk.await, "registers");
            }
            let each = check_each();
            let each = plan(ledger, &each, |query| query.bind(asked.clone()));
            is_by_key(&each.await, "registers");
        }
        let contacts: Vec<_> = (0..1_000)
            .map(|number| Contact::email(&format!("user{number}@example.com")).unwrap())
            .collect();
        let answers = ledger.check_all(&contacts, None).await.unwrap();
        let suppressed = answers.iter().filter(|answer| **answer).count();
        assert_eq!((suppressed, answers[1]), (500, true));
    }
}
