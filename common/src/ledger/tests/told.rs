//! What targets were told, and events that only report it back.

use jiff::SignedDuration;
use serde_json::json;

use super::{plans::plan, *};
use crate::{
    event::{Effect, GLOBAL},
    ledger::told::{accounted_for, told},
};

/// What the platform behind the target `slack` reports of the contact, at a time.
fn report(kind: Kind, at: Timestamp) -> (Envelope, Event) {
    let envelope = Envelope {
        source: "crm".to_owned(),
        ..envelope()
    };
    let mut event = event(&envelope, kind, &envelope.id.to_string(), 0);
    event.occurred_at = at;
    (envelope, event)
}

/// The changes that `slack` was told of in the minutes around the report.
async fn around(ledger: &Ledger, event: &Event) -> Vec<Told> {
    let minutes = SignedDuration::from_mins(2);
    let question = Question {
        event,
        target: "slack",
        from: event.occurred_at - minutes,
        to: event.occurred_at + minutes,
    };
    let mut answers = ledger.told(&[question]).await.unwrap();
    answers.swap_remove(0)
}

fn ended(delivery: Uuid, number: i64, state: State, outcome: &str) -> Finished {
    let again = (state == State::Retrying).then_some(Duration::ZERO);
    let mut ended = finished(delivery, number, state, again);
    ended.attempt.outcome = outcome.to_owned();
    ended
}

async fn leave(ledger: &Ledger, delivery: Uuid, owner: Uuid) {
    let leave = ledger.take(&[delivery], owner, LEASE).await.unwrap();
    assert!(matches!(leave[..], [Leave::Granted { .. }]), "{leave:?}");
}

#[tokio::test]
async fn a_target_counts_as_told_from_the_moment_that_leave_is_taken_until_it_is_given_back() {
    for Fresh { ledger, .. } in &fresh().await {
        let (told, delivery) = one_delivery(ledger).await;
        let (_, report) = report(Kind::Suppressed, clock::now());
        assert_eq!(around(ledger, &report).await, []);
        let owner = Uuid::now_v7();
        leave(ledger, delivery, owner).await;
        let found = around(ledger, &report).await;
        assert_eq!(
            (
                found.len(),
                found[0].event,
                found[0].effect,
                &*found[0].scope
            ),
            (1, told.id, Effect::Suppress, GLOBAL)
        );
        ledger.give_back(&[delivery], owner).await.unwrap();
        assert_eq!(around(ledger, &report).await, []);

        // One that ended counts for itself, beside the one that is under way.
        leave(ledger, delivery, owner).await;
        let failed = ended(delivery, 1, State::Retrying, "retry");
        ledger.finish(&[failed], owner).await.unwrap();
        assert_eq!(around(ledger, &report).await.len(), 1);
        leave(ledger, delivery, owner).await;
        assert_eq!(around(ledger, &report).await.len(), 2);
        let done = ended(delivery, 2, State::Delivered, "done");
        ledger.finish(&[done], owner).await.unwrap();
        assert_eq!(around(ledger, &report).await.len(), 2);
    }
}

#[tokio::test]
async fn what_a_target_refused_or_was_not_told_after_all_it_was_not_told() {
    for Fresh { ledger, .. } in &fresh().await {
        for (state, outcome) in [(State::Dead, "dead"), (State::Delivered, "withheld")] {
            let (_, delivery) = one_delivery(ledger).await;
            let owner = Uuid::now_v7();
            leave(ledger, delivery, owner).await;
            let ended = ended(delivery, 1, state, outcome);
            ledger.finish(&[ended], owner).await.unwrap();
            let (_, report) = report(Kind::Suppressed, clock::now());
            assert_eq!(around(ledger, &report).await, [], "{outcome}");
        }
    }
}

