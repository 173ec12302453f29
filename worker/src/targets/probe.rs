//! Whether a system takes the credential by which it is to be told: asked by one read that changes nothing and reads nothing
//! of any contact, where the system documents one.

use common::{
    delivery::{Answer, Outcome},
    outbound::Reply,
};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The system took the credential, and what it said of it, in short.
    Accepted(String),
    /// The system refused it, and what it said.
    Refused(String),
    /// No answer that says anything of the credential.
    Unanswered(String),
    /// There is nothing that could be asked without telling the system something, and why.
    Unasked(&'static str),
}

impl Probe {
    /// What the answer to a read means. One that would be tried again says nothing of the credential.
    pub(crate) fn of(asked: Result<Reply, Answer>) -> Self {
        let answer = match asked {
            Ok(reply) if reply.status.is_success() => {
                return Self::Accepted(format!("answered {}", reply.status));
            }
            Ok(reply) => reply.answer(),
            Err(answer) => answer,
        };
        let quoted = answer.excerpt.map(|excerpt| format!(": {excerpt}"));
        let quoted = quoted.unwrap_or_default();
        match answer.outcome {
            Outcome::Dead { why } => Self::Refused(format!("{why}{quoted}")),
            Outcome::Retry { why, .. } => Self::Unanswered(format!("{why}{quoted}")),
            Outcome::Done | Outcome::Withheld => Self::Accepted(quoted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Probe {
        Probe::of(Ok(Reply {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            error_type: None,
            body: body.into(),
        }))
    }

    #[test]
    fn an_answer_is_a_yes_a_no_with_its_words_or_says_nothing() {
        let accepted = |status| matches!(answered(status, "{}"), Probe::Accepted(_));
        assert!(accepted(200) && accepted(204));
        for status in [400, 401, 403, 404] {
            let Probe::Refused(said) = answered(status, "bad token") else {
                panic!("{status}");
            };
            assert!(
                said.contains(&status.to_string()) && said.ends_with(": bad token"),
                "{said}"
            );
        }
        for status in [302, 408, 429, 500, 503] {
            assert!(
                matches!(answered(status, ""), Probe::Unanswered(_)),
                "{status}"
            );
        }
        let none = Probe::of(Err(Answer::retry("no route to the host")));
        assert_eq!(none, Probe::Unanswered("no route to the host".to_owned()));
    }
}
