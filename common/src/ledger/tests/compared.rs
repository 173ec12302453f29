//! What a reconciliation compares: whom a list holds, and what the ledger knows of them.

use std::collections::BTreeMap;

use ::hostile::VALUES;

use super::{
    reconciliations::{difference, listed, taken, tally},
    *,
};

#[tokio::test]
async fn whom_a_list_holds_is_gone_through_in_order_and_is_gone_when_it_is_done() {
    for Fresh { ledger, .. } in &fresh().await {
        let held = taken(ledger).await;
        let list = tally("a");
        ledger.begin_list(&held, &list).await.unwrap();
        let page = [listed("jane@b.example"), listed("joe@b.example")];
        ledger.note_listed(&held, &list, &page).await.unwrap();
        // On two pages at once, as where one was taken off the list meanwhile.
        let page = [listed("joe@b.example"), listed("ann@b.example")];
        let counted = Tally {
            listed: 4,
            ..list.clone()
        };
        ledger.note_listed(&held, &counted, &page).await.unwrap();
        let (mut after, mut all) = (None, vec![]);
        loop {
            let page = ledger
                .next_listed(held.id, after.as_ref(), 2)
                .await
                .unwrap();
            let Some(end) = page.last() else { break };
            after = Some(end.contact.clone());
            all.extend(page);
        }
        let expected = ["ann@b.example", "jane@b.example", "joe@b.example"];
        let expected: Vec<_> = expected.map(listed).into();
        let without_raw: Vec<_> = all
            .iter()
            .map(|one| (&one.contact.address, one.since, &one.reason))
            .collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|one| (&one.contact.address, one.since, &one.reason))
            .collect();
        assert_eq!(without_raw, wanted);
        let email = crate::contact::Channel::Email;
        let asked = [("joe@b.example", email), ("tim@b.example", email)];
        let are = ledger.are_listed(held.id, &asked).await.unwrap();
        assert_eq!(are, [("joe@b.example".to_owned(), email)].into());
        ledger.end_list(&held, &counted, None).await.unwrap();
        assert!(
            ledger
                .next_listed(held.id, None, 2)
                .await
                .unwrap()
                .is_empty()
        );
        let shown = ledger.reconciliation(held.id).await.unwrap().unwrap();
        assert!(shown.lists[0].listed == 4 && shown.lists[0].finished_at.is_some());
    }
}

#[tokio::test]
async fn what_a_platform_says_is_read_back_as_it_was() {
    for Fresh { ledger, .. } in &fresh().await {
        let held = taken(ledger).await;
        let list = tally("a");
        ledger.begin_list(&held, &list).await.unwrap();
        let contact = |number: usize| Contact::email(&format!("user{number}@b.example")).unwrap();
        let said = |(number, text): (usize, &&str)| Listed {
            contact: contact(number),
            reason: Some((*text).to_owned()),
            ..listed("jane@b.example")
        };
        let page: Vec<_> = VALUES.iter().enumerate().map(said).collect();
        ledger.note_listed(&held, &list, &page).await.unwrap();
        let read = ledger.next_listed(held.id, None, 1000).await.unwrap();
        let by_address = |listed: &[Listed]| -> BTreeMap<_, _> {
            let said = listed.iter();
            said.map(|one| (one.contact.address.clone(), one.reason.clone()))
                .collect()
        };
        assert_eq!(by_address(&read), by_address(&page));
        let differ = page.iter().map(|one| Difference {
            listed_reason: one.reason.clone(),
            ..difference(&one.contact.address, "a")
        });
        let differ: Vec<_> = differ.collect();
        ledger
            .note_differences(&held, &list, &differ)
            .await
            .unwrap();
        let mut read = ledger
            .differences(held.id, &DifferenceFilter::default(), 1000, None)
            .await
            .unwrap()
            .items;
        read.reverse();
        assert_eq!(read, differ);
    }
}

#[tokio::test]
async fn a_target_is_told_again_by_the_delivery_there_is_and_by_one_that_ought_to_be() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let events = ["1", "2"].map(|id| event(&envelope, Kind::Unsubscribed, id, 0));
        let entries = [
            entry(&envelope, &events[..1], &["crm"]),
            entry(&envelope, &events[1..], &[]),
        ];
        ledger.record(&entries[..1]).await.unwrap();
        ledger.record(&entries[1..]).await.unwrap();
        let ids = [events[0].id, events[1].id];
        let id = Delivery::id_of(ids[0], "crm");
        let done = "UPDATE deliveries SET state = 'delivered', attempts = 3";
        ledger.query(done).execute(&ledger.pool).await.unwrap();
        let standing = ledger.standing_deliveries("crm", &ids).await.unwrap();
        assert_eq!(standing, [(ids[0], State::Delivered)].into());
        let mut told = ledger.tell_again("crm", &ids).await.unwrap();
        told.sort_by_key(|delivery| delivery.event.provider_event_id.clone());
        let mut expected: Vec<_> = events
            .iter()
            .map(|event| Delivery::new(event.clone(), "crm"))
            .collect();
        expected.sort_by_key(|delivery| delivery.event.provider_event_id.clone());
        assert_eq!(told, expected);
        let standing = ledger.standing_deliveries("crm", &ids).await.unwrap();
        assert_eq!(standing, [(ids[0], State::Pending)].into());
        assert_eq!(id, expected[0].id);
    }
}

#[tokio::test]
async fn the_registers_that_suppress_are_gone_through_in_the_order_of_their_keys() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        for (second, (email, kind)) in (0..).zip([
            ("joe@b.example", Kind::Unsubscribed),
            ("jane@b.example", Kind::Unsubscribed),
            ("jane@b.example", Kind::Complained),
            ("ann@b.example", Kind::Resubscribed),
        ]) {
            let mut one = event(&envelope, kind, &format!("{second}"), second);
            one.contact = Contact::email(email).ok();
            ledger
                .record(&[entry(&envelope, &[one], &[])])
                .await
                .unwrap();
        }
        let (mut after, mut all) = (None, vec![]);
        loop {
            let page = ledger.suppressing(after.as_ref(), 1).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.place.clone());
            all.extend(page.into_iter().map(|one| (one.place.contact, one.kind)));
        }
        let (jane, joe) = ("jane@b.example".to_owned(), "joe@b.example".to_owned());
        let expected = [
            (jane.clone(), Kind::Complained),
            (jane, Kind::Unsubscribed),
            (joe, Kind::Unsubscribed),
        ];
        assert_eq!(all, expected);
    }
}
