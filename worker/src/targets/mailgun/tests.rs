//! Mailgun as it is documented: unsubscribes of domains, members of mailing lists.

use std::collections::BTreeMap;

use axum::{body::Body, http::Response};

use super::*;
use crate::targets::{
    platform::rehearsal::{Limit, Listed, Vendor, json, rehearsals, set},
    standin::Received,
};

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "",
    lists: ["mg.example.com", "news@lists.example.com"],
    limit: Limit::Seconds("retry-after"),
    answer: |request, parts, listed| {
        // Basic authentication of `api` with `s3cret`.
        if request.header("authorization") != "Basic YXBpOnMzY3JldA==" {
            return json(401, &json!({"message": "Forbidden"}));
        }
        if parts == ["v4", "domains"] {
            return json(200, &json!({}));
        }
        let invalid = json!({"message": "Address is invalid"});
        let done = json!({"message": "done"});
        match (request.method.as_str(), parts) {
            ("POST", ["v3", domain, "unsubscribes"]) => {
                let body = request.json();
                let asked = body.as_array().unwrap();
                assert!((1..=1000).contains(&asked.len()));
                for one in asked {
                    assert_eq!(
                        (&one["tags"], one["created_at"].as_str()),
                        (&json!(["*"]), Some("Thu, 02 Apr 2026 14:30:00 GMT"))
                    );
                    if one["address"].as_str().unwrap().starts_with("bad") {
                        return json(400, &invalid);
                    }
                }
                for one in asked {
                    set(listed, domain, one["address"].as_str().unwrap(), true);
                }
                json(200, &done)
            }
            ("DELETE", ["v3", domain, "unsubscribes", address]) => {
                assert_eq!(request.query("tag").as_deref(), Some("*"));
                if set(listed, domain, address, false) {
                    json(200, &done)
                } else {
                    json(
                        404,
                        &json!({"message": "Address not found in unsubscribers table"}),
                    )
                }
            }
            ("POST", ["v3", "lists", list, "members"]) => {
                let form: BTreeMap<_, _> =
                    form_urlencoded::parse(&request.body).into_owned().collect();
                assert_eq!(
                    (form["subscribed"].as_str(), form["upsert"].as_str()),
                    ("no", "yes")
                );
                if form["address"].starts_with("bad") {
                    return json(400, &invalid);
                }
                set(listed, list, &form["address"], true);
                json(200, &done)
            }
            ("PUT", ["v3", "lists", list, "members", address]) => {
                assert_eq!(&request.body[..], b"subscribed=yes");
                if set(listed, list, address, false) {
                    json(200, &done)
                } else {
                    json(404, &json!({"message": "Member not found"}))
                }
            }
            ("GET", ["v3", domain, "unsubscribes"]) => page(request, domain, 1000, listed),
            ("GET", ["v3", "lists", list, "members", "pages"]) => page(request, list, 100, listed),
            _ => json(404, &json!({"message": "not found"})),
        }
    },
};

const LISTS: Vendor = Vendor {
    lists: ["news@lists.example.com", "mg.example.com"],
    ..VENDOR
};

/// A page in the order of the addresses. One that begins with `tag` unsubscribed from a tag only, and is subscribed.
fn page(request: &Received, list: &str, most: usize, listed: &Listed) -> Response<Body> {
    let limit: usize = request.query("limit").unwrap().parse().unwrap();
    assert!(limit <= most);
    let after = request.query("address").unwrap_or_default();
    assert_eq!(
        request.query("page").as_deref(),
        (!after.is_empty()).then_some("next")
    );
    let of_list = listed.iter().filter(|(other, _)| other == list);
    let addresses = of_list.map(|(_, address)| address);
    let addresses: Vec<_> = addresses.filter(|one| **one > after).take(limit).collect();
    let items: Vec<_> = addresses
        .iter()
        .map(|address| match address.starts_with("tag") {
            is_tag if !is_domain(list) => json!({"address": address, "subscribed": is_tag}),
            true => json!({"address": address, "tags": ["sale"], "created_at": ""}),
            false => json!({
                "address": address,
                "tags": ["sale", "*"],
                "created_at": "Fri, 18 Oct 2024 18:28:14 UTC",
            }),
        })
        .collect();
    let divider = addresses.last().map_or(after.as_str(), |one| one);
    let divider: String = form_urlencoded::byte_serialize(divider.as_bytes()).collect();
    // As if somebody could have put it there.
    let next = format!("https://other.example/v3/x?page=next&address={divider}&limit=9999");
    // Past the end there are none.
    let items = (!items.is_empty()).then_some(items);
    json(200, &json!({"items": items, "paging": {"next": next}}))
}

rehearsals!(VENDOR);
rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

#[tokio::test]
async fn who_unsubscribed_from_a_tag_or_is_subscribed_is_not_read_and_times_are() {
    LISTS
        .a_list_is_read_page_by_page_and_no_other_with_it()
        .await;
    let running = VENDOR.usual().await;
    let book = running.target.book().unwrap();
    for (list, since) in VENDOR
        .lists
        .into_iter()
        .zip([Some("2024-10-18T18:28:14Z"), None])
    {
        set(&mut running.listed(), list, "jane+x@example.com", true);
        set(&mut running.listed(), list, "tag@example.com", true);
        let page = book.page(list, None).await.unwrap();
        assert_eq!(page.next.as_deref(), Some("tag@example.com"));
        assert_eq!(page.entries.len(), 1);
        assert_eq!(page.entries[0].contact.address, "jane+x@example.com");
        assert_eq!(
            page.entries[0].since,
            since.and_then(|since| since.parse().ok())
        );
        let page = book.page(list, page.next.as_deref()).await.unwrap();
        assert_eq!(page, Page::default());
    }
    assert_eq!(divider("https://api.mailgun.net/v3/x?page=next"), None);
    for none in ["Mon, 01 Jan 0001 00:00:00 UTC", "yesterday", ""] {
        assert_eq!(time(none), None);
    }
}

#[test]
fn null_is_no_entry_and_what_is_not_there_is_a_mistake() {
    type Answer = Listing<Unsubscribed>;
    let read = |items: &str| {
        serde_json::from_str::<Answer>(&format!("{{{items} \"paging\": {{\"next\": \"\"}}}}"))
    };
    assert!(read("\"items\": null,").unwrap().items.is_empty());
    let untagged = "\"items\": [{\"address\": \"jane@example.com\", \"tags\": null}],";
    assert!(read(untagged).unwrap().items[0].tags.is_empty());
    for wrong in ["", "\"items\": [{\"address\": \"jane@example.com\"}],"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_domain_is_reported_as_global_and_a_mailing_list_in_its_own_scope() {
    let scopes = "{ news = 'news@mg.example.com', '*' = 'mg.example.com' }";
    let running = VENDOR.start(scopes).await;
    for (told, reported, is_reported) in [
        ("news", "news@mg.example.com", true),
        ("news", "global", false),
        ("offers", "global", true),
    ] {
        let found = running.target.reports(told, reported);
        assert_eq!(found, is_reported, "{told} {reported}");
    }
}

#[tokio::test]
async fn a_member_of_a_mailing_list_is_suppressed_there_and_lifted() {
    LISTS
        .a_contact_is_suppressed_and_lifted_however_often_that_is_told()
        .await;
    LISTS.one_contact_that_is_refused_costs_no_other().await;
}
