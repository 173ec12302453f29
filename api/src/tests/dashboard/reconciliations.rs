//! What platforms list beside what the ledger holds.

use super::*;
use crate::tests::reconciliations::done;

const PATH: &str = "/reconciliations";

#[tokio::test]
async fn one_is_asked_for_by_a_form_and_found_in_the_list() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Write).await;
        let list = browser.get(PATH).await;
        assert_eq!(list.heading(), "Reconciliation");
        list.shows(&[
            "Nothing was ever compared",
            "<option value=\"slack\">",
            "It never lifts anything.",
            "aria-current=\"page\">Reconciliation<",
        ]);
        list.hides(&["<option value=\"off\">"]);
        let start = format!("{PATH}/start");
        let wish = [("target", "slack"), ("repair", "yes")];
        let shown = browser.post(&start, &wish).await;
        let page = browser.get(shown.location()).await;
        assert_eq!(page.heading(), "Reconciliation");
        page.shows(&[
            "badge is-running",
            "No worker has begun it yet",
            "http-equiv=\"refresh\"",
            "<dt>Repair</dt><dd>yes</dd>",
            "by the write key",
        ]);
        browser.post(&start, &[("target", "")]).await.location();
        let items = door.items("/api/v1/reconciliations").await;
        let asked: Vec<_> = items
            .iter()
            .map(|item| (item["target"].as_str(), item["repair"] == true))
            .collect();
        assert_eq!(asked, [(None, false), (Some("slack"), true)]);
        browser.get(&format!("{PATH}?limit=1")).await.shows(&[
            "badge is-running",
            ">all<",
            "rel=\"next\"",
        ]);

        for (target, status, why) in [
            ("nobody", 422, "The field <strong>target</strong>"),
            ("off", 409, "disabled"),
        ] {
            let shown = browser.post(&start, &[("target", target)]).await;
            assert_eq!(shown.status, status, "{target}");
            shown.shows(&[why]);
        }
        let forged = browser.send(&start, &[("target", "slack")]).await;
        assert_eq!(forged.status, 403);
        let reader = Browser::of(door, Role::Read).await;
        reader.get(PATH).await.hides(&["/start\""]);
        assert_eq!(reader.post(&start, &wish).await.status, 403);
        assert_eq!(door.items("/api/v1/reconciliations").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn its_page_shows_each_list_and_the_differences_that_the_filters_let_through() {
    on_each(async |door| {
        let path = format!("{PATH}/{}", done(door).await);
        let browser = Browser::of(door, Role::Write).await;
        browser.get(PATH).await.shows(&[
            "badge is-done",
            "1 not compared",
            "data-label=\"listed\">1,200<",
            "data-label=\"different\">3<",
        ]);
        let page = browser.get(&path).await;
        page.shows(&[
            "1,200 contacts listed, 3 different, 1 repaired.",
            "<th scope=\"row\">slack</th>",
            "data-label=\"only theirs\">1<",
            "data-label=\"unread\">2<",
            "401: the token of jane@example.com is refused",
            ">ann@example.com<",
            ">bob@example.com</a>",
            "only ours",
            "=HYPERLINK",
        ]);
        page.hides(&["data-live", "http-equiv"]);
        for (query, found) in [
            ("?difference=only_ours", "bob@"),
            (
                "?difference=differs&list=news&target=slack",
                "jane@example.com</a>",
            ),
            ("?list=offers", "None."),
        ] {
            let page = browser.get(&format!("{path}{query}")).await;
            page.shows(&[found]);
            page.hides(&["ann@"]);
        }
        let first = browser.get(&format!("{path}?limit=2")).await;
        first.shows(&["limit=2", "rel=\"next\"", "contact"]);
        let chosen = browser.get(&format!("{path}?difference=differs")).await;
        chosen.shows(&["<option value=\"differs\" selected>differs</option>"]);
        let wrong = browser.get(&format!("{path}?difference=lost")).await;
        assert_eq!(wrong.status, 400);
        let nothing = format!("{PATH}/{}", Uuid::now_v7());
        assert_eq!(browser.get(&nothing).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn who_may_only_read_sees_addresses_masked_and_the_trail_says_who_took_the_file() {
    on_each(async |door| {
        let path = format!("{PATH}/{}", done(door).await);
        let reader = Browser::of(door, Role::Read).await;
        let page = reader.get(&path).await;
        page.shows(&[
            "a…@example.com",
            "b…@example.com",
            "with the addresses; the audit trail says so",
        ]);
        page.hides(&["ann@", "bob@", "jane@"]);
        let before = door.audited().await;
        let export = reader.post(&format!("{path}/export"), &[]).await;
        assert_eq!(export.headers["content-type"], "text/csv; charset=utf-8");
        export.shows(&["ann@example.com", "\"'=HYPERLINK"]);
        assert_eq!(door.audited().await, before + 1);
        let forged = reader.send(&format!("{path}/export"), &[]).await;
        assert_eq!(forged.status, 403);
        let stranger = Browser::new(&door.router);
        assert!(stranger.get(&path).await.location().starts_with("/?next="));
    })
    .await;
}
