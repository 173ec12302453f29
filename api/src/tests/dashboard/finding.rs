//! Lists, one of what is in them, and a contact's story.

use common::seal;
use sha2::{Digest, Sha256};

use super::*;

#[tokio::test]
async fn a_contact_s_story_is_told_in_order_with_its_evidence_and_each_attempt() {
    on_each(async |door| {
        let (event, delivery) = door.delivery_to("slack").await;
        door.attempt(delivery, 1, State::Dead).await;
        let lifted = door.items("/api/v1/suppressions").await;
        let path = format!(
            "/api/v1/suppressions/{}?reason=asked+by+phone",
            text(&lifted[0]["id"])
        );
        door.send("DELETE", &path, &[("x-api-key", "write-key-0123")])
            .await;
        let browser = Browser::of(door, Role::Write).await;
        let shown = browser.get("/contacts?contact=Jane%40Example.com").await;
        assert_eq!((shown.status, shown.heading()), (200, "jane@example.com"));
        let story = [
            "Set: do not send in global (consent of shop)",
            "attempt 1 at",
            "status 410, gone",
            "{\n  &quot;who&quot;: &quot;Jane&quot;\n}",
            "<strong>the write key</strong> asked for <code>suppression.lift</code>",
            "reason: asked by phone",
        ];
        shown.shows(&story);
        shown.shows(&["Cleared: may be sent to again in global", "May be sent to."]);
        let places: Vec<_> = story
            .iter()
            .map(|part| shown.text.find(part).unwrap())
            .collect();
        let mut sorted = places.clone();
        sorted.sort_unstable();
        assert_eq!(places, sorted);
        let by_event = browser.get(&format!("/contacts?event={}", event.id)).await;
        assert_eq!(by_event.heading(), "jane@example.com");
        let nobody = browser.get("/contacts?contact=nobody@example.com").await;
        nobody.shows(&["Nothing is known of this contact."]);
        assert_eq!(browser.get("/contacts").await.heading(), "Find a contact");
    })
    .await;
}

