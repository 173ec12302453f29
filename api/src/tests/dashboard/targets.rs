//! Telling all again, and where things come from and go to.

use common::{config::Source, endpoint, ledger::Level, refused::Refused};
use serde_json::json;

use super::*;

#[tokio::test]
async fn all_that_match_are_counted_first_and_begin_again_then() {
    on_each(async |door| {
        for _ in 0..3 {
            let (_, dead) = door.delivery_to("slack").await;
            door.attempt(dead, 1, State::Dead).await;
        }
        let browser = Browser::of(door, Role::Write).await;
        let list = browser.get("/deliveries?state=dead&target=slack").await;
        list.shows(&["href=\"/replays?state=dead&amp;target=slack\">Retry all that match"]);
        let form = browser.get("/replays?state=dead&target=slack").await;
        form.shows(&["value=\"slack\"", "<option value=\"dead\" selected>"]);
        let tomorrow = (clock::now() + jiff::SignedDuration::from_hours(24))
            .strftime("%Y-%m-%dT%H:%M")
            .to_string();
        let wish = [
            ("target", "slack"),
            ("state", "dead"),
            ("kind", ""),
            ("since", "2020-01-01T00:00"),
            ("until", &tomorrow),
        ];
        let shown = browser.post("/replays/start", &wish).await;
        assert_eq!((shown.status, shown.heading()), (200, "3 deliveries match"));
        assert!(
            door.items("/api/v1/replays")
                .await
                .iter()
                .all(|replay| replay["dry_run"] == true)
        );
        let start = [&wish[..], &[("start", "yes")]].concat();
        let shown = browser.post("/replays/start", &start).await;
        let page = browser.get(shown.location()).await;
        page.shows(&[
            "<progress id=\"progress\" max=\"3\" value=\"0\">",
            "http-equiv=\"refresh\"",
            "0 of 3 have begun again",
        ]);
        let reader = Browser::of(door, Role::Read).await;
        reader
            .get("/replays")
            .await
            .shows(&["counted only", "is-running"]);
        assert_eq!(reader.post("/replays/start", &start).await.status, 403);
        for (field, value, why) in [
            ("since", "", "a time in UTC is needed"),
            ("state", "parked", "sent by themselves"),
            ("target", "nobody", "neither a configured target"),
        ] {
            let wish: Vec<_> = wish
                .iter()
                .map(|(name, was)| (*name, if *name == field { value } else { was }))
                .collect();
            let shown = browser.post("/replays/start", &wish).await;
            assert_eq!(shown.status, 422, "{field}");
            shown.shows(&[&format!("The field <strong>{field}</strong>"), why]);
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_is_seen_tested_disabled_and_enabled() {
    on_each(async |door| {
        let wanted = json!({ "url": "http://127.0.0.1:1/hook", "events": ["unsubscribed"], "description": "their <own>" });
        let made = door.write("POST", "/api/emails/webhook-endpoints/", &wanted).await;
        let path = format!("/endpoints/{}", text(&made.body["id"]));
        let browser = Browser::of(door, Role::Write).await;
        let list = browser.get("/targets").await;
        list.shows(&["http://127.0.0.1:1/hook", "their &lt;own&gt;", "slack", "is-disabled"]);
        let shown = browser.post(&format!("{path}/test"), &[]).await;
        shown.shows(&["Not delivered:"]);
        for (action, state) in [("disable", "disabled"), ("disable", "disabled"), ("enable", "enabled")] {
            let shown = browser.post(&format!("{path}/{action}"), &[]).await;
            assert_eq!(shown.location(), format!("{path}?done={state}"));
            let shown = browser.get(shown.location()).await;
            shown.shows(&[&format!("It is {state}"), &format!("badge is-{state}"), "unsubscribed", "their &lt;own&gt;"]);
        }
        let reader = Browser::of(door, Role::Read).await;
        reader.get(&path).await.hides(&["/disable\"", "/test\""]);
        assert_eq!(reader.post(&format!("{path}/disable"), &[]).await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn a_target_tells_when_it_last_delivered_and_by_what_it_last_failed() {
    on_each(async |door| {
        let (_, told) = door.delivery_to("slack").await;
        door.attempt(told, 1, State::Delivered).await;
        let (_, dead) = door.delivery_to("slack").await;
        door.attempt(dead, 1, State::Dead).await;
        let shown = Browser::of(door, Role::Read).await.get("/targets").await;
        let row = shown
            .text
            .split("<tr>")
            .find(|row| row.contains(">slack<"))
            .unwrap();
        assert_eq!(row.matches("<time ").count(), 2, "{row}");
        assert!(row.contains("gone"), "{row}");
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_left_alone_is_told_with_the_time_since_when() {
    on_each(async |door| {
        let wanted = json!({ "url": "http://127.0.0.1:1/hook", "events": ["*"] });
        let made = door
            .write("POST", "/api/emails/webhook-endpoints/", &wanted)
            .await;
        let id: Uuid = text(&made.body["id"]).parse().unwrap();
        let open = |target: &str| (target.to_owned(), Level::Open);
        let levels = [open("slack"), open(&endpoint::target(id))];
        door.ledger
            .note_breakers(Uuid::now_v7(), &levels)
            .await
            .unwrap();
        let browser = Browser::of(door, Role::Read).await;
        let shown = browser.get("/targets").await;
        assert_eq!(
            shown.text.matches("badge is-open").count(),
            2,
            "{}",
            shown.text
        );
        let shown = browser.get(&format!("/endpoints/{id}")).await;
        shown.shows(&[
            "<dt>Breaker</dt><dd><span class=\"badge is-open\">",
            "since <time ",
        ]);
        browser
            .in_the_end("/", &["breaker <span class=\"badge is-open\">"])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_configured_target_is_disabled_for_a_reason_enabled_and_tested() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Write).await;
        let list = browser.get("/targets").await;
        list.shows(&["href=\"/targets/slack\"", "by the configuration"]);
        browser
            .get("/targets/off")
            .await
            .shows(&["by the configuration"]);
        let shown = browser
            .post("/targets/slack/disable", &[("reason", "it <moves>")])
            .await;
        assert_eq!(shown.location(), "/targets/slack?done=disabled");
        let shown = browser.get(shown.location()).await;
        assert_eq!(shown.heading(), "slack");
        shown.shows(&[
            "It is disabled",
            "badge is-disabled",
            "by the write key: it &lt;moves&gt;",
        ]);
        browser
            .get("/targets")
            .await
            .shows(&["by the write key: it &lt;moves&gt;"]);
        browser
            .in_the_end("/", &["slack</a> <span class=\"badge is-disabled\">"])
            .await;
        let shown = browser.post("/targets/slack/enable", &[]).await;
        browser
            .get(shown.location())
            .await
            .shows(&["It is enabled", "badge is-enabled"]);
        let test = browser.post("/targets/slack/test", &[]);
        let (shown, ()) = tokio::join!(test, crate::tests::targets::make_a_test(door));
        shown.shows(&["Delivered, after 7 ms", "200 ok"]);
        assert_eq!(browser.get("/targets/nobody").await.status, 404);
        let reader = Browser::of(door, Role::Read).await;
        reader
            .get("/targets/slack")
            .await
            .hides(&["/disable\"", "/test\""]);
        for action in ["disable", "enable", "test"] {
            let path = format!("/targets/slack/{action}");
            assert_eq!(reader.post(&path, &[]).await.status, 403);
        }
    })
    .await;
}

/// Records what an ingress tells.
async fn told(door: &Door, refused: Refused) {
    let envelope = refused.into_request(Uuid::now_v7()).into_envelope();
    let api = Source::api();
    let drafts = api.provider.parse(&envelope).unwrap();
    let events: Vec<_> = drafts
        .into_iter()
        .map(|draft| {
            draft
                .unwrap()
                .into_event(&envelope, "api", Undetermined::Suppress)
        })
        .collect();
    let entry = Entry {
        envelope: &envelope,
        provider: "api",
        events: events.iter().map(|event| (event, vec![])).collect(),
        duplicates: vec![],
        echoes: vec![],
        unreadable: vec![],
    };
    door.ledger.record(&[entry]).await.unwrap();
}

#[tokio::test]
async fn a_source_is_shown_with_the_address_to_paste_and_without_its_secrets() {
    on_each(async |door| {
        let text = "[api]\nkeys = [{ name = 'ops', key = 'ops-key-123456', role = 'read' }]\n\
            [ingress]\npublic_origin = 'https://hooks.example.com'\n\
            [[sources]]\nname = 'shop'\nprovider = 'notifiedby'\nauth = { kind = 'query', name = 'token', secret = 'very-secret' }\n\
            [[sources]]\nname = 'mail'\nprovider = 'postmark'\nenabled = false\nauth = { kind = 'basic', username = 'a', password = 'very-secret' }";
        door.record(fact(Kind::Opened), &[]).await;
        for requests in [30, 7] {
            let refused = Refused {
                source: "mail".to_owned(),
                requests,
                first_at: clock::now(),
                last_at: clock::now(),
            };
            told(door, refused).await;
        }
        let router = hardened(router(Arc::new(door.configured(text))));
        let mut browser = Browser::new(&router);
        browser.sign_in("ops-key-123456").await;
        let shown = browser.get("/sources").await;
        shown.shows(&[
            "https://hooks.example.com/webhooks/shop?token=SECRET",
            "https://hooks.example.com/webhooks/mail",
            "user name and password",
            "none yet",
            "badge is-disabled",
            "37, the last <time ",
        ]);
        assert_eq!(shown.text.matches("<time ").count(), 2);
        shown.hides(&["very-secret", "public_origin"]);
    })
    .await;
}
