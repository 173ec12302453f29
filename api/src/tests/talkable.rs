//! Talkable's question.

use common::{
    lifecycle::Lifecycle,
    providers::talkable::{PATH, SAMPLES},
};
use serde_json::json;

use super::*;

const SOURCE: &str = "[[sources]]\nname = 'referrals'\nprovider = 'talkable'\n\
    auth = { kind = 'signature', key = ['old-key', 'the key'], site = 'my-site' }\n";

/// A door with a source of Talkable's and these settings, its trail written as it comes.
fn door_with(door: &Door, settings: &str) -> (Router, Lifecycle) {
    let loaded = Loaded::from_text(&format!("{SOURCE}{settings}"), BTreeMap::new()).unwrap();
    assert_eq!(loaded.mistakes(), []);
    let lifecycle = Lifecycle::new();
    let (trail, acts) = Trail::new();
    let write = trail::write(acts, door.ledger.clone(), lifecycle.clone());
    lifecycle.spawn("audit", write);
    let queue = Arc::<Recorder>::clone(&door.queue);
    let app = App::new(
        &loaded.config,
        door.ledger.clone(),
        queue,
        trail,
        &lifecycle,
    )
    .unwrap();
    (router(Arc::new(app)), lifecycle)
}

fn question(recipient: &Value) -> String {
    let payload = json!({ "campaign": { "id": 7 }, "recipient": recipient, "email_type": "friend_rewards_paid" });
    format!("key=the key&site=my-site&type=check_unsubscribe_web_hook&payload={payload}")
}

fn about(email: &str) -> String {
    question(&json!({ "email": email }))
}

async fn ask(router: &Router, body: impl Into<Body>) -> (u16, Value) {
    let form = "application/x-www-form-urlencoded";
    let request = Request::post(PATH).header("content-type", form);
    let request = request.body(body.into()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap(),
    };
    witness::hold("POST", PATH, &answer);
    (answer.status.as_u16(), answer.body)
}

async fn answers(router: &Router, body: String, unsubscribed: bool) {
    let expected = (200, json!({ "result": { "unsubscribed": unsubscribed } }));
    assert_eq!(ask(router, body.clone()).await, expected, "{body}");
}

// rows: TK-1, TK-2, TK-3, TK-4, TK-5, TK-30, TK-33, TK-34
#[tokio::test]
async fn the_answer_is_the_ledgers_and_has_the_one_shape() {
    on_each(async |door| {
        let (router, _) = door_with(door, "");
        answers(&router, about("jane@example.com"), false).await;
        door.record(fact(Kind::Unsubscribed), &[]).await;
        for spelt in [
            "jane@example.com",
            "  Jane@EXAMPLE.com ",
            "Jane <jane@example.com>",
        ] {
            answers(&router, about(spelt), true).await;
        }
        answers(&router, about("john@example.com"), false).await;
        // Without such a source nobody may ask.
        let (status, body) = ask(&door.router, about("john@example.com")).await;
        assert_eq!(
            (status, &body["result"]["unsubscribed"]),
            (401, &json!(true))
        );
    })
    .await;
}

// rows: TK-7, TK-9, TK-28, TK-31
#[tokio::test]
async fn the_example_of_the_page_is_answered_verbatim() {
    on_each(async |door| {
        let filled = SAMPLES[0]
            .body()
            .replace("<key>", "old-key")
            .replace("<site>", "my-site");
        let (router, _) = door_with(door, "");
        answers(&router, filled.clone(), true).await;
        let (router, _) = door_with(door, "[api.talkable]\nwhen_unknown = false");
        answers(&router, filled, false).await;
    })
    .await;
}

