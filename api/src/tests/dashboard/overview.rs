//! What the overview tells.

use super::*;

#[tokio::test]
async fn it_tells_what_came_what_waits_and_what_is_in_trouble() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Read).await;
        let (_, dead) = door.delivery_to("slack").await;
        door.attempt(dead, 1, State::Dead).await;
        let (_, told) = door.delivery_to("slack").await;
        door.attempt(told, 1, State::Delivered).await;
        door.delivery_to("off").await;
        door.record(fact(Kind::Opened), &[]).await;
        let unreadable = fact(Kind::Other).envelope();
        door.ledger
            .quarantine(&unreadable, "test", "no JSON")
            .await
            .unwrap();
        let deadline = format!("/deliveries/{dead}");
        let held = "/quarantine?state=held\">1</a>";
        let shown = browser.in_the_end("/", &[&deadline, held]).await;
        shown.shows(&[
            "<dt>Dead</dt><dd><a href=\"/deliveries?state=dead\">1</a>",
            "<title>1 opened</title>",
            "<title>3 unsubscribed</title>",
            "50.0 %",
            "<a href=\"/deliveries?target=off\">off</a> <span class=\"badge is-disabled\">",
        ]);
        shown.hides(&["jane@", "Jane@"]);
    })
    .await;
}

#[tokio::test]
async fn an_empty_ledger_is_an_overview_too() {
    on_each(async |door| {
        let shown = Browser::of(door, Role::Read).await.get("/").await;
        shown.shows(&[
            "No event has come in during the last hour.",
            "Every opt-out is known everywhere.",
        ]);
    })
    .await;
}
