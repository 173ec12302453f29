//! The suppression list out of files and into them.

use std::ops::Range;

use futures_util::StreamExt;
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
        let again = format!("\u{feff}\r\n {dump}");
        assert_eq!(counts(&import(door, again).await), [4, 0, 4, 0, 0]);
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
        let large = format!("{{ \"Suppressions\": [{}] }}", " ".repeat(8 << 20));
        assert_eq!(import(door, large).await.status, 413);
        let path = format!("{IMPORT}?dry_run=perhaps");
        assert_eq!(
            door.send_body("POST", &path, &KEY, "email\na@b.example\n".into())
                .await
                .status,
            400
        );
        assert_eq!(door.asked().len(), 0);
        assert_eq!(door.audited().await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_import_that_breaks_off_says_how_far_it_came_and_is_done_by_importing_again() {
    on_each(async |door| {
        let (pieces, body) = tokio::sync::mpsc::channel::<String>(1);
        let body = futures_util::stream::unfold(body, async |mut body| {
            let piece = body.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), body))
        });
        let client = async {
            pieces.send(list("email\n", 0..700, "")).await.unwrap();
            while door.queue.published.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                door.asked()[0].drafts.len(),
                500,
                "applied before the rest was sent"
            );
            door.queue.refuses.store(true, Ordering::SeqCst);
            pieces.send(list("", 700..1200, "")).await.unwrap();
            drop(pieces);
        };
        let (answer, ()) = tokio::join!(import(door, Body::from_stream(body)), client);
        assert_eq!(answer.status, 503, "{answer:?}");
        for (member, value) in [("lines_applied", 500), ("applied", 500), ("unchanged", 0)] {
            assert_eq!(answer.body[member], value, "{answer:?}");
        }
        let detail = text(&answer.body["detail"]);
        assert!(
            detail.contains("first 500 lines") && detail.contains("again"),
            "{detail}"
        );
        door.queue.refuses.store(false, Ordering::SeqCst);
        let file = list("email\n", 0..1200, "");
        assert_eq!(
            counts(&import(door, file.clone()).await),
            [1200, 700, 500, 0, 0]
        );
        let chunks: Vec<_> = door
            .asked()
            .iter()
            .map(|request| request.drafts.len())
            .collect();
        assert_eq!(chunks, [500, 200]);
        assert_eq!(counts(&import(door, file).await), [1200, 0, 1200, 0, 0]);
        assert_eq!(door.asked().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_trail_says_what_was_imported_and_names_nobody() {
    on_each(async |door| {
        let file = "email,note\nsomebody@example.com,case 7\nnobody,\n";
        import_dry(door, file).await;
        import(door, file).await;
        let filter = common::ledger::TrailFilter::default();
        let trail = door.ledger.trail(&filter, 10, i64::MAX).await.unwrap();
        let actions: Vec<_> = trail.iter().rev().map(|record| record.action.as_str()).collect();
        assert_eq!(actions, ["suppressions.imported", "suppressions.import", "suppressions.imported"]);
        let totals = json!({ "lines": 2, "applied": 1, "unchanged": 0, "skipped": 0, "rejected": 1, "dry_run": false,
            "sha256": "5192be2366f6648ebf157d16acb1dd7831e06f8504135028f132bd787b105d9d" });
        assert_eq!(trail[0].details, totals);
        assert_eq!(trail[0].subject, trail[1].subject);
        assert_eq!(trail[2].details["dry_run"], true);
        for record in &trail {
            assert!(!format!("{record:?}").contains("somebody"));
        }
        assert_eq!(door.audited().await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_line_counts_by_its_time_against_what_was_done_since() {
    on_each(async |door| {
        let timed = "email,kind,occurred_at\njane@example.com,unsubscribed,2024-07-02T18:04:00Z\n";
        import(door, timed).await;
        let items = door.items("/api/v1/suppressions").await;
        assert_eq!(items[0]["occurred_at"], "2024-07-02T18:04:00Z");
        let path = format!("/api/v1/suppressions/{}", text(&items[0]["id"]));
        assert_eq!(door.send("DELETE", &path, &KEY).await.status, 200);
        door.asked();
        assert_eq!(counts(&import(door, timed).await), [1, 0, 1, 0, 0]);
        assert!(
            !door.unsubscribed("email=jane@example.com").await,
            "the lift is newer"
        );
        assert_eq!(door.asked().len(), 0);
        let timeless = "email,kind\njane@example.com,unsubscribed\n";
        assert_eq!(counts(&import(door, timeless).await), [1, 1, 0, 0, 0]);
        assert!(door.unsubscribed("email=jane@example.com").await);
    })
    .await;
}

#[tokio::test]
async fn a_line_without_a_time_suppresses_also_what_was_lifted_by_a_clock_that_is_ahead() {
    on_each(async |door| {
        let lifted = Fact {
            source: "api",
            received_at: clock::now() + jiff::SignedDuration::from_mins(5),
            ..fact(Kind::Resubscribed)
        };
        door.record(lifted, &[]).await;
        let file = "email\njane@example.com\nJane@Example.com\n";
        assert_eq!(counts(&import(door, file).await), [2, 1, 1, 0, 0]);
        assert!(door.unsubscribed("email=jane@example.com").await);
    })
    .await;
}

#[tokio::test]
async fn wrong_lines_are_counted_all_and_told_in_short_and_the_first_thousand_of_them() {
    on_each(async |door| {
        let long = "x".repeat(50_000);
        let wrong = format!(
            "a@b.example,{long},,\na@b.example,,{},\na@b.example,,,{long}\na@b.example,,,,\n\"a@b.example,{long}{long}\",,,\n",
            "x".repeat(256)
        );
        let mut file = format!("email,kind,scope,state\n{wrong}").into_bytes();
        file.extend(b"a@b.example,,,\xff\na@b.example,,a\x07b,\n");
        file.extend("nobody,,,\n".repeat(1000).bytes());
        file.extend(b"last@example.com,,,\n");
        let answer = import(door, file).await;
        assert_eq!(counts(&answer), [1008, 1, 0, 0, 1007]);
        assert_eq!(answer.body["errors_truncated"], true);
        let errors = answer.body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1000);
        for (wrong, (line, right)) in errors.iter().zip([
            (2, "unsubscribed, complained"),
            (3, "longer than 255"),
            (4, "active or lifted"),
            (5, "5 fields"),
            (6, "64 KiB"),
            (7, "UTF-8"),
            (8, "control characters"),
            (9, "one @"),
        ]) {
            let reason = text(&wrong["reason"]);
            assert_eq!(wrong["line"], line, "{reason}");
            assert!(reason.contains(right) && reason.len() < 200, "{reason}");
        }
        assert!(door.unsubscribed("email=last@example.com").await);
    })
    .await;
}

#[tokio::test]
async fn an_export_is_an_import_elsewhere_that_gives_the_same_answers() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        let head =
            "contact,scope,reason\n+15551234567,news,\"a, \"\"b\"\"\"\nsmith+x@example.com,,=1+1\n=cmd@example.com,,\n";
        let file = list(head, 0..1500, ",,");
        import(door, file).await;
        let text = export(door, "").await;
        assert_eq!(text.lines().count(), 1 + 1504);
        // No spreadsheet takes what somebody wrote for a formula.
        assert!(text.contains(",'=1+1,") && text.contains(",'=cmd@example.com,"));
        assert!(text.contains(",+15551234567,"));
        let filtered = export(door, "?email=jane@example.com").await;
        assert_eq!(filtered.lines().count(), 2);
        // Elsewhere: a new ledger.
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let other = Door::new("elsewhere", Ledger::connect(&url, 2).await.unwrap(), folder);
        assert_eq!(counts(&import(&other, text).await), [1504, 1504, 0, 0, 0]);
        for query in [
            "email=jane@example.com",
            "phone=%2B15551234567&scope=news",
            "email=smith%2Bx@example.com",
            "email=user1499@example.com",
            "email==cmd@example.com",
        ] {
            assert!(other.unsubscribed(query).await, "{query}");
        }
        assert!(!other.unsubscribed("phone=%2B15551234567&scope=other").await);
    })
    .await;
}

#[tokio::test]
async fn an_export_is_a_file_to_be_kept_and_the_trail_says_whose() {
    on_each(async |door| {
        let path = format!("{EXPORT}?email=jane@example.com&state=active&reason=moved%20on");
        let answer = door.get(&path).await;
        assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
        assert_eq!(
            answer.headers["content-disposition"],
            "attachment; filename=\"suppressions.csv\""
        );
        let header =
            "channel,contact,scope,source,lane,state,kind,reason,origin,occurred_at,event_id,id\n";
        assert_eq!(export(door, "").await, header);
        let trail = door
            .ledger
            .audited(&Contact::email("jane@example.com").unwrap(), 10)
            .await
            .unwrap();
        assert_eq!(
            (trail.len(), trail[0].action.as_str()),
            (1, "suppressions.export")
        );
        assert_eq!(trail[0].details["state"], "active");
        assert!(!trail[0].details.to_string().contains("moved on"));
        assert_eq!(door.get(&format!("{EXPORT}?limit=1")).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn an_export_is_sent_before_it_is_read_to_its_end_and_broken_off_if_the_ledger_fails() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let door = Door::new("SQLite", Ledger::connect(&url, 2).await.unwrap(), folder);
    import(&door, list("email\n", 0..2500, "")).await;
    let request = Request::get(EXPORT).header(KEY[0].0, KEY[0].1);
    let request = request.body(Body::empty()).unwrap();
    let response = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut pages = response.into_body().into_data_stream();
    let first = pages.next().await.unwrap().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert_eq!(first.lines().count(), 1001);
    let other = AnyPool::connect(&url).await.unwrap();
    sqlx::raw_sql("DROP TABLE registers")
        .execute(&other)
        .await
        .unwrap();
    assert!(
        pages.next().await.unwrap().is_err(),
        "not read yet, and told as broken"
    );
    assert!(pages.next().await.is_none());
}

/// A file of these users, each line with the rest.
fn list(head: &str, users: Range<u32>, rest: &str) -> String {
    users.fold(head.to_owned(), |file, number| {
        file + &format!("user{number}@example.com{rest}\n")
    })
}
