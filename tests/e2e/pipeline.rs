//! The main job: accepted, applied, delivered.

use std::{collections::HashSet, time::Duration};

use common::{
    contact::Contact,
    delivery::State,
    ledger::{DeliveryFilter, DeliveryRow, EventFilter, Ledger},
};
use futures_util::future::join_all;
use sqlx::{AnyPool, Row, any::install_default_drivers};
use tests::{Kind, Process, Receiver, Stores, until};

use crate::{BOTH, configuration, http_target, unsubscribed};

// rows: NB-1, NB-2, NB-5, NB-8, NB-12, NB-13, NB-14, NB-20, NB-21
#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribe_takes_effect_in_every_target() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let users = users(&stores).await;
        let targets = every_kind(&receiver, &users.url, &stores);
        let optout = Process::start(
            "optout",
            &stores,
            &(configuration(&receiver) + &targets),
            None,
        )
        .await;

        let envelope = optout
            .accepted("notifiedby", &unsubscribed("User@Example.com"))
            .await;
        let ledger = stores.ledger().await;
        let delivered = until("every target was told", async || {
            let page = ledger
                .deliveries(&DeliveryFilter::default(), 100, None)
                .await
                .ok()?;
            let done =
                page.items.len() == 5 && page.items.iter().all(|row| row.state == State::Delivered);
            done.then_some(page.items)
        })
        .await;
        assert_eq!(users.opted_in("user@example.com").await, 0);
        assert_eq!(users.opted_in("other@example.com").await, 1, "nobody else");
        told_as_each_expects(&receiver);
        let log = stores.folder.path().join("events.jsonl");
        assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 1);

        let event = ledger.event(delivered[0].event_id).await.unwrap().unwrap();
        assert_eq!(event.envelope_id.to_string(), envelope);
        let contact = Contact::email("user@example.com").unwrap();
        assert_eq!(
            ledger.check(&contact, Some("anything")).await.unwrap()[0].scope,
            "global"
        );
    }
}

/// Slack, Zendesk and the webhook were each told in the form that they know.
fn told_as_each_expects(receiver: &Receiver) {
    let slack = receiver.heard("/slack")[0].json();
    assert!(slack["blocks"].is_array(), "{slack}");
    assert!(
        !slack.to_string().contains("user@example.com"),
        "masked: {slack}"
    );
    let asked = receiver.heard("/api/v2/tickets.json");
    let made = asked.iter().find(|heard| heard.method == "POST").unwrap();
    assert!(made.header("idempotency-key").len() > 30);
    let hook = &receiver.heard("/hook")[0];
    assert_eq!(hook.json()["type"], "unsubscribed");
    assert_eq!(hook.json()["recipient"], "user@example.com");
    assert_eq!(hook.json()["timestamp"], "2024-07-02T18:04:00Z");
    assert_eq!(hook.header("webhook-id"), hook.header("idempotency-key"));
    assert!(hook.header("webhook-signature").starts_with("v1,"));
}

fn every_kind(receiver: &Receiver, users: &str, stores: &Stores) -> String {
    let (slack, zendesk) = (receiver.url("/slack"), receiver.url(""));
    let file = stores.folder.path().join("events.jsonl");
    format!(
        "[[targets]]\nname = \"slack\"\nkind = \"slack\"\nevents = [\"unsubscribed\"]\nurl = \"{slack}\"\n\
         [[targets]]\nname = \"tickets\"\nkind = \"zendesk\"\nevents = [\"unsubscribed\"]\nurl = \"{zendesk}\"\n\
         username = \"ops@example.com\"\ntoken = \"token\"\n\
         [[targets]]\nname = \"users\"\nkind = \"database\"\nevents = [\"unsubscribed\"]\nurl = \"{users}\"\n\
         [targets.statements]\nunsubscribed = \"UPDATE users SET opt_in = 0 WHERE lower(email) = :email\"\n\
         [[targets]]\nname = \"log\"\nkind = \"file\"\nevents = [\"*\"]\npath = \"{}\"\n",
        file.display()
    )
}

/// A customer's user database with two users who have opted in.
struct Users {
    url: String,
    pool: AnyPool,
}

