//! Replays: deliveries that are told again by filter. A replay is a job, done in batches by whichever api process holds
//! its lease ([`jobs`]).
//!
//! What is replayed is what matched when the job was started. A delivery that has moved since (somebody retried it, a
//! worker attempted it, another replay restarted it) is left out: it is being seen to. So a job that is done may have
//! sent fewer than it matched, never more, each at most once.

mod jobs;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{Any, Row, Transaction, any::AnyRow};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Act, Ledger, Page, Result,
    deliveries::{in_state, union},
    micros,
    page::Cursor,
    parsed, rows, timestamp,
};
use crate::{delivery::State, event::Kind, names::names};

pub use jobs::Job;

names! {
    /// How far a replay has come.
    Progress {
        Running = "running",
        Done = "done",
        /// It cannot succeed any more.
        Failed = "failed",
    }
}

/// Which deliveries are replayed; what is None does not filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplayFilter {
    pub target: Option<String>,
    /// None for what is finished: delivered or dead. What is under way is left alone then.
    pub state: Option<State>,
    pub kind: Option<Kind>,
    /// By when the deliveries were made: `since` is in it, `until` is not.
    pub since: Timestamp,
    pub until: Timestamp,
}

/// A replay as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Replay {
    pub id: Uuid,
    pub target: Option<String>,
    pub state: Progress,
    /// What was asked for.
    pub filter: ReplayFilter,
    /// Deliveries that matched when it was started.
    pub matched: i64,
    /// How many of them have begun again.
    pub sent: i64,
    pub dry_run: bool,
    pub since: Timestamp,
    pub until: Timestamp,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
    /// The name of the key that started it.
    pub actor: String,
}

const COLUMNS: &str = "id, actor, target, only_state, kind, since, until, dry_run, state, matched, sent, error, created_at,
    finished_at, targets, cursor_at, cursor_id, batch_at, batch_id, lease_owner";

impl Ledger {
    /// Counts what matches and, unless it is a dry run, starts a replay of it for `targets`, with its record in the audit
    /// trail. A dry run is done at once. Asked twice it is two replays, of which the second leaves out what the first has
    /// restarted.
    pub async fn start_replay(
        &self,
        filter: ReplayFilter,
        targets: &[String],
        dry_run: bool,
        actor: &str,
    ) -> Result<Replay> {
        let now = self.now().await?;
        let mut replay = Replay {
            id: Uuid::now_v7(),
            target: filter.target.clone(),
            state: if dry_run {
                Progress::Done
            } else {
                Progress::Running
            },
            matched: 0,
            sent: 0,
            dry_run,
            since: filter.since,
            until: filter.until,
            created_at: now,
            finished_at: dry_run.then_some(now),
            error: None,
            actor: actor.to_owned(),
            filter,
        };
        replay.matched = self.matched(&replay, targets).await?;
        let mut transaction = self.begin().await?;
        if !dry_run {
            self.chain(&mut transaction, &[act(&replay)]).await?;
        }
        self.insert_replay(&mut transaction, &replay, targets)
            .await?;
        transaction.commit().await?;
        Ok(replay)
    }

    /// One replay.
    pub async fn replay(&self, id: Uuid) -> Result<Option<Replay>> {
        let text = format!("SELECT {COLUMNS} FROM replays WHERE id = $1");
        let row = self.query(&text).bind(id.to_string());
        let row = row.fetch_optional(&self.pool).await?;
        row.map(|row| replay_of(&row)).transpose()
    }

    /// Lists replays, newest first.
    pub async fn replays(&self, limit: usize, cursor: Option<&str>) -> Result<Page<Replay>> {
        let after = Cursor::read(cursor, None)?;
        let text = format!(
            "SELECT {COLUMNS} FROM replays WHERE (created_at, id) < ($1, $2)
            ORDER BY created_at DESC, id DESC LIMIT $3"
        );
        let query = self.query(&text).bind(after.at).bind(after.id);
        let found = query
            .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        Page::of(&found, limit, replay_of, |replay| {
            (replay.created_at, replay.id)
        })
    }

