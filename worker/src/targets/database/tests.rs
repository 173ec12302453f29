use std::time::{Duration, Instant};

use ::hostile::VALUES;
use common::{contact::Contact, event::Kind as EventKind};
use sqlx::{Connection, raw_sql};

use super::{
    scratch::{Scratch, connect, databases, mysql, postgres, secured},
    *,
};
use crate::targets::standin::{deliver, delivery, delivery_of, mistakes, verdict};

/// The target whose statement for unsubscribed is this.
fn target(url: &str, statement: &str, timeout: Duration) -> Box<dyn Target> {
    let address = Address::read(url, timeout).unwrap();
    let statement = Statement::parse(statement, address.dialect()).unwrap();
    let statements = [(EventKind::Unsubscribed, statement)].into();
    Box::new(Database {
        address,
        pool: OnceLock::new(),
        statements,
        timeout,
    })
}

impl Scratch {
    fn target(&self, statement: &str) -> Box<dyn Target> {
        self.target_within(statement, Duration::from_secs(15))
    }

    fn target_within(&self, statement: &str, timeout: Duration) -> Box<dyn Target> {
        target(&self.url, statement, timeout)
    }
}

/// A users table with two rows, of which the event is about the first.
async fn users(database: &Scratch) {
    let time = if database.is("postgres") {
        "timestamptz"
    } else {
        "varchar(40)"
    };
    let table = format!(
        "CREATE TABLE users (email varchar(200) PRIMARY KEY, opt_in integer, at {time}, note varchar(500))"
    );
    database.execute(&table).await;
    database.execute("INSERT INTO users (email, opt_in) VALUES ('Jane1@example.com', 1), ('other@example.com', 1)").await;
}

const OPT_OUT: &str =
    "UPDATE users SET opt_in = 0, at = :occurred_at, note = :reason WHERE lower(email) = :email";

#[tokio::test]
async fn an_opt_out_reaches_its_row_and_no_other_in_all_three_databases() {
    for database in databases().await {
        users(&database).await;
        let answer = deliver(&*database.target(OPT_OUT), &delivery(1)).await;
        assert_eq!(
            (verdict(&answer), answer.excerpt.as_deref()),
            ("done".to_owned(), Some("1 row")),
            "{}",
            database.url
        );
        let changed = database
            .texts("SELECT email FROM users WHERE opt_in = 0")
            .await;
        assert_eq!(changed, [Some("Jane1@example.com".to_owned())]);
        let at = if database.is("postgres") {
            "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
        } else {
            "at"
        };
        let stored = database
            .texts(&format!("SELECT {at} FROM users WHERE opt_in = 0"))
            .await
            .remove(0)
            .unwrap();
        assert!(
            stored.replace('T', " ").starts_with("2026-04-02 14:30:00"),
            "{stored}"
        );
        // Again: an attempt whose outcome was lost. The row is matched though nothing changes.
        let again = deliver(&*database.target(OPT_OUT), &delivery(1)).await;
        assert_eq!(again.excerpt.as_deref(), Some("1 row"), "{}", database.url);
    }
}

#[tokio::test]
async fn no_row_is_an_outcome_and_no_failure() {
    for database in databases().await {
        users(&database).await;
        let answer = deliver(&*database.target(OPT_OUT), &delivery(2)).await;
        assert_eq!(
            (verdict(&answer), answer.excerpt.as_deref()),
            ("done".to_owned(), Some("0 rows"))
        );
        let phone = delivery_of(
            EventKind::Unsubscribed,
            Contact::phone("+15551234567").ok(),
            1,
        );
        let answer = deliver(&*database.target(OPT_OUT), &phone).await;
        let excerpt = Some("no email address: the statement was not run");
        assert_eq!(
            (verdict(&answer), answer.excerpt.as_deref()),
            ("done".to_owned(), excerpt)
        );
    }
}

#[tokio::test]
async fn a_database_is_asked_whether_it_lets_us_in() {
    for database in databases().await {
        let probe = database.target(OPT_OUT).probe().await;
        let connected = Probe::Accepted("connected".to_owned());
        assert_eq!(probe, connected, "{}", database.url);
    }
    let nowhere = target("sqlite:/no/where.db", OPT_OUT, Duration::from_secs(15));
    assert!(!matches!(nowhere.probe().await, Probe::Accepted(_)));
}

