//! The page at which a recipient unsubscribes.

use serde_json::json;
use tests::{told, until};

use crate::{BOTH, Desk, accessible::violations};

/// What makes the links, and what there is to choose.
pub(crate) const CONFIGURED: &str = "[links]\nurl = \"https://optout.example.com\"\nsender = \"Example Inc.\"\n\
    keys = \"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\"\n\
    scopes = [{ name = \"news\", title = \"Weekly news\" }, { name = \"offers\", title = \"Offers\" }]\n";

impl Desk {
    /// Where the link of a mail in this scope leads, at the door under test.
    async fn link(&self, scope: &str) -> String {
        let wanted = json!({ "scope": scope, "contacts": ["jane@example.com"] });
        let (status, made) = self.optout.ask("POST", "/api/v1/links", &wanted).await;
        assert_eq!(status, 200, "{made}");
        let url = made["items"][0]["url"].as_str().unwrap();
        url.replace("https://optout.example.com", &self.optout.door)
    }

    async fn is_unsubscribed(&self, scope: &str) -> bool {
        let path = format!("/api/v1/check?email=jane@example.com&scope={scope}");
        self.optout.get(&path).await["unsubscribed"] == true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_chooses_on_a_page_that_keeps_nobody_out() {
    let axe = std::fs::read_to_string(told("OPTOUT_TEST_AXE")).unwrap();
    for kind in BOTH {
        let desk = Desk::new(kind).await;
        let link = desk.link("news").await;
        let no_link = format!("{}/u/none", desk.optout.door);
        for (scheme, width) in [("light", 1280), ("dark", 820), ("light", 320)] {
            desk.page.looks(scheme, width).await;
            for (url, heading) in [
                (&link, "Unsubscribe"),
                (&no_link, "This link does not work"),
            ] {
                desk.page.open(url).await;
                desk.page.is_headed(heading).await;
                let found = violations(&desk, &axe).await;
                assert_eq!(found, [""; 0], "{heading}, {scheme}, {width} wide");
                assert!(!desk.page.is_too_wide().await, "{heading} at {width}");
            }
        }
        desk.page.open(&link).await;
        // What the mail was of is chosen already; nothing chosen is asked for again.
        desk.page.click("input[value=news]").await;
        desk.page.click("button[type=submit]").await;
        desk.page.says("Choose at least one.").await;
        assert_eq!(violations(&desk, &axe).await, [""; 0], "nothing chosen");
        assert!(!desk.is_unsubscribed("news").await);

        desk.page.click("input[value=offers]").await;
        desk.page.click("button[type=submit]").await;
        desk.page.is_headed("You are unsubscribed").await;
        assert_eq!(violations(&desk, &axe).await, [""; 0], "unsubscribed");
        until("the choice is known", async || {
            desk.is_unsubscribed("news").await.then_some(())
        })
        .await;
        // After a page without a choice the one of the mail is chosen again, beside what was.
        assert!(desk.is_unsubscribed("offers").await);
        assert!(!desk.is_unsubscribed("others").await);
    }
}
