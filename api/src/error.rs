//! Why a request is not answered as asked, and what the client is told. Details name parameters, ids and states; neither
//! they nor the log hold an address.

use std::{future::Future, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{config::Role, contact::Invalid, http::Problem, ledger, queue};
use tokio::time::timeout;
use tracing::{error, warn};
use uuid::Uuid;

/// How long a store may take to answer one question.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long the ledger may take over a question that reads much: a count, a report.
const PATIENCE_FOR_MUCH: Duration = Duration::from_secs(25);

/// When it is worth asking again while a store is away.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a key is needed: send it as X-API-Key: KEY or as Authorization: Bearer KEY")]
    NoKey,
    /// Whatever is wrong with a key: that it never was, was revoked or has expired is told to nobody.
    #[error("the key is none that opens anything here")]
    UnknownKey,
    #[error("the key {name} has asked as often as it may: ask again in {} s", wait.as_secs())]
    TooOften { name: String, wait: Duration },
    #[error("too many unknown keys were given: if this one is right, ask again in {} s", wait.as_secs())]
    TooManyStrangers { wait: Duration },
    #[error("this needs a key with the role {needed}; this one has the role {has}")]
    Forbidden { needed: Role, has: Role },
    /// A form of the dashboard that another website may have sent in somebody's name.
    #[error(
        "this was not sent from a page of your session: go back, load the page anew and try again"
    )]
    NotFromHere,
    #[error("the parameter {name} {why}")]
    Parameter { name: String, why: String },
    /// A contact that can be compared with none: well-formed as a request, without an answer.
    #[error("the parameter {name} is no such contact: {why}")]
    Contact {
        name: &'static str,
        #[source]
        why: Invalid,
    },
    #[error("the body is no JSON: {0}")]
    NotJson(String),
    /// Well-formed JSON that is not what is needed here.
    #[error("the body is wrong: {0}")]
    Body(String),
    #[error("the field {name} {why}")]
    Field { name: String, why: String },
    #[error("the body is larger than {limit} KiB")]
    TooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("there is no {what} with the id {id}")]
    NotFound { what: &'static str, id: Uuid },
    #[error("the configuration has no target called {0:?}")]
    NoTarget(String),
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("this path does not take this method; the header Allow names those that it takes")]
    NoSuchMethod,
    #[error("{0}")]
    Conflict(String),
    #[error("the page cannot be made: the log says why")]
    Unrenderable,
    #[error("too many pages are kept up to date already: load this one anew now and then")]
    TooManyWatch,
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error("the {0} did not answer in time")]
    Late(&'static str),
}

impl Error {
    pub(crate) fn parameter(name: &str, why: impl Into<String>) -> Self {
        Self::Parameter {
            name: name.to_owned(),
            why: why.into(),
        }
    }

    /// A field of the body that is well-formed and cannot be taken.
    pub(crate) fn field(name: &str, why: impl Into<String>) -> Self {
        Self::Field {
            name: name.to_owned(),
            why: why.into(),
        }
    }

