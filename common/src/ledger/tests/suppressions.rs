//! The suppression list as it is read.

use sqlx::Row;

use super::{
    super::suppressions::{Order, listing},
    *,
};
use crate::event::{Lane, Register};

/// Suppresses so many users, a second after one another.
async fn fill(ledger: &Ledger, users: i64) {
    let envelope = envelope();
    let events: Vec<_> = (0..users)
        .map(|number| of_user(&envelope, number, Kind::Unsubscribed, number))
        .collect();
    ledger
        .record(&[entry(&envelope, &events, &[])])
        .await
        .unwrap();
}

fn of_user(envelope: &Envelope, number: i64, kind: Kind, second: i64) -> Event {
    let mut event = event(envelope, kind, &Uuid::now_v7().to_string(), second);
    event.contact = Some(Contact::email(&format!("user{number}@example.com")).unwrap());
    event
}

#[tokio::test]
async fn a_suppression_that_changes_while_the_list_is_read_is_told_once_all_the_same() {
    for Fresh { ledger, .. } in &fresh().await {
        fill(ledger, 10).await;
        let (mut seen, mut after) = (vec![], None);
        loop {
            let page = ledger
                .every_suppression(&SuppressionFilter::default(), 3, after)
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.into_iter().map(|suppression| suppression.contact));
            // All of them become the newest.
            let envelope = envelope();
            let second = 1000 + i64::try_from(seen.len()).unwrap();
            let again: Vec<_> = (0..10)
                .map(|number| of_user(&envelope, number, Kind::Unsubscribed, second))
                .collect();
            ledger
                .record(&[entry(&envelope, &again, &[])])
                .await
                .unwrap();
        }
        seen.sort();
        let all: Vec<_> = (0..10)
            .map(|number| format!("user{number}@example.com"))
            .collect();
        assert_eq!(seen, all);
    }
}

#[tokio::test]
async fn a_page_of_every_suppression_is_filtered_like_the_list() {
    for Fresh { ledger, .. } in &fresh().await {
        fill(ledger, 10).await;
        let at = |second: i64| Some(Timestamp::from_second(1_700_000_000 + second).unwrap());
        let filter = SuppressionFilter {
            from: at(3),
            to: at(6),
            ..SuppressionFilter::default()
        };
        let found = ledger.every_suppression(&filter, 10, None).await.unwrap();
        let listed = ledger.suppressions(&filter, 10, None).await.unwrap().items;
        let times = |list: &[Suppression]| {
            let mut times: Vec<_> = list.iter().map(|item| item.occurred_at).collect();
            times.sort();
            times
        };
        assert_eq!(times(&found), times(&listed));
        assert_eq!(found.len(), 3);
    }
}

#[tokio::test]
async fn a_list_is_read_in_the_order_of_an_index_and_that_of_a_contact_by_the_contact() {
    let [Fresh { ledger, .. }, _] = &fresh().await;
    let jane = Contact::email("jane@example.com").unwrap();
    let by_contact = "sqlite_autoindex_registers_1";
    for (contact, order, index) in [
        (None, Order::NewestFirst, "registers_by_time"),
        (None, Order::ById, "registers_by_id"),
        (Some(&jane), Order::NewestFirst, by_contact),
        (Some(&jane), Order::ById, by_contact),
    ] {
        let filter = SuppressionFilter {
            contact: contact.cloned(),
            ..SuppressionFilter::default()
        };
        let text = listing(&filter, order);
        let plan = ledger.query(&format!("EXPLAIN QUERY PLAN {text}"));
        let rows = plan.fetch_all(&ledger.pool).await.unwrap();
        let steps: Vec<String> = rows
            .iter()
            .map(|row| row.try_get("detail").unwrap())
            .collect();
        assert!(steps[0].contains(index), "{steps:?}");
        // The few of a contact may be sorted, all of them may not.
        assert!(contact.is_some() || steps.len() == 1, "{steps:?}");
    }
}

#[tokio::test]
async fn the_history_of_a_suppression_is_what_set_it_and_nothing_else() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let unsubscribed = event(&envelope, Kind::Unsubscribed, "1", 1);
        let back = event(&envelope, Kind::Resubscribed, "2", 2);
        let complained = event(&envelope, Kind::Complained, "3", 3);
        let opened = event(&envelope, Kind::Opened, "4", 4);
        let mut elsewhere = event(&envelope, Kind::Unsubscribed, "5", 5);
        elsewhere.scope = "news".to_owned();
        let mut by_hand = event(&envelope, Kind::Unsubscribed, "6", 6);
        by_hand.source = "api".to_owned();
        by_hand.register = Some(Register {
            source: "shop".to_owned(),
            lane: Lane::Consent,
        });
        let mut its_own = event(&envelope, Kind::Unsubscribed, "7", 7);
        its_own.source = "api".to_owned();
        let events = [
            by_hand.clone(),
            complained,
            its_own,
            back.clone(),
            opened,
            elsewhere,
            unsubscribed.clone(),
        ];
        ledger
            .record(&[entry(&envelope, &events, &[])])
            .await
            .unwrap();
        let jane = Contact::email("jane@example.com").unwrap();
        let registers = ledger.registers(&[jane]).await.unwrap();
        let register = registers
            .iter()
            .find(|register| register.event_id == by_hand.id)
            .unwrap();
        let ids = |events: Vec<Event>| events.iter().map(|event| event.id).collect::<Vec<_>>();
        let history = ledger.history(register, 100).await.unwrap();
        assert_eq!(ids(history), [unsubscribed.id, back.id, by_hand.id]);
        let last = ledger.history(register, 1).await.unwrap();
        assert_eq!(ids(last), [by_hand.id]);
    }
}
