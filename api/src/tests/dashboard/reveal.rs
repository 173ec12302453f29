//! Who sees addresses.

use super::*;

/// The path of something that could not be read.
async fn held(door: &Door) -> String {
    let unreadable = fact(Kind::Other).envelope();
    door.ledger
        .quarantine(&unreadable, "test", "no: jane@example.com")
        .await
        .unwrap();
    let held = door.items("/api/v1/quarantine").await;
    format!("/quarantine/{}", text(&held[0]["id"]))
}

#[tokio::test]
async fn who_may_only_read_sees_addresses_masked() {
    on_each(async |door| {
        let (event, delivery) = door.delivery_to("slack").await;
        let held = held(door).await;
        let browser = Browser::of(door, Role::Read).await;
        let paths = [
            "/events".to_owned(),
            format!("/events/{}", event.id),
            format!("/deliveries/{delivery}"),
            format!("/contacts?event={}", event.id),
            "/contacts?contact=jane%40example.com".to_owned(),
            "/quarantine".to_owned(),
            held.clone(),
        ];
        for path in &paths {
            let shown = browser.get(path).await;
            assert_eq!(shown.status, 200, "{path}");
            shown.hides(&["jane@", "Jane@", "&quot;who&quot;"]);
        }
        browser.get(&paths[0]).await.shows(&["j…@example.com"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_shown_for_the_record_is_shown_once_and_stands_in_the_trail() {
    on_each(async |door| {
        let (event, _) = door.delivery_to("slack").await;
        let held = held(door).await;
        let browser = Browser::of(door, Role::Read).await;
        let event_path = format!("/events/{}", event.id);
        let before = door.audited().await;
        let shown = browser
            .post(&format!("/events/{}/reveal", event.id), &[])
            .await;
        shown.shows(&[
            "jane@example.com",
            "&quot;who&quot;",
            "the audit trail says that you asked",
        ]);
        for asked in ["event", "contact"] {
            let value = if asked == "event" {
                event.id.to_string()
            } else {
                "jane%40example.com".to_owned()
            };
            let shown = browser
                .post(&format!("/contacts/reveal?{asked}={value}"), &[])
                .await;
            assert_eq!(shown.heading(), "jane@example.com");
        }
        let shown = browser.post(&format!("{held}/reveal"), &[]).await;
        shown.shows(&["&quot;who&quot;", "no: jane@example.com"]);
        assert_eq!(door.audited().await, before + 4);
        let headers = [("x-api-key", "admin-key-0123")];
        let trail = door
            .send("GET", "/api/v1/audit?email=jane@example.com", &headers)
            .await;
        let actions: BTreeSet<_> = trail.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|act| text(&act["action"]))
            .collect();
        assert!(
            actions.contains("event.reveal") && actions.contains("contact.reveal"),
            "{actions:?}"
        );

        // Nothing is shown for longer than that.
        browser.get(&event_path).await.hides(&["jane@"]);
        let writer = Browser::of(door, Role::Write).await;
        let shown = writer.get(&event_path).await;
        shown.shows(&["jane@example.com", "&quot;who&quot;"]);
        shown.hides(&["/reveal"]);
    })
    .await;
}