    /// What the client is told.
    pub(crate) fn problem(&self) -> Problem {
        let told = |status| Problem::new(status, self.to_string());
        let away = |what: &str| {
            let detail = format!("the {what} is not available at the moment: try again");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER)
        };
        match self {
            Self::NoKey | Self::UnknownKey => told(StatusCode::UNAUTHORIZED),
            Self::Forbidden { .. } | Self::NotFromHere => told(StatusCode::FORBIDDEN),
            Self::TooOften { wait, .. } | Self::TooManyStrangers { wait } => {
                told(StatusCode::TOO_MANY_REQUESTS).retry_after(*wait)
            }
            Self::Parameter { .. } | Self::NotJson(_) => told(StatusCode::BAD_REQUEST),
            Self::Contact { .. } | Self::Body(_) => told(StatusCode::UNPROCESSABLE_ENTITY),
            Self::Field { name, .. } => {
                told(StatusCode::UNPROCESSABLE_ENTITY).with("field", name.as_str())
            }
            Self::TooLarge { .. } => told(StatusCode::PAYLOAD_TOO_LARGE),
            Self::TooSlow => told(StatusCode::REQUEST_TIMEOUT),
            Self::NotFound { .. } | Self::NoTarget(_) | Self::NoSuchPath => {
                told(StatusCode::NOT_FOUND)
            }
            Self::NoSuchMethod => told(StatusCode::METHOD_NOT_ALLOWED),
            Self::Conflict(_) => told(StatusCode::CONFLICT),
            Self::Unrenderable => told(StatusCode::INTERNAL_SERVER_ERROR),
            Self::TooManyWatch => told(StatusCode::SERVICE_UNAVAILABLE).retry_after(RETRY_AFTER),
            Self::Ledger(ledger::Error::Cursor) => Problem::new(
                StatusCode::BAD_REQUEST,
                "the parameter cursor is none that this list gave out as next_cursor",
            ),
            // Texts that the database does not take, such as one with a NUL.
            Self::Ledger(ledger::Error::Refused(_)) => Problem::new(
                StatusCode::BAD_REQUEST,
                "a parameter holds what the ledger cannot compare",
            ),
            Self::Ledger(ledger::Error::Corrupt(_)) => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the ledger holds a value that cannot be read",
            ),
            Self::Ledger(ledger::Error::Unavailable(_)) => away("ledger"),
            Self::Queue(_) => away("queue"),
            Self::Late(store) => away(store),
        }
    }

    /// Logs what a person should know of: trouble inside, not a client's mistake.
    pub(crate) fn log(&self) {
        match self {
            // The value itself may be anything, an address too.
            Self::Ledger(ledger::Error::Corrupt(_)) => {
                error!("the ledger holds a value that cannot be read");
            }
            Self::Ledger(ledger::Error::Unavailable(_)) | Self::Queue(_) | Self::Late(_) => {
                warn!(error = %self, "a request cannot be answered");
            }
            Self::Ledger(ledger::Error::Cursor | ledger::Error::Refused(_))
            | Self::NoKey
            | Self::UnknownKey
            | Self::Forbidden { .. }
            | Self::NotFromHere
            | Self::TooOften { .. }
            | Self::TooManyStrangers { .. }
            | Self::Parameter { .. }
            | Self::Contact { .. }
            | Self::NotJson(_)
            | Self::Body(_)
            | Self::Field { .. }
            | Self::TooLarge { .. }
            | Self::TooSlow
            | Self::NotFound { .. }
            | Self::NoTarget(_)
            | Self::NoSuchPath
            | Self::NoSuchMethod
            | Self::Conflict(_)
            | Self::Unrenderable
            | Self::TooManyWatch => {}
        }
    }
}

impl IntoResponse for Error {
    /// The problem goes along beside its text, for those who have more to say of it.
    fn into_response(self) -> Response {
        self.log();
        let problem = self.problem();
        let mut response = problem.clone().into_response();
        response.extensions_mut().insert(problem);
        if response.status() == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Waits for the ledger, but not for ever: a database that hangs is as good as away.
pub(crate) async fn asked<T>(question: impl Future<Output = ledger::Result<T>>) -> Result<T> {
    within(PATIENCE, question).await
}

/// Waits longer, for a question that reads much.
pub(crate) async fn reported<T>(question: impl Future<Output = ledger::Result<T>>) -> Result<T> {
    within(PATIENCE_FOR_MUCH, question).await
}

/// Waits for the ledger for so long.
pub(crate) async fn within<T>(
    patience: Duration,
    question: impl Future<Output = ledger::Result<T>>,
) -> Result<T> {
    Ok(timeout(patience, question)
        .await
        .map_err(|_| Error::Late("ledger"))??)
}

/// Waits for the queue's confirmation, but not for ever.
pub(crate) async fn queued(publish: impl Future<Output = queue::Result<()>>) -> Result<()> {
    Ok(timeout(PATIENCE, publish)
        .await
        .map_err(|_| Error::Late("queue"))??)
}