    async fn matched(&self, replay: &Replay, targets: &[String]) -> Result<i64> {
        let condition = format!(
            "{} AND created_at >= $2 AND created_at < $3 AND moved_at < $4",
            condition(&replay.filter, targets)
        );
        let text = format!(
            "SELECT COUNT(*) FROM ({}) AS matched",
            union("id", &states(&replay.filter), &condition, "")
        );
        let query = self.query(&text).bind(to_value(targets));
        let query = query
            .bind(micros(replay.since))
            .bind(micros(replay.until))
            .bind(micros(replay.created_at));
        Ok(query.fetch_one(&self.pool).await?.try_get(0)?)
    }

    async fn insert_replay(
        &self,
        transaction: &mut Transaction<'_, Any>,
        replay: &Replay,
        targets: &[String],
    ) -> Result<()> {
        let text = "
            INSERT INTO replays (id, actor, target, only_state, kind, since, until, dry_run, targets, state, matched, sent,
                cursor_at, cursor_id, created_at, finished_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $6, '', $12, $13)";
        let filter = &replay.filter;
        self.query(text)
            .bind(replay.id.to_string())
            .bind(replay.actor.clone())
            .bind(filter.target.clone())
            .bind(filter.state.map(|state| state.to_string()))
            .bind(filter.kind.map(|kind| kind.to_string()))
            .bind(micros(filter.since))
            .bind(micros(filter.until))
            .bind(i64::from(replay.dry_run))
            .bind(rows(targets))
            .bind(replay.state.to_string())
            .bind(replay.matched)
            .bind(micros(replay.created_at))
            .bind(replay.finished_at.map(micros))
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }
}

/// The states that a replay tells again, each worded for its index.
fn states(filter: &ReplayFilter) -> Vec<String> {
    match (filter.state, &filter.target) {
        (Some(state), _) => vec![in_state(state)],
        (None, Some(_)) => vec![in_state(State::Delivered), in_state(State::Dead)],
        // Nearly all there are, in the order in which they were made.
        (None, None) => vec!["state IN ('delivered', 'dead')".to_owned()],
    }
}

/// What a filter says beside the state and the time, of a delivery to one of `targets`.
fn condition(filter: &ReplayFilter, targets: &[String]) -> String {
    let kind = filter.kind.map(|kind| format!("AND kind = '{kind}'"));
    format!(
        "{} AND erased = 0 {}",
        to(targets),
        kind.unwrap_or_default()
    )
}

/// That a delivery is to one of `targets`, which are the first parameter ([`to_value`]).
fn to(targets: &[String]) -> &'static str {
    match targets {
        [_] => "target = $1",
        _ => "target IN (SELECT rows.value->>'target' FROM {rows})",
    }
}

fn to_value(targets: &[String]) -> String {
    if let [target] = targets {
        return target.clone();
    }
    let target = |name| json!({ "target": name });
    rows(&targets.iter().map(target).collect::<Vec<_>>())
}

fn act(replay: &Replay) -> Act {
    let details = json!({ "filter": replay.filter, "matched": replay.matched });
    Act {
        actor: replay.actor.clone(),
        action: "replay.start",
        subject: Some(replay.id.to_string()),
        details: details.as_object().cloned().unwrap_or_default(),
        ..Act::default()
    }
}

fn replay_of(row: &AnyRow) -> Result<Replay> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let needed = |column: &str| row.try_get::<String, _>(column);
    let time = |column: &str| timestamp(row.try_get(column)?);
    let filter = ReplayFilter {
        target: text("target")?,
        state: text("only_state")?
            .map(|state| parsed(&state))
            .transpose()?,
        kind: text("kind")?.map(|kind| parsed(&kind)).transpose()?,
        since: time("since")?,
        until: time("until")?,
    };
    Ok(Replay {
        id: parsed(&needed("id")?)?,
        target: filter.target.clone(),
        state: parsed(&needed("state")?)?,
        matched: row.try_get("matched")?,
        sent: row.try_get("sent")?,
        dry_run: row.try_get::<i64, _>("dry_run")? == 1,
        since: filter.since,
        until: filter.until,
        created_at: time("created_at")?,
        finished_at: row
            .try_get::<Option<i64>, _>("finished_at")?
            .map(timestamp)
            .transpose()?,
        error: text("error")?,
        actor: needed("actor")?,
        filter,
    })
}