#[tokio::test]
async fn what_was_told_at_another_time_is_found_by_the_time_that_it_states_itself() {
    for Fresh { ledger, .. } in &fresh().await {
        let (told, delivery) = one_delivery(ledger).await;
        leave(ledger, delivery, Uuid::now_v7()).await;
        let (_, mut report) = report(Kind::Suppressed, told.occurred_at);
        assert_eq!(around(ledger, &report).await.len(), 1);
        report.occurred_at += SignedDuration::from_secs(1);
        assert_eq!(around(ledger, &report).await, [], "another second");
        report.occurred_at = told.occurred_at;
        report.time_assumed = true;
        assert_eq!(around(ledger, &report).await, [], "it states none");
        let other = Contact::email("other@example.com").unwrap();
        report.time_assumed = false;
        report.contact = Some(other);
        assert_eq!(around(ledger, &report).await, [], "of somebody else");
    }
}

#[tokio::test]
async fn an_echo_sets_nothing_goes_nowhere_and_stays_one() {
    for Fresh { ledger, .. } in &fresh().await {
        let (told, _) = one_delivery(ledger).await;
        let (envelope, echo) = report(Kind::Unsubscribed, clock::now());
        let record = async |envelope: &Envelope, event: &Event, of: Option<Uuid>| {
            let echoes = of.map(|of| (event.id, of)).into_iter().collect();
            let entry = Entry {
                echoes,
                ..entry(envelope, std::slice::from_ref(event), &["slack", "log"])
            };
            ledger.record(&[entry]).await.unwrap()
        };
        let deliveries = async |event: Uuid| {
            let filter = DeliveryFilter {
                event: Some(event),
                ..DeliveryFilter::default()
            };
            let page = ledger.deliveries(&filter, 10, None).await.unwrap();
            page.items.len()
        };
        // The mark of the first time stands, whatever would be found later.
        for of in [Some(told.id), None, Some(Uuid::now_v7())] {
            assert_eq!(record(&envelope, &echo, of).await, [Recorded::Echo]);
        }
        let stored = ledger.event(echo.id).await.unwrap().unwrap();
        assert_eq!(
            (stored.echo_of, stored.effect),
            (Some(told.id), Effect::None)
        );
        assert_eq!(deliveries(echo.id).await, 0);
        let contact = echo.contact.clone().unwrap();
        let standing = ledger.check(&contact, None).await.unwrap();
        assert_eq!(standing.len(), 1);
        assert_eq!(standing[0].source, "shop");
        let stored = ledger.envelope(envelope.id).await.unwrap().unwrap();
        assert_eq!((stored.events, stored.duplicates), (1, 0));
        let (again, _) = report(Kind::Unsubscribed, clock::now());
        let repeat = record(&again, &echo_in(&echo, &again), None).await;
        assert!(matches!(repeat[..], [Recorded::Duplicate { .. }]));

        // And what was none when it was recorded never becomes one.
        let (envelope, genuine) = report(Kind::Unsubscribed, clock::now());
        for of in [None, Some(told.id)] {
            assert_eq!(record(&envelope, &genuine, of).await, [Recorded::Owned]);
        }
        assert_eq!(deliveries(genuine.id).await, 2);
        assert_eq!(ledger.check(&contact, None).await.unwrap().len(), 2);
    }
}

/// The same event as another envelope brings it.
fn echo_in(echo: &Event, envelope: &Envelope) -> Event {
    Event {
        envelope_id: envelope.id,
        ..echo.clone()
    }
}

