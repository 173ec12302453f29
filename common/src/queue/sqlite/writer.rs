//! The one task that writes: it owns a connection, and puts everything that was asked while the last commit was on its
//! way into one transaction. So many callers share an fsync, and none waits for company.
//!
//! A caller is answered after the commit. When the transaction fails, all of its callers are told so and nothing of it
//! has happened. The task ends when the last [`Handle`] is dropped; its last act is to give back what it had in hand.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    failure, file,
    handle::{Answer, Board, Command, Handle, lease_ended},
    statements::{self, Incoming, Taken, micros},
};
use crate::clock;

/// At most so many callers share a commit.
const GROUP: usize = 1024;

/// A clock that goes back by less is being trimmed, which delays nothing by more than that.
const STEP: Duration = Duration::from_secs(1);

/// How long a lease holds, and how often other processes' doings are looked for.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Timing {
    pub(in super::super) lease: Duration,
    pub(in super::super) poll: Duration,
}

/// Opens a session on `connection`, and starts writing.
pub(super) async fn start(
    mut connection: SqliteConnection,
    options: SqliteConnectOptions,
    poison: i64,
    timing: Timing,
) -> sqlx::Result<Handle> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let board = Arc::new(Board::default());
    statements::set_back(&mut connection, now(), lease_end(timing)).await?;
    let session = statements::open_session(&mut connection, lease_end(timing)).await?;
    board.begin(session);
    let writer = Writer {
        connection,
        line: file::line(options.get_filename()),
        options,
        inbox,
        board: board.clone(),
        poison,
        timing,
        session,
        version: 0,
        seen: (now(), Instant::now()),
        set_back: false,
        unclaimed: Vec::new(),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "owned by its handles: it ends when the last of them is dropped"
    )]
    drop(tokio::spawn(writer.run()));
    Ok(Handle { commands, board })
}

fn lease_end(timing: Timing) -> i64 {
    now().saturating_add(micros(timing.lease))
}

fn now() -> i64 {
    clock::now().as_microsecond()
}

struct Writer {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    line: file::Line,
    inbox: mpsc::UnboundedReceiver<Command>,
    board: Arc<Board>,
    poison: i64,
    timing: Timing,
    session: i64,
    /// `PRAGMA data_version`: changes when another connection has committed.
    version: i64,
    /// What the clock said, and when.
    seen: (i64, Instant),
    /// The clock went back, and the file is still to follow.
    set_back: bool,
    /// In hand, but of no consumer: to be given back with the next transaction.
    unclaimed: Vec<u64>,
}

/// Commands that share a transaction, by what they ask.
#[derive(Default)]
struct Group {
    declares: Vec<(String, Answer<i64>)>,
    publishes: Vec<(Vec<Incoming>, Answer<()>)>,
    takes: Vec<(i64, usize, Answer<Taken>)>,
    acked: Vec<u64>,
    released: Vec<u64>,
    settled: Vec<Answer<()>>,
}

/// What a transaction did.
struct Done {
    declared: Vec<i64>,
    taken: Vec<Taken>,
    gained: BTreeSet<i64>,
}