#[tokio::test]
async fn hostile_values_stay_values() {
    let columns = ["reason", "scope", "source", "provider", "contact"];
    let insert =
        "INSERT INTO told VALUES (:event_id, :reason, :scope, :source, :provider, :contact)";
    for database in databases().await {
        users(&database).await;
        let table = columns
            .map(|column| format!("{column} varchar(500)"))
            .join(", ");
        // Whether a column can hold every letter is its owner's affair.
        let letters = if database.is("mysql") {
            "CHARACTER SET utf8mb4"
        } else {
            ""
        };
        let table = format!("CREATE TABLE told (id varchar(40) PRIMARY KEY, {table}) {letters}");
        database.execute(&table).await;
        let target = database.target(insert);
        let texts = VALUES.iter().copied().chain(["a NUL \u{0}x"]);
        for (number, text) in (0..).zip(texts.clone()) {
            let mut hostile = delivery(number);
            let event = &mut hostile.event;
            event.reason = Some(text.to_owned());
            for said in [&mut event.scope, &mut event.source, &mut event.provider] {
                text.clone_into(said);
            }
            if let Some(contact) = &mut event.contact {
                text.clone_into(&mut contact.address);
            }
            assert_eq!(
                verdict(&deliver(&*target, &hostile).await),
                "done",
                "{text:?}"
            );
        }
        let mut expected: Vec<_> = texts.map(|text| Some(text.replace('\0', ""))).collect();
        expected.sort();
        for column in columns {
            let mut kept = database.texts(&format!("SELECT {column} FROM told")).await;
            kept.sort();
            assert_eq!(kept, expected, "{column}");
        }
        assert_eq!(database.texts("SELECT email FROM users").await.len(), 2);
    }
}

#[tokio::test]
async fn what_the_event_lacks_is_null() {
    let insert = "INSERT INTO users (email, note) VALUES (:phone, :email)";
    for database in databases().await {
        users(&database).await;
        let phone = delivery_of(
            EventKind::Unsubscribed,
            Contact::phone("+15551234567").ok(),
            1,
        );
        assert_eq!(
            verdict(&deliver(&*database.target(insert), &phone).await),
            "done"
        );
        assert_eq!(
            database
                .texts("SELECT note FROM users WHERE email = '+15551234567'")
                .await,
            [None]
        );
    }
}

#[tokio::test]
async fn what_a_person_can_mend_in_the_database_is_tried_again_and_then_done() {
    for database in databases().await {
        let target = database.target(OPT_OUT);
        let answer = deliver(&*target, &delivery(1)).await;
        assert!(
            verdict(&answer).starts_with("retry: the database refused the statement ("),
            "{}",
            verdict(&answer)
        );
        assert!(answer.excerpt.unwrap().contains("users"));
        users(&database).await;
        assert_eq!(
            verdict(&deliver(&*target, &delivery(1)).await),
            "done",
            "{}",
            database.url
        );
    }
}

#[tokio::test]
async fn a_statement_that_is_no_sql_is_final() {
    for database in databases().await {
        for nonsense in [
            "UPDAT users SET a = :email",
            "UPDATE users SET WHERE email = :email",
        ] {
            let verdict = verdict(&deliver(&*database.target(nonsense), &delivery(1)).await);
            assert!(
                verdict.starts_with("dead: the statement is no SQL to the database ("),
                "{}: {verdict}",
                database.url
            );
        }
    }
}

