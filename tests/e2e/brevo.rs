//! The Brevo document over real processes: the answer to the letter, the effect before the answer, the targets told once,
//! and whoever dies in between.

use common::ledger::{DeliveryFilter, EventFilter};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Kind, Process, Receiver, Stores, until};

use crate::{BOTH, configuration};

const PATH: &str = "/api/v1/brevo/unsubscribe";

const SUCCESS: &str = include_str!("../../common/samples/brevo-document/success.json");
/// The document's requests in its own order.
const REQUESTS: [&str; 3] = [
    include_str!("../../common/samples/brevo-document/email.json"),
    include_str!("../../common/samples/brevo-document/phone.json"),
    include_str!("../../common/samples/brevo-document/both.json"),
];

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

async fn succeeds(api: &Process, body: &Value) {
    let answer = api.ask("POST", PATH, body).await;
    assert_eq!(answer, (200, parsed(SUCCESS)), "{body}");
}

/// What a sender is answered at this moment, by scope.
async fn suppressed(api: &Process, contact: &str) -> Vec<&'static str> {
    let scopes = ["general_contact", "primary_purpose", "events.spring-fair"];
    let mut found = vec![];
    for scope in scopes {
        let answer = api
            .get(&format!("/api/v1/check?{contact}&scope={scope}"))
            .await;
        if answer["unsubscribed"].as_bool().unwrap() {
            found.push(scope);
        }
    }
    found
}

/// The recipients that the target has heard of, in order of their names.
fn recipients(receiver: &Receiver) -> Vec<String> {
    let heard = receiver.heard("/hook");
    let mut found: Vec<_> = heard
        .iter()
        .map(|heard| heard.json()["recipient"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

async fn told(receiver: &Receiver, who: &[&str]) {
    until(&format!("the target hears of {who:?}"), async || {
        who.iter()
            .all(|one| recipients(receiver).iter().any(|heard| heard == one))
            .then_some(())
    })
    .await;
}

// rows: BR-1, BR-10, BR-11, BR-12, BR-13, BR-14, BR-15, BR-17, BR-18, BR-19, BR-20, BR-23, BR-28
#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribe_of_the_document_holds_when_it_is_answered_and_is_told_once() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let rest = configuration(&receiver);
        let (api, _worker) = tokio::join!(
            Process::start("api", &stores, &rest, None),
            Process::start("worker", &stores, &rest, None)
        );
        let (email, phone) = ("email=user@example.com", "phone=%2B15551234567");
        let general = ["general_contact"];
        let [by_email, by_phone, by_both] = REQUESTS.map(parsed);

        succeeds(&api, &by_email).await;
        assert_eq!(suppressed(&api, email).await, general, "on {kind:?}");
        assert_eq!(suppressed(&api, phone).await, [""; 0], "on {kind:?}");
        succeeds(&api, &by_phone).await;
        assert_eq!(suppressed(&api, phone).await, general, "on {kind:?}");
        let both = json!({ "email": "ann@example.com", "phone": "+15557654321" });
        succeeds(&api, &both).await;
        for contact in ["email=ann@example.com", "phone=%2B15557654321"] {
            assert_eq!(suppressed(&api, contact).await, general, "on {kind:?}");
        }
        let all = [
            "+15551234567",
            "+15557654321",
            "ann@example.com",
            "user@example.com",
        ];
        told(&receiver, &all).await;

        for again in [&by_email, &by_phone, &by_both, &both] {
            succeeds(&api, again).await;
        }
        // What is told after the repeats shows that they had nothing to tell.
        succeeds(&api, &json!({ "email": "zoe@example.com" })).await;
        told(&receiver, &["zoe@example.com"]).await;
        let once = [&all[..], &["zoe@example.com"]].concat();
        assert_eq!(recipients(&receiver), once, "on {kind:?}: each once");
        let events = api.get("/api/v1/events?source=api").await;
        assert_eq!(events["items"].as_array().unwrap().len(), once.len());
        let trail = api.get("/api/v1/audit?limit=100").await;
        let acts = trail["items"].as_array().unwrap();
        let processed = |act: &&Value| act["action"] == "brevo.unsubscribe";
        assert_eq!(acts.iter().filter(processed).count(), 11, "one per contact");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribe_whose_process_is_killed_takes_effect_all_the_same() {
    join_all(BOTH.into_iter().map(killed)).await;
}

/// It dies when the change is in the queue and not in the ledger.
async fn killed(kind: Kind) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let rest = configuration(&receiver);
    let (mut api, _worker) = tokio::join!(
        Process::start("api", &stores, &rest, Some("api.changed")),
        Process::start("worker", &stores, &rest, None)
    );
    let body = parsed(REQUESTS[2]);
    api.is_cut_off("POST", PATH, &body).await;
    api.died().await;
    // The worker does it without the api.
    told(&receiver, &["+15551234567", "user@example.com"]).await;
    api.again().await;
    for contact in ["email=user@example.com", "phone=%2B15551234567"] {
        assert_eq!(suppressed(&api, contact).await, ["general_contact"]);
    }
    succeeds(&api, &body).await;
    succeeds(&api, &json!({ "email": "zoe@example.com" })).await;
    told(&receiver, &["zoe@example.com"]).await;
    let ledger = stores.ledger().await;
    let events = ledger.events(&EventFilter::default(), 10, None).await;
    assert_eq!(
        events.unwrap().items.len(),
        3,
        "on {kind:?}: no repeat is new"
    );
    let made = ledger
        .deliveries(&DeliveryFilter::default(), 10, None)
        .await;
    assert_eq!(made.unwrap().items.len(), 3, "on {kind:?}");
    assert_eq!(recipients(&receiver).len(), 3, "on {kind:?}");
}
