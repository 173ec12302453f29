//! The suppression list out of files and into them.

use serde_json::json;

use super::*;

const IMPORT: &str = "/api/v1/suppressions/import";
const EXPORT: &str = "/api/v1/suppressions/export";
const KEY: [(&str, &str); 1] = [("x-api-key", "write-key-0123")];

async fn import(door: &Door, file: impl Into<Body>) -> Answer {
    door.send_body("POST", IMPORT, &KEY, file.into()).await
}

async fn export(door: &Door, query: &str) -> String {
    let request = Request::get(format!("{EXPORT}{query}")).header(KEY[0].0, KEY[0].1);
    let request = request.body(Body::empty()).unwrap();
    let response = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn counts(answer: &Answer) -> [u64; 5] {
    assert_eq!(answer.status, 200, "{answer:?}");
    ["lines", "applied", "unchanged", "skipped", "rejected"]
        .map(|key| answer.body[key].as_u64().unwrap())
}

// rows: NB-11
#[tokio::test]
async fn a_file_is_imported_its_wrong_lines_are_told_and_a_second_time_changes_nothing() {
    on_each(async |door| {
        let file = "\u{feff}Email,phone,Scope,reason,kind,timestamp,other\r\n\
            jane@example.com,,,bored,unsubscribed,2024-07-02T18:04:00Z,x\r\n\
            nobody,,,,,,\r\n\
            ,+1 555 123 4567,news,\"two\nlines\",,,\r\n\
            both@example.com,+15557654321,,,,,\r\n\
            a@b.example,,,,opened,,\r\n\
            a@b.example,,,,,yesterday,\r\n\
            ,,,,,,\r\n\
            a@b.example\r\n\
            last@example.com,,,,complained,,";
        let dry = import_dry(door, file).await;
        assert_eq!(counts(&dry), [9, 5, 0, 0, 5]);
        assert!(!door.unsubscribed("email=jane@example.com").await);
        let answer = import(door, file).await;
        assert_eq!(counts(&answer), [9, 5, 0, 0, 5]);
        let told: Vec<_> = answer.body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|wrong| (wrong["line"].as_u64().unwrap(), wrong["column"].clone()))
            .collect();
        assert_eq!(
            told,
            [
                (3, json!("email")),
                (7, json!("kind")),
                (8, json!("occurred_at")),
                (9, json!(null)),
                (10, json!(null))
            ]
        );
        for query in [
            "email=jane@example.com",
            "phone=%2B15551234567&scope=news",
            "email=both@example.com",
            "phone=%2B15557654321",
            "email=last@example.com",
        ] {
            assert!(door.unsubscribed(query).await, "{query}");
        }
        assert!(!door.unsubscribed("phone=%2B15551234567&scope=other").await);
        let asked = door.asked();
        assert_eq!(
            (asked.len(), asked[0].drafts.len()),
            (1, 5),
            "told to the targets like any event"
        );

        assert_eq!(counts(&import(door, file).await), [9, 0, 5, 0, 5]);
        assert_eq!(door.asked().len(), 0);
        assert_eq!(door.items("/api/v1/events").await.len(), 5);
    })
    .await;
}

async fn import_dry(door: &Door, file: &'static str) -> Answer {
    let path = format!("{IMPORT}?dry_run=true");
    door.send_body("POST", &path, &KEY, file.into()).await
}

// rows: PM-25
#[tokio::test]
async fn postmarks_dump_of_its_list_is_imported() {
    on_each(async |door| {
        let dump = json!({ "Suppressions": [
            { "EmailAddress": "bounced@example.com", "SuppressionReason": "HardBounce", "Origin": "Recipient", "CreatedAt": "2019-12-17T08:58:33-05:00" },
            { "EmailAddress": "spam@example.com", "SuppressionReason": "SpamComplaint", "Origin": "Recipient", "CreatedAt": "2019-12-17T08:58:33-05:00" },
            { "EmailAddress": "left@example.com", "SuppressionReason": "ManualSuppression", "Origin": "Recipient", "CreatedAt": "2019-12-17T08:58:33-05:00" },
            { "EmailAddress": "hand@example.com", "SuppressionReason": "ManualSuppression", "Origin": "Customer", "CreatedAt": null },
        ] });
        assert_eq!(counts(&import(door, dump.to_string()).await), [4, 4, 0, 0, 0]);
        for (who, lane) in [("bounced", "deliverability"), ("spam", "complaint"), ("left", "consent"), ("hand", "manual")] {
            let items = door.items(&format!("/api/v1/suppressions?email={who}@example.com")).await;
            assert_eq!(items[0]["lane"], lane);
        }
        assert_eq!(counts(&import(door, dump.to_string()).await), [4, 0, 4, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_list_is_refused_whole() {
    on_each(async |door| {
        for file in [
            "",
            "name,age\nJane,7\n",
            "email,email_address\na@b.example,c@d.example\n",
            "{}",
        ] {
            assert_eq!(import(door, file).await.status, 422, "{file}");
        }
        assert_eq!(import(door, "{ \"Suppressions\": ").await.status, 400);
        assert_eq!(door.asked().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_import_that_breaks_off_is_done_by_importing_again() {
    on_each(async |door| {
        let file = list("email\n", 1200, "");
        door.queue.refuses.store(true, Ordering::SeqCst);
        assert_eq!(import(door, file.clone()).await.status, 503);
        door.queue.refuses.store(false, Ordering::SeqCst);
        assert_eq!(
            counts(&import(door, file.clone()).await),
            [1200, 1200, 0, 0, 0]
        );
        let chunks: Vec<_> = door
            .asked()
            .iter()
            .map(|request| request.drafts.len())
            .collect();
        assert_eq!(chunks, [500, 500, 200]);
        assert_eq!(counts(&import(door, file).await), [1200, 0, 1200, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn an_export_is_an_import_elsewhere_that_gives_the_same_answers() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        let head =
            "contact,scope,reason\n+15551234567,news,\"a, \"\"b\"\"\"\nsmith+x@example.com,,=1+1\n";
        let file = list(head, 1500, ",,");
        import(door, file).await;
        let text = export(door, "").await;
        assert_eq!(text.lines().count(), 1 + 1503);
        let filtered = export(door, "?email=jane@example.com").await;
        assert_eq!(filtered.lines().count(), 2);
        // Elsewhere: a new ledger.
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let other = Door::new("elsewhere", Ledger::connect(&url, 2).await.unwrap(), folder);
        assert_eq!(counts(&import(&other, text).await), [1503, 1503, 0, 0, 0]);
        for query in [
            "email=jane@example.com",
            "phone=%2B15551234567&scope=news",
            "email=smith%2Bx@example.com",
            "email=user1499@example.com",
        ] {
            assert!(other.unsubscribed(query).await, "{query}");
        }
        assert!(!other.unsubscribed("phone=%2B15551234567&scope=other").await);
    })
    .await;
}

/// A file of so many contacts, each line with the rest.
fn list(head: &str, count: u32, rest: &str) -> String {
    let line = |file: String, number| file + &format!("user{number}@example.com{rest}\n");
    (0..count).fold(head.to_owned(), line)
}
