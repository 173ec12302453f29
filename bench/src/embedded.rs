//! The embedded stores against a bare SQLite insert with the same durability: a commit of one record, and as many records
//! a commit as gather while the last one is written.

use std::time::Instant;

use anyhow::ensure;
use common::{
    claims::{self, Wish},
    clock,
    contact::Contact,
    envelope::Envelope,
    event::{Draft, Event, Identity, Kind, Undetermined},
    ledger::{Entry, Ledger},
    queue::{Message, Priority, QueueName},
};
use futures_util::future::try_join_all;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use uuid::Uuid;

use crate::{Options, event, load::rate, report::Report, world::World};

const COLUMNS: [&str; 2] = ["records/s", ": bare"];

/// Records that are there to be written at a time.
const TOGETHER: [u64; 3] = [1, 64, 512];

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("stores", &COLUMNS);
    for together in TOGETHER {
        let world = World::start(tests::Kind::Embedded).await?;
        let enough = Enough {
            options,
            begun: Instant::now(),
        };
        let bare = bare(&world, together, enough).await?;
        let label = |what: &str| format!("{what}, {together} at a time");
        let row = |found: f64| vec![Some(found), Some(found / bare)];
        report.row(label("bare insert"), row(bare));
        report.row(
            label("queue"),
            row(queue(&world, together, enough.again()).await?),
        );
        report.row(
            label("claims"),
            row(claim(&world, together, enough.again()).await?),
        );
        report.row(
            label("ledger"),
            row(record(&world, together, enough.again()).await?),
        );
    }
    report.publish()
}

/// Until when is written.
#[derive(Clone, Copy)]
struct Enough<'a> {
    options: &'a Options,
    begun: Instant,
}

impl Enough<'_> {
    fn again(self) -> Self {
        Self {
            begun: Instant::now(),
            ..self
        }
    }

    /// Does so many at a time, again and again, until the time is over: how many a second.
    async fn each(
        self,
        together: u64,
        mut write: impl AsyncFnMut(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<f64> {
        let (begun, mut written) = (Instant::now(), 0);
        while self.begun.elapsed() < self.options.time() {
            write(written).await?;
            written += together;
        }
        Ok(rate(written, begun.elapsed()))
    }
}

async fn bare(world: &World, together: u64, enough: Enough<'_>) -> anyhow::Result<f64> {
    let options = SqliteConnectOptions::new()
        .filename(world.stores.folder.path().join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut connection: SqliteConnection = options.connect().await?;
    sqlx::raw_sql("CREATE TABLE bare (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)")
        .execute(&mut connection)
        .await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut connection)
        .await?;
    ensure!(
        synchronous == 2,
        "the bare file is not synced as the product's are"
    );
    enough
        .each(together, async |from| {
            let mut transaction = connection.begin().await?;
            for n in from..from + together {
                sqlx::query("INSERT INTO bare (bytes) VALUES ($1)")
                    .bind(event::Kind::Unsubscribed.body(n).into_bytes())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
        .await
}

async fn queue(world: &World, together: u64, enough: Enough<'_>) -> anyhow::Result<f64> {
    let urgent = QueueName::Inbound(Priority::Urgent);
    let queue = world.queue(std::slice::from_ref(&urgent)).await?;
    let message = |n| Message {
        queue: urgent.clone(),
        body: event::Kind::Unsubscribed.body(n).into(),
        delay: std::time::Duration::ZERO,
    };
    let publish = async |from| {
        let all = (from..from + together).map(|n| queue.publish(vec![message(n)]));
        try_join_all(all).await?;
        Ok(())
    };
    enough.each(together, publish).await
}

async fn claim(world: &World, together: u64, enough: Enough<'_>) -> anyhow::Result<f64> {
    let claims = claims::connect(&world.stores.claims, &world.stores.prefix).await?;
    let wish = |_| Wish {
        event: Uuid::now_v7(),
        envelope: Uuid::now_v7(),
        fingerprint: 7,
    };
    let claim = async |from| {
        let wishes: Vec<_> = (from..from + together).map(wish).collect();
        claims.claim(&wishes).await?;
        Ok(())
    };
    enough.each(together, claim).await
}

async fn record(world: &World, together: u64, enough: Enough<'_>) -> anyhow::Result<f64> {
    let ledger = Ledger::connect(&world.stores.ledger, 2).await?;
    let record = async |from| {
        let accepted = (from..from + together)
            .map(accepted)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let entries: Vec<_> = accepted
            .iter()
            .map(|(envelope, event)| Entry {
                envelope,
                provider: "sentinmail",
                events: vec![(event, vec![])],
                duplicates: vec![],
                echoes: vec![],
                unreadable: vec![],
            })
            .collect();
        ledger.record(&entries).await?;
        Ok(())
    };
    enough.each(together, record).await
}

/// The `n`th opt-out, as the route stage makes it.
fn accepted(n: u64) -> anyhow::Result<(Envelope, Event)> {
    let kind = event::Kind::Unsubscribed;
    let envelope = Envelope {
        id: Uuid::now_v7(),
        source: event::SOURCE.to_owned(),
        received_at: clock::now(),
        content_type: None,
        headers: vec![],
        body: kind.body(n).into(),
    };
    let mut draft = Draft::new(
        Kind::Unsubscribed,
        kind.name(),
        Identity::Own(n.to_string()),
    );
    draft.contact = Some(Contact::email(&kind.contact(n))?);
    let event = draft.into_event(&envelope, "sentinmail", Undetermined::Suppress);
    Ok((envelope, event))
}
