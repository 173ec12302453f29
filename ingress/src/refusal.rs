//! Why a webhook is not taken, and how its provider is told.
//!
//! Whatever may be better next time is answered by the code that makes this very provider try again: most give up on
//! a 4xx, Brevo also on a 503.

use std::time::Duration;

use axum::{
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{clock, http::Problem, providers::Refusals};
use metrics::counter;
use tracing::{debug, info};

use crate::{Door, auth};

/// Long enough for a broker to elect a new leader, short enough for an opt-out.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a request is not taken. The texts go to the caller and say nothing that a stranger could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is nothing at this path; webhooks go to /webhooks/ and the name of a source")]
    Unknown,
    #[error("this source asks a question, which the api answers at {0}")]
    Question(&'static str),
    #[error("webhooks are sent by POST")]
    Method,
    #[error("this source is disabled")]
    Disabled,
    #[error("too much is in hand; send it again later")]
    Busy,
    #[error("the credentials are wrong or missing")]
    Unauthorized,
    #[error("the body is larger than is taken here")]
    TooLarge,
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body broke off; send it again")]
    BrokenOff,
    #[error("what the signature or the handshake wants could not be fetched; send it again later")]
    NotFetched,
    #[error("the webhook could not be stored in time; send it again later")]
    NotStored,
    /// Whatever is wrong with a link is told to nobody.
    #[error("this link does not work")]
    UnknownLink,
    #[error("the body has neither List-Unsubscribe=One-Click nor the fields of the page's form")]
    NotAsked,
    #[error("nothing was chosen")]
    NothingChosen,
    #[error("this link was used too often; try again in {} s", .0.as_secs())]
    TooOften(Duration),
}

impl Refusal {
    /// Its name in metrics and logs.
    fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_source",
            Self::Question(_) => "question",
            Self::Method => "method",
            Self::Disabled => "disabled",
            Self::Busy => "busy",
            Self::Unauthorized => "unauthorized",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::BrokenOff => "broken_off",
            Self::NotFetched => "not_fetched",
            Self::NotStored => "not_stored",
            Self::UnknownLink => "unknown_link",
            Self::NotAsked => "not_asked",
            Self::NothingChosen => "nothing_chosen",
            Self::TooOften(_) => "too_often",
        }
    }

    pub(crate) fn status(self, refusals: Refusals) -> StatusCode {
        let code = match self {
            Self::Unknown | Self::Question(_) | Self::UnknownLink => 404,
            Self::NotAsked => 400,
            Self::NothingChosen => 422,
            Self::TooOften(_) => 429,
            Self::Method => 405,
            Self::TooLarge => 413,
            Self::Disabled => refusals.disabled,
            Self::Unauthorized => refusals.unauthorized,
            // A provider with a code of its own for "try again" takes others, 408 among them, as "give up".
            Self::TooSlow if refusals.unavailable == 503 => 408,
            Self::TooSlow | Self::Busy | Self::BrokenOff | Self::NotFetched | Self::NotStored => {
                refusals.unavailable
            }
        };
        StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// When it is worth coming again, of what may be better then.
    pub(crate) fn pause(self, refusals: Refusals) -> Option<Duration> {
        match self {
            Self::TooOften(wait) => Some(wait),
            _ if self.status(refusals).as_u16() == refusals.unavailable => Some(RETRY_AFTER),
            _ => None,
        }
    }

    /// Counts and logs the refusal, and says it to the caller. `door` is none where there is no such source: a name
    /// that a stranger made up becomes no label.
    pub(crate) fn answer(self, door: Option<&Door>) -> Response {
        self.note(door);
        let refusals = door.map_or_else(Refusals::default, |door| door.source.provider.refusals());
        let mut problem = Problem::new(self.status(refusals), self.to_string());
        problem.retry_after = self.pause(refusals);
        let mut response = problem.into_response();
        self.add_headers(&mut response, door);
        response
    }

    /// Counts and logs it.
    pub(crate) fn note(self, door: Option<&Door>) {
        let (source, provider) = door.map_or(("", ""), |door| {
            let Door { source, .. } = door;
            (source.name.as_str(), source.provider.name())
        });
        if let (Self::Unauthorized, Some(door)) = (self, door) {
            door.strangers.note(clock::now());
        }
        let reason = self.reason();
        counter!("optout_ingress_refused_total", "source" => source.to_owned(), "reason" => reason)
            .increment(1);
        match self {
            // Strangers, and what the gatherer tells of once for all.
            Self::Unknown | Self::UnknownLink | Self::Busy | Self::NotStored => {
                debug!(source, provider, reason, "webhook refused");
            }
            Self::Question(_)
            | Self::Method
            | Self::Disabled
            | Self::Unauthorized
            | Self::TooLarge
            | Self::TooSlow
            | Self::BrokenOff
            | Self::NotFetched
            | Self::NotAsked
            | Self::NothingChosen
            | Self::TooOften(_) => {
                info!(source, provider, reason, "webhook refused");
            }
        }
    }

    pub(crate) fn add_headers(self, response: &mut Response, door: Option<&Door>) {
        let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        match self {
            Self::Method => {
                let allowed = [Method::GET, Method::HEAD, Method::POST]
                    .map(|method| method.to_string())
                    .join(", ");
                headers.extend(
                    HeaderValue::from_str(&allowed).map(|allowed| (header::ALLOW, allowed)),
                );
            }
            Self::Unauthorized if unauthorized => {
                let credentials = door.map(|door| door.source.credentials.as_slice());
                for challenge in auth::challenges(credentials.unwrap_or_default()) {
                    headers.append(
                        header::WWW_AUTHENTICATE,
                        HeaderValue::from_static(challenge),
                    );
                }
            }
            // The rest of the body is not waited for.
            Self::TooLarge | Self::TooSlow => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Unknown
            | Self::Question(_)
            | Self::Disabled
            | Self::Busy
            | Self::Unauthorized
            | Self::BrokenOff
            | Self::NotFetched
            | Self::NotStored
            | Self::UnknownLink
            | Self::NotAsked
            | Self::NothingChosen
            | Self::TooOften(_) => {}
        }
    }
}
