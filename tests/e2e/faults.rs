//! Killed at every point between two steps, and at random: nothing is lost, and nothing is done twice but where it is
//! said that it may be.

use std::{collections::HashSet, time::Duration};

use common::{
    delivery::State,
    ledger::{DeliveryFilter, EventFilter},
};
use futures_util::future::join_all;
use tests::{Kind, Process, Receiver, Stores, until};

use crate::{BOTH, configuration, unsubscribed};

/// Every named point, and whether a target may hear of the event twice: when the process dies while the target is being
/// told, which after the publish may be at the same time.
const POINTS: &[(&str, bool)] = &[
    ("route.received", false),
    ("route.claimed", false),
    ("route.recorded", false),
    ("route.published", true),
    ("route.settled", true),
    ("deliver.taken", false),
    ("deliver.sent", true),
    ("deliver.recorded", false),
    ("deliver.published", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_any_two_steps_loses_nothing_and_repeats_only_what_was_being_sent()
{
    for kind in BOTH {
        join_all(
            POINTS
                .iter()
                .map(|(point, may_repeat)| killed_at(kind, point, *may_repeat)),
        )
        .await;
    }
}

async fn killed_at(kind: Kind, point: &str, may_repeat: bool) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let mut optout =
        Process::start("optout", &stores, &configuration(&receiver), Some(point)).await;
    // The answer may be lost with the process; that the point was passed shows that the webhook was stored.
    optout
        .post("notifiedby", &unsubscribed("user@example.com"))
        .await
        .ok();
    optout.died().await;
    optout.again().await;
    let ledger = stores.ledger().await;
    until(
        &format!("{point} on {kind:?}: the delivery is made"),
        async || {
            let page = ledger
                .deliveries(&DeliveryFilter::default(), 10, None)
                .await
                .ok()?;
            (page.items.len() == 1 && page.items[0].state == State::Delivered).then_some(())
        },
    )
    .await;
    assert_eq!(
        ledger
            .events(&EventFilter::default(), 10, None)
            .await
            .unwrap()
            .items
            .len(),
        1,
        "{point} on {kind:?}"
    );
    let heard = receiver.heard("/hook");
    assert!(
        heard.len() == 1 || may_repeat && heard.len() == 2,
        "{point} on {kind:?}: told {} times",
        heard.len()
    );
    assert!(
        heard
            .iter()
            .all(|one| one.header("idempotency-key") == heard[0].header("idempotency-key"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_killed_around_its_publish_loses_nothing_that_was_answered() {
    for kind in BOTH {
        for point in ["ingress.before_publish:5", "ingress.published:5"] {
            let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
            let mut optout =
                Process::start("optout", &stores, &configuration(&receiver), Some(point)).await;
            let mut answered = HashSet::new();
            for number in 0..20 {
                let email = format!("user{number}@example.com");
                match optout.post("notifiedby", &unsubscribed(&email)).await {
                    Ok(answer) if answer.status() == 200 => drop(answered.insert(email)),
                    _ => break,
                }
            }
            optout.died().await;
            assert!(answered.len() < 20);
            optout.again().await;
            until(
                &format!("{point} on {kind:?}: all that was answered is told"),
                async || {
                    let told: HashSet<_> = receiver
                        .heard("/hook")
                        .iter()
                        .map(|heard| heard.json()["recipient"].as_str().unwrap().to_owned())
                        .collect();
                    answered.is_subset(&told).then_some(())
                },
            )
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_workers_killed_under_load_loses_nothing() {
    let (stores, receiver) = (Stores::fresh(Kind::Scaled).await, Receiver::start().await);
    let rest = configuration(&receiver);
    let ingress = Process::start("ingress", &stores, &rest, None).await;
    let (mut victim, _second, _third) = tokio::join!(
        Process::start("worker", &stores, &rest, None),
        Process::start("worker", &stores, &rest, None),
        Process::start("worker", &stores, &rest, None),
    );
    let post = async |from: usize| {
        // Every tenth is sent twice.
        for number in from..from + 150 {
            let body = unsubscribed(&format!("user{number}@example.com"));
            ingress.accepted("notifiedby", &body).await;
            if number % 10 == 0 {
                ingress.accepted("notifiedby", &body).await;
            }
        }
    };
    tokio::join!(post(0), async {
        until("the load is under way", async || {
            (receiver.heard("/hook").len() > 20).then_some(())
        })
        .await;
        victim.kill().await;
    });
    let ledger = stores.ledger().await;
    until("every event is delivered", async || {
        let delivered = DeliveryFilter {
            state: Some(State::Delivered),
            ..DeliveryFilter::default()
        };
        (ledger
            .deliveries(&delivered, 500, None)
            .await
            .ok()?
            .items
            .len()
            == 150)
            .then_some(())
    })
    .await;
    let told: Vec<_> = receiver
        .heard("/hook")
        .iter()
        .map(|heard| heard.header("idempotency-key").to_owned())
        .collect();
    let distinct: HashSet<_> = told.iter().collect();
    assert_eq!(distinct.len(), 150);
    assert!(
        told.len() - distinct.len() <= 16,
        "{} repeats are more than the slots of the one that died",
        told.len() - 150
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_with_0_and_loses_nothing() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        receiver.delay("/hook", Duration::from_millis(50));
        let mut optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        for number in 0..100 {
            optout
                .accepted(
                    "notifiedby",
                    &unsubscribed(&format!("user{number}@example.com")),
                )
                .await;
        }
        assert!(optout.terminate().await.success());
        optout.again().await;
        until(&format!("all are told once on {kind:?}"), async || {
            (receiver.heard("/hook").len() >= 100).then_some(())
        })
        .await;
        let ledger = stores.ledger().await;
        until("all are recorded as delivered", async || {
            let delivered = DeliveryFilter {
                state: Some(State::Delivered),
                ..DeliveryFilter::default()
            };
            (ledger
                .deliveries(&delivered, 500, None)
                .await
                .ok()?
                .items
                .len()
                == 100)
                .then_some(())
        })
        .await;
        assert_eq!(
            receiver.heard("/hook").len(),
            100,
            "stopping in order repeats nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgetting_everything_costs_no_correctness() {
    let (stores, receiver) = (Stores::fresh(Kind::Scaled).await, Receiver::start().await);
    let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
    let body = unsubscribed("user@example.com");
    optout.accepted("notifiedby", &body).await;
    let ledger = stores.ledger().await;
    until("it is told", async || {
        (receiver.heard("/hook").len() == 1).then_some(())
    })
    .await;
    forget(&stores).await;
    optout.accepted("notifiedby", &body).await;
    let (_, duplicates) = until("the repeat is recorded", async || {
        ledger
            .receipts()
            .await
            .ok()
            .filter(|(envelopes, _)| *envelopes == 2)
    })
    .await;
    assert_eq!(duplicates, 1);
    optout
        .accepted("notifiedby", &unsubscribed("last@example.com"))
        .await;
    until("the last is told", async || {
        (receiver.heard("/hook").len() >= 2).then_some(())
    })
    .await;
    assert_eq!(receiver.heard("/hook").len(), 2);
}

/// Deletes this test's claims.
async fn forget(stores: &Stores) {
    let client = redis::Client::open(stores.claims.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{}*", stores.prefix))
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(!keys.is_empty(), "the claim was there");
    let _: i64 = redis::cmd("DEL")
        .arg(keys)
        .query_async(&mut connection)
        .await
        .unwrap();
}
