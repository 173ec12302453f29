//! What cannot be attempted now, and spends no attempt.

use super::{endpoints::registered, *};
use crate::endpoint;

#[tokio::test]
async fn a_postponed_delivery_waits_and_spends_no_attempt() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        for pause in [HOUR, Duration::from_mins(1)] {
            let leave = ledger.postpone(&[(id, pause)]).await.unwrap();
            assert!(
                matches!(leave[..], [Leave::Wait { left }] if about_an_hour(left)),
                "never sooner than before"
            );
        }
        let me = Uuid::now_v7();
        assert!(matches!(
            ledger.take(&[id], me, LEASE).await.unwrap()[..],
            [Leave::Wait { left }] if about_an_hour(left)
        ));
        let row = ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!((row.state, row.attempts), (State::Pending, 0));
        let unknown = ledger.postpone(&[(Uuid::now_v7(), HOUR)]).await.unwrap();
        assert_eq!(unknown, [Leave::Unknown]);
    }
}

#[tokio::test]
async fn a_parked_delivery_resumes_with_a_full_schedule() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        let me = Uuid::now_v7();
        ledger.take(&[id], me, LEASE).await.unwrap();
        let failed = finished(id, 1, State::Retrying, Some(HOUR));
        ledger.finish(&[failed], me).await.unwrap();
        assert_eq!(ledger.park(&[id]).await.unwrap(), [Leave::Finished]);
        assert_eq!(
            ledger.delivery(id).await.unwrap().unwrap().state,
            State::Parked
        );
        assert_eq!(
            ledger
                .stuck("slack", Duration::MAX, 10)
                .await
                .unwrap()
                .len(),
            1
        );
        let granted = Leave::Granted {
            attempt: 1,
            ever: 2,
        };
        assert_eq!(ledger.take(&[id], me, LEASE).await.unwrap(), [granted]);
    }
}

#[tokio::test]
async fn what_is_in_somebodys_hands_is_not_set_aside() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, id) = one_delivery(ledger).await;
        ledger.take(&[id], Uuid::now_v7(), LEASE).await.unwrap();
        for left in [
            ledger.postpone(&[(id, HOUR)]).await.unwrap(),
            ledger.park(&[id]).await.unwrap(),
            ledger.bury_deleted(&[id]).await.unwrap(),
        ] {
            assert!(matches!(left[..], [Leave::Taken { .. }]), "{left:?}");
        }
    }
}

#[tokio::test]
async fn the_deliveries_of_a_deleted_endpoint_are_dead_and_say_why() {
    for Fresh { ledger, .. } in &fresh().await {
        let (gone, stays) = (registered(ledger).await.id, registered(ledger).await.id);
        let targets = [gone, stays].map(endpoint::target);
        let envelope = envelope();
        let event = event(&envelope, Kind::Unsubscribed, "1", 0);
        let mut told = entry(
            &envelope,
            std::slice::from_ref(&event),
            &[&targets[0], &targets[1]],
        );
        told.events[0].1[0].1 = State::Parked;
        ledger.record(&[told]).await.unwrap();
        assert_eq!(ledger.bury_all_deleted(10).await.unwrap(), 0);
        ledger.delete_endpoint(gone, &Act::default()).await.unwrap();
        assert_eq!(ledger.bury_all_deleted(10).await.unwrap(), 1);
        assert_eq!(ledger.bury_all_deleted(10).await.unwrap(), 0);
        let row = async |target: &str| {
            let id = Delivery::id_of(event.id, target);
            ledger.delivery(id).await.unwrap().unwrap()
        };
        let dead = row(&targets[0]).await;
        assert_eq!(dead.state, State::Dead);
        assert_eq!(dead.last_error.as_deref(), Some("the endpoint was deleted"));
        assert_eq!(row(&targets[1]).await.state, State::Pending);
        let id = Delivery::id_of(event.id, &targets[1]);
        assert_eq!(ledger.bury_deleted(&[id]).await.unwrap(), [Leave::Finished]);
        assert_eq!(row(&targets[1]).await.state, State::Dead);
    }
}
