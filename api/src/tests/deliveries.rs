//! Deliveries, and telling a target again.

use common::queue::Feed;

use super::*;

async fn retry(door: &Door, id: Uuid) -> Answer {
    door.post(&format!("/api/v1/deliveries/{id}/retry")).await
}

#[tokio::test]
async fn each_filter_lets_through_what_it_says() {
    on_each(async |door| {
        let before = clock::now();
        let event = door.record(fact(Kind::Complained), &["slack", "off"]).await;
        let (_, dead) = door.delivery_to("slack").await;
        door.attempt(dead, 1, State::Dead).await;
        let tomorrow = clock::now() + jiff::SignedDuration::from_hours(24);
        let counts = [
            (String::new(), 3),
            ("target=slack".to_owned(), 2),
            ("target=nobody".to_owned(), 0),
            ("state=dead".to_owned(), 1),
            ("state=pending".to_owned(), 2),
            ("state=dead&target=off".to_owned(), 0),
            ("kind=complained".to_owned(), 2),
            ("kind=complained&state=dead".to_owned(), 0),
            (format!("event={}", event.id), 2),
            (format!("event={}&target=off", event.id), 1),
            (format!("from={before}"), 3),
            (format!("to={before}"), 0),
            (format!("from={tomorrow}"), 0),
            (format!("to={tomorrow}&kind=unsubscribed"), 1),
        ];
        for (query, count) in counts {
            assert_eq!(
                door.items(&format!("/api/v1/deliveries?{query}"))
                    .await
                    .len(),
                count,
                "{query}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn one_delivery_comes_with_its_attempts() {
    on_each(async |door| {
        let (event, id) = door.delivery_to("slack").await;
        door.attempt(id, 1, State::Dead).await;
        let body = door.get(&format!("/api/v1/deliveries/{id}")).await.body;
        assert_eq!(
            (text(&body["event_id"]), text(&body["state"])),
            (event.id.to_string(), "dead".to_owned())
        );
        let attempt = &body["attempts"].as_array().unwrap()[0];
        assert_eq!(
            (&attempt["number"], text(&attempt["answer"])),
            (&Value::from(1), "no such hook".to_owned())
        );
    })
    .await;
}

#[tokio::test]
async fn a_dead_delivery_that_is_retried_is_pending_and_in_its_targets_queue() {
    on_each(async |door| {
        let (event, id) = door.delivery_to("slack").await;
        door.attempt(id, 1, State::Dead).await;
        let answer = retry(door, id).await;
        assert_eq!(
            (answer.status, text(&answer.body["state"])),
            (StatusCode::ACCEPTED, "pending".to_owned())
        );
        assert_eq!(text(&answer.body["id"]), id.to_string());
        let published = door.queue.take();
        assert_eq!(published.len(), 1);
        assert_eq!(
            published[0].queue,
            QueueName::Target("slack".to_owned(), Feed::Retried)
        );
        assert!(published[0].delay.is_zero());
        let delivery: Delivery = serde_json::from_slice(&published[0].body).unwrap();
        assert_eq!(delivery, Delivery::new(event, "slack"));
        let leaves = door
            .ledger
            .take(&[id], Uuid::now_v7(), std::time::Duration::from_mins(1))
            .await
            .unwrap();
        assert_eq!(
            leaves,
            [common::ledger::Leave::Granted {
                attempt: 1,
                ever: 2
            }],
            "with a full schedule"
        );
    })
    .await;
}

#[tokio::test]
async fn a_delivered_delivery_can_be_sent_again() {
    on_each(async |door| {
        let (_, id) = door.delivery_to("slack").await;
        door.attempt(id, 1, State::Delivered).await;
        let answer = retry(door, id).await;
        assert_eq!(
            (answer.status, &answer.body["delivered_at"]),
            (StatusCode::ACCEPTED, &Value::Null)
        );
        assert_eq!(door.queue.take().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_refused_publish_is_503_and_leaves_the_delivery_for_the_sweep() {
    on_each(async |door| {
        let (event, id) = door.delivery_to("slack").await;
        door.attempt(id, 1, State::Dead).await;
        door.queue.refuses.store(true, Ordering::SeqCst);
        let answer = retry(door, id).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], "5");
        assert_eq!(
            door.ledger.delivery(id).await.unwrap().unwrap().state,
            State::Pending
        );
        next_tick().await;
        assert_eq!(
            door.ledger
                .stuck("slack", Duration::ZERO, 10)
                .await
                .unwrap(),
            [Delivery::new(event, "slack")]
        );
        door.queue.refuses.store(false, Ordering::SeqCst);
        assert_eq!(
            retry(door, id).await.status,
            StatusCode::ACCEPTED,
            "asking again is harmless"
        );
    })
    .await;
}

#[tokio::test]
async fn a_target_that_nobody_serves_is_sent_nothing() {
    on_each(async |door| {
        for target in ["off", "removed"] {
            let (_, id) = door.delivery_to(target).await;
            door.attempt(id, 1, State::Dead).await;
            let answer = retry(door, id).await;
            assert_eq!(answer.status, StatusCode::CONFLICT);
            assert!(text(&answer.body["detail"]).contains(target), "{answer:?}");
            assert_eq!(
                door.ledger.delivery(id).await.unwrap().unwrap().state,
                State::Dead,
                "unchanged"
            );
        }
        assert_eq!(door.queue.take(), []);
    })
    .await;
}