#[tokio::test]
async fn what_has_a_delivery_is_no_echo_though_an_older_copy_of_the_ledger_took_it_for_one() {
    for Fresh { ledger, .. } in &fresh().await {
        let (envelope, event) = report(Kind::Unsubscribed, clock::now());
        let entry = Entry {
            echoes: vec![(event.id, Uuid::now_v7())],
            ..entry(&envelope, std::slice::from_ref(&event), &[])
        };
        ledger.record(&[entry]).await.unwrap();
        let delivery = Delivery::new(event.clone(), "slack");
        ledger.adopt(&delivery).await.unwrap();
        assert_eq!(ledger.event(event.id).await.unwrap().unwrap(), event);
        let contact = event.contact.unwrap();
        assert_eq!(ledger.check(&contact, None).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_was_told_is_looked_for_among_the_changes_of_the_contact_alone() {
    for Fresh { ledger, .. } in &fresh().await {
        let (_, delivery) = one_delivery(ledger).await;
        leave(ledger, delivery, Uuid::now_v7()).await;
        // So much is delivered to one contact, and as many have changed something.
        let many: Vec<_> = (0..20_000)
            .map(|number| {
                let (contact, effect) = match number % 2 {
                    0 => ("jane@example.com".to_owned(), "none"),
                    _ => (format!("user{number}@example.com"), "suppress"),
                };
                json!({ "id": Uuid::now_v7(), "contact": contact, "effect": effect })
            })
            .collect();
        let text = "
            INSERT INTO events (id, envelope_id, source, provider, kind, channel, contact, scope, occurred_at, received_at,
                recorded_at, time_assumed, origin, effect, provider_event, metadata, fingerprint, conflicting)
            SELECT rows.value->>'id', rows.value->>'id', 'shop', 'test', 'unsubscribed', 'email', rows.value->>'contact', 'global',
                0, 0, 0, 0, 'unknown', rows.value->>'effect', '', '{}', 0, 0
            FROM {rows} WHERE TRUE";
        let insert = ledger.query(text).bind(rows(&many));
        insert.execute(&ledger.pool).await.unwrap();
        let text = "
            INSERT INTO deliveries (id, event_id, target, kind, state, attempts, attempts_ever, created_at, moved_at)
            SELECT rows.value->>'id', rows.value->>'id', 'slack', 'unsubscribed', 'delivered', 0, 0, 0, 0
            FROM {rows} WHERE TRUE";
        let insert = ledger.query(text).bind(rows(&many));
        insert.execute(&ledger.pool).await.unwrap();
        for counted in [false, true] {
            if counted {
                let analyze = sqlx::raw_sql("ANALYZE").execute(&ledger.pool);
                analyze.await.unwrap();
            }
            let asked = json!([{ "number": 0, "contact": "jane@example.com", "channel": "email", "target": "slack",
                "from": 0, "to": i64::MAX, "second": null }]);
            for question in [told(), accounted_for()] {
                let steps = plan(ledger, &question, |query| query.bind(asked.to_string())).await;
                assert!(steps.contains("events_with_effect"), "{steps}");
                assert!(steps.contains("deliveries_by_event"), "{steps}");
                for whole in [
                    "Seq Scan on events",
                    "Seq Scan on deliveries",
                    "SCAN told",
                    "SCAN deliveries",
                ] {
                    assert!(!steps.contains(whole), "{steps}");
                }
            }
        }
        let (_, report) = report(Kind::Suppressed, clock::now());
        assert_eq!(around(ledger, &report).await.len(), 1);
    }
}

#[tokio::test]
async fn a_suppression_is_accounted_for_if_its_target_was_to_be_told_or_its_own_source_reported_it()
{
    for Fresh { ledger, .. } in &fresh().await {
        let (told, _) = one_delivery(ledger).await;
        let contact = told.contact.as_ref().unwrap();
        let other = Contact::email("nobody@example.com").unwrap();
        let asked = async |target: &str, source: Option<&str>| {
            let contacts = [&other, contact];
            let mut by = ledger
                .accounted_for(&contacts, target, source)
                .await
                .unwrap();
            assert_eq!(by[0], Accounted::default());
            let Accounted { told, reported } = by.remove(1);
            (told, reported)
        };
        let global = || vec![GLOBAL.to_owned()];
        assert_eq!(asked("slack", None).await, (global(), vec![]));
        assert_eq!(asked("elsewhere", None).await, (vec![], vec![]));
        let source = told.source.as_str();
        assert_eq!(asked("elsewhere", Some(source)).await, (vec![], global()));
        assert_eq!(asked("slack", Some(source)).await, (global(), global()));
        assert_eq!(asked("elsewhere", Some("other")).await, (vec![], vec![]));
    }
}
