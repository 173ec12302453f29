//! The customer's own database (PostgreSQL, MySQL, MariaDB or SQLite): one statement per kind of event.
//!
//! Values are bound, never spliced. A statement runs again when its outcome was lost, so it has to bear that: an UPDATE
//! does, an INSERT wants `ON CONFLICT DO NOTHING`. No row matched, or a contact of another channel than the statement
//! speaks of, is an outcome that is recorded, not a failure.
//!
//! A failure is tried again even where the database refuses (a missing table, a constraint, a password): a person mends
//! the database, and what was retried meanwhile needs no second person to be redriven. Only a statement that is no
//! SQL to the database is final, since that takes a new configuration.
//!
//! Settings: `url` (secret: `postgres://`, `mysql://`, `sqlite:PATH`), `statements` (a table: event kind = SQL with
//! `:email :phone :contact :occurred_at :received_at :scope :source :provider :reason :kind :event_id`).

#[cfg(test)]
mod hostile;
mod pool;
mod scan;
#[cfg(test)]
mod scratch;
mod statement;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use common::{
    delivery::{Answer, Delivery},
    event,
    settings::Section,
};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout, timeout_at};

use self::{
    pool::{Address, Pool},
    statement::{Nobody, Statement},
};
use super::{Ask, Guide, Kind, Probe, Setup, Target};
use common::outbound::excerpt;

pub(super) const KIND: Kind = Kind {
    name: "database",
    rate: None,
    guide: Guide {
        title: "the database",
        asks: &[
            Ask::secret(
                "url",
                "its URL: postgres://, mysql:// or sqlite:PATH, with user and password",
            ),
            Ask::text(
                "statements.unsubscribed",
                "the statement for an opt-out, such as UPDATE users SET email_opt_in = false WHERE lower(email) = :email",
            ),
            Ask::text(
                "statements.resubscribed",
                "the statement for a lift, such as UPDATE users SET email_opt_in = true WHERE lower(email) = :email",
            ),
        ],
        events: &["unsubscribed", "resubscribed"],
        steps: &["Make a user who may do what the statements do, and nothing else."],
    },
    build,
};

struct Database {
    address: Address,
    /// Made at the first delivery: a pool needs a running process, and the configuration is read without one.
    pool: OnceLock<Pool>,
    statements: BTreeMap<event::Kind, Statement>,
    timeout: Duration,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let timeout = setup.outbound.timeout();
    let before = section.mistakes().len();
    let address = section.secret("url").and_then(|url| {
        let address = Address::read(url.expose_secret(), timeout);
        address.map_err(|why| section.mistake("url", why)).ok()
    });
    let mut table = section.section("statements");
    let mut statements = BTreeMap::new();
    for key in table.keys() {
        let text: Option<String> = table.optional(&key);
        let kind = key
            .parse::<event::Kind>()
            .map_err(|unknown| table.mistake(&key, format!("is no kind of event: {unknown}")));
        let (Some(address), Some(text), Ok(kind)) = (&address, text, kind) else {
            continue;
        };
        match Statement::parse(&text, address.dialect()) {
            Ok(statement) => drop(statements.insert(kind, statement)),
            Err(why) => table.mistake(&key, why),
        }
    }
    if section.mistakes().len() == before {
        for kind in setup
            .events
            .iter()
            .filter(|kind| !statements.contains_key(kind))
        {
            table.mistake(
                kind.as_str(),
                "is missing: the target is told of this kind of event, so it needs a statement",
            );
        }
    }
    (section.mistakes().len() == before).then_some(())?;
    Some(Box::new(Database {
        address: address?,
        pool: OnceLock::new(),
        statements,
        timeout,
    }))
}

#[async_trait]
impl Target for Database {
    fn decides(&self) -> bool {
        true
    }

    /// Connects and asks for nothing of any table.
    async fn probe(&self) -> Probe {
        let pool = self.pool.get_or_init(|| self.address.pool(self.timeout));
        let sql = Arc::from("SELECT 1");
        match timeout(self.timeout, pool.execute(&sql, vec![])).await {
            Ok(Ok(_)) => Probe::Accepted("connected".to_owned()),
            Ok(Err(error @ sqlx::Error::Database(_))) => Probe::Refused(error.to_string()),
            Ok(Err(error)) => Probe::Unanswered(format!("{}: {error}", unreachable(&error))),
            Err(_) => Probe::Unanswered(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            answers.push(self.run(delivery).await);
        }
        answers
    }
}

impl Database {
    async fn run(&self, delivery: &Delivery) -> Answer {
        let kind = delivery.event.kind;
        let Some(statement) = self.statements.get(&kind) else {
            return Answer::dead(format!("there is no statement for {kind}"));
        };
        let values = match statement.values(&delivery.event) {
            Ok(values) => values,
            Err(Nobody(why)) => return Answer::done(format!("{why}: the statement was not run")),
        };
        let pool = self.pool.get_or_init(|| self.address.pool(self.timeout));
        match timeout_at(
            Instant::now() + self.timeout,
            pool.execute(&statement.sql, values),
        )
        .await
        {
            Ok(Ok(1)) => Answer::done("1 row"),
            Ok(Ok(rows)) => Answer::done(format!("{rows} rows")),
            Ok(Err(error)) => refusal(&error),
            Err(_) => Answer::retry(format!(
                "the statement did not end within {:?}",
                self.timeout
            )),
        }
    }
}

/// What a failure means. What the database says of it can quote values, so it goes to the excerpt.
fn refusal(error: &sqlx::Error) -> Answer {
    let sqlx::Error::Database(refused) = error else {
        return Answer {
            excerpt: Some(excerpt(error.to_string().as_bytes())),
            ..Answer::retry(unreachable(error))
        };
    };
    let code = refused.code().unwrap_or_default();
    let answer = if pool::is_syntax(refused.as_ref()) {
        Answer::dead(format!(
            "the statement is no SQL to the database ({code}): correct it and redrive"
        ))
    } else if refused.is_unique_violation() {
        Answer::retry(format!(
            "the database refused the statement ({code}): the row is there; let the statement bear a repeat"
        ))
    } else {
        Answer::retry(format!("the database refused the statement ({code})"))
    };
    Answer {
        excerpt: Some(excerpt(refused.message().as_bytes())),
        ..answer
    }
}

fn unreachable(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::PoolTimedOut => {
            "no connection to the database could be had in time".to_owned()
        }
        sqlx::Error::Io(error) => {
            format!("the connection to the database failed: {}", error.kind())
        }
        sqlx::Error::Tls(_) => "no encrypted connection to the database could be made".to_owned(),
        _ => "the exchange with the database failed".to_owned(),
    }
}
