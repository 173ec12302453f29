//! Who may attempt a delivery, and what came of it.

use super::*;

#[tokio::test]
async fn leave_to_attempt_is_given_to_one_at_a_time() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let (me, other) = (Uuid::now_v7(), Uuid::now_v7());
        let leaves = ledger.take(&[id, id], me, LEASE).await.unwrap();
        assert_eq!(
            leaves[0],
            Leave::Granted {
                attempt: 1,
                ever: 1
            }
        );
        assert!(matches!(leaves[1], Leave::Taken { .. }));
        assert!(matches!(
            ledger.take(&[id], other, LEASE).await.unwrap()[..],
            [Leave::Taken { .. }]
        ));
        assert_eq!(
            ledger.take(&[Uuid::now_v7()], me, LEASE).await.unwrap(),
            [Leave::Unknown]
        );
    }
}

#[tokio::test]
async fn a_lease_that_ended_is_given_to_the_next() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        ledger
            .take(&[id], Uuid::now_v7(), Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(
            ledger.take(&[id], Uuid::now_v7(), LEASE).await.unwrap(),
            [Leave::Granted {
                attempt: 1,
                ever: 1
            }]
        );
    }
}

#[tokio::test]
async fn a_lease_that_its_holder_gives_back_is_given_to_the_next() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let (me, other) = (Uuid::now_v7(), Uuid::now_v7());
        ledger.take(&[id], me, LEASE).await.unwrap();
        ledger.give_back(&[id], other).await.unwrap();
        assert!(matches!(
            ledger.take(&[id], other, LEASE).await.unwrap()[..],
            [Leave::Taken { .. }]
        ));
        ledger.give_back(&[id], me).await.unwrap();
        assert!(matches!(
            ledger.take(&[id], other, LEASE).await.unwrap()[..],
            [Leave::Granted { attempt: 1, .. }]
        ));
    }
}

#[tokio::test]
async fn attempts_are_recorded_once_and_what_is_delivered_stays_delivered() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let me = Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        for _ in 0..2 {
            ledger
                .finish(&[finished(id, 1, State::Retrying, Some(HOUR))], me)
                .await
                .unwrap();
        }
        assert_eq!(ledger.attempts(id).await.unwrap().len(), 1);
        let row = ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!(
            (row.state, row.attempts, row.last_status),
            (State::Retrying, 1, Some(503))
        );
        assert!(matches!(
            ledger.take(&[id], me, LEASE).await.unwrap()[..],
            [Leave::Wait { left }] if about_an_hour(left)
        ));
        age(ledger, jiff::SignedDuration::from_hours(1)).await;
        ledger
            .finish(&[finished(id, 2, State::Delivered, None)], me)
            .await
            .unwrap();
        ledger
            .finish(&[finished(id, 3, State::Retrying, None)], me)
            .await
            .unwrap();
        assert_eq!(
            ledger.delivery(id).await.unwrap().unwrap().state,
            State::Delivered
        );
        assert_eq!(
            ledger.take(&[id], me, LEASE).await.unwrap(),
            [Leave::Finished]
        );
    }
}

#[tokio::test]
async fn an_outcome_that_comes_after_its_lease_leaves_the_next_holder_alone() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let (slow, next) = (Uuid::now_v7(), Uuid::now_v7());
        ledger.take(&[id], slow, Duration::ZERO).await.unwrap();
        ledger.take(&[id], next, LEASE).await.unwrap();
        ledger
            .finish(&[finished(id, 1, State::Retrying, None)], slow)
            .await
            .unwrap();
        assert!(matches!(
            ledger.take(&[id], slow, LEASE).await.unwrap()[..],
            [Leave::Taken { .. }]
        ));
    }
}

#[tokio::test]
async fn what_is_put_off_waits_no_longer_when_the_databases_clock_is_set_back() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let me = Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        ledger
            .finish(&[finished(id, 1, State::Retrying, Some(HOUR))], me)
            .await
            .unwrap();
        for _ in 0..2 {
            age(ledger, jiff::SignedDuration::from_hours(-3)).await;
            assert!(matches!(
                ledger.take(&[id], me, LEASE).await.unwrap()[..],
                [Leave::Wait { left }] if about_an_hour(left)
            ));
        }
        age(ledger, jiff::SignedDuration::from_hours(1)).await;
        assert!(matches!(
            ledger.take(&[id], me, LEASE).await.unwrap()[..],
            [Leave::Granted { .. }]
        ));
    }
}

#[tokio::test]
async fn a_lease_ends_no_later_when_the_databases_clock_is_set_back() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let (dead, other) = (Uuid::now_v7(), Uuid::now_v7());
        ledger.take(&[id], dead, LEASE).await.unwrap();
        age(ledger, jiff::SignedDuration::from_hours(-3)).await;
        for _ in 0..2 {
            assert!(matches!(
                ledger.take(&[id], other, LEASE).await.unwrap()[..],
                [Leave::Taken { left }] if left <= LEASE
            ));
        }
        age(ledger, jiff::SignedDuration::from_secs(30)).await;
        assert!(matches!(
            ledger.take(&[id], other, LEASE).await.unwrap()[..],
            [Leave::Granted { .. }]
        ));
    }
}