impl Writer {
    async fn run(mut self) {
        let mut commands = Vec::new();
        let mut tick = interval(self.timing.poll);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                count = self.inbox.recv_many(&mut commands, GROUP) => {
                    if count == 0 {
                        break;
                    }
                    let group = self.gather(commands.drain(..));
                    self.commit(group).await;
                }
                _ = tick.tick() => {
                    if !self.unclaimed.is_empty() {
                        self.commit(Group::default()).await;
                    }
                    if let Err(error) = self.look_around(&mut renewed).await {
                        tracing::warn!(%error, "the queue's file could not be looked after, trying again");
                        self.mend().await;
                    }
                }
            }
        }
        if let Err(error) =
            statements::leave_session(&mut self.connection, self.poison, self.session).await
        {
            tracing::warn!(%error, "messages in hand could not be given back, they return when their lease ends");
        }
    }

    /// Sorts commands. Those whose caller has gone are left out, those of a session that ended are refused.
    fn gather(&mut self, commands: impl Iterator<Item = Command>) -> Group {
        let mut group = Group {
            released: std::mem::take(&mut self.unclaimed),
            ..Group::default()
        };
        for command in commands {
            match command {
                Command::Declare { name, answer } => group.declares.push((name, answer)),
                Command::Publish { answer, .. } if answer.is_closed() => {}
                Command::Publish { messages, answer } => group.publishes.push((messages, answer)),
                Command::Take { answer, .. } if answer.is_closed() => {}
                Command::Take {
                    session,
                    queue,
                    max,
                    answer,
                } if session == self.session => group.takes.push((queue, max, answer)),
                Command::Take { answer, .. } => drop(answer.send(Err(lease_ended()))),
                Command::Ack {
                    session,
                    ids,
                    answer,
                } if session == self.session => {
                    group.acked.extend(ids);
                    group.settled.push(answer);
                }
                Command::Release {
                    session,
                    ids,
                    answer,
                } if session == self.session => {
                    group.released.extend(ids);
                    group.settled.extend(answer);
                }
                Command::Ack { answer, .. }
                | Command::Release {
                    answer: Some(answer),
                    ..
                } => drop(answer.send(Err(lease_ended()))),
                Command::Release { answer: None, .. } => {}
            }
        }
        group
    }

    async fn commit(&mut self, group: Group) {
        match self.apply(&group).await {
            Ok(done) => {
                self.board.wake(|queue| done.gained.contains(&queue));
                group
                    .declares
                    .into_iter()
                    .zip(done.declared)
                    .for_each(|((_, answer), id)| drop(answer.send(Ok(id))));
                group
                    .publishes
                    .into_iter()
                    .for_each(|(_, answer)| drop(answer.send(Ok(()))));
                group
                    .settled
                    .into_iter()
                    .for_each(|answer| drop(answer.send(Ok(()))));
                for ((_, _, answer), taken) in group.takes.into_iter().zip(done.taken) {
                    if let Err(Ok(taken)) = answer.send(Ok(taken)) {
                        self.unclaimed
                            .extend(taken.messages.iter().map(|message| message.token));
                    }
                }
            }
            Err(error) => {
                self.mend().await;
                let error = Arc::new(error);
                self.unclaimed.extend(group.released);
                group
                    .declares
                    .into_iter()
                    .for_each(|(_, answer)| drop(answer.send(Err(failure(error.clone())))));
                group
                    .publishes
                    .into_iter()
                    .for_each(|(_, answer)| drop(answer.send(Err(failure(error.clone())))));
                group
                    .settled
                    .into_iter()
                    .for_each(|answer| drop(answer.send(Err(failure(error.clone())))));
                group
                    .takes
                    .into_iter()
                    .for_each(|(_, _, answer)| drop(answer.send(Err(failure(error.clone())))));
            }
        }
    }

    /// Makes sure, after a failure, that the next transaction can begin. If that fails, it is tried again after the next.
    async fn mend(&mut self) {
        if let Err(error) = file::mend(&mut self.connection, &self.options).await {
            tracing::warn!(%error, "the queue's file could not be opened again, trying again");
        }
    }

    async fn apply(&mut self, group: &Group) -> sqlx::Result<Done> {
        let _turn = self.line.lock().await;
        // IMMEDIATE, since a transaction that turns into a writer half-way does not wait for others, it fails.
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let now = now();
        let mut declared = Vec::with_capacity(group.declares.len());
        for (name, _) in &group.declares {
            declared.push(statements::declare(&mut transaction, name).await?);
        }
        let mut gained =
            statements::release(&mut transaction, self.poison, self.session, &group.released)
                .await?;
        statements::ack(&mut transaction, self.session, &group.acked).await?;
        let incoming: Vec<&Incoming> = group
            .publishes
            .iter()
            .flat_map(|(messages, _)| messages)
            .collect();
        statements::publish(&mut transaction, &incoming, now).await?;
        gained.extend(incoming.iter().map(|message| message.queue));
        let mut taken = Vec::with_capacity(group.takes.len());
        for (queue, max, _) in &group.takes {
            taken.push(statements::take(&mut transaction, self.session, *queue, *max, now).await?);
        }
        transaction.commit().await?;
        Ok(Done {
            declared,
            taken,
            gained,
        })
    }

    /// Follows a clock that was set back: else what is ready would wait until it has caught up, maybe for an hour.
    async fn follow_clock(&mut self) -> sqlx::Result<()> {
        let (said, at) = std::mem::replace(&mut self.seen, (now(), Instant::now()));
        let expected = said.saturating_add(micros(self.seen.1 - at));
        self.set_back |= self.seen.0 < expected.saturating_sub(micros(STEP));
        if self.set_back {
            let lease_until = lease_end(self.timing);
            statements::set_back(&mut self.connection, self.seen.0, lease_until).await?;
            tracing::warn!("the clock was set back; the queue follows it");
            self.set_back = false;
            self.board.wake(|_| true);
        }
        Ok(())
    }

    /// Notices what other processes did, renews the lease, and ends those of processes that died.
    async fn look_around(&mut self, renewed: &mut Instant) -> sqlx::Result<()> {
        self.follow_clock().await?;
        let version = sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(&mut self.connection)
            .await?;
        if std::mem::replace(&mut self.version, version) != version {
            self.board.wake(|_| true);
        }
        if renewed.elapsed() < self.timing.lease / 3 {
            return Ok(());
        }
        let _turn = self.line.lock().await;
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let kept =
            statements::renew_session(&mut transaction, self.session, lease_end(self.timing))
                .await?;
        let session = if kept {
            self.session
        } else {
            statements::open_session(&mut transaction, lease_end(self.timing)).await?
        };
        let gained = statements::end_sessions(&mut transaction, self.poison, now()).await?;
        transaction.commit().await?;
        *renewed = Instant::now();
        if !kept {
            tracing::warn!(
                "this process slept through its lease, what it had in hand was given to others"
            );
            self.session = session;
            self.unclaimed.clear();
            self.board.begin(session);
        }
        self.board.wake(|queue| !kept || gained.contains(&queue));
        Ok(())
    }
}
