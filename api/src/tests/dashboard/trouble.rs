//! What a browser is shown when something is wrong, and what pages are made of.

use super::*;
use crate::dashboard::{open_paths, paths};

const NOTHING: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[tokio::test]
async fn each_path_wants_the_role_that_it_is_declared_with() {
    on_each(async |door| {
        for role in [Role::Read, Role::Write] {
            let browser = Browser::of(door, role).await;
            for (path, needed, _) in paths() {
                if path == "/sign-out" || needed <= role {
                    continue;
                }
                let path = path.replace("{id}", NOTHING);
                let shown = browser.post(&path, &[]).await;
                assert_eq!(
                    (shown.status, shown.heading()),
                    (403, "Not allowed"),
                    "{path}"
                );
                shown.shows(&[&format!("this needs a key with the role {needed}")]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_people_and_a_problem_for_programs() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Read).await;
        for path in [
            format!("/events/{NOTHING}"),
            format!("/deliveries/{NOTHING}"),
            format!("/quarantine/{NOTHING}"),
            "/nothing".to_owned(),
        ] {
            let shown = browser.get(&path).await;
            assert_eq!(
                (shown.status, shown.heading()),
                (404, "Not found"),
                "{path}"
            );
            shown.shows(&["Sign out", "href=\"/\""]);
        }
        let shown = Browser::new(&door.router).get("/nothing").await;
        assert_eq!(shown.heading(), "Not found");
        shown.hides(&["Sign out"]);
        let asked = door.send("GET", "/nothing", &[]).await;
        assert_eq!(asked.status, StatusCode::NOT_FOUND);
        assert_eq!(asked.body["detail"], "there is nothing at this path");
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_wrongly_is_told_by_its_name() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Read).await;
        for (path, status, name) in [
            ("/events?kind=nonsense", 400, "the parameter kind"),
            ("/events?from=yesterday", 400, "the parameter from"),
            ("/events?contact=jane", 422, "the parameter phone"),
            ("/events?cursor=x", 400, "the parameter cursor"),
            ("/deliveries?state=nonsense", 400, "the parameter state"),
            ("/contacts?contact=nobody", 422, "the parameter contact"),
            ("/events/none", 400, "the parameter id"),
            ("/events?a=%ff", 400, "the parameter"),
        ] {
            let shown = browser.get(path).await;
            assert_eq!(shown.status, status, "{path}: {}", shown.text);
            shown.shows(&[name]);
            shown.heading();
        }
        assert_eq!(browser.get("/events?kind=&from=").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn while_the_ledger_is_away_it_says_that_nothing_is_lost() {
    let ledger = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1).unwrap();
    let door = Door::new("nothing", ledger, tempfile::tempdir().unwrap());
    let browser = Browser::new(&door.router).with("optout_session=abc");
    for path in ["/", "/events"] {
        let shown = browser.get(path).await;
        assert_eq!(
            (shown.status, shown.heading()),
            (503, "Not available at the moment")
        );
        shown.shows(&["Nothing is lost"]);
        assert!(shown.headers.contains_key("retry-after"));
    }
    let stranger = Browser::new(&door.router);
    assert_eq!(
        stranger.get("/").await.status,
        200,
        "who has no session is not asked for"
    );
    let shown = stranger.send("/sign-in", &[("key", "read-key-0123")]).await;
    assert_eq!((shown.status, shown.heading()), (503, "Sign in"));
}

#[tokio::test]
async fn while_the_queue_is_away_the_ledger_is_seen_all_the_same() {
    on_each(async |door| {
        door.queue.blind.store(true, Ordering::SeqCst);
        let browser = Browser::of(door, Role::Read).await;
        browser
            .get("/")
            .await
            .shows(&["The queue does not answer at the moment"]);
    })
    .await;
}

#[tokio::test]
async fn pages_are_drawn_with_what_is_here_and_kept_by_its_hash() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Admin).await;
        let page = browser.get("/").await;
        for foreign in [
            "http://",
            "https://",
            "<style",
            " style=",
            " onclick=",
            "javascript:",
        ] {
            assert!(!page.has(foreign), "the page has {foreign}");
        }
        let mut kinds = vec![];
        for part in page.text.split("\"/assets/").skip(1) {
            let (name, _) = part.split_once('"').unwrap();
            let shown = browser.get(&format!("/assets/{name}")).await;
            assert_eq!(shown.status, 200, "{name}");
            assert_eq!(
                shown.headers["cache-control"],
                "public, max-age=31536000, immutable"
            );
            kinds.push(shown.headers["content-type"].to_str().unwrap().to_owned());
            assert!(!shown.has("@import") && !shown.has("url("), "{name}");
        }
        assert_eq!(
            kinds,
            [
                "image/svg+xml",
                "text/css; charset=utf-8",
                "text/javascript; charset=utf-8"
            ]
        );
        assert_eq!(browser.get("/assets/0000.css").await.status, 404);
        assert_eq!(open_paths().len(), 3);
    })
    .await;
}
