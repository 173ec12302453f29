//! A database that decides who is sent to, and lifts that are no leave to send.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use common::{
    clock,
    contact::Contact,
    delivery::{Answer, Delivery, State},
    envelope::{self, Envelope},
    event::{Draft, Effect, GLOBAL, Identity, Kind, Lane, Register, Undetermined},
    ledger::EventFilter,
    queue::Feed,
    request::Request,
};
use serde_json::Value;
use sqlx::{Connection, Row, SqliteConnection};

use tokio::{sync::watch, time::Instant};
use worker::Admission;

use crate::{
    bench::{Bench, envelope_of, inbound, log, until},
    receiver::Receiver,
    sweep::open,
};

#[tokio::test]
async fn a_lift_is_told_to_a_database_only_once_nothing_suppresses_the_contact_any_more() {
    let users = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", users.path().join("users.db").display());
    let mut database = SqliteConnection::connect(&format!("{url}?mode=rwc"))
        .await
        .unwrap();
    let table = "CREATE TABLE users (email TEXT, opted_in BIGINT); INSERT INTO users VALUES ('user@example.com', 1)";
    sqlx::raw_sql(table).execute(&mut database).await.unwrap();
    let settings = format!(
        "[[sources]]\nname = 'mail'\nprovider = 'postmark'\nauth = {{ kind = 'none' }}\n\
         [[targets]]\nname = 'users'\nkind = 'database'\nevents = ['unsubscribed', 'resubscribed']\nurl = '{url}'\n\
         [targets.statements]\nunsubscribed = 'UPDATE users SET opted_in = 0 WHERE email = :email'\n\
         resubscribed = 'UPDATE users SET opted_in = 1 WHERE email = :email'"
    );
    let bench = Bench::with("", &settings).await;
    bench.work();
    // Each is delivered to both targets before the next one comes.
    let steps = [
        (
            envelope_of("shop", "user@example.com"),
            0,
            "another source unsubscribes",
        ),
        (
            changed(true, "2026-02-01T00:00:00Z"),
            0,
            "this source unsubscribes, too",
        ),
        (
            changed(false, "2026-02-02T00:00:00Z"),
            0,
            "this source lifts, the other one stands",
        ),
        (lifted("shop", user()), 1, "a person lifts the other one"),
    ];
    for (number, (envelope, opted_in, step)) in steps.into_iter().enumerate() {
        bench
            .publish(inbound(), envelope::encode([&envelope]))
            .await;
        bench.delivery(State::Delivered, 2 * (number + 1)).await;
        let row = sqlx::query("SELECT opted_in FROM users")
            .fetch_one(&mut database)
            .await;
        assert_eq!(row.unwrap().get::<i64, _>(0), opted_in, "{step}");
    }
}

/// How often a platform has heard of suppressions and of lifts after each of these steps.
async fn heard_after(steps: &[(Envelope, (usize, usize))]) {
    let platform = Receiver::start().await;
    let settings = format!(
        "[[sources]]\nname = 'mail'\nprovider = 'postmark'\nauth = {{ kind = 'none' }}\n\
         [[targets]]\nname = 'other'\nkind = 'sendgrid'\nevents = ['unsubscribed', 'resubscribed']\ntoken = 't'\n\
         url = '{}'\nscopes = {{ '*' = '7' }}\n[outbound]\nallow_networks = ['127.0.0.0/8']",
        platform.url("")
    );
    let bench = Bench::with("", &settings).await;
    bench.work();
    let suppressed = "/v3/asm/groups/7/suppressions";
    let lifted = "/v3/asm/groups/7/suppressions/user%40example.com";
    for (number, (envelope, (suppressions, lifts))) in steps.iter().enumerate() {
        bench.publish(inbound(), envelope::encode([envelope])).await;
        bench.delivery(State::Delivered, 2 * (number + 1)).await;
        let heard = (
            platform.heard(suppressed).len(),
            platform.heard(lifted).len(),
        );
        assert_eq!(heard, (*suppressions, *lifts), "step {number}");
    }
}

fn day(day: u32) -> String {
    format!("2026-02-0{day}T00:00:00Z")
}

