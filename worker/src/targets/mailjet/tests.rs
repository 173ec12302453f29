//! Mailjet as it is documented: contacts, their exclusion, and the subscriptions of contact lists.

use super::*;
use crate::targets::platform::rehearsal::{Limit, Listed, Vendor, json, lift, rehearsals, set};
use crate::targets::standin::{Received, response, verdict};
use axum::{body::Body, http::Response};
use std::collections::BTreeSet;

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "username = 'key'",
    lists: [GLOBAL, "12"],
    limit: Limit::Seconds("retry-after"),
    answer: |request, parts, listed| {
        // Basic authentication of `key` with `s3cret`.
        if request.header("authorization") != "Basic a2V5OnMzY3JldA==" {
            return json(
                401,
                &json!({"StatusCode": 401, "ErrorMessage": "API key authentication failure"}),
            );
        }
        if parts == ["v3", "REST", "contactslist"] {
            return json(200, &json!({}));
        }
        let known = |address: &str| ("known".to_owned(), address.to_owned());
        let invalid = json(
            400,
            &json!({"StatusCode": 400, "ErrorMessage": "Invalid email address"}),
        );
        match (request.method.as_str(), parts) {
            ("GET", ["v3", "REST", of @ ("contact" | "listrecipient")]) => {
                listing(request, of, listed)
            }
            ("GET", ["v3", "REST", "contact", number]) => {
                let number: usize = number.parse().unwrap();
                match addresses(listed).get(number - 100) {
                    Some(address) => json(
                        200,
                        &json!({"Count": 1, "Data": [contact(listed, address)]}),
                    ),
                    None => json(
                        404,
                        &json!({"StatusCode": 404, "ErrorMessage": "Object not found"}),
                    ),
                }
            }
            ("PUT", ["v3", "REST", "contact", address]) => {
                if !listed.contains(&known(address)) {
                    return json(
                        404,
                        &json!({"StatusCode": 404, "ErrorMessage": "Object not found"}),
                    );
                }
                let excluded = request.json()["IsExcludedFromCampaigns"].as_bool().unwrap();
                if set(listed, GLOBAL, address, excluded) {
                    json(200, &json!({"Count": 1}))
                } else {
                    response(304, "")
                }
            }
            ("POST", ["v3", "REST", "contact"]) => {
                let body = request.json();
                let address = body["Email"].as_str().unwrap();
                if address.starts_with("bad") {
                    return invalid;
                }
                assert!(listed.insert(known(address)));
                set(
                    listed,
                    GLOBAL,
                    address,
                    body["IsExcludedFromCampaigns"].as_bool().unwrap(),
                );
                json(201, &json!({"Count": 1}))
            }
            ("GET", ["v3", "REST", "contact", address, "getcontactslists"]) => {
                let unsub = listed.contains(&("12".to_owned(), (*address).to_owned()));
                let lists =
                    json!([{"ListID": 12, "IsUnsub": unsub}, {"ListID": 13, "IsUnsub": true}]);
                json(200, &json!({"Count": 2, "Data": lists}))
            }
            ("POST", ["v3", "REST", "contactslist", list, "managecontact"]) => {
                let body = request.json();
                let address = body["Email"].as_str().unwrap();
                if address.starts_with("bad") {
                    return invalid;
                }
                set(listed, list, address, body["Action"] == "unsub");
                json(201, &json!({"Count": 1}))
            }
            _ => json(
                405,
                &json!({"StatusCode": 405, "ErrorMessage": "Method not allowed"}),
            ),
        }
    },
};

/// All contacts. The number of the first is 100.
fn addresses(listed: &Listed) -> Vec<&str> {
    let all: BTreeSet<_> = listed.iter().map(|(_, address)| address.as_str()).collect();
    all.into_iter().collect()
}

fn contact(listed: &Listed, address: &str) -> Value {
    let excluded = listed.contains(&(GLOBAL.to_owned(), address.to_owned()));
    let at = if excluded { "2018-01-01T00:01:02Z" } else { "" };
    json!({
        "Email": address,
        "IsExcludedFromCampaigns": excluded,
        "ExclusionFromCampaignsUpdatedAt": at,
    })
}

