//! Reconciliations: one holder at a time, begun anew where one died, each turn of the schedule once.

use super::*;
use crate::event::Lane;

const LONG_AGO: &str = "UPDATE reconciliations SET lease_until = 1";

pub(super) fn tally(list: &str) -> Tally {
    Tally {
        target: "crm".to_owned(),
        list: list.to_owned(),
        ..Tally::default()
    }
}

pub(super) fn listed(email: &str) -> Listed {
    Listed {
        contact: Contact::email(email).unwrap(),
        since: Timestamp::from_second(1_700_000_000).ok(),
        lane: Lane::Complaint,
        reason: Some("clicked".to_owned()),
    }
}

pub(super) fn difference(email: &str, list: &str) -> Difference {
    Difference {
        id: Uuid::now_v7(),
        found_at: clock::now(),
        target: "crm".to_owned(),
        list: list.to_owned(),
        difference: Gap::OnlyTheirs,
        channel: crate::contact::Channel::Email,
        contact: email.to_owned(),
        listed_since: None,
        listed_lane: Some(Lane::Complaint),
        listed_reason: Some("clicked".to_owned()),
        scope: None,
        source: None,
        lane: None,
        occurred_at: None,
        event_id: None,
        delivery: None,
        repaired: false,
    }
}

async fn take(ledger: &Ledger, targets: &[&str]) -> Option<Reconciling> {
    ledger.take_reconciliation(targets).await.unwrap()
}

/// One that was asked for and taken.
pub(super) async fn taken(ledger: &Ledger) -> Reconciling {
    let asked = ledger.ask_reconciliation(None, false, "ops").await;
    asked.unwrap();
    take(ledger, &[]).await.unwrap()
}

async fn its_lease_ends(ledger: &Ledger) {
    ledger.query(LONG_AGO).execute(&ledger.pool).await.unwrap();
}

async fn found(ledger: &Ledger, id: Uuid) -> Vec<Difference> {
    let filter = DifferenceFilter::default();
    let page = ledger.differences(id, &filter, 100, None).await;
    page.unwrap().items
}

#[tokio::test]
async fn it_is_taken_by_one_who_knows_its_target_oldest_first() {
    for Fresh { ledger, .. } in &fresh().await {
        let ask = async |target| {
            ledger
                .ask_reconciliation(target, true, "ops")
                .await
                .unwrap()
                .id
        };
        let of_crm = ask(Some("crm")).await;
        let of_all = ask(None).await;
        let other = take(ledger, &["mail"]).await.unwrap();
        assert_eq!(other.id, of_all, "the other's target is not known there");
        let first = take(ledger, &["mail", "crm"]).await.unwrap();
        assert_eq!(
            (first.id, first.target.as_deref(), first.repair),
            (of_crm, Some("crm"), true)
        );
        assert!(take(ledger, &["mail", "crm"]).await.is_none());
        assert!(ledger.end_reconciliation(&first, None).await.unwrap());
        let ended = ledger.reconciliation(of_crm).await.unwrap().unwrap();
        assert!(ended.state == Progress::Done && ended.finished_at.is_some());
        ledger.leave_reconciliation(&other).await.unwrap();
        assert_eq!(take(ledger, &[]).await.map(|held| held.id), Some(of_all));
        let trail = ledger.trail(&TrailFilter::default(), 10, i64::MAX).await;
        let actions: Vec<_> = trail
            .unwrap()
            .iter()
            .map(|one| one.action.clone())
            .collect();
        assert_eq!(actions, ["reconciliation.start"; 2]);
    }
}

