//! Reconciliations: whom platforms list as suppressed, compared with whom the ledger holds to be. One is asked for over the
//! api or is a turn of the schedule, and is done list by list by whichever worker holds its lease ([`work`]).

mod compare;
mod work;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Act, Ledger, Page, Progress, Result, in_order, micros, page::Cursor, parsed, period, rows,
    timestamp,
};
use crate::{clock, contact::Channel, delivery::State, event::Lane, names::names};

pub use compare::{Listed, Place, RegisterRow};
pub use work::{Reconciling, Tally};

/// Who asks for the turns of the schedule.
const SCHEDULE: &str = "schedule";

names! {
    /// What a list of a platform and the ledger do not agree in.
    Gap {
        /// The platform suppresses the contact, and the ledger knows nothing of it.
        OnlyTheirs = "only_theirs",
        /// The ledger suppresses the contact, and the platform does not.
        OnlyOurs = "only_ours",
        /// The platform suppresses the contact, of whom the ledger says that they may be sent to again.
        Differs = "differs",
    }
}

/// A reconciliation as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reconciliation {
    pub id: Uuid,
    /// The target; null for all whose platforms can be read.
    pub target: Option<String>,
    /// Whether what differs is made suppressed on both sides.
    pub repair: bool,
    pub state: Progress,
    /// Why it failed.
    pub error: Option<String>,
    /// The name of the key that asked for it, or `schedule`.
    pub actor: String,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// What came of each list as far as it was looked at.
    pub lists: Vec<ReconciledList>,
}

/// What came of one list of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReconciledList {
    pub target: String,
    /// As `[targets.scopes]` calls it.
    pub list: String,
    /// How many entries the platform lists.
    pub listed: i64,
    /// How many of its entries name nobody who could be told of.
    pub unread: i64,
    pub only_theirs: i64,
    pub only_ours: i64,
    pub differs: i64,
    /// Of how many of these the repair is under way.
    pub repaired: i64,
    /// Why it could not be compared.
    pub error: Option<String>,
    /// Null while it is looked at.
    pub finished_at: Option<Timestamp>,
}

/// One contact of one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Difference {
    pub id: Uuid,
    pub found_at: Timestamp,
    pub target: String,
    pub list: String,
    pub difference: Gap,
    pub channel: Channel,
    /// What stands in the address's place where the contact was erased.
    pub contact: String,
    /// Since when the platform suppresses the contact, for which cause, and why in its words; null where it does not, or does
    /// not say.
    pub listed_since: Option<Timestamp>,
    pub listed_lane: Option<Lane>,
    pub listed_reason: Option<String>,
    /// What the ledger says, where it says anything: in which scope, by which source and for which cause, since when, by which
    /// event.
    pub scope: Option<String>,
    pub source: Option<String>,
    pub lane: Option<Lane>,
    pub occurred_at: Option<Timestamp>,
    pub event_id: Option<Uuid>,
    /// How the delivery of that event to the target stands, where there is one.
    pub delivery: Option<State>,
    /// Whether the repair is under way: the opt-out entered here, or the platform told.
    pub repaired: bool,
}

/// Which differences of a reconciliation are listed; what is None does not filter.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DifferenceFilter {
    pub target: Option<String>,
    pub list: Option<String>,
    #[param(inline)]
    pub difference: Option<Gap>,
}

const COLUMNS: &str = "id, actor, target, repair, state, error, created_at, finished_at";

impl Ledger {
    /// Asks for a reconciliation, with its record in the audit trail. Asked twice it is two, of which the second finds what
    /// the first has left.
    pub async fn ask_reconciliation(
        &self,
        target: Option<&str>,
        repair: bool,
        actor: &str,
    ) -> Result<Reconciliation> {
        let mut asked = Reconciliation {
            id: Uuid::now_v7(),
            target: target.map(str::to_owned),
            repair,
            state: Progress::Running,
            error: None,
            actor: actor.to_owned(),
            created_at: clock::now(),
            finished_at: None,
            lists: vec![],
        };
        asked.created_at = self.now().await?;
        self.enter_reconciliation(&asked, None).await?;
        Ok(asked)
    }