#[tokio::test]
async fn an_echo_says_so_in_the_story_the_list_and_by_itself() {
    on_each(async |door| {
        let (told, _) = door.delivery_to("crm").await;
        let echo = door.echo(told.id).await;
        let browser = Browser::of(door, Role::Write).await;
        let link = format!("/events/{}", told.id);
        let story = browser.get("/contacts?contact=jane%40example.com").await;
        story.shows(&["An echo: crm only reports back that it was told of", &link]);
        let page = browser.get(&format!("/events/{}", echo.id)).await;
        page.shows(&[
            "Nothing: it is an echo. crm only reports back",
            &link,
            "No target is told of this. Whoever is to know was told",
        ]);
        let list = browser.get("/events").await;
        assert_eq!(list.text.matches("<small>echo</small>").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_export_is_signed_where_a_key_is_set_and_verified_by_its_public_part() {
    on_each(async |door| {
        door.delivery_to("slack").await;
        let text = "[api]\nkeys = [{ name = 'ops', key = 'ops-key-123456', role = 'write' }]\n\
            signing_key = 'nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='";
        let router = hardened(router(Arc::new(door.configured(text))));
        let mut browser = Browser::new(&router);
        browser.sign_in("ops-key-123456").await;
        let page = browser.get("/contacts?contact=jane%40example.com").await;
        page.shows(&["Signed: <code>optout verify</code>"]);
        browser.csrf = page.csrf();
        let shown = browser
            .post("/contacts/export?contact=jane%40example.com", &[])
            .await;
        assert_eq!(shown.status, 200);
        let file = shown.text;
        let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let verified = seal::verify(&file, key).unwrap();
        assert_eq!(verified["exported_by"], "ops");
        assert_eq!(verified["story"]["contact"], "jane@example.com");
        let forged = file.replace("jane@example.com", "john@example.com");
        assert_eq!(seal::verify(&forged, key), Err(seal::Broken::Changed));
        let headers = [("x-api-key", "admin-key-0123")];
        let trail = door
            .send("GET", "/api/v1/audit?action=contact.export", &headers)
            .await;
        let digest = format!(
            "{:x}",
            bytes::Bytes::copy_from_slice(&Sha256::digest(&file))
        );
        assert_eq!(trail.body["items"][0]["details"]["sha256"], digest);
    })
    .await;
}

#[tokio::test]
async fn an_export_is_the_story_as_a_file_whose_hash_the_trail_keeps() {
    on_each(async |door| {
        door.delivery_to("slack").await;
        let browser = Browser::of(door, Role::Write).await;
        let shown = browser
            .post("/contacts/export?contact=jane%40example.com", &[])
            .await;
        assert_eq!(shown.status, 200);
        assert_eq!(
            shown.headers["content-disposition"],
            "attachment; filename=\"contact.json\""
        );
        let file: Value = serde_json::from_str(&shown.text).unwrap();
        assert_eq!(file["story"]["contact"], "jane@example.com");
        assert_eq!(file["exported_by"], "the write key");
        let headers = [("x-api-key", "admin-key-0123")];
        let trail = door
            .send("GET", "/api/v1/audit?action=contact.export", &headers)
            .await;
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&shown.text);
        let digest = format!("{:x}", bytes::Bytes::copy_from_slice(&digest));
        assert_eq!(trail.body["items"][0]["details"]["sha256"], digest.as_str());
        assert_eq!(browser.post("/contacts/export", &[]).await.status, 409);
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_by_their_address_and_turned_page_by_page() {
    on_each(async |door| {
        for kind in [Kind::Unsubscribed, Kind::Opened, Kind::Opened] {
            door.record(fact(kind), &["slack"]).await;
        }
        let browser = Browser::of(door, Role::Write).await;
        for (path, count) in [
            ("/events", 3),
            ("/events?kind=opened&source=&contact=", 2),
            ("/events?contact=JANE%40example.com", 3),
            ("/events?contact=joe%40example.com", 0),
            ("/events?to=2020-01-01T00%3A00", 0),
            ("/events?source=news", 0),
            ("/deliveries", 3),
            ("/deliveries?state=dead", 0),
            ("/deliveries?kind=unsubscribed&target=slack", 1),
        ] {
            let shown = browser.get(path).await;
            assert_eq!(shown.status, 200, "{path}: {}", shown.text);
            assert_eq!(
                shown.text.matches("<td data-label=\"state\">").count()
                    + shown.text.matches("<td data-label=\"scope\">").count(),
                count,
                "{path}"
            );
            assert_eq!(shown.has("class=\"empty\""), count == 0, "{path}");
        }
        let first = browser.get("/events?limit=2&kind=").await;
        let (_, rest) = first
            .text
            .split_once("rel=\"next\"")
            .map(|(before, _)| before.rsplit_once("href=\"").unwrap())
            .unwrap();
        let next = format!(
            "/events{}",
            rest.split('"').next().unwrap().replace("&amp;", "&")
        );
        assert!(next.contains("limit=2"), "{next}");
        let second = browser.get(&next).await;
        second.shows(&["<a href=\"?limit=2\">Newest</a>"]);
        assert_eq!(second.text.matches("<td data-label=\"scope\">").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn one_delivery_is_shown_with_its_attempts_and_begins_again() {
    on_each(async |door| {
        let (event, delivery) = door.delivery_to("slack").await;
        door.attempt(delivery, 1, State::Dead).await;
        let path = format!("/deliveries/{delivery}");
        let reader = Browser::of(door, Role::Read).await;
        let shown = reader.get(&path).await;
        shown.shows(&["no such hook", "410", &format!("/events/{}", event.id)]);
        shown.hides(&["/retry"]);
        assert_eq!(reader.post(&format!("{path}/retry"), &[]).await.status, 403);
        let browser = Browser::of(door, Role::Write).await;
        for _ in 0..2 {
            let shown = browser.post(&format!("{path}/retry"), &[]).await;
            assert_eq!(shown.location(), format!("{path}?done=retried"));
        }
        let shown = browser.get(&format!("{path}?done=retried")).await;
        shown.shows(&["It has begun again", "is-pending"]);
        assert_eq!(door.queue.take().len(), 2);
        let (_, off) = door.delivery_to("off").await;
        let shown = browser.post(&format!("/deliveries/{off}/retry"), &[]).await;
        assert_eq!(
            (shown.status, shown.heading()),
            (409, "Not possible as things are")
        );
        shown.shows(&["the target off is disabled"]);
    })
    .await;
}

#[tokio::test]
async fn what_could_not_be_read_is_shown_with_the_reason_and_tried_again() {
    on_each(async |door| {
        let unreadable = fact(Kind::Other).envelope();
        door.ledger
            .quarantine(&unreadable, "test", "it is no JSON")
            .await
            .unwrap();
        let browser = Browser::of(door, Role::Write).await;
        let list = browser.get("/quarantine?state=held").await;
        list.shows(&["it is no JSON"]);
        let (_, rest) = list.text.split_once("<a href=\"/quarantine/").unwrap();
        let path = format!("/quarantine/{}", rest.split_once('"').unwrap().0);
        browser
            .get(&path)
            .await
            .shows(&["it is no JSON", "&quot;who&quot;"]);
        let shown = browser.post(&format!("{path}/retry"), &[]).await;
        assert_eq!(shown.location(), format!("{path}?done=retried"));
        browser
            .get(shown.location())
            .await
            .shows(&["It is being read again", "is-retried"]);
        assert_eq!(door.queue.take().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_others_wrote_is_text_wherever_it_is_shown() {
    on_each(async |door| {
        let markup = Fact {
            contact: Some(Contact::email("a&b'@example.com").unwrap()),
            scope: Some("<script>alert(1)</script>"),
            body: b"<img src=x onerror=alert(1)>",
            ..fact(Kind::Unsubscribed)
        };
        let event = door.record(markup, &["slack"]).await;
        let browser = Browser::of(door, Role::Write).await;
        for path in [
            "/events".to_owned(),
            format!("/events/{}", event.id),
            format!("/contacts?event={}", event.id),
            "/events?contact=%22%3E%3Cscript%3E%40example.com".to_owned(),
        ] {
            let shown = browser.get(&path).await;
            shown.hides(&["<script>", "<img"]);
        }
    })
    .await;
}