#[tokio::test]
async fn who_was_taken_for_dead_writes_nothing_more_and_the_next_begins_the_list_anew() {
    for Fresh { ledger, .. } in &fresh().await {
        let dead = taken(ledger).await;
        let (one, two) = (tally("a"), tally("b"));
        assert!(ledger.begin_list(&dead, &one).await.unwrap());
        assert!(ledger.end_list(&dead, &one, Some("away")).await.unwrap());
        assert!(ledger.begin_list(&dead, &two).await.unwrap());
        let jane = [listed("jane@b.example")];
        assert!(ledger.note_listed(&dead, &two, &jane).await.unwrap());
        let note = [difference("jane@b.example", "b")];
        assert!(ledger.note_differences(&dead, &two, &note).await.unwrap());
        its_lease_ends(ledger).await;
        let next = take(ledger, &[]).await.unwrap();
        let done = [(("crm".to_owned(), "a".to_owned()), false)];
        assert_eq!(next.done, done.into());
        for writes in [
            ledger.hold_reconciliation(&dead).await,
            ledger.begin_list(&dead, &two).await,
            ledger
                .note_listed(&dead, &two, &[listed("joe@b.example")])
                .await,
            ledger
                .note_differences(&dead, &two, &[difference("joe@b.example", "b")])
                .await,
            ledger.end_list(&dead, &two, None).await,
            ledger.end_reconciliation(&dead, None).await,
        ] {
            assert!(!writes.unwrap());
        }
        assert!(ledger.begin_list(&next, &two).await.unwrap());
        // What was found stays, and is counted once though it is found again.
        let again = [difference("jane@b.example", "b")];
        let noted = ledger.note_differences(&next, &two, &again).await;
        assert!(noted.unwrap());
        assert_eq!(found(ledger, next.id).await.len(), 1);
        let shown = ledger.reconciliation(next.id).await.unwrap().unwrap();
        assert_eq!(shown.lists[1].only_theirs, 1);
        let listed = ledger.next_listed(next.id, None, 10).await.unwrap();
        assert!(listed.is_empty());
    }
}

#[tokio::test]
async fn differences_are_listed_by_filter_page_by_page_and_each_once() {
    for Fresh { ledger, .. } in &fresh().await {
        let held = taken(ledger).await;
        let list = tally("a");
        ledger.begin_list(&held, &list).await.unwrap();
        let mut all: Vec<_> = (0..5)
            .map(|at| difference(&format!("user{at}@b.example"), "a"))
            .collect();
        all[3].difference = Gap::Differs;
        for _ in 0..2 {
            ledger.note_differences(&held, &list, &all).await.unwrap();
        }
        let again: Vec<_> = all
            .iter()
            .map(|one| Difference {
                id: Uuid::now_v7(),
                ..one.clone()
            })
            .collect();
        ledger.note_differences(&held, &list, &again).await.unwrap();
        let filter = DifferenceFilter {
            difference: Some(Gap::OnlyTheirs),
            target: Some("crm".to_owned()),
            list: Some("a".to_owned()),
        };
        let first = ledger.differences(held.id, &filter, 3, None).await.unwrap();
        let next = first.next_cursor.as_deref();
        let second = ledger.differences(held.id, &filter, 3, next).await.unwrap();
        assert!(next.is_some() && second.next_cursor.is_none());
        let mut seen: Vec<_> = [first.items, second.items].concat();
        seen.reverse();
        all.remove(3);
        assert_eq!(seen, all);
        let filter = DifferenceFilter {
            target: Some("mail".to_owned()),
            ..DifferenceFilter::default()
        };
        let none = ledger.differences(held.id, &filter, 3, None).await.unwrap();
        assert!(none.items.is_empty());
    }
}

#[tokio::test]
async fn a_turn_of_the_schedule_is_asked_for_once_and_not_while_one_is_under_way() {
    for Fresh { ledger, .. } in &fresh().await {
        let turn = async |hours| {
            let every = Duration::from_hours(hours);
            ledger.schedule_reconciliation(every, false).await.unwrap()
        };
        assert!(turn(100_000).await);
        assert!(!turn(100_000).await);
        assert!(!turn(1).await, "the one before is not done");
        let held = take(ledger, &[]).await.unwrap();
        ledger
            .end_reconciliation(&held, Some("away"))
            .await
            .unwrap();
        assert!(!turn(100_000).await);
        assert!(turn(1).await);
    }
}