/// A page of the excluded, or of the subscriptions to a list that were ended, of which one is of a contact that is gone.
fn listing(request: &Received, of: &str, listed: &Listed) -> Response<Body> {
    let query = |name| request.query(name);
    let number = |name| query(name).unwrap().parse::<usize>().unwrap();
    let (limit, offset) = (number("Limit"), number("Offset"));
    assert!((1..=1000).contains(&limit));
    let list = if of == "contact" {
        assert_eq!(query("IsExcludedFromCampaigns").as_deref(), Some("true"));
        GLOBAL.to_owned()
    } else {
        assert_eq!(query("Unsub").as_deref(), Some("true"));
        query("ContactsList").unwrap()
    };
    let all = addresses(listed).into_iter().enumerate();
    let on_list =
        all.filter(|(_, address)| listed.contains(&(list.clone(), (*address).to_owned())));
    let rows = on_list.map(|(at, address)| match of {
        "contact" => contact(listed, address),
        _ => member(100 + at),
    });
    let gone = (of == "listrecipient").then(|| member(99_999));
    let data: Vec<_> = rows.chain(gone).skip(offset).take(limit).collect();
    json(
        200,
        &json!({"Count": data.len(), "Data": data, "Total": data.len()}),
    )
}

fn member(contact: usize) -> Value {
    json!({
        "ContactID": contact,
        "IsUnsubscribed": true,
        "SubscribedAt": "2017-01-01T00:00:00Z",
        "UnsubscribedAt": "2018-02-03T04:05:06Z",
    })
}

const LISTS: Vendor = Vendor {
    lists: ["12", GLOBAL],
    ..VENDOR
};

rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

#[tokio::test]
async fn a_contact_list_is_read_page_by_page_and_since_when_each_is_out() {
    LISTS
        .a_list_is_read_page_by_page_and_no_other_with_it()
        .await;
    let running = LISTS.usual().await;
    let book = running.target.book().unwrap();
    for (list, since) in [
        ("12", "2018-02-03T04:05:06Z"),
        (GLOBAL, "2018-01-01T00:01:02Z"),
    ] {
        set(&mut running.listed(), list, "jane@example.com", true);
        set(&mut running.listed(), list, "4f1c@domain.invalid", true);
        let page = book.page(list, None).await.unwrap();
        // Who was deleted names nobody.
        assert_eq!((page.entries.len(), page.unread, page.next), (1, 1, None));
        assert_eq!(page.entries[0].since, since.parse().ok(), "{list}");
    }
    let answer = book.page("12", Some("-1")).await.unwrap_err();
    assert!(verdict(&answer).starts_with("dead: "), "{answer:?}");
}

rehearsals!(
    VENDOR,
    a_contact_is_suppressed_and_lifted_however_often_that_is_told,
    a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it,
    a_token_that_is_refused_is_tried_again_and_says_so
);

#[test]
fn a_subscription_is_read_whether_it_is_stated_in_strings_or_not() {
    for (stated, out) in [
        (json!({"ListID": 12, "IsUnsub": true}), true),
        (json!({"ListID": "12", "IsUnsub": "true"}), true),
        (json!({"ListID": "12", "IsUnsub": "false"}), false),
        (json!({"ListID": "1", "IsUnsub": "true"}), false),
        (json!({"ListID": 12}), false),
    ] {
        let one: Subscription = serde_json::from_value(stated.clone()).unwrap();
        assert_eq!(one.is_out("12"), out, "{stated}");
    }
}

#[tokio::test]
async fn a_contact_list_is_told_and_a_lift_subscribes_only_who_was_unsubscribed() {
    let lists = Vendor {
        lists: ["12", "13"],
        ..VENDOR
    };
    lists
        .a_contact_is_suppressed_and_lifted_however_often_that_is_told()
        .await;
    lists.one_contact_that_is_refused_costs_no_other().await;
    lists
        .a_scope_is_its_list_and_what_is_global_is_every_list()
        .await;
    let running = lists.usual().await;
    let answer = running.tell(&lift("jane@example.com", "news")).await;
    assert_eq!(verdict(&answer), "done");
    assert!(
        running
            .received()
            .iter()
            .all(|request| request.method == Method::GET)
    );
}
