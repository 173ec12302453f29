//! Tests of configured targets that people ask for: an event of nobody, sent once, past the queue, to one that is disabled as well.
//! No delivery is made of it, and it counts for no breaker.
//!
//! What is true if the process dies:
//! - before the test is taken: another worker makes it, or nobody does after some seconds.
//! - after that: it was sent or was not, and is not sent again; who asked is told that nothing is known of it.

use std::{sync::Arc, time::Duration};

use common::{
    delivery::{Answer, Delivery, Tested},
    event::Kind,
    lifecycle::Lifecycle,
    patience::until_done,
    request,
};
use tokio::time::Instant;
use tracing::info;
use uuid::Uuid;

use crate::{App, Outlet, attempt::guarded};

/// How often it is looked for tests that were asked for.
const LOOK: Duration = Duration::from_millis(500);

/// Makes tests until the worker is told to stop.
pub(crate) async fn run(app: Arc<App>, lifecycle: Lifecycle) -> anyhow::Result<()> {
    loop {
        let asked = || app.ledger.asked_target_tests();
        let Some(asked) = until_done(&lifecycle, "tests", asked).await else {
            return Ok(());
        };
        for (id, target) in asked {
            let outlet = app.outlets.iter().find(|outlet| outlet.name == target);
            let Some(outlet) = outlet.cloned() else {
                continue;
            };
            let take = || app.ledger.take_target_test(id);
            match until_done(&lifecycle, "tests", take).await {
                None => return Ok(()),
                Some(false) => {}
                Some(true) => {
                    let make = make(Arc::clone(&app), outlet, id, lifecycle.clone());
                    lifecycle.spawn_work(make);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = lifecycle.stopping() => return Ok(()),
        }
    }
}

/// Makes one, and says what came of it.
async fn make(app: Arc<App>, outlet: Arc<Outlet>, id: Uuid, lifecycle: Lifecycle) {
    let kinds = outlet.events.kinds();
    let kind = kinds.iter().find(|kind| **kind == Kind::Unsubscribed);
    let kind = kind.or(kinds.first()).copied();
    // Another one at each test, so that no system takes it for a repeat.
    let delivery = Delivery {
        id,
        target: outlet.name.clone(),
        event: request::example(kind.unwrap_or(Kind::Unsubscribed)),
    };
    let begun = Instant::now();
    let told = outlet.target.deliver(std::slice::from_ref(&delivery));
    let answer = match guarded(&outlet, told).await {
        Ok(mut answers) => answers.pop(),
        Err(why) => Some(Answer::retry(why)),
    };
    let answer = answer.unwrap_or_else(|| Answer::retry("the target's code gave no answer"));
    let tested = Tested::of(answer, begun.elapsed());
    info!(
        target_name = outlet.name,
        delivered = tested.delivered,
        "a target was tested"
    );
    let say = || app.ledger.target_tested(id, &tested);
    // None: the worker stops while the ledger is away, and nobody hears of it.
    until_done(&lifecycle, "tests", say).await;
}
