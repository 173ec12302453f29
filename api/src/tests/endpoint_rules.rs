//! What may be registered as an endpoint, and what is said of the rest.

use axum::response::IntoResponse;
use common::config::Loaded;
use serde_json::json;

use super::{endpoints::PATH, *};

// rows: SM-20
#[test]
fn a_url_is_https_without_credentials_and_at_a_public_place() {
    let rules = |text: &str| {
        let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
        Rules::new(&loaded.config).unwrap()
    };
    let (strict, lax) = (rules(""), rules("[endpoints]\nallow_http = true"));
    let why = |rules: &Rules, url: &str| {
        let wrong = rules.url(url.to_owned()).unwrap_err();
        let problem = wrong.problem().into_response();
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        wrong.to_string()
    };
    let long = format!("https://example.com/{}", "x".repeat(2048));
    for (url, part) in [
        (
            "http://example.com/x",
            "the field url is sent to without encryption: https:// is needed",
        ),
        ("https://10.0.0.1/x", "private address 10.0.0.1"),
        ("https://127.0.0.1/x", "loopback address"),
        ("https://[::1]/x", "loopback address"),
        ("https://169.254.169.254/latest", "link-local address"),
        ("https://user:pass@example.com/", "holds credentials"),
        ("https://user@example.com/", "holds credentials"),
        ("ftp://example.com/", "https:// is needed"),
        ("example.com", "is no URL"),
        ("", "is empty"),
        ("https://example.com/\0", "control characters"),
        ("https://exa mple.com/", "white space"),
        (long.as_str(), "longer than 2048 bytes"),
    ] {
        let why = why(&strict, url);
        assert!(why.contains(part) && !why.contains("pass@"), "{url}: {why}");
    }
    assert!(lax.url("http://example.com/x".to_owned()).is_ok());
    assert!(why(&lax, "http://127.0.0.1/x").contains("loopback address"));
    assert!(strict.url("https://example.com/x?y=z".to_owned()).is_ok());
}

/// The same door once the settings are strict again.
fn strict(door: &Door) -> Door {
    let text = "[api]\nkeys = [{ name = 'ops', key = 'read-key-0123', role = 'read' }]";
    let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
    let (ledger, queue) = (door.ledger.clone(), Arc::clone(&door.queue));
    let trail = Trail::new().0;
    let app = App::new(
        &loaded.config,
        ledger.clone(),
        Arc::<Recorder>::clone(&queue),
        trail,
        &Lifecycle::new(),
    );
    let app = Arc::new(app.unwrap());
    Door {
        store: door.store,
        router: router(Arc::clone(&app)),
        app,
        ledger,
        queue,
        answered: Mutex::default(),
        lifecycle: Lifecycle::new(),
        url: String::new(),
        _folder: tempfile::tempdir().unwrap(),
    }
}

#[tokio::test]
async fn an_endpoint_that_may_not_be_sent_to_any_more_says_why() {
    on_each(async |door| {
        let (strict, events) = (strict(door), json!(["*"]));
        for (url, held_back) in [
            ("http://example.com/x", true),
            ("https://example.com/x", false),
        ] {
            let wish = json!({ "url": url, "events": events });
            let made = door.write("POST", PATH, &wish).await.body;
            let one = format!("{PATH}/{}", text(&made["id"]));
            assert_eq!(door.get(&one).await.body["held_back"], Value::Null);
            let shown = strict.get(&one).await.body;
            let why = shown["held_back"].as_str();
            let told = why.is_some_and(|why| why.contains("endpoints.allow_http"));
            assert_eq!((told, &shown["enabled"]), (held_back, &json!(true)));
            assert_eq!(strict.items(PATH).await[0], shown, "newest first");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_by_its_field() {
    on_each(async |door| {
        let url = "https://example.com/x";
        for (body, part) in [
            (json!({ "events": ["*"] }), "url"),
            (json!({ "url": url }), "events"),
            (json!({ "url": url, "events": [] }), "events is empty"),
            (
                json!({ "url": url, "events": ["*", "spam"] }),
                "\"spam\" is none of unsubscribed, ",
            ),
            (
                json!({ "url": url, "events": "*" }),
                "the field events is wrong: ",
            ),
            (
                json!({ "url": 7, "events": ["*"] }),
                "the field url is wrong: ",
            ),
            (
                json!({ "url": url, "events": ["*"], "secret": "x" }),
                "secret",
            ),
            (
                json!({ "url": url, "events": ["*"], "description": "a\0b" }),
                "description",
            ),
            (
                json!({ "url": url, "events": ["*"], "enabled": "yes" }),
                "expected a boolean",
            ),
            (json!(["*"]), "the body is wrong"),
        ] {
            let answer = door.write("POST", PATH, &body).await;
            assert_eq!(
                answer.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{answer:?}"
            );
            let detail = text(&answer.body["detail"]);
            assert!(detail.contains(part), "{body}: {detail}");
        }
        assert_eq!(door.items(PATH).await.len(), 0);
        let answer = door.get(&format!("{PATH}/nothing")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    })
    .await;
}
