//! What people come for: to find somebody, to send again what is stuck, to mend the list.

use serde_json::json;
use tests::until;

use crate::{BOTH, Desk};

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_found_and_its_story_read() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        desk.unsubscribe("jane@example.com").await;
        until("the target is told", async || {
            let page = desk.optout.get("/api/v1/deliveries?state=delivered").await;
            (page["items"].as_array()?.len() == 1).then_some(())
        })
        .await;
        desk.page.click(".main-nav a[href='/contacts']").await;
        desk.page.is_headed("Find a contact").await;
        desk.page.type_into("#contact", "Jane@Example.com").await;
        desk.page.click("main button[type=submit]").await;
        desk.page.is_headed("jane@example.com").await;
        for part in [
            "Do not send.",
            "Set: do not send in global (consent of notifiedby)",
            "hook told",
            "attempt 1 at",
        ] {
            desk.page.says(part).await;
        }
        desk.page.click("details summary").await;
        desk.page.says("\"email\": \"jane@example.com\"").await;
        desk.page.click(".story a[href^='/events/']").await;
        desk.page.is_headed("Unsubscribed: jane@example.com").await;
        assert_eq!(desk.page.complaints().await, [""; 0], "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_delivery_is_retried_and_seen_to_succeed() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        desk.receiver.answer("/hook", 410);
        desk.unsubscribe("jane@example.com").await;
        until("the delivery is dead", async || {
            let page = desk.optout.get("/api/v1/deliveries?state=dead").await;
            (page["items"].as_array()?.len() == 1).then_some(())
        })
        .await;
        desk.open("/deliveries?state=dead").await;
        desk.page.click("td a[href^='/deliveries/']").await;
        desk.page.is_headed("Unsubscribed to hook").await;
        desk.page.says("410").await;
        desk.receiver.answer("/hook", 200);
        desk.page.click("form[action$='/retry'] button").await;
        desk.page
            .says("It has begun again, with a full schedule.")
            .await;
        desk.page.says("✓ delivered").await;
        assert_eq!(desk.receiver.heard("/hook").len(), 2, "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_match_are_retried_with_a_progress_that_comes_to_its_end() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        desk.receiver.answer("/hook", 410);
        for number in 0..3 {
            desk.unsubscribe(&format!("user{number}@example.com")).await;
        }
        until("the deliveries are dead", async || {
            let page = desk.optout.get("/api/v1/deliveries?state=dead").await;
            (page["items"].as_array()?.len() == 3).then_some(())
        })
        .await;
        desk.receiver.answer("/hook", 200);
        desk.open("/deliveries?state=dead&target=hook").await;
        desk.page.click("a[href^='/replays?']").await;
        desk.page.is_headed("Replays").await;
        desk.page
            .click("form[action='/replays/start'] button")
            .await;
        desk.page.is_headed("3 deliveries match").await;
        desk.page
            .click("form[action='/replays/start'] button")
            .await;
        desk.page.is_headed("Replay").await;
        desk.page.says("3 of 3 have begun again.").await;
        desk.page.says("✓ done").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_three_wrong_lines_is_previewed_and_imported() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        let file = desk.stores.folder.path().join("list.csv");
        let csv = "email,kind,occurred_at\na@b.example,,\nno address,,\nb@b.example,nonsense,\nc@b.example,,tomorrow\nd@b.example,,\n";
        std::fs::write(&file, csv).unwrap();
        desk.open("/suppressions").await;
        desk.page.click("a[href='/suppressions/import']").await;
        desk.page.type_into("#file", file.to_str().unwrap()).await;
        desk.page.click("main button[type=submit]").await;
        desk.page.is_headed("What the file would change").await;
        let lines =
            "return [...document.querySelectorAll('.rows tbody th')].map((line) => line.innerText)";
        assert_eq!(
            desk.page.run(lines).await,
            json!(["3", "4", "5"]),
            "on {kind:?}"
        );
        let before = desk.optout.get("/api/v1/suppressions").await;
        assert_eq!(before["items"], json!([]), "on {kind:?}");
        desk.page.click("button[name=apply]").await;
        desk.page.is_headed("Imported").await;
        let after = desk.optout.get("/api/v1/suppressions").await;
        assert_eq!(after["items"].as_array().unwrap().len(), 2, "on {kind:?}");
        assert_eq!(desk.page.complaints().await, [""; 0], "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_is_lifted_for_a_reason_when_asked_twice() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        let complaint = json!({
            "RecordType": "SpamComplaint", "MessageStream": "outbound", "ID": 42, "Type": "SpamComplaint", "TypeCode": 512,
            "Email": "jane@example.com", "From": "shop@example.com", "BouncedAt": "2026-04-02T18:04:00Z",
            "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483", "ServerID": 1, "Subject": "x",
        });
        desk.optout
            .accepted("postmark", &complaint.to_string())
            .await;
        until("the complaint stands", async || {
            let page = desk.optout.get("/api/v1/suppressions?lane=complaint").await;
            (page["items"].as_array()?.len() == 1).then_some(())
        })
        .await;
        desk.open("/suppressions?lane=complaint").await;
        desk.page.click("td a[href^='/suppressions/']").await;
        desk.page.says("You will be asked twice.").await;
        desk.page
            .type_into("#reason", "she called: a mistake")
            .await;
        desk.page.click("form[action$='/lift'] button").await;
        desk.page.is_headed("Lift a complaint?").await;
        desk.page.says("she called: a mistake").await;
        desk.page.click("form[action$='/lift'] button").await;
        desk.page.says("Lifted. The history stays").await;
        let page = desk
            .optout
            .get("/api/v1/check?email=jane@example.com")
            .await;
        assert_eq!(page["unsubscribed"], false, "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_tested_left_alone_for_a_while_and_told_of_what_has_waited() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        desk.page.click(".main-nav a[href='/targets']").await;
        desk.page.is_headed("Targets").await;
        desk.page.click("a[href='/targets/hook']").await;
        desk.page.is_headed("hook").await;
        desk.page.says("closed").await;
        desk.page.click("form[action$='/test'] button").await;
        desk.page.says("Delivered, status 200").await;
        assert_eq!(desk.receiver.heard("/hook").len(), 1, "on {kind:?}");
        desk.page.type_into("#reason", "it is moved").await;
        desk.page.click("form[action$='/disable'] button").await;
        desk.page.says("It is disabled").await;
        desk.page.says("it is moved").await;
        desk.unsubscribe("jane@example.com").await;
        until("the delivery is parked", async || {
            let page = desk.optout.get("/api/v1/deliveries?state=parked").await;
            (page["items"].as_array()?.len() == 1).then_some(())
        })
        .await;
        assert_eq!(desk.receiver.heard("/hook").len(), 1, "on {kind:?}");
        desk.page.click("form[action$='/enable'] button").await;
        desk.page.says("It is enabled").await;
        until("the target is told", async || {
            let page = desk.optout.get("/api/v1/deliveries?state=delivered").await;
            (page["items"].as_array()?.len() == 1).then_some(())
        })
        .await;
        assert_eq!(desk.receiver.heard("/hook").len(), 2, "on {kind:?}");
        assert_eq!(desk.page.complaints().await, [""; 0], "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_goes_without_script() {
    let desk = Desk::signed_in(BOTH[0]).await;
    let off = json!({ "value": true });
    desk.page
        .chromium("Emulation.setScriptExecutionDisabled", off)
        .await;
    desk.open("/suppressions/add").await;
    desk.page.type_into("#contact", "jane@example.com").await;
    desk.page.type_into("#reason", "by phone").await;
    desk.page.click("main button[type=submit]").await;
    desk.page.is_headed("jane@example.com in global").await;
    desk.page.type_into("#reason", "by phone again").await;
    desk.page.click("form[action$='/lift'] button").await;
    desk.page.says("Lifted. The history stays").await;
    desk.page.click(".who button").await;
    desk.page.is_headed("Sign in").await;
}
