//! A configured statement: checked when the configuration is read, its named parameters turned into placeholders.
//!
//! A value never becomes part of the text. A parameter is seen only where the database would see one: not in a string,
//! a quoted name, a comment, a dollar quote, a `::cast` or an array slice.

use std::sync::Arc;

use common::{contact::Channel, event::Event};
use jiff::Timestamp;

use super::scan::{Skip, is_name, skip};

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    MySql,
    Sqlite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Email,
    Phone,
    Contact,
    OccurredAt,
    ReceivedAt,
    Scope,
    Source,
    Provider,
    Reason,
    Kind,
    EventId,
}

const PARAMETERS: [(&str, Parameter); 11] = [
    ("email", Parameter::Email),
    ("phone", Parameter::Phone),
    ("contact", Parameter::Contact),
    ("occurred_at", Parameter::OccurredAt),
    ("received_at", Parameter::ReceivedAt),
    ("scope", Parameter::Scope),
    ("source", Parameter::Source),
    ("provider", Parameter::Provider),
    ("reason", Parameter::Reason),
    ("kind", Parameter::Kind),
    ("event_id", Parameter::EventId),
];

/// A statement with placeholders, and what goes into them.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: Arc<str>,
    dialect: Dialect,
    bound: Vec<Parameter>,
}

/// Why a statement has nothing to say about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nobody(pub(super) &'static str);

impl Statement {
    /// Reads a statement; the error says what is wrong with it.
    pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Self, String> {
        let mut rewriting = Rewriting {
            dialect,
            sql: String::new(),
            bound: vec![],
            begun: false,
            ended: false,
        };
        let mut at = 0;
        while at < text.len() {
            at += match skip(text, at, dialect)? {
                Some(Skip::Comment(length)) => {
                    rewriting.sql.push_str(&text[at..at + length]);
                    length
                }
                Some(Skip::Quoted(length)) => rewriting.take(&text[at..at + length])?,
                None => rewriting.step(text, at)?,
            };
        }
        if !rewriting.begun {
            return Err("is empty".to_owned());
        }
        Ok(Self {
            sql: rewriting.sql.into(),
            dialect,
            bound: rewriting.bound,
        })
    }

    /// The values for the placeholders, in their order; `:email` of a phone number is NULL, and the other way round.
    pub(super) fn values(&self, event: &Event) -> Result<Vec<Option<String>>, Nobody> {
        let uses = |parameter| self.bound.contains(&parameter);
        let channel = event.contact.as_ref().map(|contact| contact.channel);
        match (
            uses(Parameter::Email),
            uses(Parameter::Phone),
            uses(Parameter::Contact),
            channel,
        ) {
            (true, _, _, None) | (_, true, _, None) | (_, _, true, None) => {
                return Err(Nobody("no contact"));
            }
            (true, false, false, Some(Channel::Sms)) => return Err(Nobody("no email address")),
            (false, true, false, Some(Channel::Email)) => return Err(Nobody("no phone number")),
            _ => {}
        }
        // PostgreSQL stores no NUL, and would refuse the whole statement for one.
        let value = |parameter| {
            self.value(parameter, event)
                .map(|value| value.replace('\0', ""))
        };
        Ok(self
            .bound
            .iter()
            .map(|parameter| value(*parameter))
            .collect())
    }

    fn value(&self, parameter: Parameter, event: &Event) -> Option<String> {
        let contact = event.contact.as_ref();
        let on = |channel| {
            contact
                .filter(|contact| contact.channel == channel)
                .map(|contact| contact.address.clone())
        };
        match parameter {
            Parameter::Email => on(Channel::Email),
            Parameter::Phone => on(Channel::Sms),
            Parameter::Contact => contact.map(|contact| contact.address.clone()),
            Parameter::OccurredAt => Some(self.time(event.occurred_at)),
            Parameter::ReceivedAt => Some(self.time(event.received_at)),
            Parameter::Scope => Some(event.scope.clone()),
            Parameter::Source => Some(event.source.clone()),
            Parameter::Provider => Some(event.provider.clone()),
            Parameter::Reason => event.reason.clone(),
            Parameter::Kind => Some(event.kind.to_string()),
            Parameter::EventId => Some(event.id.to_string()),
        }
    }

