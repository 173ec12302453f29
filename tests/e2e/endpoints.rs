//! Endpoints that users register: from the api to a signed request, over real processes and stores.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
};

use common::{
    delivery::State,
    endpoint,
    ledger::{DeliveryFilter, Ledger},
};
use futures_util::future::join_all;
use serde_json::json;
use standardwebhooks::Webhook;
use tests::{Kind, Process, Receiver, Stores, until};

use crate::{BOTH, configuration, sources, unsubscribed};

const PATH: &str = "/api/emails/webhook-endpoints/";

/// Waits until as many deliveries to the endpoint are in the state.
async fn deliveries(ledger: &Ledger, id: &str, state: State, count: usize) {
    let filter = DeliveryFilter {
        target: Some(endpoint::target(id.parse().unwrap())),
        state: Some(state),
        ..DeliveryFilter::default()
    };
    until(&format!("{count} deliveries are {state}"), async || {
        let page = ledger.deliveries(&filter, 50, None).await.ok()?;
        (page.items.len() == count).then_some(())
    })
    .await;
}

// rows: SM-20, SM-23
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_registered_is_told_signed_and_disabled_and_enabled_and_deleted() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let rest = configuration(&receiver) + "[endpoints]\nallow_http = true\n";
        let programs: &[&'static str] = match kind {
            Kind::Embedded => &["optout"],
            Kind::Scaled => &["ingress", "worker", "worker", "api"],
        };
        let mut processes = vec![];
        for program in programs {
            processes.push(Process::start(program, &stores, &rest, None).await);
        }
        let (door, api) = (&processes[0], &processes[processes.len() - 1]);
        let ledger = stores.ledger().await;

        let mut wanted = json!({ "url": receiver.url("/mine"), "events": ["unsubscribed"] });
        let (status, made) = api.ask("POST", PATH, &wanted).await;
        assert_eq!(status, 201, "{made}");
        let id = made["id"].as_str().unwrap();
        let one = format!("{PATH}{id}/");
        let secret = made["secret"].as_str().unwrap();
        for _ in 0..2 {
            let body = unsubscribed("one@example.com");
            door.accepted("notifiedby", &body).await;
        }
        deliveries(&ledger, id, State::Delivered, 1).await;
        let heard = receiver.heard("/mine");
        assert_eq!(heard.len(), 1, "on {kind:?}: a repeat has no effect");
        assert_eq!(heard[0].json()["recipient"], "one@example.com");
        let webhook = Webhook::new(secret).unwrap();
        webhook.verify(&heard[0].body, &heard[0].headers).unwrap();

        wanted["enabled"] = json!(false);
        assert_eq!(api.ask("PUT", &one, &wanted).await.0, 200);
        door.accepted("notifiedby", &unsubscribed("two@example.com"))
            .await;
        deliveries(&ledger, id, State::Parked, 1).await;
        wanted["enabled"] = json!(true);
        assert_eq!(api.ask("PUT", &one, &wanted).await.0, 200);
        deliveries(&ledger, id, State::Delivered, 2).await;

        receiver.answer("/mine", 503);
        door.accepted("notifiedby", &unsubscribed("three@example.com"))
            .await;
        deliveries(&ledger, id, State::Retrying, 1).await;
        assert_eq!(api.ask("DELETE", &one, &json!(null)).await.0, 204);
        deliveries(&ledger, id, State::Dead, 1).await;
        assert_eq!(receiver.heard("/hook").len(), 3, "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_worker_is_killed_hears_of_everything_and_of_repeats_under_one_id() {
    let killed = BOTH.into_iter().flat_map(|kind| {
        [("deliver.sent", 6..=10), ("deliver.recorded", 5..=9)]
            .map(|(point, heard)| killed_at(kind, point, heard))
    });
    join_all(killed).await;
}

/// The worker dies at the point after its first call. The endpoint has heard of that, which at `deliver.sent` nobody
/// knows, and maybe of others that were under way.
async fn killed_at(kind: Kind, point: &'static str, times: RangeInclusive<usize>) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let rest = sources() + "[endpoints]\nallow_http = true\ntimeout = \"2s\"\n";
    let (door, api, mut worker) = tokio::join!(
        Process::start("ingress", &stores, &rest, None),
        Process::start("api", &stores, &rest, None),
        Process::start("worker", &stores, &rest, Some(point))
    );
    let wanted = json!({ "url": receiver.url("/mine"), "events": ["unsubscribed"] });
    let (status, made) = api.ask("POST", PATH, &wanted).await;
    assert_eq!(status, 201, "{made}");
    for number in 0..5 {
        let body = unsubscribed(&format!("user{number}@example.com"));
        door.accepted("notifiedby", &body).await;
    }
    worker.died().await;
    assert!(!receiver.heard("/mine").is_empty(), "{point} on {kind:?}");
    worker.again().await;
    let ledger = stores.ledger().await;
    deliveries(&ledger, made["id"].as_str().unwrap(), State::Delivered, 5).await;

    let heard = receiver.heard("/mine");
    let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
    for one in &heard {
        let recipient = one.json()["recipient"].to_string();
        let id = one.header("webhook-id").to_owned();
        ids.entry(recipient).or_default().insert(id);
    }
    let one_each = ids.values().all(|ids| ids.len() == 1);
    assert!(ids.len() == 5 && one_each, "{point} on {kind:?}: {ids:?}");
    let count = heard.len();
    assert!(
        times.contains(&count),
        "{point} on {kind:?}: {count} requests"
    );
}
