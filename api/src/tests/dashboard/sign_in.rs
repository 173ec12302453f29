//! Sessions: who is let in, for how long, and what a form needs.

use common::{
    key::Wanted,
    ledger::{IDLE, LONGEST},
};
use secrecy::ExposeSecret;

use super::*;

async fn run(door: &Door, text: &str) {
    let pool = door.database().await;
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn who_has_no_session_sees_the_way_in_and_comes_back_to_where_they_wanted() {
    on_each(async |door| {
        let mut browser = Browser::new(&door.router);
        let shown = browser.get("/").await;
        assert_eq!((shown.status, shown.heading()), (200, "Sign in"));
        shown.shows(&[
            "<input id=\"key\" type=\"password\" name=\"key\"",
            "action=\"/sign-in\"",
        ]);
        assert_eq!(shown.headers["cache-control"], "no-store");
        let policy = shown.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");

        let there = browser.get("/events?kind=opened").await;
        assert_eq!(there.location(), "/?next=%2Fevents%3Fkind%3Dopened");
        let shown = browser.get(there.location()).await;
        shown.shows(&["name=\"next\" value=\"/events?kind=opened\""]);
        let fields = [("key", "read-key-0123"), ("next", "/events?kind=opened")];
        let shown = browser.send("/sign-in", &fields).await;
        assert_eq!(shown.location(), "/events?kind=opened");
        let fields = [("key", "read-key-0123"), ("next", "//evil.example")];
        assert_eq!(browser.send("/sign-in", &fields).await.location(), "/");
        let shown = browser.sign_in("read-key-0123").await;
        let cookie = shown.headers["set-cookie"].to_str().unwrap();
        assert!(
            cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"),
            "{cookie}"
        );
        let shown = browser.get("/").await;
        assert_eq!((shown.status, shown.heading()), (200, "Overview"));
        shown.shows(&["the read key"]);
        // Nothing can be done without a session either.
        let stranger = Browser::new(&door.router);
        assert_eq!(stranger.post("/sign-out", &[]).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_may_not_is_told_why_and_one_that_is_none_is_told_nothing_more() {
    on_each(async |door| {
        let mut browser = Browser::new(&door.router);
        let before = door.audited().await;
        let shown = browser.sign_in("check-key-0123").await;
        assert_eq!((shown.status, shown.heading()), (403, "Sign in"));
        shown.shows(&["This key has the role check"]);
        let unknown = format!("optout_{}", "x".repeat(43));
        let mut texts = BTreeSet::new();
        for wrong in ["", "x", "read-key-012", &unknown] {
            let shown = browser.sign_in(wrong).await;
            assert_eq!(shown.status, 401, "{wrong}");
            assert!(!shown.headers.contains_key("set-cookie"));
            texts.insert(shown.text);
        }
        assert_eq!(texts.len(), 1, "all are told the same");
        assert_eq!(door.audited().await, before);
        assert!(
            browser
                .sign_in("write-old-key")
                .await
                .headers
                .contains_key("set-cookie")
        );
        assert_eq!(door.audited().await, before + 1, "who signs in is recorded");
    })
    .await;
}

#[tokio::test]
async fn over_tls_the_cookie_is_bound_to_tls() {
    on_each(async |door| {
        let browser = Browser::new(&door.router);
        let headers = [("x-forwarded-proto", "https")];
        let body = "key=read-key-0123".to_owned();
        let shown = browser.ask("POST", "/sign-in", &headers, body).await;
        let cookie = shown.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("__Host-optout_session="), "{cookie}");
        assert!(cookie.ends_with("; SameSite=Strict; Secure"), "{cookie}");
        let (pair, _) = cookie.split_once(';').unwrap();
        let both = [("x-forwarded-proto", "https"), ("cookie", pair)];
        let shown = browser.ask("GET", "/", &both, String::new()).await;
        assert_eq!(shown.heading(), "Overview");
        let plain = browser
            .ask("GET", "/", &[("cookie", pair)], String::new())
            .await;
        assert_eq!(plain.heading(), "Sign in");
    })
    .await;
}

#[tokio::test]
async fn signing_out_ends_the_session_for_good() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Read).await;
        let shown = browser.post("/sign-out", &[]).await;
        assert_eq!(shown.location(), "/");
        let taken = shown.headers["set-cookie"].to_str().unwrap();
        assert!(
            taken.starts_with("optout_session=; Path=/; Max-Age=0"),
            "{taken}"
        );
        // Whoever kept the cookie has nothing of it.
        assert_eq!(browser.get("/").await.heading(), "Sign in");
        assert_eq!(browser.post("/sign-out", &[]).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_revoked_or_taken_out_ends_its_sessions_at_once() {
    on_each(async |door| {
        let wanted = Wanted {
            name: "dashboard".to_owned(),
            role: Role::Write,
            rate: None,
            expires_at: None,
        };
        let (key, secret) = door
            .ledger
            .create_key(&wanted, "test")
            .await
            .unwrap()
            .unwrap();
        let mut stored = Browser::new(&door.router);
        stored.sign_in(secret.expose_secret()).await;
        assert_eq!(stored.get("/").await.heading(), "Overview");
        door.ledger.revoke_key(key.id, "test").await.unwrap();
        assert_eq!(stored.get("/").await.heading(), "Sign in");

        // Another process, with another configuration.
        let text = |key: &str| {
            format!("[api]\nkeys = [{{ name = 'ops', key = '{key}', role = 'admin' }}]")
        };
        let serve = |key: &str| hardened(router(Arc::new(door.configured(&text(key)))));
        let (before, after) = (serve("ops-key-123456"), serve("ops-key-654321"));
        let mut browser = Browser::new(&before);
        browser.sign_in("ops-key-123456").await;
        let cookie = browser.cookie();
        assert_eq!(browser.get("/").await.heading(), "Overview");
        for (router, heading) in [
            (&before, "Overview"),
            (&after, "Sign in"),
            (&door.router, "Sign in"),
        ] {
            let shown = Browser::new(router).with(&cookie).get("/").await;
            assert_eq!(shown.heading(), heading);
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_when_it_was_not_used_for_long_and_at_the_end_of_its_time() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Read).await;
        for (column, almost, period) in [
            ("seen_at", Duration::from_mins(29), IDLE),
            ("created_at", Duration::from_mins(12 * 60 - 1), LONGEST),
        ] {
            let age = async |by: Duration| {
                let micros = i64::try_from(by.as_micros()).unwrap();
                run(
                    door,
                    &format!("UPDATE sessions SET {column} = {column} - {micros}"),
                )
                .await;
            };
            age(almost).await;
            assert_eq!(browser.get("/").await.heading(), "Overview", "{column}");
            // Using it has put off the one end, and not the other.
            let left = if column == "seen_at" {
                period
            } else {
                Duration::from_mins(1)
            };
            age(left).await;
            assert_eq!(browser.get("/").await.heading(), "Sign in", "{column}");
            run(
                door,
                &format!(
                    "UPDATE sessions SET {column} = {column} + {}",
                    period.as_micros()
                ),
            )
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_ledger_holds_nothing_by_which_a_session_could_be_taken_over() {
    on_each(async |door| {
        let mut browser = Browser::new(&door.router);
        browser.sign_in("write-key-0123").await;
        let token = browser.cookie().split_once('=').unwrap().1.to_owned();
        let text = "SELECT hash || ' ' || proof || ' ' || key_name FROM sessions";
        let row: String = sqlx::query_scalar(text)
            .fetch_one(&door.database().await)
            .await
            .unwrap();
        assert!(!row.contains(&token) && !row.contains("write-key"), "{row}");
        assert_eq!(token.len(), 43, "256 bits");
    })
    .await;
}

#[tokio::test]
async fn a_form_that_is_not_of_the_session_is_refused_and_changes_nothing() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Admin).await;
        let other = Browser::of(door, Role::Admin).await;
        for fields in [
            vec![],
            vec![("csrf", "")],
            vec![("csrf", other.csrf.as_str())],
        ] {
            let shown = browser.send("/sign-out", &fields).await;
            assert_eq!((shown.status, shown.heading()), (403, "Not allowed"));
            shown.shows(&["not sent from a page of your session"]);
        }
        let right = format!("csrf={}", browser.csrf);
        for foreign in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            for (path, body) in [
                ("/sign-out", right.clone()),
                ("/sign-in", "key=admin-key-0123".to_owned()),
            ] {
                let headers = [foreign, ("host", "optout.example")];
                let shown = browser.ask("POST", path, &headers, body).await;
                assert_eq!(shown.status, 403, "{foreign:?} {path}");
                assert!(!shown.headers.contains_key("set-cookie"));
            }
        }
        assert_eq!(browser.get("/").await.heading(), "Overview");
        let same = [
            ("origin", "http://optout.example"),
            ("host", "optout.example"),
        ];
        assert_eq!(
            browser
                .ask("POST", "/sign-out", &same, right)
                .await
                .location(),
            "/"
        );
    })
    .await;
}
