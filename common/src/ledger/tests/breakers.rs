//! Where the workers' breakers stand: the worst is told, and what is old is not.

use super::*;

const ONE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

async fn say(ledger: &Ledger, worker: Uuid, levels: &[(&str, Level)]) {
    let levels: Vec<_> = levels
        .iter()
        .map(|(target, level)| ((*target).to_owned(), *level))
        .collect();
    ledger.note_breakers(worker, &levels).await.unwrap();
}

/// Makes all that was said so much older; younger, if it is less than nothing.
async fn said_before(ledger: &Ledger, by: jiff::SignedDuration) {
    let text = "UPDATE breakers SET seen_at = seen_at - $1, since = since - $1";
    let aged = ledger
        .query(text)
        .bind(i64::try_from(by.as_micros()).unwrap());
    aged.execute(&ledger.pool).await.unwrap();
}

async fn told(ledger: &Ledger, target: &str) -> Option<(Level, i64, i64)> {
    let breaker = ledger.breakers().await.unwrap().remove(target)?;
    Some((breaker.level, breaker.at, breaker.workers))
}

#[tokio::test]
async fn of_several_workers_the_one_at_which_a_breaker_stands_worst_is_told() {
    for Fresh { ledger, .. } in &fresh().await {
        assert_eq!(told(ledger, "slack").await, None);
        say(
            ledger,
            ONE,
            &[("slack", Level::Closed), ("users", Level::HalfOpen)],
        )
        .await;
        say(
            ledger,
            OTHER,
            &[("slack", Level::Open), ("users", Level::Closed)],
        )
        .await;
        assert_eq!(told(ledger, "slack").await, Some((Level::Open, 1, 2)));
        assert_eq!(told(ledger, "users").await, Some((Level::HalfOpen, 1, 2)));
        say(ledger, OTHER, &[("users", Level::HalfOpen)]).await;
        assert_eq!(told(ledger, "slack").await, Some((Level::Closed, 1, 1)));
        assert_eq!(told(ledger, "users").await, Some((Level::HalfOpen, 2, 2)));
        say(ledger, ONE, &[]).await;
        say(ledger, OTHER, &[]).await;
        assert_eq!(ledger.breakers().await.unwrap(), [].into());
    }
}

#[tokio::test]
async fn what_a_dead_worker_said_is_not_told_for_long_and_forgotten_when_another_speaks() {
    for Fresh { ledger, .. } in &fresh().await {
        // Also after the clock was set back.
        for age in [46, -46] {
            say(ledger, ONE, &[("slack", Level::Open)]).await;
            assert!(told(ledger, "slack").await.is_some());
            said_before(ledger, jiff::SignedDuration::from_secs(age)).await;
            assert_eq!(told(ledger, "slack").await, None);
            say(ledger, OTHER, &[]).await;
            let text = "SELECT COUNT(*) FROM breakers";
            let left = ledger.query(text).fetch_one(&ledger.pool).await.unwrap();
            assert_eq!(sqlx::Row::try_get::<i64, _>(&left, 0).unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn a_breaker_that_is_tried_in_between_has_stood_open_all_the_time() {
    for Fresh { ledger, .. } in &fresh().await {
        let since = async || ledger.breakers().await.unwrap()["slack"].since;
        say(ledger, ONE, &[("slack", Level::Open)]).await;
        said_before(ledger, jiff::SignedDuration::from_secs(20)).await;
        let opened = since().await;
        for level in [Level::Open, Level::HalfOpen, Level::Open] {
            say(ledger, ONE, &[("slack", level)]).await;
            assert_eq!(since().await, opened);
        }
        say(ledger, ONE, &[("slack", Level::Closed)]).await;
        assert!(since().await > opened);
    }
}
