//! A reconciliation that repairs, by real processes and stores, whose worker is killed in the middle.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::get};
use common::ledger::DifferenceFilter;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Kind, Process, Receiver, Stores, until, until_within};

use crate::{BOTH, configuration};

/// Whom a platform suppresses: what SendGrid documents of its global unsubscribes.
type Unsubscribed = Arc<Mutex<BTreeSet<String>>>;

/// How long whoever takes over waits for the lease of one that died, at the most.
const TAKEN_OVER: Duration = Duration::from_secs(90);

async fn unsubscribes(State(all): State<Unsubscribed>) -> Json<Value> {
    let all = all.lock().unwrap();
    let listed = all
        .iter()
        .map(|email| json!({ "created": 1_700_000_000, "email": email }));
    Json(listed.collect())
}

async fn suppress(State(all): State<Unsubscribed>, Json(told): Json<Value>) -> Json<Value> {
    let emails = told["recipient_emails"].as_array().unwrap();
    let emails = emails
        .iter()
        .map(|email| email.as_str().unwrap().to_owned());
    all.lock().unwrap().extend(emails);
    Json(told)
}

/// The platform's URL; it ends with the test's runtime.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's server, which ends with the test"
)]
async fn platform(all: &Unsubscribed) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/v3/suppression/unsubscribes", get(unsubscribes))
        .route("/v3/asm/suppressions/global", axum::routing::post(suppress))
        .with_state(Arc::clone(all));
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_entered_before_it_was_killed_is_entered_once_and_the_rest_is_gone_on_with() {
    join_all(BOTH.map(killed)).await;
}

async fn killed(kind: Kind) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let listed: Unsubscribed = Arc::default();
    let emails: Vec<_> = (0..5).map(|at| format!("user{at}@example.com")).collect();
    listed.lock().unwrap().extend(emails.iter().cloned());
    let url = platform(&listed).await;
    let target = format!(
        "[[targets]]\nname = 'grid'\nkind = 'sendgrid'\nevents = ['unsubscribed']\nurl = '{url}'\ntoken = 't'\n\
         scopes = {{ '*' = 'global' }}\n"
    );
    let rest = configuration(&receiver) + &target;
    let point = Some("reconcile.published");
    let mut optout = Process::start("optout", &stores, &rest, point).await;
    let path = "/api/v1/reconciliations";
    let (status, asked) = optout.ask("POST", path, &json!({ "repair": true })).await;
    assert_eq!(status, 202, "{asked}");
    optout.died().await;
    optout.again().await;
    let path = format!("{path}/{}", asked["id"].as_str().unwrap());
    let what = format!("it is gone on with on {kind:?}");
    let done = until_within(TAKEN_OVER, &what, async || {
        let now = optout.get(&path).await;
        (now["state"] != "running").then_some(now)
    })
    .await;
    assert_eq!(done["state"], "done", "{done}");
    let list = &done["lists"][0];
    assert_eq!(
        (&list["only_theirs"], &list["repaired"]),
        (&json!(5), &json!(5))
    );
    for email in &emails {
        until("it is suppressed here", async || {
            let check = format!("/api/v1/check?email={email}");
            (optout.get(&check).await["unsubscribed"] == true).then_some(())
        })
        .await;
    }
    until("the other target is told of each", async || {
        (receiver.count("/hook") >= emails.len()).then_some(())
    })
    .await;
    let events = optout.get("/api/v1/events?source=api&limit=100").await;
    assert_eq!(events["items"].as_array().unwrap().len(), emails.len());
    let ledger = stores.ledger().await;
    let id = done["id"].as_str().unwrap().parse().unwrap();
    let filter = DifferenceFilter::default();
    let found = ledger.differences(id, &filter, 100, None).await.unwrap();
    let found: Vec<_> = found.items.into_iter().map(|one| one.contact).collect();
    assert_eq!(BTreeSet::from_iter(found), emails.iter().cloned().collect());
    assert_eq!(receiver.heard("/hook").len(), emails.len());
}
