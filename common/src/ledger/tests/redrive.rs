//! What is told again: by hand, or found by the sweep.

use super::*;

#[tokio::test]
async fn a_dead_delivery_starts_again_with_a_full_schedule() {
    for Fresh { ledger, .. } in &fresh().await {
        let (event, id) = one_delivery(ledger).await;
        let me = Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        ledger
            .finish(&[finished(id, 1, State::Dead, None)], me)
            .await
            .unwrap();
        assert_eq!(ledger.dead().await.unwrap(), [("slack".to_owned(), 1)]);
        let delivery = ledger.restart(id).await.unwrap().unwrap();
        assert_eq!((delivery.id, delivery.event), (id, event));
        let leave = ledger.take(&[id], Uuid::now_v7(), LEASE).await.unwrap();
        assert_eq!(
            leave,
            [Leave::Granted {
                attempt: 1,
                ever: 2
            }]
        );
        assert_eq!(ledger.restart(Uuid::now_v7()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_parked_or_lost_is_found_once() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let event = event(&envelope, Kind::Unsubscribed, "1", 0);
        let mut parked = entry(&envelope, std::slice::from_ref(&event), &["slack"]);
        parked.events[0].1[0].1 = State::Parked;
        ledger.record(&[parked]).await.unwrap();
        assert_eq!(ledger.stuck("slack", HOUR, 10).await.unwrap().len(), 1);
        assert_eq!(
            ledger.stuck("slack", HOUR, 10).await.unwrap().len(),
            0,
            "it moves now"
        );
        age(ledger, jiff::SignedDuration::from_hours(2)).await;
        assert_eq!(
            ledger.stuck("slack", HOUR, 10).await.unwrap()[0].event,
            event,
            "its message was lost"
        );
    }
}

#[tokio::test]
async fn sweepers_at_the_same_time_find_each_delivery_once() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let events: Vec<_> = (0..400)
            .map(|n| event(&envelope, Kind::Opened, &n.to_string(), n))
            .collect();
        ledger
            .record(&[entry(&envelope, &events, &["slack"])])
            .await
            .unwrap();
        age(ledger, jiff::SignedDuration::from_hours(2)).await;
        let sweeps = (0..4).map(|_| ledger.stuck("slack", HOUR, 1000));
        let found = futures_util::future::try_join_all(sweeps).await.unwrap();
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 400);
    }
}

#[tokio::test]
async fn a_retry_by_hand_is_not_undone_by_the_last_attempt_of_the_schedule_before() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let me = Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        ledger
            .finish(&[finished(id, 1, State::Retrying, None)], me)
            .await
            .unwrap();
        let leave = ledger.take(&[id], me, LEASE).await.unwrap();
        assert_eq!(
            leave,
            [Leave::Granted {
                attempt: 2,
                ever: 2
            }]
        );
        ledger.restart(id).await.unwrap().unwrap();
        assert!(matches!(
            ledger.take(&[id], me, LEASE).await.unwrap()[..],
            [Leave::Taken { .. }]
        ));
        ledger
            .finish(&[finished(id, 2, State::Dead, None)], me)
            .await
            .unwrap();
        assert_eq!(
            ledger.take(&[id], me, LEASE).await.unwrap(),
            [Leave::Granted {
                attempt: 1,
                ever: 3
            }]
        );
    }
}
