//! The list of suppressions: added to, lifted, imported and exported by hand.

use super::*;

/// The id of the one suppression in the list.
async fn one(door: &Door) -> String {
    let items = door.items("/api/v1/suppressions").await;
    assert_eq!(items.len(), 1);
    text(&items[0]["id"])
}

#[tokio::test]
async fn one_is_added_once_and_what_is_wrong_with_it_is_told_at_its_field() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Write).await;
        let wrong = [
            ("contact", "jane"),
            ("scope", "news"),
            ("reason", "asked <b>"),
        ];
        let shown = browser.post("/suppressions/add", &wrong).await;
        assert_eq!((shown.status, shown.heading()), (422, "Add a suppression"));
        shown.shows(&[
            "value=\"news\"",
            "value=\"jane\" autocomplete=\"off\" spellcheck=\"false\" aria-invalid=\"true\"",
        ]);
        shown.hides(&["<b>"]);
        let missing = browser.post("/suppressions/add", &[("reason", "x")]).await;
        missing.shows(&["<strong>contact</strong>: an address or a phone number is needed."]);

        let right = [
            ("contact", " Jane@Example.com "),
            ("scope", ""),
            ("reason", "by phone"),
            ("note", "a\r\nb"),
        ];
        let shown = browser.post("/suppressions/add", &right).await;
        let id = one(door).await;
        assert_eq!(shown.location(), format!("/suppressions/{id}?done=added"));
        let again = browser.post("/suppressions/add", &right).await;
        assert_eq!(again.location(), format!("/suppressions/{id}?done=stood"));
        let shown = browser.get(again.location()).await;
        assert_eq!(shown.heading(), "jane@example.com in global");
        shown.shows(&["It stood already", "by phone", "the write key"]);
        assert!(door.unsubscribed("email=jane@example.com").await);
        assert_eq!(door.asked().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn one_is_lifted_for_a_reason_and_a_complaint_when_asked_twice() {
    on_each(async |door| {
        door.record(fact(Kind::Complained), &[]).await;
        let id = one(door).await;
        let path = format!("/suppressions/{id}/lift");
        let browser = Browser::of(door, Role::Write).await;
        browser
            .get(&format!("/suppressions/{id}"))
            .await
            .shows(&["You will be asked twice."]);
        let shown = browser.post(&path, &[("reason", " ")]).await;
        assert_eq!(shown.status, 422);
        shown.shows(&["The field <strong>reason</strong>"]);
        let shown = browser.post(&path, &[("reason", "a mistake")]).await;
        assert_eq!((shown.status, shown.heading()), (200, "Lift a complaint?"));
        shown.shows(&[
            "name=\"reason\" value=\"a mistake\"",
            "name=\"confirmed\" value=\"yes\"",
        ]);
        assert!(
            door.unsubscribed("email=jane@example.com").await,
            "it was only asked"
        );
        let confirmed = [("reason", "a mistake"), ("note", ""), ("confirmed", "yes")];
        for _ in 0..2 {
            let shown = browser.post(&path, &confirmed).await;
            assert_eq!(shown.location(), format!("/suppressions/{id}?done=lifted"));
        }
        assert!(!door.unsubscribed("email=jane@example.com").await);
        assert_eq!(door.asked().len(), 1);
        let shown = browser
            .get(&format!("/suppressions/{id}?done=lifted"))
            .await;
        shown.shows(&["Lifted. The history stays", "a mistake", "is-lifted"]);
        let reader = Browser::of(door, Role::Read).await;
        assert_eq!(reader.post(&path, &confirmed).await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn a_file_is_previewed_with_its_wrong_lines_and_changes_nothing_before_it_is_applied() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Write).await;
        let csv = "email,kind,occurred_at\na@b.example,,\nno address,,\nb@b.example,nonsense,\nc@b.example,,tomorrow\nd@b.example,,\n";
        let shown = browser.post("/suppressions/import", &[("csv", csv)]).await;
        assert_eq!((shown.status, shown.heading()), (200, "What the file would change"));
        shown.shows(&["<dt>Would be added</dt><dd>2</dd>", "<dt>Wrong</dt><dd>3</dd>", "Import 2"]);
        for (line, column) in [(3, "email"), (4, "kind"), (5, "occurred_at")] {
            let row = format!("<th scope=\"row\" class=\"number\">{line}</th><td data-label=\"column\">{column}</td>");
            shown.shows(&[&row]);
        }
        assert!(door.items("/api/v1/suppressions").await.is_empty());
        for (count, unchanged) in [(2, 0), (0, 2)] {
            let shown = browser.post("/suppressions/import", &[("csv", csv), ("apply", "yes")]).await;
            assert_eq!(shown.heading(), "Imported");
            shown.shows(&[
                &format!("<dt>Added</dt><dd>{count}</dd>"),
                &format!("<dt>Stand already</dt><dd>{unchanged}</dd>"),
            ]);
        }
        assert_eq!(door.items("/api/v1/suppressions").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_file_comes_as_browsers_send_one_and_one_that_is_none_is_refused() {
    on_each(async |door| {
        let browser = Browser::of(door, Role::Write).await;
        let send = async |csrf: &str, file: &str| {
            let part = |name: &str, text: &str| {
                format!("--=x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
            };
            let body = [
                part("csrf", csrf),
                part("file", file),
                part("csv", ""),
                "--=x--\r\n".to_owned(),
            ]
            .concat();
            let headers = [("content-type", "multipart/form-data; boundary=\"=x\"")];
            browser
                .ask("POST", "/suppressions/import", &headers, body)
                .await
        };
        let shown = send(&browser.csrf, "email\r\na@b.example\r\n").await;
        assert_eq!(shown.heading(), "What the file would change");
        shown.shows(&["<dt>Would be added</dt><dd>1</dd>"]);
        assert_eq!(send("", "email\r\na@b.example\r\n").await.status, 403);
        for (file, status, why) in [
            ("", 422, "choose a file"),
            ("name\nJane\n", 422, "has no column contact, email or phone"),
            (&"x".repeat((2 << 20) + 1), 413, "larger than 2048 KiB"),
        ] {
            let shown = send(&browser.csrf, file).await;
            assert_eq!(shown.status, status, "{why}");
            shown.shows(&[why]);
        }
    })
    .await;
}

#[tokio::test]
async fn the_list_is_filtered_and_what_the_filters_let_through_is_exported() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        let joe = Fact {
            contact: Some(Contact::email("joe@example.com").unwrap()),
            source: "news",
            ..fact(Kind::Complained)
        };
        door.record(joe, &[]).await;
        let browser = Browser::of(door, Role::Write).await;
        for (query, found) in [
            ("", vec!["jane@", "joe@"]),
            ("?lane=complaint&state=active", vec!["joe@"]),
            ("?contact=Jane%40example.com&source=", vec!["jane@"]),
            ("?state=lifted", vec![]),
        ] {
            let list = browser.get(&format!("/suppressions{query}")).await;
            let export = browser
                .post(&format!("/suppressions/export{query}"), &[])
                .await;
            assert_eq!(export.headers["content-type"], "text/csv; charset=utf-8");
            for name in ["jane@", "joe@"] {
                let is_found = found.contains(&name);
                // The field of the filter may hold it, too.
                assert_eq!(list.has(&format!("\">{name}")), is_found, "{query} {name}");
                assert_eq!(export.has(name), is_found, "{query} {name}");
            }
        }
        let reader = Browser::of(door, Role::Read).await;
        let list = reader.get("/suppressions").await;
        list.shows(&[
            "j…@example.com",
            "with the addresses; the audit trail says so",
        ]);
        list.hides(&["jane@", "joe@", "/suppressions/add", "/suppressions/import"]);
        let before = door.audited().await;
        let export = reader.post("/suppressions/export", &[]).await;
        assert!(export.has("jane@example.com"));
        let items = door.items("/api/v1/suppressions?lane=consent").await;
        let path = format!("/suppressions/{}", text(&items[0]["id"]));
        reader.get(&path).await.hides(&["jane@"]);
        reader
            .post(&format!("{path}/reveal"), &[])
            .await
            .shows(&["jane@example.com"]);
        assert_eq!(door.audited().await, before + 2);
    })
    .await;
}
