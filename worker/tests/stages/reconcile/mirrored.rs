//! A platform that reports its changes itself, by a source that the target mirrors.

use common::{
    clock,
    delivery::State,
    envelope::{self, Envelope},
    event::Lane,
    ledger::{DeliveryRow, Progress},
};
use jiff::SignedDuration;

use super::world::{NEWS, World};
use crate::bench::{envelope_of, inbound, until};

const EMAIL: &str = "jane@b.example";

async fn world() -> World {
    let source = "[[sources]]\nname = 'chimp'\nprovider = 'mailchimp'\nauth = { kind = 'none' }";
    let world = World::with("mirrors = 'chimp'", source).await;
    world.bench.work();
    world
}

/// The platform reports a change of the contact, so long from now.
async fn reports(world: &World, what: &str, from_now: SignedDuration) {
    let at = clock::now() + from_now;
    let body = format!(
        "type={what}&fired_at={}&data[email]=jane%40b.example&data[list_id]={NEWS}&data[id]=1",
        at.strftime("%Y-%m-%d %H:%M:%S")
    );
    let envelope = Envelope {
        content_type: Some("application/x-www-form-urlencoded".to_owned()),
        body: body.into(),
        ..envelope_of("chimp", EMAIL)
    };
    let message = envelope::encode([&envelope]);
    world.bench.publish(inbound(), message).await;
}

async fn is_suppressed_in(world: &World, places: &[&str]) {
    until(async || (world.suppressed(EMAIL).await == places).then_some(())).await;
}

#[tokio::test]
async fn what_is_entered_of_it_is_lifted_by_a_re_subscription_there() {
    let world = world().await;
    world.platform.set(NEWS, EMAIL, "unsubscribed");
    world.reconciled(None, true).await;
    is_suppressed_in(&world, &["a1 chimp"]).await;
    reports(&world, "subscribe", SignedDuration::from_mins(1)).await;
    is_suppressed_in(&world, &[]).await;
}

#[tokio::test]
async fn what_it_reported_and_has_forgotten_it_is_told_of() {
    let world = world().await;
    reports(&world, "unsubscribe", SignedDuration::from_mins(-90)).await;
    // The platform is not told of what it reported: that is decided when its delivery is taken.
    until(async || {
        let all = world.deliveries().await;
        let told = |row: &DeliveryRow| row.state == State::Delivered;
        (all.len() == 2 && all.iter().all(told)).then_some(())
    })
    .await;
    is_suppressed_in(&world, &["a1 chimp"]).await;
    world.an_hour_passes().await;
    let done = world.reconciled(None, true).await;
    assert_eq!(done.state, Progress::Done);
    assert_eq!(
        world.differences(&done).await,
        ["jane@b.example a1 only_ours"]
    );
    let found = world.found(&done).await;
    assert_eq!(
        (found[0].lane, found[0].repaired),
        (Some(Lane::Consent), true)
    );
    until(async || world.platform.has(NEWS, EMAIL).then_some(())).await;
    is_suppressed_in(&world, &["a1 chimp"]).await;
}
