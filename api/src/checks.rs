//! Checks that are asked together: those that have come while the last query was under way are the next one.
//!
//! Nobody waits for more to come: one check at a time is one query each. A query begins after the checks that it answers
//! have come, so each sees what was recorded before it was asked.

use common::{
    contact::Contact,
    ledger::{Ledger, Suppression},
    lifecycle::Lifecycle,
};
use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::error::{Error, PATIENCE, Result, asked};

/// The most checks of one query: what fits into one TLS record, since what does not waits (see the ledger's `rows.rs`).
const MOST: usize = 64;

/// Checks that wait for the next query; one more is answered "too late", as it would be.
const WAITING: usize = 16_384;

const LATE: Error = Error::Late("ledger");

/// Asks what suppresses a contact. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Checks(mpsc::Sender<Check>);

#[derive(Debug)]
struct Check {
    contact: Contact,
    scope: Option<String>,
    answer: oneshot::Sender<Result<Vec<Suppression>>>,
}

impl Checks {
    /// Starts the task that asks. It ends when the last clone of this is gone.
    pub(crate) fn start(ledger: Ledger, lifecycle: &Lifecycle) -> Self {
        let (sender, checks) = mpsc::channel(WAITING);
        lifecycle.spawn("checks", run(ledger, checks));
        Self(sender)
    }

    /// What [`Ledger::check`] answers, if it does in time.
    pub(crate) async fn ask(
        &self,
        contact: &Contact,
        scope: Option<&str>,
    ) -> Result<Vec<Suppression>> {
        let (answer, answered) = oneshot::channel();
        let check = Check {
            contact: contact.clone(),
            scope: scope.map(str::to_owned),
            answer,
        };
        self.0.try_send(check).map_err(|_| LATE)?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(LATE),
        }
    }
}

async fn run(ledger: Ledger, mut checks: mpsc::Receiver<Check>) -> anyhow::Result<()> {
    let mut together = Vec::with_capacity(MOST);
    while checks.recv_many(&mut together, MOST).await > 0 {
        // Whoever has given up is asked for no longer.
        together.retain(|check| !check.answer.is_closed());
        let questions: Vec<_> = together.iter().map(Check::question).collect();
        match asked(ledger.check_each(&questions)).await {
            Ok(answers) => {
                for (check, answer) in together.drain(..).zip(answers) {
                    check.answer.send(Ok(answer)).ok();
                }
            }
            // They have waited as long as they may. The connection that hangs is let go of, and the next have another.
            Err(Error::Late(_)) => together.clear(),
            // What is wrong with one, such as a text that the database does not take, is no fault of the others'.
            Err(_) => {
                join_all(together.drain(..).map(|check| alone(&ledger, check))).await;
            }
        }
    }
    Ok(())
}

async fn alone(ledger: &Ledger, check: Check) {
    let answer = asked(ledger.check(&check.contact, check.scope.as_deref())).await;
    check.answer.send(answer).ok();
}

impl Check {
    fn question(&self) -> (&Contact, Option<&str>) {
        (&self.contact, self.scope.as_deref())
    }
}