// rows: TK-6
#[tokio::test]
async fn a_question_changes_nothing_and_is_recorded_in_the_trail_all_the_same() {
    on_each(async |door| {
        let (router, lifecycle) = door_with(door, "");
        for _ in 0..3 {
            answers(&router, about("jane@example.com"), false).await;
        }
        drop(router);
        lifecycle.stop();
        assert!(lifecycle.finish(Duration::from_secs(10)).await);
        assert_eq!(door.audited().await, 3);
        let acts = door
            .ledger
            .audited(&Contact::email("jane@example.com").unwrap(), 10)
            .await
            .unwrap();
        assert_eq!(
            (acts[0].actor.as_str(), acts[0].action.as_str()),
            ("referrals", "talkable.check")
        );
        assert!(!door.unsubscribed("email=jane@example.com").await);
        assert_eq!(
            door.items("/api/v1/events").await.len() + door.asked().len(),
            0
        );
    })
    .await;
}

// rows: TK-28, TK-29
#[tokio::test]
async fn without_a_readable_address_or_a_ledger_the_answer_is_the_configured_one() {
    on_each(async |door| {
        let away = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1).unwrap();
        for (settings, unknown) in [("", true), ("[api.talkable]\nwhen_unknown = false", false)] {
            let (router, _) = door_with(door, settings);
            for recipient in [
                json!({}),
                json!({ "email": null }),
                json!({ "email": "" }),
                json!({ "email": "nobody" }),
                json!({ "email": 7 }),
                json!(null),
            ] {
                answers(&router, question(&recipient), unknown).await;
            }
            let door = Door::new("no ledger", away.clone(), tempfile::tempdir().unwrap());
            let (router, _) = door_with(&door, settings);
            answers(&router, about("jane@example.com"), unknown).await;
        }
    })
    .await;
}

// rows: TK-8, TK-32
#[tokio::test]
async fn a_malformed_question_is_400_with_an_answer_that_is_safe_to_read() {
    on_each(async |door| {
        for (settings, unknown) in [("", true), ("[api.talkable]\nwhen_unknown = false", false)] {
            let (router, _) = door_with(door, settings);
            let head = "key=the key&site=my-site&type=";
            for body in [
                format!("{head}check_unsubscribe_web_hook&payload={{"),
                format!("{head}check_unsubscribe_web_hook&payload=[]"),
                format!("{head}check_unsubscribe_web_hook"),
                format!("{head}another&payload={{}}"),
            ] {
                let (status, answer) = ask(&router, body.clone()).await;
                assert_eq!(status, 400, "{body}");
                assert_eq!(answer["result"], json!({ "unsubscribed": unknown }));
                assert!(answer["detail"].is_string());
            }
            assert_eq!(ask(&router, &b"key=\xff"[..]).await.0, 400);
        }
    })
    .await;
}

// rows: TK-9
#[tokio::test]
async fn a_wrong_key_or_site_is_401_and_never_reads_as_subscribed() {
    on_each(async |door| {
        let (router, _) = door_with(door, "[api.talkable]\nwhen_unknown = false");
        for (right, wrong) in [
            ("the key", "another"),
            ("my-site", "another"),
            ("the key", ""),
            ("my-site", ""),
        ] {
            let body = about("jane@example.com").replace(right, wrong);
            let (status, answer) = ask(&router, body).await;
            assert_eq!(
                (status, &answer["result"]["unsubscribed"]),
                (401, &json!(true))
            );
        }
        answers(
            &router,
            about("jane@example.com").replace("the key", "old-key"),
            false,
        )
        .await;
    })
    .await;
}

// rows: TK-23, TK-27
#[tokio::test]
async fn a_scope_and_what_talkable_itself_states_count_where_that_is_set() {
    on_each(async |door| {
        let scoped = Fact { scope: Some("events.spring-fair"), ..fact(Kind::Unsubscribed) };
        door.record(scoped, &[]).await;
        let (strict, _) = door_with(door, "");
        answers(&strict, about("jane@example.com"), true).await;
        let (router, _) = door_with(door, "[api.talkable]\nscope = 'referrals'\nheed_unsubscribed_at = true");
        answers(&router, about("jane@example.com"), false).await;
        let stated = json!({ "email": "john@example.com", "opted_in_at": "2018-09-27T22:55:40.610+03:00",
            "unsubscribed_at": "2019-09-27T22:55:40.610 03:00" });
        answers(&router, question(&stated), true).await;
        answers(&strict, question(&stated), false).await;
    })
    .await;
}
