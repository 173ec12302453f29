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
async fn a_target_is_told_again_of_what_stands_by_the_delivery_there_is_or_one_that_is_made() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let of = |email: &str, kind, id: &str, second| Event {
            contact: Contact::email(email).ok(),
            ..event(&envelope, kind, id, second)
        };
        let told = of("jane@b.example", Kind::Unsubscribed, "1", 0);
        let untold = of("joe@b.example", Kind::Unsubscribed, "2", 0);
        let lifted = of("ann@b.example", Kind::Unsubscribed, "3", 0);
        for (one, targets) in [(&told, &["crm"][..]), (&untold, &[]), (&lifted, &["crm"])] {
            let entries = [entry(&envelope, std::slice::from_ref(one), targets)];
            ledger.record(&entries).await.unwrap();
        }
        let registers = ledger.suppressing(None, 10).await.unwrap();
        let lift = [of("ann@b.example", Kind::Resubscribed, "4", 1)];
        ledger
            .record(&[entry(&envelope, &lift, &[])])
            .await
            .unwrap();
        let done = "UPDATE deliveries SET state = 'delivered', attempts = 3";
        ledger.query(done).execute(&ledger.pool).await.unwrap();
        let held = taken(ledger).await;
        let ids = [told.id, untold.id, lifted.id];
        let standing = async || {
            let standing = ledger.standing_deliveries("crm", &ids).await.unwrap();
            let states = standing.into_iter().map(|(id, (state, _))| (id, state));
            states.collect::<BTreeMap<_, _>>()
        };
        let delivered = State::Delivered;
        let before = [(told.id, delivered), (lifted.id, delivered)];
        assert_eq!(standing().await, before.into());
        let again = ledger.tell_again(&held, "crm", &registers).await.unwrap();
        let again = again.unwrap().into_iter().map(|one| (one.id, one));
        let expected = [&told, &untold].map(|event| Delivery::new(event.clone(), "crm"));
        let expected = expected.map(|one| (one.id, one));
        assert_eq!(again.collect::<BTreeMap<_, _>>(), expected.into());
        let pending = State::Pending;
        let after = [
            (told.id, pending),
            (untold.id, pending),
            (lifted.id, delivered),
        ];
        assert_eq!(standing().await, after.into());
        assert!(ledger.end_reconciliation(&held, None).await.unwrap());
        let late = ledger.tell_again(&held, "crm", &registers).await.unwrap();
        assert_eq!(late, None, "it is in these hands no more");
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
