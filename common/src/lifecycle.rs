//! Starting, being watched and stopping.
//!
//! A process is a set of named loops. It stops when SIGTERM or SIGINT comes, or when one of its loops ends: a loop that
//! dies takes the process down with a non-zero exit, so that whatever supervises it starts it afresh, rather than
//! leaving it to limp. Stopping means: take nothing new, finish what is in hand, and give back what is not finished in
//! time.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::pin,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};
use tracing::{error, info, warn};

/// One process's loops and its wish to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tracker: TaskTracker,
    loops: Arc<Mutex<BTreeMap<String, LoopState>>>,
}

/// How a named loop fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopState {
    Running,
    /// Ended as it was asked to.
    Stopped,
    /// Ended by an error, a panic, or without being asked.
    Died,
}

/// The signals by which a process is asked to stop. Until they are listened to they end it on the spot, so that is the
/// first thing to do.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one that comes.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a loop that the process cannot do without. It ends only after [`Lifecycle::stopping`].
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that the ban points to"
    )]
    pub fn spawn(
        &self,
        name: impl Into<String>,
        run: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let guard = LoopGuard {
            lifecycle: self.clone(),
            name: name.into(),
            ended: None,
        };
        guard.lifecycle.set(&guard.name, LoopState::Running);
        tokio::spawn(self.tracker.track_future(async move {
            let mut guard = guard;
            guard.ended = Some(run.await);
        }));
    }

    /// Runs a piece of work that the process waits for when it stops, such as one connection or one call.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that the ban points to"
    )]
    pub fn spawn_work(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tracker.track_future(work));
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether the process has been asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends when the process is asked to stop.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.stop.cancelled()
    }

    /// The loops by name.
    pub fn loops(&self) -> BTreeMap<String, LoopState> {
        self.loops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Awaits what starts the loops. A signal that comes meanwhile asks those that run already to stop.
    pub async fn start<T>(&self, signals: &mut Signals, start: impl Future<Output = T>) -> T {
        let mut start = pin!(start);
        tokio::select! {
            started = &mut start => return started,
            name = signals.next() => info!("{name}: stopping"),
        }
        self.stop();
        start.await
    }

    /// Waits for a signal or the end of a loop, then for everything to finish, at most `patience`; a second signal ends
    /// the wait. The exit code is 0 only if every loop ended as it was asked to.
    pub async fn run(&self, signals: &mut Signals, patience: Duration) -> ExitCode {
        tokio::select! {
            biased;
            () = self.stopping() => {}
            name = signals.next() => info!("{name}: stopping"),
        }
        self.stop();
        tokio::select! {
            finished = self.finish(patience) => if !finished { warn!("not everything finished in time; what is left is given back") },
            name = signals.next() => warn!("second {name}: stopping at once"),
        }
        let died = self.loops().values().any(|state| *state == LoopState::Died);
        if died {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    /// Waits until everything that was spawned has ended; false if that takes longer than `patience`.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait())
            .await
            .is_ok()
    }

    fn set(&self, name: &str, state: LoopState) {
        self.loops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), state);
    }
}

/// Notes how its loop ended, a panic included, and stops the process if it should not have.
struct LoopGuard {
    lifecycle: Lifecycle,
    name: String,
    ended: Option<anyhow::Result<()>>,
}

impl Drop for LoopGuard {
    fn drop(&mut self) {
        let state = match self.ended.take() {
            Some(Ok(())) if self.lifecycle.is_stopping() => LoopState::Stopped,
            Some(Ok(())) => {
                error!(r#loop = %self.name, "a loop ended without being asked to; stopping");
                LoopState::Died
            }
            Some(Err(error)) => {
                error!(r#loop = %self.name, error = format!("{error:#}"), "a loop failed; stopping");
                LoopState::Died
            }
            None if std::thread::panicking() => {
                error!(r#loop = %self.name, "a loop panicked; stopping");
                LoopState::Died
            }
            // Cut off since the process did not wait for it any longer.
            None => LoopState::Stopped,
        };
        self.lifecycle.set(&self.name, state);
        if state == LoopState::Died {
            self.lifecycle.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_dies_stops_the_process_with_a_failure() {
        for panics in [false, true] {
            let lifecycle = Lifecycle::new();
            let other = lifecycle.clone();
            lifecycle.spawn("steady", async move {
                other.stopping().await;
                Ok(())
            });
            lifecycle.spawn("dying", async move {
                assert!(!panics, "as a bug would");
                anyhow::bail!("no more")
            });
            let mut signals = Signals::listen().unwrap();
            let exit = lifecycle.run(&mut signals, Duration::from_secs(5)).await;
            assert_eq!(format!("{exit:?}"), format!("{:?}", ExitCode::FAILURE));
            assert_eq!(lifecycle.loops()["dying"], LoopState::Died);
            assert_eq!(lifecycle.loops()["steady"], LoopState::Stopped);
        }
    }
}
