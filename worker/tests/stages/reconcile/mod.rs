//! Platforms' lists compared with the ledger, by a worker in this process and a platform behind a real server.

mod mirrored;
mod world;

use std::time::Duration;

use common::{
    contact::Contact,
    delivery::State,
    event::{Kind, Lane},
    ledger::{DeliveryRow, Erased, ErasureRequest, Gap, Progress},
};
use secrecy::SecretString;

use crate::bench::{Bench, until};
use world::{NEWS, OFFERS, Platform, SECRET, World};

use Kind::{Resubscribed, Unsubscribed};

#[tokio::test]
async fn what_only_one_side_suppresses_and_what_was_lifted_here_is_told_and_left_as_it_is() {
    let world = World::new().await;
    world.bench.work();
    for (email, scope) in [
        ("both@b.example", "news"),
        ("ours@b.example", "news"),
        ("back@b.example", "news"),
    ] {
        world.says(Unsubscribed, email, scope).await;
    }
    world.says(Resubscribed, "back@b.example", "news").await;
    world.platform.forget(NEWS, "ours@b.example");
    world.platform.set(NEWS, "theirs@b.example", "unsubscribed");
    world.platform.set(OFFERS, "gone@b.example", "cleaned");
    world.platform.set(NEWS, "back@b.example", "unsubscribed");
    world.platform.set(NEWS, "reader@b.example", "subscribed");
    world.an_hour_passes().await;
    let done = world.reconciled(Some("crm"), false).await;
    assert_eq!((done.state, &done.error), (Progress::Done, &None));
    let expected = [
        "back@b.example a1 differs",
        "gone@b.example b2 only_theirs",
        "ours@b.example a1 only_ours",
        "theirs@b.example a1 only_theirs",
    ];
    assert_eq!(world.differences(&done).await, expected);
    let counts: Vec<_> = done
        .lists
        .iter()
        .map(|it| {
            (
                it.list.as_str(),
                it.listed,
                it.only_theirs,
                it.only_ours,
                it.differs,
                it.repaired,
            )
        })
        .collect();
    assert_eq!(counts, [(NEWS, 3, 1, 1, 1, 0), (OFFERS, 1, 1, 0, 0, 0)]);
    assert!(world.suppressed("theirs@b.example").await.is_empty());
    assert!(!world.platform.has(NEWS, "ours@b.example"));
    let found = world.found(&done).await;
    let gone = found
        .iter()
        .find(|one| one.contact == "gone@b.example")
        .unwrap();
    let said = (gone.listed_lane, gone.listed_reason.as_deref());
    assert_eq!(said, (Some(Lane::Deliverability), Some("cleaned")));
    let ours = found
        .iter()
        .find(|one| one.difference == Gap::OnlyOurs)
        .unwrap();
    assert_eq!(
        (ours.scope.as_deref(), ours.delivery),
        (Some("news"), Some(State::Delivered))
    );
}