async fn users(stores: &Stores) -> Users {
    install_default_drivers();
    let url = match stores.kind {
        Kind::Embedded => format!(
            "sqlite:{}?mode=rwc",
            stores.folder.path().join("users.db").display()
        ),
        // The ledger's own database does as well as any other for a table of the customer's.
        Kind::Scaled => stores.ledger.clone(),
    };
    let pool = AnyPool::connect(&url).await.unwrap();
    let text = "CREATE TABLE users (email TEXT, opt_in BIGINT); INSERT INTO users VALUES ('User@example.com', 1), ('other@example.com', 1)";
    sqlx::raw_sql(text).execute(&pool).await.unwrap();
    let url = url.trim_end_matches("?mode=rwc").to_owned();
    Users { url, pool }
}

impl Users {
    async fn opted_in(&self, email: &str) -> i64 {
        let query =
            sqlx::query("SELECT opt_in FROM users WHERE lower(email) = $1").bind(email.to_owned());
        query.fetch_one(&self.pool).await.unwrap().get(0)
    }
}

// rows: NB-10, SM-19
#[tokio::test(flavor = "multi_thread")]
async fn an_event_received_many_times_at_once_has_one_effect() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        let body = r#"{"id":"evt-1","type":"unsubscribed","recipient":"user@example.com","timestamp":"2026-04-02T14:30:00Z"}"#;
        join_all((0..20).map(|_| optout.accepted("sentinmail", body))).await;
        let ledger = stores.ledger().await;
        let duplicates = until("all twenty are recorded", async || {
            let (envelopes, duplicates) = ledger.receipts().await.ok()?;
            (envelopes == 20).then_some(duplicates)
        })
        .await;
        assert_eq!(duplicates, 19);
        assert_eq!(
            ledger
                .events(&EventFilter::default(), 10, None)
                .await
                .unwrap()
                .items
                .len(),
            1
        );
        until("the target is told", async || {
            (!receiver.heard("/hook").is_empty()).then_some(())
        })
        .await;
        // A later event is told after it: by then a repeat would have come, too.
        optout
            .accepted("notifiedby", &unsubscribed("last@example.com"))
            .await;
        until("the last is told", async || {
            (receiver.heard("/hook").len() > 1).then_some(())
        })
        .await;
        assert_eq!(receiver.heard("/hook").len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_delays_no_other_and_hears_of_everything_later() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let other = http_target("other", &receiver, "breaker_after = 3");
        let optout = Process::start(
            "optout",
            &stores,
            &(configuration(&receiver) + &other),
            None,
        )
        .await;
        receiver.answer("/other", 503);
        for number in 0..10 {
            optout
                .accepted(
                    "notifiedby",
                    &unsubscribed(&format!("user{number}@example.com")),
                )
                .await;
        }
        until("the healthy target is told of all", async || {
            (receiver.heard("/hook").len() == 10).then_some(())
        })
        .await;
        let ledger = stores.ledger().await;
        let waiting = DeliveryFilter {
            target: Some("other".to_owned()),
            ..DeliveryFilter::default()
        };
        let rows = ledger.deliveries(&waiting, 100, None).await.unwrap().items;
        assert!(
            rows.iter()
                .all(|row| matches!(row.state, State::Pending | State::Retrying)),
            "{rows:?}"
        );

        receiver.answer("/other", 200);
        let rows = until("the other target is told of all", async || {
            let rows = ledger.deliveries(&waiting, 100, None).await.ok()?.items;
            rows.iter()
                .all(|row| row.state == State::Delivered)
                .then_some(rows)
        })
        .await;
        assert_eq!(rows.len(), 10);
        tried_until_done(&ledger, &rows).await;
        let keys: HashSet<_> = receiver
            .heard("/other")
            .iter()
            .map(|heard| heard.header("idempotency-key").to_owned())
            .collect();
        assert_eq!(
            keys.len(),
            10,
            "each attempt at one delivery carries the same key"
        );
    }
}