#[tokio::test]
async fn an_erasure_takes_the_address_out_of_what_was_found_and_of_what_is_being_compared() {
    for Fresh { ledger, .. } in fresh().await {
        let pepper = SecretString::from("0123456789abcdef0123456789abcdef".to_owned());
        let ledger = ledger.with_pepper(Some(pepper));
        let held = taken(&ledger).await;
        let list = tally("a");
        ledger.begin_list(&held, &list).await.unwrap();
        let two = ["jane@b.example", "joe@b.example"];
        ledger
            .note_listed(&held, &list, &two.map(listed))
            .await
            .unwrap();
        let found_first = difference("jane@b.example", "a");
        ledger
            .note_differences(&held, &list, &[found_first])
            .await
            .unwrap();
        let request = ErasureRequest {
            actor: "ops".to_owned(),
            reference: None,
            force: false,
        };
        let contact = Contact::email("jane@b.example").unwrap();
        let erased = ledger.erase(&contact, &request).await.unwrap();
        assert!(matches!(erased, Erased::Done(_)), "{erased:?}");
        let left = ledger.next_listed(held.id, None, 10).await.unwrap();
        let left: Vec<_> = left
            .iter()
            .map(|one| one.contact.address.as_str())
            .collect();
        assert_eq!(left, ["joe@b.example"]);
        let shown = found(&ledger, held.id).await;
        assert!(!shown[0].contact.contains('@') && shown[0].listed_reason.is_none());
        // Nor is it named by what is found afterwards.
        let found_late = difference("jane@b.example", "b");
        ledger
            .note_differences(&held, &list, &[found_late])
            .await
            .unwrap();
        let shown = found(&ledger, held.id).await;
        assert_eq!(shown.len(), 2);
        assert!(shown.iter().all(|one| !one.contact.contains('@')));
    }
}

#[tokio::test]
async fn what_is_old_is_taken_away_some_at_a_time() {
    for Fresh { ledger, .. } in &fresh().await {
        let old = taken(ledger).await;
        let list = tally("a");
        ledger.begin_list(&old, &list).await.unwrap();
        let found_in_it: Vec<_> = (0..3)
            .map(|at| difference(&format!("user{at}@b.example"), "a"))
            .collect();
        ledger
            .note_differences(&old, &list, &found_in_it)
            .await
            .unwrap();
        let page = [listed("jane@b.example")];
        ledger.note_listed(&old, &list, &page).await.unwrap();
        let earlier = clock::now() - jiff::SignedDuration::from_hours(1);
        let none = ledger.expire_reconciliations(earlier, 2).await.unwrap();
        assert_eq!(none, 0);
        let later = clock::now() + jiff::SignedDuration::from_hours(1);
        let mut steps = vec![];
        while steps.last() != Some(&0) {
            steps.push(ledger.expire_reconciliations(later, 2).await.unwrap());
        }
        assert_eq!(steps, [2, 1, 1, 2, 0]);
        assert!(ledger.reconciliation(old.id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_is_left_of_a_list_when_it_ends_is_taken_away_and_told() {
    for Fresh { ledger, .. } in &fresh().await {
        let held = taken(ledger).await;
        let list = tally("a");
        ledger.begin_list(&held, &list).await.unwrap();
        let page = [listed("jane@b.example")];
        ledger.note_listed(&held, &list, &page).await.unwrap();
        assert!(ledger.end_reconciliation(&held, None).await.unwrap());
        let left = ledger.next_listed(held.id, None, 10).await.unwrap();
        assert!(left.is_empty());
        let shown = ledger.reconciliation(held.id).await.unwrap().unwrap();
        let why = shown.lists[0].error.as_deref().unwrap_or_default();
        assert!(why.starts_with("it is read no more"), "{why}");
    }
}
