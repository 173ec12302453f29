//! What a person asks of the api while its process dies: it is done, or it can be asked again without harm.

use common::{
    delivery::State,
    ledger::{DeliveryFilter, Ledger},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Kind, Process, Receiver, Stores, until};

use crate::{BOTH, configuration, unsubscribed};

/// The id of the one delivery, once it is in one of the states.
async fn the_delivery(ledger: &Ledger, states: &[State]) -> String {
    until(&format!("the delivery is one of {states:?}"), async || {
        let filter = DeliveryFilter::default();
        let found = ledger.deliveries(&filter, 10, None).await.ok()?.items;
        let [only] = &found[..] else { return None };
        states.contains(&only.state).then(|| only.id.to_string())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_whose_process_is_killed_is_not_lost_and_can_be_asked_again() {
    join_all(BOTH.into_iter().map(restarted)).await;
}

/// It dies when the ledger says that the delivery begins again, and no queue does.
async fn restarted(kind: Kind) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    receiver.answer("/hook", 410);
    let rest = configuration(&receiver);
    let mut optout = Process::start("optout", &stores, &rest, Some("api.restarted")).await;
    let ledger = stores.ledger().await;
    optout
        .accepted("notifiedby", &unsubscribed("user@example.com"))
        .await;
    let id = the_delivery(&ledger, &[State::Dead]).await;
    receiver.answer("/hook", 200);
    let retry = format!("/api/v1/deliveries/{id}/retry");
    optout.is_cut_off("POST", &retry, &json!(null)).await;
    optout.died().await;
    optout.again().await;
    // It is known to be under way, and so for the sweep to find.
    let under_way = [State::Pending, State::Retrying];
    assert_eq!(the_delivery(&ledger, &under_way).await, id, "on {kind:?}");
    assert_eq!(receiver.heard("/hook").len(), 1, "on {kind:?}");

    assert_eq!(optout.do_it(&retry).await, 202, "on {kind:?}");
    the_delivery(&ledger, &[State::Delivered]).await;
    let heard = receiver.heard("/hook");
    assert_eq!(heard.len(), 2, "on {kind:?}: refused once, told once");
    let key = |index: usize| heard[index].header("idempotency-key");
    assert_eq!(key(0), key(1), "on {kind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_body_that_is_tried_again_while_the_process_is_killed_stays_held() {
    join_all(BOTH.into_iter().map(unquarantined)).await;
}

/// It dies when the envelope is in the queue again, and the ledger says that it is still held.
async fn unquarantined(kind: Kind) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let rest = configuration(&receiver);
    let mut optout = Process::start("optout", &stores, &rest, Some("api.unquarantined")).await;
    let entries = async |optout: &Process| -> Vec<Value> {
        let page = optout.get("/api/v1/quarantine").await;
        page["items"].as_array().unwrap().clone()
    };
    // One element of two can be read.
    let element = |id: &str, recipient: Value| json!({ "id": id, "type": "unsubscribed", "recipient": recipient, "timestamp": "2026-04-02T14:30:00Z" });
    let batch = json!([
        element("good", json!("user@example.com")),
        element("bad", json!(7))
    ]);
    optout.accepted("sentinmail", &batch.to_string()).await;
    let id = until("it is held", async || {
        let found = entries(&optout).await;
        found.first().map(|entry| entry["id"].clone())
    })
    .await;
    let retry = format!("/api/v1/quarantine/{}/retry", id.as_str().unwrap());
    optout.is_cut_off("POST", &retry, &json!(null)).await;
    optout.died().await;
    optout.again().await;

    for _ in 0..2 {
        assert_eq!(optout.do_it(&retry).await, 202, "on {kind:?}");
        until("it is held again", async || {
            (entries(&optout).await[0]["state"] == "held").then_some(())
        })
        .await;
    }
    let held = entries(&optout).await;
    assert_eq!((held.len(), &held[0]["id"]), (1, &id), "on {kind:?}");
    // What of it was read before has no effect again.
    optout
        .accepted("notifiedby", &unsubscribed("last@example.com"))
        .await;
    let told = async |recipient: &str| {
        let heard = receiver.heard("/hook");
        let of = heard
            .iter()
            .filter(|heard| heard.json()["recipient"] == recipient);
        of.count()
    };
    until("the last is told", async || {
        (told("last@example.com").await == 1).then_some(())
    })
    .await;
    assert_eq!(told("user@example.com").await, 1, "on {kind:?}");
}