#[tokio::test]
async fn a_row_that_is_there_already_says_so_and_quotes_no_address_in_the_reason() {
    let insert = "INSERT INTO users (email) VALUES (:email)";
    for database in databases().await {
        users(&database).await;
        let target = database.target(insert);
        deliver(&*target, &delivery(9)).await;
        let why = verdict(&deliver(&*target, &delivery(9)).await);
        assert!(
            why.starts_with("retry: ") && why.contains("let the statement bear a repeat"),
            "{why}"
        );
        assert!(!why.contains("jane9"), "{why}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_tried_again_without_its_password() {
    for url in [
        "postgres://u:s3cret@127.0.0.1:1/db",
        "mysql://u:s3cret@127.0.0.1:1/db",
        "sqlite:/nonexistent/s3cret.db",
    ] {
        let target = target(url, "SELECT 1", Duration::from_millis(300));
        let answer = deliver(&*target, &delivery(1)).await;
        assert!(verdict(&answer).starts_with("retry: "), "{answer:?}");
        assert!(!format!("{answer:?}").contains("s3cret"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_locked_row_is_given_up_at_the_deadline_here_and_on_the_server() {
    for database in [postgres().await, mysql().await] {
        users(&database).await;
        let mut holder = connect(&database.url).await;
        let mut lock = holder.begin().await.unwrap();
        raw_sql("UPDATE users SET opt_in = 5 WHERE opt_in = 1")
            .execute(&mut *lock)
            .await
            .unwrap();
        let target = database.target_within(OPT_OUT, Duration::from_secs(1));
        let started = Instant::now();
        let first = verdict(&deliver(&*target, &delivery(1)).await);
        assert!(
            first.starts_with("retry: ") && started.elapsed() < Duration::from_secs(3),
            "{first}"
        );
        // The server has let go of it too, though the row is still locked.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let waiting = if database.is("postgres") {
            "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        } else {
            "SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE db = database() AND state LIKE '%pdating%'"
        };
        assert_eq!(database.texts(waiting).await, [], "{}", database.url);
        lock.rollback().await.unwrap();
        assert_eq!(
            verdict(&deliver(&*target, &delivery(1)).await),
            "done",
            "{}",
            database.url
        );
    }
}

#[tokio::test]
async fn a_function_that_returns_nothing_can_be_the_statement() {
    let database = postgres().await;
    users(&database).await;
    database
        .execute("CREATE FUNCTION opt_out(who text, at timestamptz) RETURNS void LANGUAGE sql AS 'UPDATE users SET opt_in = 0 WHERE lower(email) = who'")
        .await;
    let answer = deliver(
        &*database.target("SELECT opt_out(:email, :occurred_at)"),
        &delivery(1),
    )
    .await;
    assert_eq!(
        (verdict(&answer), answer.excerpt.as_deref()),
        ("done".to_owned(), Some("1 row"))
    );
    assert_eq!(
        database
            .texts("SELECT email FROM users WHERE opt_in = 0")
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn many_deliveries_at_once_share_the_few_connections() {
    for database in databases().await {
        users(&database).await;
        let target = database.target("INSERT INTO users (email, note) VALUES (:event_id, :email)");
        let many: Vec<_> = (0..40).map(delivery).collect();
        let answers =
            futures_util::future::join_all(many.iter().map(|one| deliver(&*target, one))).await;
        assert!(
            answers.iter().all(|answer| verdict(answer) == "done"),
            "{}: {answers:?}",
            database.url
        );
        assert_eq!(
            database
                .texts("SELECT email FROM users WHERE note IS NOT NULL")
                .await
                .len(),
            40
        );
    }
}

#[test]
fn settings_that_cannot_work_are_mistakes_by_key() {
    let statements = |text: &str| {
        mistakes(
            KIND,
            &format!("url = 'postgres://u:s3cret@h/d'\nstatements = {{ {text} }}"),
        )
    };
    let good = "unsubscribed = 'SELECT :email'";
    assert_eq!(mistakes(KIND, ""), ["url: is missing"]);
    for url in [
        "oracle://u:s3cret@h/d",
        "postgres://u:s3cret@h:port/d",
        "users.db",
    ] {
        let found = mistakes(KIND, &format!("url = '{url}'\nstatements = {{ {good} }}"));
        assert!(
            found.len() == 1 && found[0].starts_with("url: ") && !found[0].contains("s3cret"),
            "{found:?}"
        );
    }
    assert!(statements("")[0].starts_with("statements.unsubscribed: is missing"));
    assert!(
        statements(&format!("{good}, unsubscribe = 'SELECT 1'"))[0]
            .starts_with("statements.unsubscribe: is no kind of event")
    );
    assert!(
        statements("unsubscribed = 'SELECT :mail'")[0]
            .starts_with("statements.unsubscribed: names :mail")
    );
    assert!(statements("unsubscribed = ''")[0].starts_with("statements.unsubscribed: is empty"));
    assert!(
        statements("unsubscribed = 'SELECT 1; SELECT 2'")[0].contains("more than one statement")
    );
    assert!(statements("unsubscribed = \"SELECT 'x\"")[0].contains("is not closed"));
}

#[tokio::test]
async fn over_tls_a_database_that_proves_who_it_is_is_told_and_another_is_not() {
    for database in secured().await {
        users(&database).await;
        let answer = deliver(&*database.target(OPT_OUT), &delivery(1)).await;
        assert_eq!(verdict(&answer), "done", "{}", database.url);

        let stranger = database.url.replace("ca.pem", "other.pem");
        let stranger = target(&stranger, OPT_OUT, Duration::from_secs(15));
        let answer = deliver(&*stranger, &delivery(1)).await;
        assert_ne!(verdict(&answer), "done", "{}", database.url);
        let said = format!("{answer:?}");
        assert!(said.contains("certificate"), "{said}");
    }
}
