//! Replays: telling targets again what a filter selects. A request starts a job; a loop ([`run`]) does it, in whichever
//! api process holds its lease. What is true when that dies is written where the job is ([`common::ledger::Job`]).

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use common::{
    clock, delivery,
    event::{Kind, rfc3339},
    fault,
    http::Problem,
    ledger::{Job, Page, Progress, Replay, ReplayFilter},
    lifecycle::Lifecycle,
    patience::until_done,
    queue,
};
use jiff::Timestamp;
use serde::Deserialize;
use tracing::{info, warn};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    deliveries::{message, retried},
    error::{Error, Result, asked, reported},
    openapi::PROBLEM,
    query::{Id, Paging, Query},
};

/// Deliveries that are restarted together.
const BATCH: i64 = 500;

/// What may wait in a target's queue while a replay adds to it: enough to keep workers busy, far from what troubles a
/// broker.
const MAX_WAITING: u64 = 20_000;

/// How long a process that died keeps others from its jobs.
const LEASE: Duration = Duration::from_secs(10);

/// How often it is looked for jobs, and for room in the queues.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be replayed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReplay)]
pub(crate) struct Wish {
    /// A configured target, or `endpoint.ID`; without one, all that are enabled.
    target: Option<String>,
    /// `pending`, `retrying`, `delivered` or `dead`; without one, what is delivered or dead.
    #[schema(value_type = Option<delivery::State>)]
    state: Option<String>,
    #[schema(value_type = Option<Kind>)]
    kind: Option<String>,
    /// By when the deliveries were made, RFC 3339: `since` is in it, `until` is not.
    #[schema(format = DateTime)]
    since: String,
    #[schema(format = DateTime)]
    until: String,
    /// Only count what matches.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/v1/replays`: begins again, with a full schedule, each delivery that matches; 202 with the job, or 200 for a
/// dry run, which only counts. A field that is wrong is 422, a target that is disabled 409.
///
/// Asked twice it is two jobs, which is harmless: the second leaves out what the first has begun again.
#[utoipa::path(
    post, path = "/api/v1/replays", operation_id = "start_replay", tag = "Deliveries",
    request_body = Wish,
    responses(
        (status = 200, body = Replay, description = "What a dry run counted."),
        (status = 202, body = Replay, description = "The job, which has begun."),
        (status = 409, body = Problem, content_type = PROBLEM, description = "The target is disabled."),
    )
)]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Caller(key): Caller,
    query: Query,
    body::Json(wish): body::Json<Wish>,
) -> Result<(StatusCode, Json<Replay>)> {
    query.finish()?;
    let dry_run = wish.dry_run;
    let filter = wish.filter()?;
    let targets = targets(&app, filter.target.as_deref()).await?;
    let replay = reported(app.ledger.start_replay(filter, &targets, dry_run, &key)).await?;
    let status = if dry_run {
        StatusCode::OK
    } else {
        info!(key, replay.id = %replay.id, matched = replay.matched, "replay started");
        StatusCode::ACCEPTED
    };
    Ok((status, Json(replay)))
}

