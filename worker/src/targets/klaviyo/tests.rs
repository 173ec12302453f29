//! Klaviyo as it is documented: suppressions of profiles, told in bulk and read page by page.

use super::*;
use crate::targets::platform::rehearsal::{Limit, Listed, Vendor, json, rehearsals, set};
use crate::targets::standin::{Received, response, verdict};
use axum::{body::Body, http::Response};

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "",
    lists: [GLOBAL, GLOBAL],
    limit: Limit::Seconds("ratelimit-reset"),
    answer: |request, parts, listed| {
        if request.header("authorization") != "Klaviyo-API-Key s3cret" {
            return json(
                401,
                &json!({"errors": [{"status": 401, "code": "authentication_failed"}]}),
            );
        }
        assert_eq!(request.header("revision"), REVISION);
        if parts == ["api", "profiles"] {
            return profiles(request, listed);
        }
        if request.method == Method::GET {
            assert_eq!(request.path, "/api/profile-suppression-bulk-create-jobs");
            return json(200, &json!({"data": []}));
        }
        assert_eq!(request.header("content-type"), "application/vnd.api+json");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let kind = body["data"]["type"].as_str().unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.clone()),
            ("POST", format!("/api/{kind}s"))
        );
        let create = match kind {
            "profile-suppression-bulk-create-job" => true,
            "profile-suppression-bulk-delete-job" => false,
            other => panic!("{other}"),
        };
        let profiles = body["data"]["attributes"]["profiles"]["data"]
            .as_array()
            .unwrap();
        assert!((1..=100).contains(&profiles.len()));
        let address = |one: &Value| {
            assert_eq!(one["type"], "profile");
            one["attributes"]["email"].as_str().unwrap().to_owned()
        };
        if profiles.iter().any(|one| address(one).starts_with("bad")) {
            return json(
                400,
                &json!({"errors": [{"status": 400, "code": "invalid", "detail": "email"}]}),
            );
        }
        for one in profiles {
            set(listed, GLOBAL, &address(one), create);
        }
        response(202, "")
    },
};

/// A page of the suppressed, with a link to the next one that leads elsewhere. A cursor is an address, encoded.
fn profiles(request: &Received, listed: &Listed) -> Response<Body> {
    assert_eq!(request.method, Method::GET);
    let query = |name: &str| {
        let encoded = name.replace('[', "%5B").replace(']', "%5D");
        request.query(&encoded)
    };
    let size: usize = query("page[size]").unwrap().parse().unwrap();
    assert!((1..=100).contains(&size));
    for (name, value) in PAGE {
        assert_eq!(query(name).as_deref(), Some(value));
    }
    let after = query(CURSOR).unwrap_or_default();
    let of_list = listed.iter().filter(|(list, _)| list == GLOBAL);
    let mut rest = of_list
        .map(|(_, address)| address)
        .filter(|address| format!("=+{address}") > after);
    let data: Vec<Value> = rest
        .by_ref()
        .take(size)
        .map(|address| {
            profile(
                Some(address),
                &json!([{"reason": "UNSUBSCRIBE", "timestamp": "2023-02-21T20:07:38+00:00"}]),
            )
        })
        .collect();
    let last = data.last().map(|one| &one["attributes"]["email"]);
    let last = last.and_then(Value::as_str).unwrap_or_default();
    let next = rest.next().map(|_| {
        let cursor = last.replace('@', "%40");
        format!("https://elsewhere.example/?page%5Bsize%5D=1&page%5Bcursor%5D=%3D%2B{cursor}")
    });
    json(
        200,
        &json!({"data": data, "links": {"self": "x", "next": next}}),
    )
}

fn profile(address: Option<&str>, suppression: &Value) -> Value {
    let marketing = json!({"suppression": suppression});
    let subscriptions = json!({"email": {"marketing": marketing}});
    json!({"type": "profile", "id": "1", "attributes": {"email": address, "subscriptions": subscriptions}})
}

const ODD: Vendor = Vendor {
    answer: |_, _, _| {
        let data = [
            profile(
                Some("jane@example.com"),
                &json!([
                    {"reason": "USER_SUPPRESSED", "timestamp": "2023-02-21T20:07:38+00:00"},
                    {"reason": "SPAM_COMPLAINT", "timestamp": "2024-03-01T00:00:00+00:00"},
                    {"reason": "HARD_BOUNCE", "timestamp": "2024-01-01T00:00:00+00:00"},
                ]),
            ),
            profile(Some("joe@example.com"), &json!([])),
            profile(Some("ann@example.com"), &Value::Null),
            profile(
                None,
                &json!([{"reason": "UNSUBSCRIBE", "timestamp": "yesterday"}]),
            ),
        ];
        json(200, &json!({"data": data, "links": {"self": "x"}}))
    },
    ..VENDOR
};

const BARE: Vendor = Vendor {
    answer: |_, _, _| {
        let data = [profile(Some("jane@example.com"), &Value::Null)];
        json(200, &json!({"data": data, "links": {"self": "x"}}))
    },
    ..VENDOR
};

rehearsals!(VENDOR);
rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

#[tokio::test]
async fn of_several_suppressions_the_first_says_since_when_and_the_gravest_why() {
    let running = ODD.usual().await;
    let book = running.target.book().unwrap();
    let page = book.page(GLOBAL, None).await.unwrap();
    // Who has none is left out, and whoever names nobody or does not say is not read.
    assert_eq!((page.entries.len(), page.unread, page.next), (1, 2, None));
    let entry = &page.entries[0];
    assert_eq!(entry.contact.address, "jane@example.com");
    assert_eq!(entry.since, "2023-02-21T20:07:38Z".parse().ok());
    let why = (entry.why.lane, entry.why.words.as_deref());
    assert_eq!(why, (Lane::Complaint, Some("SPAM_COMPLAINT")));
}

#[tokio::test]
async fn profiles_that_all_lack_what_was_asked_for_are_no_empty_list() {
    let running = BARE.usual().await;
    let book = running.target.book().unwrap();
    let answer = book.page(GLOBAL, None).await.unwrap_err();
    assert!(verdict(&answer).starts_with("retry: "), "{answer:?}");
}

#[test]
fn of_a_link_only_the_cursor_is_read() {
    for (link, expected) in [
        (
            "https://a.klaviyo.com/api/profiles?page%5Bcursor%5D=bmV4%3D",
            Some("bmV4="),
        ),
        ("https://elsewhere.example/?x=1&page[cursor]=a", Some("a")),
        ("https://a.klaviyo.com/api/profiles?page%5Bcursor%5D=", None),
        ("https://a.klaviyo.com/api/profiles", None),
        ("bmV4", None),
    ] {
        assert_eq!(cursor(link).as_deref(), expected, "{link}");
    }
}
