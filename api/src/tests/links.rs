//! Links that unsubscribe with one click.

use serde_json::json;

use super::*;

/// What makes them.
pub(super) const CONFIGURED: &str = "[links]\nurl = 'https://optout.example.com'\nkeys = 'nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='";

const PATH: &str = "/api/v1/links";

/// A door that asks nothing of its ledger.
fn door() -> Door {
    let ledger = Ledger::open("postgres://nobody@127.0.0.1:1/nothing", 1);
    Door::new("nothing", ledger.unwrap(), tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn each_contact_gets_headers_of_its_own_in_order_while_the_ledger_is_away() {
    let door = door();
    let contacts = ["Jane@Example.com", "no contact", "+1 555 123 45 67"];
    let asked = json!({ "scope": "news", "contacts": contacts });
    let answer = door.write("POST", PATH, &asked).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let items = answer.body["items"].as_array().unwrap();
    let given: Vec<_> = items.iter().map(|item| text(&item["contact"])).collect();
    assert_eq!(given, contacts);
    let links = door.app.links.as_ref().unwrap();
    for (item, address) in [(&items[0], "jane@example.com"), (&items[2], "+15551234567")] {
        let url = text(&item["url"]);
        let token = url.strip_prefix("https://optout.example.com/u/").unwrap();
        let link = links.open(token, clock::now()).unwrap();
        assert_eq!(
            (link.contact.address.as_str(), link.scope.as_str()),
            (address, "news")
        );
        assert_eq!(item["headers"]["List-Unsubscribe"], format!("<{url}>"));
        assert_eq!(
            item["headers"]["List-Unsubscribe-Post"],
            "List-Unsubscribe=One-Click"
        );
        assert!(!url.contains("jane") && url.len() < 500, "{url}");
    }
    assert!(items[1]["url"].is_null() && items[1]["headers"].is_null());
    assert!(text(&items[1]["error"]).contains("phone number"));
}

#[tokio::test]
async fn without_a_scope_a_link_is_of_everything_and_what_is_wrong_is_told_by_its_field() {
    let door = door();
    let answer = door
        .write("POST", PATH, &json!({ "contacts": ["a@b.example"] }))
        .await;
    let url = text(&answer.body["items"][0]["url"]);
    let links = door.app.links.as_ref().unwrap();
    let link = links.open(url.rsplit('/').next().unwrap(), clock::now());
    assert_eq!(link.unwrap().scope, "global");
    assert_eq!(
        door.write("POST", PATH, &json!({ "contacts": [] }))
            .await
            .body["items"],
        json!([])
    );
    let many: Vec<_> = (0..=10_000).map(|n| format!("{n}@b.example")).collect();
    for (body, field) in [
        (json!({ "contacts": many }), "contacts"),
        (json!({ "contacts": ["a@b.example"], "scope": "" }), "scope"),
        (
            json!({ "contacts": ["a@b.example"], "scope": "ü".repeat(200) }),
            "scope",
        ),
        (
            json!({ "contacts": ["a@b.example"], "scope": "s".repeat(300) }),
            "scope",
        ),
        (json!({ "contacts": [], "colour": "blue" }), "colour"),
    ] {
        let answer = door.write("POST", PATH, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        let said = answer.body.to_string();
        assert!(said.contains(field), "{said}");
    }
    assert_eq!(
        door.write("POST", PATH, &json!({ "contacts": many[..10_000] }))
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn links_want_a_key_that_may_write_and_a_configuration_that_is_named_where_it_lacks() {
    let door = door();
    let body = || Body::from(json!({ "contacts": ["a@b.example"] }).to_string());
    for (key, status) in [
        ("check-key-0123", 403),
        ("read-key-0123", 403),
        ("write-key-0123", 200),
        ("none", 401),
    ] {
        let answer = door
            .send_body("POST", PATH, &[("x-api-key", key)], body())
            .await;
        assert_eq!(answer.status, status, "{key}");
    }
    let bare =
        door.configured("[api]\nkeys = [{ name = 'w', key = 'write-key-0123', role = 'write' }]");
    let router = router(Arc::new(bare));
    let answer = ask(
        &router,
        "POST",
        PATH,
        &[("x-api-key", "write-key-0123")],
        body(),
    )
    .await;
    witness::hold("POST", PATH, &answer);
    assert_eq!(answer.status, StatusCode::CONFLICT);
    let said = text(&answer.body["detail"]);
    assert!(
        said.contains("[links]") && said.contains("url") && said.contains("keys"),
        "{said}"
    );
}