/// The delivery with the most attempts shows each of them.
async fn tried_until_done(ledger: &Ledger, rows: &[DeliveryRow]) {
    let most = rows.iter().max_by_key(|row| row.attempts).unwrap();
    let attempts = ledger.attempts(most.id).await.unwrap();
    let first = &attempts[0];
    assert_eq!((first.outcome.as_str(), first.status), ("retry", Some(503)));
    assert_eq!(attempts.last().unwrap().outcome, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_refuses_for_good_is_dead_and_goes_out_again_by_hand() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        receiver.answer("/hook", 422);
        optout
            .accepted("notifiedby", &unsubscribed("user@example.com"))
            .await;
        let dead = until("the delivery is dead", async || {
            let page = optout.get("/api/v1/deliveries?state=dead").await;
            page["items"][0]["id"].as_str().map(str::to_owned)
        })
        .await;
        assert_eq!(receiver.heard("/hook").len(), 1);
        receiver.answer("/hook", 200);
        assert_eq!(
            optout
                .do_it(&format!("/api/v1/deliveries/{dead}/retry"))
                .await,
            202
        );
        until("the delivery is made", async || {
            let page = optout.get("/api/v1/deliveries?state=delivered").await;
            (page["items"][0]["id"] == dead.as_str()).then_some(())
        })
        .await;
        let heard = receiver.heard("/hook");
        assert_eq!(heard[0].header("webhook-id"), heard[1].header("webhook-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_targets_deliveries_wait_and_resume() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let with =
            |enabled: &str| configuration(&receiver) + &http_target("later", &receiver, enabled);
        let mut optout = Process::start("optout", &stores, &with("enabled = false"), None).await;
        optout
            .accepted("notifiedby", &unsubscribed("user@example.com"))
            .await;
        until("the enabled target is told", async || {
            (receiver.heard("/hook").len() == 1).then_some(())
        })
        .await;
        let ledger = stores.ledger().await;
        let parked = DeliveryFilter {
            state: Some(State::Parked),
            ..DeliveryFilter::default()
        };
        assert_eq!(
            ledger.deliveries(&parked, 10, None).await.unwrap().items[0].target,
            "later"
        );
        assert!(optout.terminate().await.success());
        let _optout = Process::start("optout", &stores, &with("enabled = true"), None).await;
        until("the enabled target is told", async || {
            (receiver.heard("/later").len() == 1).then_some(())
        })
        .await;
    }
}

// rows: SM-11
#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_does_not_wait_behind_opens() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        receiver.delay("/hook", Duration::from_millis(200));
        let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        let batch = |from: usize| {
            let opens: Vec<_> = (from..from + 100)
                .map(|n| format!(r#"{{"id":"open-{n}","type":"opened","recipient":"u{n}@example.com","timestamp":"2026-04-02T14:30:00Z"}}"#))
                .collect();
            format!("[{}]", opens.join(","))
        };
        for from in (0..2000).step_by(100) {
            optout.accepted("sentinmail", &batch(from)).await;
        }
        let begun = std::time::Instant::now();
        optout
            .accepted("notifiedby", &unsubscribed("user@example.com"))
            .await;
        until("the opt-out is told", async || {
            receiver
                .heard("/hook")
                .iter()
                .any(|heard| heard.json()["type"] == "unsubscribed")
                .then_some(())
        })
        .await;
        let (took, told) = (begun.elapsed(), receiver.heard("/hook").len());
        assert!(
            told < 1500,
            "{kind:?}: {told} of 2001 were told by then, so nothing was overtaken"
        );
        assert!(took < Duration::from_secs(10), "{kind:?} took {took:?}");
    }
}

// rows: PM-22, PM-24, PM-29
#[tokio::test(flavor = "multi_thread")]
async fn a_reactivation_lifts_its_own_sources_suppression_in_its_stream_and_tells_the_targets() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        let change = |suppress: bool, reason: &str, at: &str| {
            format!(
                r#"{{"RecordType":"SubscriptionChange","MessageID":null,"ServerID":1,"MessageStream":"news","ChangedAt":"{at}",
                "Recipient":"user@example.com","Origin":"Recipient","SuppressSending":{suppress},"SuppressionReason":{reason},"Tag":null,"Metadata":{{}}}}"#
            )
        };
        // The newer one comes first: order of arrival does not matter.
        optout
            .accepted("postmark", &change(false, "null", "2026-02-02T00:00:00Z"))
            .await;
        optout
            .accepted(
                "postmark",
                &change(true, "\"ManualSuppression\"", "2026-02-01T00:00:00Z"),
            )
            .await;
        optout
            .accepted("notifiedby", &unsubscribed("user@example.com"))
            .await;
        until("the target is told of all three", async || {
            (receiver.heard("/hook").len() == 3).then_some(())
        })
        .await;
        let mut kinds: Vec<_> = receiver
            .heard("/hook")
            .iter()
            .map(|heard| heard.json()["type"].as_str().unwrap().to_owned())
            .collect();
        kinds.sort();
        assert_eq!(kinds, ["resubscribed", "unsubscribed", "unsubscribed"]);
        let ledger = stores.ledger().await;
        let standing = ledger
            .check(&Contact::email("user@example.com").unwrap(), Some("news"))
            .await
            .unwrap();
        let sources: Vec<_> = standing
            .iter()
            .map(|suppression| suppression.source.as_str())
            .collect();
        assert_eq!(sources, ["notifiedby"], "what another source holds stays");
    }
}