#[tokio::test]
async fn a_repair_suppresses_on_both_sides_and_then_nothing_differs() {
    let world = World::new().await;
    world.bench.work();
    world.says(Unsubscribed, "ours@b.example", "offers").await;
    world.says(Unsubscribed, "back@b.example", "news").await;
    world.says(Resubscribed, "back@b.example", "news").await;
    world.platform.forget(OFFERS, "ours@b.example");
    world.platform.set(NEWS, "theirs@b.example", "unsubscribed");
    world.platform.set(NEWS, "back@b.example", "unsubscribed");
    world.an_hour_passes().await;
    let done = world.reconciled(None, true).await;
    let repaired: i64 = done.lists.iter().map(|list| list.repaired).sum();
    assert_eq!((done.state, repaired), (Progress::Done, 3));
    until(async || world.platform.has(OFFERS, "ours@b.example").then_some(())).await;
    for email in ["theirs@b.example", "back@b.example"] {
        until(async || (world.suppressed(email).await == ["news api"]).then_some(())).await;
    }
    // Each target hears of what is entered, once.
    until(async || {
        let all = world.deliveries().await;
        let told = |row: &DeliveryRow| row.state == State::Delivered;
        (all.len() == 2 * 5 && all.iter().all(told)).then_some(())
    })
    .await;
    world.an_hour_passes().await;
    let again = world.reconciled(None, true).await;
    assert_eq!(world.differences(&again).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_on_its_way_is_no_difference() {
    let world = World::new().await;
    world.bench.work();
    world.says(Unsubscribed, "fresh@b.example", "news").await;
    world.says(Unsubscribed, "late@b.example", "news").await;
    world.an_hour_passes().await;
    world.says(Unsubscribed, "fresh@b.example", "offers").await;
    for (list, email) in [(OFFERS, "fresh@b.example"), (NEWS, "late@b.example")] {
        world.platform.forget(list, email);
    }
    // The platform is still to be told of one, and has just been told of the other.
    world
        .change(
            "UPDATE deliveries SET state = 'retrying', next_attempt_at = 4000000000000000
            WHERE target = 'crm' AND event_id = (SELECT event_id FROM registers WHERE contact = 'late@b.example')",
        )
        .await;
    let done = world.reconciled(None, true).await;
    assert_eq!(world.differences(&done).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_told_and_keeps_no_other_from_being_compared() {
    let scopes = format!("[targets.scopes]\nnews = '{NEWS}'\nsecret = '{SECRET}'");
    let platform = Platform::default();
    let url = platform.start().await;
    let settings = format!(
        "[[targets]]\nname = 'crm'\nkind = 'mailchimp'\nevents = ['unsubscribed']\nurl = '{url}'\ntoken = 'k'\n{scopes}\n\
         [outbound]\nallow_networks = ['127.0.0.0/8']\n"
    );
    let world = World {
        bench: Bench::with("", &settings).await,
        platform,
    };
    world.platform.set(NEWS, "theirs@b.example", "unsubscribed");
    world.bench.work();
    let done = world.reconciled(None, false).await;
    let told = done.error.as_deref();
    assert_eq!(
        (done.state, told),
        (Progress::Failed, Some("1 of 2 lists could not be compared"))
    );
    assert_eq!(
        world.differences(&done).await,
        ["theirs@b.example a1 only_theirs"]
    );
    let why = done.lists[1].error.as_deref().unwrap();
    assert!(why.starts_with("answered 403"), "{why}");
}

#[tokio::test]
async fn a_target_without_lists_is_told_as_one() {
    let world = World::new().await;
    world.bench.work();
    let done = world.reconciled(Some("log"), false).await;
    assert_eq!(done.state, Progress::Failed);
    assert!(
        done.error
            .unwrap()
            .starts_with("log is disabled, or its system says")
    );
}

#[tokio::test]
async fn who_was_erased_is_called_by_what_stands_in_the_address_s_place() {
    let mut world = World::new().await;
    let pepper = SecretString::from("0123456789abcdef0123456789abcdef".to_owned());
    world.bench.ledger = world.bench.ledger.clone().with_pepper(Some(pepper));
    world.bench.ledger.migrate().await.unwrap();
    world.bench.work();
    for email in ["known@b.example", "theirs@b.example"] {
        world.platform.set(OFFERS, email, "unsubscribed");
        let request = ErasureRequest {
            actor: "test".to_owned(),
            reference: None,
            force: true,
        };
        if email.starts_with("known") {
            world.says(Unsubscribed, email, "offers").await;
        }
        let contact = Contact::email(email).unwrap();
        let erased = world.bench.ledger.erase(&contact, &request).await.unwrap();
        assert!(matches!(erased, Erased::Done(_)), "{erased:?}");
    }
    world.an_hour_passes().await;
    let done = world.reconciled(None, true).await;
    let found = world.found(&done).await;
    // The other is known to be suppressed, under that name.
    let [one] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(!one.contact.contains('@'), "{one:?}");
    assert!(one.listed_reason.is_none() && !one.repaired, "{one:?}");
    assert!(world.suppressed("theirs@b.example").await.is_empty());
}

#[tokio::test]
async fn the_schedule_has_each_turn_done_once_however_many_workers_there_are() {
    let world = World::with("", "[reconcile]\nevery = '720h'\nrepair = true").await;
    world.platform.set(NEWS, "theirs@b.example", "unsubscribed");
    world.bench.work();
    world.bench.work();
    until(async || (world.suppressed("theirs@b.example").await == ["news api"]).then_some(()))
        .await;
    let page = world.bench.ledger.reconciliations(10, None).await.unwrap();
    let actors: Vec<_> = page.items.iter().map(|one| one.actor.as_str()).collect();
    assert_eq!(actors, ["schedule"]);
    let is_new = world
        .bench
        .ledger
        .schedule_reconciliation(Duration::from_hours(720), true);
    assert!(!is_new.await.unwrap());
}
