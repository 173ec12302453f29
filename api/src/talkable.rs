//! Talkable's question before each mail: has this person unsubscribed?
//!
//! It is answered from the ledger, by one query with whatever else is asked meanwhile, and writing nothing: the audit
//! record is made off the path. A doubt means "do not send": whatever keeps the question from being answered,
//! `[api.talkable] when_unknown` is the answer, and an error holds one, too, for whoever reads no status.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use common::{
    config::{Config, Credential, Source, Talkable},
    http::Problem,
    ledger::Act,
    providers::talkable::{Asked, PATH, Question},
    signature,
};
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    App, body,
    openapi::{PROBLEM, problem_with},
};

/// A mail waits for the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who asks is known only by what is in the form: until then a stranger is given this much room and this much time.
const LONGEST_FORM: usize = 64 << 10;
const PATIENCE_FOR_FORM: Duration = Duration::from_secs(10);

/// The sources that may ask, and what they are answered.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) sources: Vec<Source>,
    pub(crate) settings: Talkable,
}

/// The one shape of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TalkableAnswer)]
pub(crate) struct Answer {
    result: Verdict,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TalkableVerdict)]
pub(crate) struct Verdict {
    unsubscribed: bool,
}

/// A problem that holds an answer, as it is described.
struct Refused;

impl ToSchema for Refused {
    fn name() -> Cow<'static, str> {
        "TalkableRefusal".into()
    }
}

impl PartialSchema for Refused {
    fn schema() -> RefOr<Schema> {
        problem_with("result", Verdict::schema())
    }
}

/// `POST /api/v1/talkable/check_unsubscribe`: the form's own `key` and `site` say who asks.
#[utoipa::path(
    post, path = PATH, operation_id = "answer_talkable", tag = "Checks",
    request_body(content = Question, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = Answer),
        (status = 400, body = Refused, content_type = PROBLEM, description = "The question cannot be read."),
        (status = 401, body = Refused, content_type = PROBLEM, description = "The key or the site is wrong."),
    )
)]
pub(crate) async fn check(State(app): State<Arc<App>>, body: Body) -> Response {
    let unknown = app.talkable.settings.when_unknown;
    let question = match body::within(body, LONGEST_FORM, PATIENCE_FOR_FORM).await {
        Ok(bytes) => Question::read(&bytes).map_err(|malformed| malformed.0),
        Err(error) => Err(error.to_string()),
    };
    let question = match question {
        Ok(question) => question,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why, unknown),
    };
    let Some(source) = app.talkable.who_asks(&question) else {
        return refusal(
            StatusCode::UNAUTHORIZED,
            "the key or the site is wrong",
            true,
        );
    };
    let asked = match question.asked() {
        Ok(asked) => asked,
        Err(malformed) => return refusal(StatusCode::BAD_REQUEST, &malformed.0, unknown),
    };
    let unsubscribed = answer(&app, &asked).await;
    app.trail.note(act(source, &asked, unsubscribed));
    let result = Verdict { unsubscribed };
    Json(Answer { result }).into_response()
}

async fn answer(app: &App, asked: &Asked) -> bool {
    let settings = &app.talkable.settings;
    if asked.contacts.is_empty() {
        return settings.when_unknown;
    }
    if settings.heed_unsubscribed_at && asked.says_unsubscribed {
        return true;
    }
    let scope = settings.scope.as_deref();
    let questions = asked
        .contacts
        .iter()
        .map(|contact| app.checks.ask(contact, scope));
    match timeout(PATIENCE, try_join_all(questions)).await {
        Ok(Ok(answers)) => answers.iter().any(|found| !found.is_empty()),
        Ok(Err(error)) => {
            warn!(%error, "Talkable's question cannot be answered");
            settings.when_unknown
        }
        Err(_) => {
            warn!("the ledger did not answer Talkable's question in time");
            settings.when_unknown
        }
    }
}

impl Desk {
    pub(crate) fn new(config: &Config) -> Self {
        let asks = |source: &&Source| source.enabled && source.provider.asks_at().is_some();
        Self {
            sources: config.sources.iter().filter(asks).cloned().collect(),
            settings: config.api.talkable.clone(),
        }
    }

    /// The source whose key and site the question has. All are looked at, so the time does not tell which it was.
    fn who_asks(&self, question: &Question) -> Option<&Source> {
        self.sources.iter().fold(None, |found, source| {
            let proven = source.credentials.iter().fold(true, |proven, credential| {
                let Credential::Signature(keys) = credential else {
                    return false;
                };
                let site = keys.site.as_deref().unwrap_or_default();
                signature::any_equal(question.key.as_bytes(), &keys.secrets)
                    & signature::equal(question.site.as_bytes(), site.as_bytes())
                    & proven
            });
            if proven {
                found.or(Some(source))
            } else {
                found
            }
        })
    }
}

fn refusal(status: StatusCode, why: &str, unsubscribed: bool) -> Response {
    Problem::new(status, why)
        .with("result", json!({ "unsubscribed": unsubscribed }))
        .into_response()
}

fn act(source: &Source, asked: &Asked, unsubscribed: bool) -> Act {
    let details = [
        ("unsubscribed", json!(unsubscribed)),
        ("campaign", json!(asked.campaign)),
        ("email_type", json!(asked.email_type)),
    ];
    Act {
        actor: source.name.clone(),
        action: "talkable.check",
        details: details
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect(),
        contact: asked.contacts.first().cloned(),
        ..Act::default()
    }
}