/// `GET /api/v1/replays`: newest first, dry runs among them.
#[utoipa::path(
    get, path = "/api/v1/replays", operation_id = "list_replays", tag = "Deliveries",
    params(Paging), responses((status = 200, body = Page<Replay>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Replay>>> {
    let paging = query.paging()?;
    query.finish()?;
    let replays = app.ledger.replays(paging.limit, paging.cursor.as_deref());
    Ok(Json(asked(replays).await?))
}

/// `GET /api/v1/replays/{id}`: how far it has come.
#[utoipa::path(
    get, path = "/api/v1/replays/{id}", operation_id = "show_replay", tag = "Deliveries",
    responses((status = 200, body = Replay))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Replay>> {
    query.finish()?;
    let found = asked(app.ledger.replay(id)).await?;
    found
        .map(Json)
        .ok_or(Error::NotFound { what: "replay", id })
}

impl Wish {
    fn filter(self) -> Result<ReplayFilter> {
        let state = named::<delivery::State>("state", self.state)?;
        if state == Some(delivery::State::Parked) {
            let why =
                "is parked: such deliveries are sent by themselves once their target is enabled";
            return Err(Error::field("state", why));
        }
        let kind = named::<Kind>("kind", self.kind)?;
        let since = time("since", &self.since)?;
        // Closed now, so that the job comes to an end.
        let until = time("until", &self.until)?.min(clock::now());
        if since >= until {
            let why = "is not before until, or not in the past: nothing lies in between";
            return Err(Error::field("since", why));
        }
        Ok(ReplayFilter {
            target: self.target,
            state,
            kind,
            since,
            until,
        })
    }
}

fn named<T>(name: &str, text: Option<String>) -> Result<Option<T>>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let parse = |text: String| {
        text.parse()
            .map_err(|why| Error::field(name, format!("is wrong: {why}")))
    };
    text.map(parse).transpose()
}

fn time(name: &str, text: &str) -> Result<Timestamp> {
    rfc3339(text).map(clock::truncate).ok_or_else(|| {
        let wanted = "but a time in RFC 3339 is needed, such as 2026-04-02T14:30:00Z";
        Error::field(name, format!("is {text:?}, {wanted}"))
    })
}

/// The targets that a replay is for: the one that is asked for, else all that are enabled.
async fn targets(app: &App, wanted: Option<&str>) -> Result<Vec<String>> {
    let Some(name) = wanted else {
        return asked(app.enabled()).await;
    };
    match app.is_enabled(name).await? {
        Some(true) => Ok(vec![name.to_owned()]),
        Some(false) => Err(Error::Conflict(format!(
            "the target {name} is disabled: enable it first; its parked deliveries are sent then without a replay"
        ))),
        None => Err(Error::field(
            "target",
            "is neither a configured target nor endpoint.ID of an endpoint",
        )),
    }
}

/// Does the replays that are running and in no other process's hands, until it is told to stop.
///
/// One batch of each in turn, so that one whose target is slow keeps none of the others waiting. A store that is away
/// makes it wait, and spends nothing.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    // A new one at each start, so that a restarted process is another.
    let owner = Uuid::now_v7();
    while !lifecycle.is_stopping() {
        let Some(progressed) = round(&app, owner, &lifecycle).await else {
            break;
        };
        if !progressed {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = lifecycle.stopping() => break,
            }
        }
    }
    if let Err(error) = app.ledger.leave_replays(owner).await {
        warn!(%error, "replays are left to the next process when their leases end");
    }
    Ok(())
}

/// One batch of each job; whether there was any. None if the process is told to stop.
async fn round(app: &App, owner: Uuid, lifecycle: &Lifecycle) -> Option<bool> {
    let take = || app.ledger.take_replays(owner, LEASE);
    let jobs = until_done(lifecycle, "replay", take).await?;
    let mut progressed = false;
    for job in jobs {
        progressed |= step(app, job, lifecycle).await?;
    }
    Some(progressed)
}

/// The next batch of a job; whether there was one and room for it. None if the process is told to stop.
async fn step(app: &App, job: Job, lifecycle: &Lifecycle) -> Option<bool> {
    let enabled = until_done(lifecycle, "replay", || app.enabled()).await?;
    let (targets, gone): (Vec<_>, Vec<_>) = job
        .targets
        .iter()
        .cloned()
        .partition(|target| enabled.contains(target));
    if targets.is_empty() && !gone.is_empty() {
        let why = format!("not configured, or disabled: {}", gone.join(", "));
        until_done(lifecycle, "replay", || app.ledger.fail_replay(&job, &why)).await?;
        warn!(replay.id = %job.replay.id, why, "replay failed");
        return Some(true);
    }
    let job = if job.has_batch() {
        job
    } else {
        if !until_done(lifecycle, "replay", || has_room(app, &targets)).await? {
            return Some(false);
        }
        let restart = || app.ledger.restart_batch(&job, &targets, BATCH);
        let Some(job) = until_done(lifecycle, "replay", restart).await? else {
            return Some(true);
        };
        fault::point("replay.restarted");
        job
    };
    if job.replay.state == Progress::Done {
        info!(replay.id = %job.replay.id, matched = job.replay.matched, sent = job.replay.sent, "replay done");
        return Some(true);
    }
    publish(app, &job, lifecycle).await?;
    Some(true)
}

/// Publishes the job's batch, and notes it.
async fn publish(app: &App, job: &Job, lifecycle: &Lifecycle) -> Option<()> {
    let batch = until_done(lifecycle, "replay", || app.ledger.batch(job)).await?;
    let messages: Vec<_> = batch.iter().map(message).collect();
    until_done(lifecycle, "replay", || app.queue.publish(messages.clone())).await?;
    fault::point("replay.published");
    until_done(lifecycle, "replay", || app.ledger.batch_published(job)).await
}

/// Whether another batch would still leave every target's queue well below what troubles a broker. So a replay over several
/// targets goes at the pace of the slowest.
async fn has_room(app: &App, targets: &[String]) -> queue::Result<bool> {
    let queues: HashSet<_> = targets.iter().map(|target| retried(target)).collect();
    for queue in queues {
        if app.queue.depth(&queue).await?.ready >= MAX_WAITING {
            return Ok(false);
        }
    }
    Ok(true)
}
