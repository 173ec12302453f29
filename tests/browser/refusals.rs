//! Who is not let in, or not let do it.

use crate::{BOTH, Desk};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_and_a_right_one_is_let_in_until_it_signs_out() {
    for kind in BOTH {
        let desk = Desk::new(kind).await;
        let check = desk.key("check").await;
        desk.sign_in("no such key").await;
        desk.page
            .says("This key is none that opens anything here.")
            .await;
        desk.sign_in(&check).await;
        desk.page.says("This key has the role check").await;
        // The page that was asked for comes after the way in.
        desk.open("/suppressions?state=active").await;
        desk.page.is_headed("Sign in").await;
        desk.page.type_into("#key", tests::API_KEY).await;
        desk.page.click("button[type=submit]").await;
        desk.page.is_headed("Suppressions").await;
        assert!(
            desk.page
                .address()
                .await
                .ends_with("/suppressions?state=active")
        );
        assert_eq!(
            desk.page.run("return document.cookie").await,
            "",
            "no script sees the cookie"
        );
        desk.page.click(".who button").await;
        desk.page.is_headed("Sign in").await;
        desk.open("/events").await;
        desk.page.is_headed("Sign in").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_sees_no_addresses_and_changes_nothing() {
    for kind in BOTH {
        let desk = Desk::new(kind).await;
        let (_, added) = desk
            .optout
            .ask(
                "POST",
                "/api/v1/suppressions",
                &serde_json::json!({ "email": "jane@example.com" }),
            )
            .await;
        let id = added["id"].as_str().unwrap();
        desk.sign_in(&desk.key("read").await).await;
        desk.page.is_headed("Overview").await;
        desk.open(&format!("/suppressions/{id}")).await;
        desk.page.says("j…@example.com").await;
        assert!(!desk.page.text().await.contains("jane@"));
        // There is no form for it; somebody makes one.
        let forged = format!(
            "const form = document.querySelector('.who'); form.action = '/suppressions/{id}/lift';
            const reason = document.createElement('input'); reason.name = 'reason'; reason.value = 'x'; form.append(reason);"
        );
        desk.page.run(&forged).await;
        desk.page.click(".who button").await;
        desk.page.is_headed("Not allowed").await;
        desk.page.says("this needs a key with the role write").await;
        let suppression = desk.optout.get(&format!("/api/v1/suppressions/{id}")).await;
        assert_eq!(suppression["state"], "active", "on {kind:?}");

        desk.open(&format!("/suppressions/{id}")).await;
        desk.page.click("form[action$='/reveal'] button").await;
        desk.page.is_headed("jane@example.com in global").await;
        let trail = desk
            .optout
            .get("/api/v1/audit?action=suppression.reveal")
            .await;
        assert_eq!(trail["items"][0]["actor"], "the-read-key", "on {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_another_website_sends_is_refused() {
    for kind in BOTH {
        let desk = Desk::signed_in(kind).await;
        // Without the token of the session.
        desk.page
            .run("document.querySelector('.who input[name=csrf]').value = 'forged'")
            .await;
        desk.page.click(".who button").await;
        desk.page.is_headed("Not allowed").await;
        desk.page
            .says("this was not sent from a page of your session")
            .await;
        // From another origin, with the right one: the browser says where it comes from.
        desk.open("/").await;
        desk.page.is_headed("Overview").await;
        let token = desk
            .page
            .run("return document.querySelector('.who input[name=csrf]').value")
            .await;
        desk.page.open(&desk.receiver.url("/elsewhere")).await;
        let forged = format!(
            "const form = document.createElement('form'); form.method = 'post'; form.action = '{}/sign-out';
            const token = document.createElement('input'); token.name = 'csrf'; token.value = {token}; form.append(token);
            document.body.append(form); form.submit();",
            desk.optout.api
        );
        desk.page.run(&forged).await;
        desk.page.is_headed("Not allowed").await;
        desk.open("/").await;
        desk.page.is_headed("Overview").await;
    }
}
