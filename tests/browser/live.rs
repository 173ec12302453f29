//! What happens while somebody looks.

use crate::{BOTH, Desk};

#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribe_appears_while_somebody_looks() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        desk.page
            .says("No event has come in during the last hour.")
            .await;
        // A mark that loading the page anew would wipe out.
        desk.page.run("window.same = true").await;
        desk.unsubscribe("jane@example.com").await;
        desk.page.says("unsubscribed").await;
        assert_eq!(desk.page.run("return window.same === true").await, true);

        desk.open("/events").await;
        desk.page.says("jane@example.com").await;
        desk.page.run("window.same = true").await;
        desk.unsubscribe("joe@example.com").await;
        desk.page.says("joe@example.com").await;
        assert_eq!(desk.page.run("return window.same === true").await, true);
        assert_eq!(desk.page.complaints().await, [""; 0], "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_told_in_the_viewer_s_zone_with_utc_at_hand_and_in_utc_without_script() {
    let desk = Desk::signed_in(BOTH[0]).await;
    desk.unsubscribe("jane@example.com").await;
    let zone = serde_json::json!({ "timezoneId": "Asia/Tokyo" });
    desk.page
        .chromium("Emulation.setTimezoneOverride", zone)
        .await;
    desk.open("/events?contact=jane%40example.com").await;
    desk.page.says("2026-04-03 03:04:00").await;
    desk.page.says("Times are in your zone, Asia/Tokyo").await;
    let script = "return [...document.querySelectorAll('time')].map((time) => time.title)";
    let titles = desk.page.run(script).await;
    let utc = "2026-04-02 18:04:00 UTC";
    assert!(
        titles.as_array().unwrap().iter().any(|title| title == utc),
        "{titles}"
    );

    let off = serde_json::json!({ "value": true });
    desk.page
        .chromium("Emulation.setScriptExecutionDisabled", off)
        .await;
    desk.open("/events").await;
    desk.page.says(utc).await;
}
