//! How often a key may ask, what a flood of wrong keys does to right ones, and which websites may ask.

use std::time::Instant;

use common::{
    config::Rate,
    key::{self, Wanted},
};
use secrecy::{ExposeSecret, SecretString};

use super::*;

/// A key for reading, with a rate of its own or none.
pub(super) async fn stored(door: &Door, name: &str, rate: Option<&str>) -> SecretString {
    let wanted = Wanted {
        name: name.to_owned(),
        role: Role::Read,
        rate: rate.map(|rate| rate.parse().unwrap()),
        expires_at: None,
    };
    let made = door.ledger.create_key(&wanted, "ops").await.unwrap();
    made.unwrap().1
}

async fn asked(router: &Router, key: &str) -> Answer {
    let headers = [("x-api-key", key)];
    ask(router, "GET", "/api/v1/quarantine", &headers, Body::empty()).await
}

#[tokio::test]
async fn each_key_has_a_rate_of_its_own_and_is_told_when_it_may_ask_again() {
    on_each(async |door| {
        let app = door.configured(
            "[api]\nrate = '3/1h'\nkeys = [
                { name = 'plain', key = ['plain-key-0123', 'plain-old-0123'], role = 'read' },
                { name = 'fast', key = 'fast-key-0123', role = 'read', rate = '5/1h' },
                { name = 'low', key = 'low-key-0123', role = 'check' },
            ]",
        );
        let router = router(Arc::new(app));
        let slow = stored(door, "slow", Some("2/1h")).await;
        let other = stored(door, "other", None).await;
        for (name, key, times) in [
            ("plain", "plain-key-0123", 3),
            ("fast", "fast-key-0123", 5),
            ("slow", slow.expose_secret(), 2),
            ("other", other.expose_secret(), 3),
        ] {
            for time in 0..times {
                let answer = asked(&router, key).await;
                assert_eq!(answer.status, StatusCode::OK, "{name}, time {time}");
            }
            let refused = asked(&router, key).await;
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{name}");
            assert_eq!(refused.headers["content-type"], "application/problem+json");
            assert!(text(&refused.body["detail"]).contains(&format!("the key {name} ")));
            let after: u64 = refused.headers["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            // As long as the pause between two, but for what the test has taken so far.
            let pause = 3600 / times;
            assert!((pause - 60..=pause + 1).contains(&after), "{name}: {after}");
        }
        // Both secrets of a key count together; what is forbidden counts, too.
        let old = asked(&router, "plain-old-0123").await;
        assert_eq!(old.status, StatusCode::TOO_MANY_REQUESTS);
        for status in [403, 403, 403, 429] {
            assert_eq!(asked(&router, "low-key-0123").await.status.as_u16(), status);
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_rate_a_key_asks_as_often_as_it_likes() {
    on_each(async |door| {
        let key = stored(door, "busy", None).await;
        for _ in 0..150 {
            assert_eq!(
                asked(&door.router, key.expose_secret()).await.status,
                StatusCode::OK
            );
            assert_eq!(
                asked(&door.router, "read-key-0123").await.status,
                StatusCode::OK
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_wrong_keys_is_held_off_and_keeps_no_right_key_out() {
    on_each(async |door| {
        let mut app = door.configured(
            "[api]\nkeys = [{ name = 'plain', key = 'plain-key-0123', role = 'read' }]",
        );
        // One wrong key is a flood.
        let rate: Rate = "1/1h".parse().unwrap();
        app.keys.strangers = rate.limiter();
        let router = router(Arc::new(app));
        let before = stored(door, "before", None).await;
        let status = async |key: &SecretString| asked(&router, key.expose_secret()).await.status;
        assert_eq!(status(&key::generate()).await, StatusCode::UNAUTHORIZED);
        let held_off = asked(&router, key::generate().expose_secret()).await;
        assert_eq!(held_off.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(held_off.headers.contains_key("retry-after"));
        for right in [&before, &"plain-key-0123".into()] {
            assert_eq!(status(right).await, StatusCode::OK);
        }
        // What cannot be a key of the ledger costs nothing, so it is answered as ever.
        assert_eq!(status(&"wrong".into()).await, StatusCode::UNAUTHORIZED);

        // One that was made since the hashes were read is let in once they are read again.
        let since = stored(door, "since", None).await;
        let begun = Instant::now();
        while status(&since).await != StatusCode::OK {
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        let known = door.ledger.key_named("since").await.unwrap().unwrap();
        door.ledger.revoke_key(known.id, "ops").await.unwrap();
        assert_eq!(status(&since).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&since).await, StatusCode::TOO_MANY_REQUESTS);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_stops_at_once_though_it_was_seen_before() {
    on_each(async |door| {
        let key = stored(door, "brief", Some("9/1h")).await;
        assert_eq!(
            asked(&door.router, key.expose_secret()).await.status,
            StatusCode::OK
        );
        let known = door.ledger.key_named("brief").await.unwrap().unwrap();
        door.ledger.revoke_key(known.id, "ops").await.unwrap();
        let refused = asked(&door.router, key.expose_secret()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

const PREFLIGHT: &[(&str, &str)] = &[
    ("origin", "https://app.example.com"),
    ("access-control-request-method", "GET"),
    ("access-control-request-headers", "x-api-key"),
];

#[tokio::test]
async fn without_origins_no_website_may_ask() {
    on_each(async |door| {
        for (method, path, status) in [
            ("OPTIONS", "/api/v1/events", 405),
            ("OPTIONS", "/api/v1/nothing", 404),
            ("GET", "/api/v1/events", 401),
        ] {
            let answer = door.send(method, path, PREFLIGHT).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
            let cors = |name: &str| name.starts_with("access-control-");
            assert!(!answer.headers.keys().any(|name| cors(name.as_str())));
        }
    })
    .await;
}

#[tokio::test]
async fn the_websites_that_are_named_may_ask_and_no_others() {
    on_each(async |door| {
        let app = door.configured(
            "[api]\ncors_origins = ['https://app.example.com', 'http://localhost:3000']
            keys = [{ name = 'page', key = 'page-key-0123', role = 'check' }]",
        );
        let router = hardened(router(Arc::new(app)));
        let allowed = ask(
            &router,
            "OPTIONS",
            "/api/v1/check",
            PREFLIGHT,
            Body::empty(),
        )
        .await;
        assert_eq!(allowed.status, StatusCode::OK);
        let header = |name: &str| allowed.headers[name].to_str().unwrap();
        assert_eq!(
            header("access-control-allow-origin"),
            "https://app.example.com"
        );
        assert_eq!(
            header("access-control-allow-methods"),
            "GET,POST,PUT,DELETE"
        );
        assert_eq!(
            header("access-control-allow-headers"),
            "authorization,content-type,x-api-key"
        );
        assert!(
            !allowed
                .headers
                .contains_key("access-control-allow-credentials")
        );
        assert_eq!(header("cache-control"), "no-store");

        let path = "/api/v1/check?email=jane@example.com";
        for (origin, key, status, may) in [
            ("http://localhost:3000", "page-key-0123", 200, true),
            // A page reads why it was refused, too.
            ("https://app.example.com", "other", 401, true),
            (
                "https://app.example.com.evil.example",
                "page-key-0123",
                200,
                false,
            ),
            ("null", "page-key-0123", 200, false),
        ] {
            let headers = [("origin", origin), ("x-api-key", key)];
            let answer = ask(&router, "GET", path, &headers, Body::empty()).await;
            assert_eq!(answer.status.as_u16(), status, "{origin}");
            let allowed = answer.headers.get("access-control-allow-origin");
            assert_eq!(
                allowed.is_some_and(|allowed| allowed == origin),
                may,
                "{origin}"
            );
            assert_eq!(allowed.is_some(), may);
            assert!(text(&answer.headers["vary"].to_str().unwrap().into()).contains("origin"));
        }
    })
    .await;
}
