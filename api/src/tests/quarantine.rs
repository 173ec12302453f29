//! What could not be read.

use common::{
    envelope,
    ledger::{Held, HeldFilter},
    queue::Priority,
};

use super::*;

/// Puts an envelope into quarantine; gives it and the entry's id.
async fn hold(door: &Door, source: &'static str) -> (Envelope, Uuid) {
    let envelope = Fact {
        source,
        body: b"\xffnot JSON",
        ..fact(Kind::Other)
    }
    .envelope();
    door.ledger
        .quarantine(&envelope, "test", "not JSON")
        .await
        .unwrap();
    let entries = door
        .ledger
        .quarantined(&HeldFilter::default(), 500, None)
        .await
        .unwrap()
        .items;
    let entry = entries
        .into_iter()
        .find(|entry| entry.envelope_id == envelope.id)
        .unwrap();
    (envelope, entry.id)
}

async fn state(door: &Door, id: Uuid) -> Held {
    door.ledger
        .quarantine_entry(id)
        .await
        .unwrap()
        .unwrap()
        .state
}

async fn retry(door: &Door, id: Uuid) -> Answer {
    door.post(&format!("/api/v1/quarantine/{id}/retry")).await
}

#[tokio::test]
async fn it_is_listed_by_state_and_source_page_by_page() {
    on_each(async |door| {
        for _ in 0..3 {
            hold(door, "shop").await;
        }
        let (_, id) = hold(door, "news").await;
        let asked = door.ledger.retry_quarantined(id).await.unwrap().unwrap();
        door.ledger.retried(id, asked.1).await.unwrap();
        for (query, count) in [
            ("", 4),
            ("state=held", 3),
            ("state=retried", 1),
            ("source=shop", 3),
            ("source=news&state=held", 0),
        ] {
            assert_eq!(
                door.items(&format!("/api/v1/quarantine?{query}"))
                    .await
                    .len(),
                count,
                "{query}"
            );
        }
        let (seen, pages) = door.all_pages("/api/v1/quarantine?limit=3").await;
        assert_eq!((BTreeSet::from_iter(seen).len(), pages), (4, 2));
    })
    .await;
}

#[tokio::test]
async fn an_entry_comes_with_its_reason_and_its_body() {
    on_each(async |door| {
        let (envelope, id) = hold(door, "shop").await;
        let body = door.get(&format!("/api/v1/quarantine/{id}")).await.body;
        assert_eq!(
            (text(&body["reason"]), text(&body["state"])),
            ("not JSON".to_owned(), "held".to_owned())
        );
        assert_eq!(text(&body["envelope"]["id"]), envelope.id.to_string());
        assert_eq!(
            (&body["payload"], text(&body["payload_base64"])),
            (&Value::Null, "/25vdCBKU09O".to_owned())
        );
    })
    .await;
}

#[tokio::test]
async fn a_retried_entry_goes_to_the_route_stage_as_it_came() {
    on_each(async |door| {
        let (original, id) = hold(door, "shop").await;
        let answer = retry(door, id).await;
        assert_eq!(
            (answer.status, text(&answer.body["state"])),
            (StatusCode::ACCEPTED, "retried".to_owned())
        );
        let published = door.queue.take();
        assert_eq!(published.len(), 1);
        assert_eq!(published[0].queue, QueueName::Inbound(Priority::Urgent));
        assert_eq!(
            envelope::decode(published[0].body.clone()).unwrap(),
            [original]
        );
        assert_eq!(
            retry(door, id).await.status,
            StatusCode::ACCEPTED,
            "again, should it have got lost"
        );
    })
    .await;
}

#[tokio::test]
async fn a_refused_publish_is_503_and_the_entry_stays_held() {
    on_each(async |door| {
        let (_, id) = hold(door, "shop").await;
        door.queue.refuses.store(true, Ordering::SeqCst);
        let answer = retry(door, id).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(state(door, id).await, Held::Held);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_the_entry_held() {
    on_each(async |door| {
        let (_, id) = hold(door, "shop").await;
        door.queue.hangs.store(true, Ordering::SeqCst);
        let path = format!("/api/v1/quarantine/{id}/retry");
        let asked = door.post(&path);
        tokio::time::timeout(Duration::from_millis(200), asked)
            .await
            .unwrap_err();
        assert_eq!(state(door, id).await, Held::Held);
    })
    .await;
}

#[tokio::test]
async fn an_entry_of_a_source_that_is_gone_stays_as_it_is() {
    on_each(async |door| {
        let (_, id) = hold(door, "removed").await;
        let answer = retry(door, id).await;
        assert_eq!(
            (answer.status, state(door, id).await),
            (StatusCode::CONFLICT, Held::Held)
        );
        assert_eq!(door.queue.take(), []);
    })
    .await;
}
