//! Where breakers stand, as the ledger hears of it.

use common::{
    endpoint,
    ledger::{Breaker, Level},
};

use crate::{
    bench::{Bench, until},
    endpoints::{bench, register, unsubscribe},
};

/// Waits until a target's breaker is said to stand there.
async fn stands(bench: &Bench, target: &str, level: Level) -> Breaker {
    until(async || {
        let mut breakers = bench.ledger.breakers().await.unwrap();
        breakers.remove(target).filter(|one| one.level == level)
    })
    .await
}

#[tokio::test]
async fn it_is_said_while_the_worker_runs_and_taken_back_when_it_stops() {
    let (bench, receiver) = bench("breaker_after = 1", "[retry]\nschedule = ['1h']").await;
    receiver.answer("/hook", 503);
    let id = register(&bench, &receiver.url("/hook"), &["*"]).await;
    bench.work();
    stands(&bench, "log", Level::Closed).await;
    let target = endpoint::target(id);
    let breakers = bench.ledger.breakers().await.unwrap();
    assert_eq!(
        breakers.get(&target),
        None,
        "of a closed one nothing is said"
    );
    unsubscribe(&bench, 1).await;
    let open = stands(&bench, &target, Level::Open).await;
    assert_eq!((open.at, open.workers), (1, 1));
    bench.lifecycle.stop();
    let stopped = bench.lifecycle.finish(std::time::Duration::from_secs(20));
    assert!(stopped.await);
    assert_eq!(bench.ledger.breakers().await.unwrap(), [].into());
}