    /// Asks for the turn of the schedule that it is now; false if somebody has, or an earlier one is not done yet.
    pub async fn schedule_reconciliation(&self, every: Duration, repair: bool) -> Result<bool> {
        let running =
            "SELECT COUNT(*) FROM reconciliations WHERE state = 'running' AND turn IS NOT NULL";
        let running: i64 = self
            .query(running)
            .fetch_one(&self.pool)
            .await?
            .try_get(0)?;
        if running > 0 {
            return Ok(false);
        }
        let now = self.now().await?;
        let turn = micros(now) / period(every).max(1);
        let asked = Reconciliation {
            id: Uuid::now_v7(),
            target: None,
            repair,
            state: Progress::Running,
            error: None,
            actor: SCHEDULE.to_owned(),
            created_at: now,
            finished_at: None,
            lists: vec![],
        };
        self.enter_reconciliation(&asked, Some(turn)).await
    }

    /// Whether it was entered: not where it is a turn that was entered before.
    async fn enter_reconciliation(
        &self,
        asked: &Reconciliation,
        turn: Option<i64>,
    ) -> Result<bool> {
        if let Some(turn) = turn {
            let text = "SELECT COUNT(*) FROM reconciliations WHERE turn = $1";
            let entered: i64 = self
                .query(text)
                .bind(turn)
                .fetch_one(&self.pool)
                .await?
                .try_get(0)?;
            if entered > 0 {
                return Ok(false);
            }
        }
        let text = "
            INSERT INTO reconciliations (id, actor, target, repair, turn, state, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (turn) DO NOTHING";
        let mut transaction = self.begin().await?;
        let query = self.query(text).bind(asked.id.to_string());
        let query = query.bind(asked.actor.clone()).bind(asked.target.clone());
        let query = query.bind(i64::from(asked.repair)).bind(turn);
        let query = query.bind(asked.state.to_string());
        let query = query.bind(micros(asked.created_at));
        if query.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let details = json!({ "target": asked.target, "repair": asked.repair });
        let act = Act {
            actor: asked.actor.clone(),
            action: "reconciliation.start",
            subject: Some(asked.id.to_string()),
            details: details.as_object().cloned().unwrap_or_default(),
            ..Act::default()
        };
        self.chain(&mut transaction, &[act]).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// One reconciliation.
    pub async fn reconciliation(&self, id: Uuid) -> Result<Option<Reconciliation>> {
        let text = format!("SELECT {COLUMNS} FROM reconciliations WHERE id = $1");
        let row = self.query(&text).bind(id.to_string());
        let Some(row) = row.fetch_optional(&self.pool).await? else {
            return Ok(None);
        };
        let mut found = [reconciliation_of(&row)?];
        self.with_lists(&mut found).await?;
        let [found] = found;
        Ok(Some(found))
    }

    /// Lists reconciliations, newest first.
    pub async fn reconciliations(
        &self,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<Reconciliation>> {
        let after = Cursor::read(cursor, None)?;
        let text = format!(
            "SELECT {COLUMNS} FROM reconciliations WHERE (created_at, id) < ($1, $2)
            ORDER BY created_at DESC, id DESC LIMIT $3"
        );
        let query = self.query(&text).bind(after.at).bind(after.id);
        let found = query.bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let found = found.fetch_all(&self.pool).await?;
        let at = |one: &Reconciliation| (one.created_at, one.id);
        let mut page = Page::of(&found, limit, reconciliation_of, at)?;
        self.with_lists(&mut page.items).await?;
        Ok(page)
    }

    /// Puts what came of their lists into reconciliations.
    async fn with_lists(&self, found: &mut [Reconciliation]) -> Result<()> {
        let mut ids: Vec<_> = found.iter().map(|one| json!({ "id": one.id })).collect();
        in_order(&mut ids);
        let text = "
            SELECT reconciliation, target, list, listed, unread, only_theirs, only_ours, differs, repaired, error, finished_at
            FROM {rows} JOIN reconciled_lists ON reconciliation = rows.value->>'id' ORDER BY reconciliation, target, list";
        for row in self
            .query(text)
            .bind(rows(&ids))
            .fetch_all(&self.pool)
            .await?
        {
            let of: Uuid = parsed(&row.try_get::<String, _>(0)?)?;
            let list = list_of(&row)?;
            found
                .iter_mut()
                .filter(|one| one.id == of)
                .for_each(|one| one.lists.push(list.clone()));
        }
        Ok(())
    }

    /// Lists the differences that a reconciliation found, newest first.
    pub async fn differences(
        &self,
        reconciliation: Uuid,
        filter: &DifferenceFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<Difference>> {
        let after = Cursor::read(cursor, None)?;
        let text = "
            SELECT id, found_at, target, list, difference, channel, contact, listed_since, listed_lane, listed_reason, scope, source, lane,
                occurred_at, event_id, delivery, repaired
            FROM differences
            WHERE reconciliation = $1 AND (found_at, id) < ($2, $3) AND ($5 IS NULL OR target = $5)
                AND ($6 IS NULL OR list = $6) AND ($7 IS NULL OR difference = $7)
            ORDER BY found_at DESC, id DESC LIMIT $4";
        let query = self.query(text).bind(reconciliation.to_string());
        let query = query.bind(after.at).bind(after.id);
        let query = query.bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let query = query.bind(filter.target.clone()).bind(filter.list.clone());
        let query = query.bind(filter.difference.map(|gap| gap.to_string()));
        let found = query.fetch_all(&self.pool).await?;
        Page::of(&found, limit, difference_of, |one| (one.found_at, one.id))
    }
}

fn reconciliation_of(row: &AnyRow) -> Result<Reconciliation> {
    let text = |column: &str| row.try_get::<String, _>(column);
    Ok(Reconciliation {
        id: parsed(&text("id")?)?,
        target: row.try_get("target")?,
        repair: row.try_get::<i64, _>("repair")? == 1,
        state: parsed(&text("state")?)?,
        error: row.try_get("error")?,
        actor: text("actor")?,
        created_at: timestamp(row.try_get("created_at")?)?,
        finished_at: moment(row, "finished_at")?,
        lists: vec![],
    })
}

fn list_of(row: &AnyRow) -> Result<ReconciledList> {
    Ok(ReconciledList {
        target: row.try_get("target")?,
        list: row.try_get("list")?,
        listed: row.try_get("listed")?,
        unread: row.try_get("unread")?,
        only_theirs: row.try_get("only_theirs")?,
        only_ours: row.try_get("only_ours")?,
        differs: row.try_get("differs")?,
        repaired: row.try_get("repaired")?,
        error: row.try_get("error")?,
        finished_at: moment(row, "finished_at")?,
    })
}

fn difference_of(row: &AnyRow) -> Result<Difference> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
    Ok(Difference {
        id: parsed(&text("id")?)?,
        found_at: timestamp(row.try_get("found_at")?)?,
        target: text("target")?,
        list: text("list")?,
        difference: parsed(&text("difference")?)?,
        channel: parsed(&text("channel")?)?,
        contact: text("contact")?,
        listed_since: moment(row, "listed_since")?,
        listed_lane: maybe("listed_lane")?
            .map(|lane| parsed(&lane))
            .transpose()?,
        listed_reason: maybe("listed_reason")?,
        scope: maybe("scope")?,
        source: maybe("source")?,
        lane: maybe("lane")?.map(|lane| parsed(&lane)).transpose()?,
        occurred_at: moment(row, "occurred_at")?,
        event_id: maybe("event_id")?.map(|id| parsed(&id)).transpose()?,
        delivery: maybe("delivery")?.map(|state| parsed(&state)).transpose()?,
        repaired: row.try_get::<i64, _>("repaired")? == 1,
    })
}

/// A time that may not be there.
fn moment(row: &AnyRow, column: &str) -> Result<Option<Timestamp>> {
    let at: Option<i64> = row.try_get(column)?;
    at.map(timestamp).transpose()
}