#[tokio::test]
async fn a_platform_is_told_of_a_lift_only_once_none_of_the_scopes_that_its_list_is_suppresses() {
    heard_after(&[
        (changed_in("outbound", true, &day(1)), (1, 0)),
        (changed_in("broadcast", true, &day(2)), (2, 0)),
        // What stands is told instead.
        (changed_in("outbound", false, &day(3)), (3, 0)),
        (changed_in("broadcast", false, &day(4)), (3, 1)),
    ])
    .await;
}

#[tokio::test]
async fn a_platform_is_told_of_no_lift_where_it_was_told_of_no_suppression() {
    heard_after(&[
        (changed(false, &day(1)), (0, 0)),
        (changed(true, &day(2)), (1, 0)),
        (changed(false, &day(3)), (1, 1)),
    ])
    .await;
}

/// A platform with lists, which keeps a lift waiting while its gate is shut.
#[derive(Clone, Default)]
struct Lists {
    shut: Arc<watch::Sender<bool>>,
    told: Arc<Mutex<Vec<Effect>>>,
}

#[async_trait::async_trait]
impl worker::targets::Target for Lists {
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        for delivery in deliveries {
            let effect = delivery.event.effect;
            self.told.lock().unwrap().push(effect);
            if effect == Effect::Clear {
                let mut shut = self.shut.subscribe();
                shut.wait_for(|shut| !shut).await.unwrap();
            }
        }
        vec![Answer::done("told"); deliveries.len()]
    }

    fn decides(&self) -> bool {
        true
    }

    fn has_lists(&self) -> bool {
        true
    }
}

impl Lists {
    /// A worker at work for it.
    async fn at_work(&self, target: &str) -> Bench {
        let bench = Bench::with(
            target,
            "[[sources]]\nname = 'crm'\nprovider = 'notifiedby'\nauth = { kind = 'none' }",
        )
        .await;
        let platform = Box::new(self.clone());
        bench.work_with(|app| Arc::get_mut(&mut app.outlets[0]).unwrap().target = platform);
        bench
    }

    /// Waits until it was told of just this.
    async fn hears(&self, told: &[Effect]) {
        until(async || (*self.told.lock().unwrap() == told).then_some(())).await;
    }
}

async fn publish(bench: &Bench, envelope: &Envelope) {
    bench.publish(inbound(), envelope::encode([envelope])).await;
}

#[tokio::test]
async fn a_lift_that_an_opt_out_overtakes_at_a_platform_is_made_good() {
    let platform = Lists::default();
    let bench = platform.at_work("").await;
    publish(&bench, &envelope_of("shop", "user@example.com")).await;
    platform.hears(&[Effect::Suppress]).await;
    bench.delivery(State::Delivered, 1).await;
    platform.shut.send_replace(true);
    publish(&bench, &lifted("shop", user())).await;
    platform.hears(&[Effect::Suppress, Effect::Clear]).await;
    publish(&bench, &envelope_of("crm", "user@example.com")).await;
    let meanwhile = [Effect::Suppress, Effect::Clear, Effect::Suppress];
    platform.hears(&meanwhile).await;
    platform.shut.send_replace(false);
    platform
        .hears(&[&meanwhile[..], &[Effect::Suppress]].concat())
        .await;
    bench.delivery(State::Delivered, 3).await;
}

#[tokio::test]
async fn what_a_platform_reports_is_told_to_it_again_only_where_a_lift_may_have_undone_it() {
    let platform = Lists::default();
    let bench = platform.at_work("mirrors = 'shop'").await;
    publish(&bench, &envelope_of("shop", "user@example.com")).await;
    bench.delivery(State::Delivered, 1).await;
    platform.hears(&[]).await;
    publish(&bench, &lifted("shop", user())).await;
    bench.delivery(State::Delivered, 2).await;
    platform.hears(&[Effect::Clear]).await;
    let body = format!(
        r#"{{"event":"unsubscribed","email":"user@example.com","timestamp":"{}"}}"#,
        clock::now()
    );
    let again = Envelope {
        body: body.into(),
        ..envelope_of("shop", "")
    };
    publish(&bench, &again).await;
    bench.delivery(State::Delivered, 3).await;
    platform.hears(&[Effect::Clear, Effect::Suppress]).await;
}