    /// MySQL takes no time zone in a text; its connections are set to UTC.
    fn time(&self, at: Timestamp) -> String {
        match self.dialect {
            Dialect::MySql => at.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
            Dialect::Postgres | Dialect::Sqlite => at.to_string(),
        }
    }
}

struct Rewriting {
    dialect: Dialect,
    sql: String,
    bound: Vec<Parameter>,
    /// Something other than white space and comments was seen.
    begun: bool,
    /// A semicolon was seen.
    ended: bool,
}

impl Rewriting {
    fn take(&mut self, text: &str) -> Result<usize, String> {
        if !text.trim().is_empty() {
            if self.ended {
                return Err("is more than one statement: a database runs one at a time".to_owned());
            }
            self.begun = true;
        }
        self.sql.push_str(text);
        Ok(text.len())
    }

    /// Takes over what is at `at`, which is in no quotes; the length of it.
    fn step(&mut self, text: &str, at: usize) -> Result<usize, String> {
        let rest = &text[at..];
        let mut chars = rest.chars();
        let (first, second) = (chars.next().unwrap_or(' '), chars.next().unwrap_or(' '));
        let inside = text[..at].chars().next_back().is_some_and(is_name);
        match (first, second) {
            (';', _) => {
                self.ended |= self.begun;
                Ok(1)
            }
            (':', ':' | '=') => self.take(&rest[..2]),
            (':', 'a'..='z' | 'A'..='Z' | '_') if !inside => {
                let length = 1 + rest[1..].find(|c| !is_name(c)).unwrap_or(rest.len() - 1);
                let name = &rest[1..length];
                let found = PARAMETERS.iter().find(|(known, _)| *known == name);
                let (_, parameter) = found.ok_or_else(|| {
                    let known: Vec<_> = PARAMETERS
                        .iter()
                        .map(|(known, _)| format!(":{known}"))
                        .collect();
                    format!(
                        "names :{name}, which is no parameter; known are {}",
                        known.join(", ")
                    )
                })?;
                let placeholder = self.placeholder(*parameter);
                self.take(&placeholder)?;
                Ok(length)
            }
            ('?', _) if self.dialect != Dialect::Postgres => Err(positional('?')),
            ('$', '0'..='9') if !inside && self.dialect != Dialect::MySql => Err(positional('$')),
            ('$' | '@', _) if !inside && self.dialect == Dialect::Sqlite => Err(positional(first)),
            _ => self.take(&rest[..first.len_utf8()]),
        }
    }

    fn placeholder(&mut self, parameter: Parameter) -> String {
        // MySQL's placeholders have no numbers, so a value is bound as often as it is named.
        if self.dialect == Dialect::MySql {
            self.bound.push(parameter);
            return "?".to_owned();
        }
        let index = self
            .bound
            .iter()
            .position(|known| *known == parameter)
            .unwrap_or_else(|| {
                self.bound.push(parameter);
                self.bound.len() - 1
            });
        let number = index + 1;
        match (self.dialect, parameter) {
            // PostgreSQL assigns no text to a column of times.
            (Dialect::Postgres, Parameter::OccurredAt | Parameter::ReceivedAt) => {
                format!("CAST(${number} AS timestamptz)")
            }
            (Dialect::Postgres, _) => format!("${number}"),
            _ => format!("?{number}"),
        }
    }
}

fn positional(sign: char) -> String {
    format!("holds {sign} outside of quotes: parameters are named, such as :email")
}

#[cfg(test)]
mod tests {
    use common::{contact::Contact, event::Kind};
    use proptest::prelude::*;

    use super::{Dialect::*, *};
    use crate::targets::standin::{delivery, delivery_of};

    fn sql(text: &str, dialect: Dialect) -> String {
        Statement::parse(text, dialect).unwrap().sql.to_string()
    }

    #[test]
    fn parameters_become_placeholders_of_the_database() {
        let text = "UPDATE u SET at = :occurred_at, a = :scope WHERE m = :email OR n = :email;";
        let postgres = "UPDATE u SET at = CAST($1 AS timestamptz), a = $2 WHERE m = $3 OR n = $3";
        assert_eq!(sql(text, Postgres), postgres);
        assert_eq!(
            sql(text, Sqlite),
            "UPDATE u SET at = ?1, a = ?2 WHERE m = ?3 OR n = ?3"
        );
        assert_eq!(
            sql(text, MySql),
            "UPDATE u SET at = ?, a = ? WHERE m = ? OR n = ?"
        );
        let values = Statement::parse(text, MySql)
            .unwrap()
            .values(&delivery(1).event)
            .unwrap();
        let expected = [
            "2026-04-02 14:30:00.000000",
            "news",
            "jane1@example.com",
            "jane1@example.com",
        ];
        assert_eq!(values, expected.map(|value| Some(value.to_owned())));
    }

