//! The targets of the configuration: how each fares, leaving one alone for a while, and testing it.
//!
//! Which there are the configuration says, and no request changes that. One that it enables is disabled and enabled again
//! by the ledger, where a change and its record in the audit trail are one transaction; every worker heeds it within a
//! second or two. Tests are made by workers, who alone know how to reach a target.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
};
use common::{
    delivery::{Answer, Tested},
    ledger::{Act, Breaker, Disabled, LastTold, Page, TEST_WAITS, TestState},
};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    changes::object,
    error::{Error, Result, asked},
    query::Query,
};

/// How often it is looked for what came of a test.
const LOOK: Duration = Duration::from_millis(100);

/// How much longer than a worker may take to begin one.
const GRACE: Duration = Duration::from_secs(2);

/// How long is waited for what comes of one that was begun.
const LONGEST: Duration = Duration::from_mins(1);

/// A target of the configuration, and how it fares.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Target)]
pub(crate) struct Standing {
    name: String,
    /// Whether it is sent to: the configuration enables it, and nobody has disabled it since.
    enabled: bool,
    /// Whether the configuration enables it.
    enabled_in_configuration: bool,
    /// The name of the key that it was disabled with; null unless it was.
    disabled_by: Option<String>,
    disabled_at: Option<Timestamp>,
    disabled_reason: Option<String>,
    /// Null where no worker has said of late where it stands.
    breaker: Option<Breaker>,
    #[serde(flatten)]
    last: LastTold,
}

/// What is wished of a target.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TargetChange)]
pub(crate) struct Wish {
    enabled: bool,
    /// Why it is disabled, for whoever finds it so.
    #[schema(min_length = 1)]
    reason: Option<String>,
}

/// The name of a target of the configuration, from a path.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = path.map_err(|_| Error::parameter("name", "is not UTF-8"))?;
        Ok(Self(name))
    }
}

/// `GET /api/v1/targets`: all of the configuration, by name.
#[utoipa::path(
    get, path = "/api/v1/targets", operation_id = "list_targets", tag = "Targets",
    responses((status = 200, body = Page<Standing>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    query: Query,
) -> Result<Json<Page<Standing>>> {
    query.finish()?;
    let known = Known::of(&app).await?;
    let targets = app
        .targets
        .iter()
        .map(|(name, enabled)| known.standing(&app, name, *enabled));
    Ok(Json(Page {
        items: try_join_all(targets).await?,
        next_cursor: None,
    }))
}

/// `GET /api/v1/targets/{name}`
#[utoipa::path(
    get, path = "/api/v1/targets/{name}", operation_id = "show_target", tag = "Targets",
    responses((status = 200, body = Standing))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Name(name): Name,
    query: Query,
) -> Result<Json<Standing>> {
    query.finish()?;
    find(&app, &name).await.map(Json)
}

/// `PUT /api/v1/targets/{name}`: disables it, or enables it again. What it is to be told while it is disabled is parked, and
/// sent once it is enabled. One that the configuration disables stays so.
///
/// Asked twice it changes nothing more, and the trail says it once.
#[utoipa::path(
    put, path = "/api/v1/targets/{name}", operation_id = "change_target", tag = "Targets",
    request_body = Wish, responses((status = 200, body = Standing))
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    query: Query,
    body::Json(wish): body::Json<Wish>,
) -> Result<Json<Standing>> {
    query.finish()?;
    is_there(&app, &name)?;
    let reason = wish.reason.map(|text| body::text("reason", text));
    let reason = reason.transpose()?;
    if wish.enabled {
        if reason.is_some() {
            let why = "is given, but it is why a target is disabled, and this enables it";
            return Err(Error::field("reason", why));
        }
        let act = act(actor, "target.enable", &name);
        asked(app.ledger.enable_target(&name, &act)).await?;
    } else {
        let mut act = act(actor, "target.disable", &name);
        if let Some(reason) = &reason {
            act.personal = object(json!({ "reason": reason }));
        }
        let disabled = app.ledger.disable_target(&name, reason.as_deref(), &act);
        asked(disabled).await?;
    }
    find(&app, &name).await.map(Json)
}

/// `POST /api/v1/targets/{name}/test`: has a worker send it an event of a person that does not exist, now and once, also if it is
/// disabled, and says what it answered. No delivery is made of it. 503 if no worker took it up.
#[utoipa::path(
    post, path = "/api/v1/targets/{name}/test", operation_id = "test_target", tag = "Targets",
    responses((status = 200, body = Tested))
)]
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    query: Query,
) -> Result<Json<Tested>> {
    query.finish()?;
    is_there(&app, &name)?;
    let (id, begun) = (Uuid::now_v7(), Instant::now());
    let act = act(actor, "target.test", &name);
    asked(app.ledger.ask_target_test(id, &name, &act)).await?;
    loop {
        match asked(app.ledger.target_test(id)).await? {
            TestState::Made(tested) => return Ok(Json(tested)),
            TestState::Asked if begun.elapsed() > TEST_WAITS + GRACE => {
                return Err(Error::Late("worker"));
            }
            TestState::Taken if begun.elapsed() > LONGEST => {
                let why = "a worker has begun it, and what came of it is not known";
                return Ok(Json(Tested::of(Answer::retry(why), begun.elapsed())));
            }
            TestState::Asked | TestState::Taken => sleep(LOOK).await,
        }
    }
}

/// What is known of all targets.
struct Known {
    breakers: BTreeMap<String, Breaker>,
    disabled: BTreeMap<String, Disabled>,
}

impl Known {
    async fn of(app: &App) -> Result<Self> {
        let ledger = &app.ledger;
        let known = async { tokio::try_join!(ledger.breakers(), ledger.disabled_targets()) };
        let (breakers, disabled) = asked(known).await?;
        Ok(Self { breakers, disabled })
    }

    async fn standing(&self, app: &App, name: &str, enabled: bool) -> Result<Standing> {
        let disabled = self.disabled.get(name);
        Ok(Standing {
            name: name.to_owned(),
            enabled: enabled && disabled.is_none(),
            enabled_in_configuration: enabled,
            disabled_by: disabled.map(|disabled| disabled.by.clone()),
            disabled_at: disabled.map(|disabled| disabled.at),
            disabled_reason: disabled.and_then(|disabled| disabled.reason.clone()),
            breaker: self.breakers.get(name).cloned(),
            last: asked(app.ledger.last_told(name)).await?,
        })
    }
}

async fn find(app: &App, name: &str) -> Result<Standing> {
    let enabled = is_there(app, name)?;
    Known::of(app).await?.standing(app, name, enabled).await
}

/// That there is such a target, and whether the configuration enables it.
fn is_there(app: &App, name: &str) -> Result<bool> {
    let enabled = app.targets.get(name).copied();
    enabled.ok_or_else(|| Error::NoTarget(name.to_owned()))
}

fn act(actor: String, action: &'static str, target: &str) -> Act {
    Act {
        actor,
        action,
        subject: Some(target.to_owned()),
        ..Act::default()
    }
}