#[tokio::test]
async fn nobody_is_told_of_a_contact_that_was_erased() {
    let bench = Bench::new().await;
    bench.work();
    let erased = Contact {
        address: "erased:00ff".to_owned(),
        ..user()
    };
    for envelope in [
        lifted("shop", erased),
        envelope_of("shop", "user@example.com"),
    ] {
        bench
            .publish(inbound(), envelope::encode([&envelope]))
            .await;
    }
    bench.delivery(State::Delivered, 1).await;
    let events = bench.ledger.events(&EventFilter::default(), 10, None).await;
    assert_eq!(events.unwrap().items.len(), 2);
    bench.log_has(1).await;
}

/// Postmark's message that it suppresses, or does not any more.
fn changed(suppress: bool, at: &str) -> Envelope {
    changed_in("outbound", suppress, at)
}

fn changed_in(stream: &str, suppress: bool, at: &str) -> Envelope {
    let reason = if suppress {
        "\"ManualSuppression\""
    } else {
        "null"
    };
    let body = format!(
        r#"{{"RecordType":"SubscriptionChange","MessageID":null,"ServerID":1,"MessageStream":"{stream}","ChangedAt":"{at}",
        "Recipient":"user@example.com","Origin":"Recipient","SuppressSending":{suppress},"SuppressionReason":{reason},"Tag":null,"Metadata":{{}}}}"#
    );
    Envelope {
        source: "mail".to_owned(),
        body: Bytes::from(body),
        ..envelope_of("mail", "")
    }
}

/// The lift by hand of what a source's unsubscribe has set.
fn lifted(source: &str, contact: Contact) -> Envelope {
    let mut draft = Draft::new(Kind::Resubscribed, "lift", Identity::Own("lift".to_owned()));
    draft.contact = Some(contact);
    draft.scope = Some(GLOBAL.to_owned());
    draft.occurred_at = Some(clock::now());
    draft.register = Some(Register {
        source: source.to_owned(),
        lane: Lane::Consent,
    });
    let request = Request {
        actor: "ops".to_owned(),
        action: "suppression.lift".to_owned(),
        request: Value::Null,
        drafts: vec![draft],
    };
    request.into_envelope()
}

fn user() -> Contact {
    Contact::email("user@example.com").unwrap()
}

/// A target that decides who is sent to.
struct Deciding;

#[async_trait::async_trait]
impl worker::targets::Target for Deciding {
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        vec![Answer::done("told"); deliveries.len()]
    }

    fn decides(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_probe_that_the_ledger_s_trouble_keeps_from_being_made_is_made_again() {
    let bench = Bench::with("breaker_after = 1", "").await;
    let mut lift = Draft::new(Kind::Resubscribed, "lift", Identity::Own("1".to_owned()));
    lift.contact = Some(user());
    let envelope = envelope_of("shop", "user@example.com");
    let lift = lift.into_event(&envelope, "notifiedby", Undetermined::Suppress);
    let lift = Delivery::new(lift, "log");
    bench.ledger.adopt(&lift).await.unwrap();
    let mut ledger = open(&bench).await;
    let trouble = "ALTER TABLE registers RENAME TO elsewhere";
    sqlx::raw_sql(trouble).execute(&mut ledger).await.unwrap();
    bench.publish(log(Feed::Urgent), lift.encode()).await;
    let mut breaker = None;
    bench.work_with(|app| {
        let outlet = Arc::get_mut(&mut app.outlets[0]).unwrap();
        outlet.target = Box::new(Deciding);
        let long_ago = Instant::now().checked_sub(Duration::from_mins(1));
        outlet.breaker.failed(long_ago.unwrap());
        breaker = Some(Arc::clone(&outlet.breaker));
    });
    until(async || {
        let leased = "SELECT COUNT(*) FROM deliveries WHERE lease_owner IS NOT NULL";
        let leased = sqlx::query(leased).fetch_one(&mut ledger).await.ok()?;
        (leased.get::<i64, _>(0) == 1).then_some(())
    })
    .await;
    let breaker = breaker.unwrap();
    until(async || (breaker.admit(Instant::now()) == Admission::Probe).then_some(())).await;
}