    #[test]
    fn what_only_looks_like_a_parameter_is_left_alone() {
        for text in [
            "SELECT ':x', 'it''s :x', \":x\", a::text, a[1:n], a[i:j], x /* :x */ -- :x",
            "SELECT $$ :x ; ' $$, $t$ :x $$ $t$, E'\\' :x', a ? 'b', a #> b, 1--1",
            "SELECT /* a /* b */ :x */ 1",
            "SELECT \"a\"\"b :x\", '\\'",
        ] {
            assert_eq!(sql(text, Postgres), text);
        }
        for text in [
            "SELECT ':x', '\\' :x', \"\\\" :x\", `:x`, @a := 1 # :x",
            "SELECT 1 -- :x",
            "SELECT 2--1",
        ] {
            assert_eq!(sql(text, MySql), text);
        }
        for text in [
            "SELECT [:x], `:x`, \":x\", '\\' -- :x",
            "SELECT /* :x /* */ 1",
        ] {
            assert_eq!(sql(text, Sqlite), text);
        }
        assert_eq!(sql("SELECT :email::text", Postgres), "SELECT $1::text");
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_reason() {
        for (text, dialect, why) in [
            ("", Postgres, "is empty"),
            (" ; -- nothing\n /* at all */", Sqlite, "is empty"),
            (
                "SELECT :mail",
                Postgres,
                "names :mail, which is no parameter; known are :email, :phone, ",
            ),
            (
                "SELECT 1; DELETE FROM u",
                Postgres,
                "is more than one statement",
            ),
            ("SELECT 1; 'x'", MySql, "is more than one statement"),
            ("SELECT 'x", Sqlite, "has a quote (') that is not closed"),
            (
                "SELECT \"x",
                Postgres,
                "has a quote (\") that is not closed",
            ),
            ("SELECT `x", MySql, "has a quote (`) that is not closed"),
            ("SELECT [x", Sqlite, "has a quote ([) that is not closed"),
            (
                "SELECT $a$ x $b$",
                Postgres,
                "has a quote ($a$) that is not closed",
            ),
            (
                "SELECT 1 /* x /* */",
                Postgres,
                "has a comment (/*) that is not closed",
            ),
            ("SELECT ?", MySql, "holds ? outside of quotes"),
            ("SELECT $1", Postgres, "holds $ outside of quotes"),
            ("SELECT @email", Sqlite, "holds @ outside of quotes"),
        ] {
            let given = Statement::parse(text, dialect).unwrap_err();
            assert!(given.starts_with(why), "{text}: {given}");
        }
        assert_eq!(
            sql("SELECT 1; -- the end\n;", Postgres),
            "SELECT 1 -- the end\n"
        );
    }

    #[test]
    fn a_statement_about_email_says_nothing_of_a_phone_number() {
        let phone = delivery_of(Kind::Unsubscribed, Contact::phone("+15551234567").ok(), 1).event;
        let nobody = delivery_of(Kind::Other, None, 1).event;
        let values =
            |text: &str, event: &Event| Statement::parse(text, Postgres).unwrap().values(event);
        let number = Some("+15551234567".to_owned());
        assert_eq!(
            values("SELECT :email", &phone),
            Err(Nobody("no email address"))
        );
        assert_eq!(
            values("SELECT :phone", &delivery(1).event),
            Err(Nobody("no phone number"))
        );
        assert_eq!(
            values("SELECT :email, :phone", &phone),
            Ok(vec![None, number.clone()])
        );
        assert_eq!(values("SELECT :contact", &phone), Ok(vec![number]));
        assert_eq!(
            values("SELECT :contact", &nobody),
            Err(Nobody("no contact"))
        );
        assert_eq!(
            values("SELECT :kind", &nobody),
            Ok(vec![Some("other".to_owned())])
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[:;'\"`$?@#\\[\\]\\\\*/ \\-a-eE=\n\u{e9}]{0,40}") {
            for dialect in [Postgres, MySql, Sqlite] {
                drop(Statement::parse(&text, dialect));
            }
        }
    }
}
