//! HubSpot as it is documented: statuses of addresses, and contacts with properties.

use super::*;
use crate::targets::platform::rehearsal::{
    Limit, Listed, Vendor, json, lift, rehearsals, set, suppress,
};
use crate::targets::standin::{Received, verdict};
use axum::{body::Body, http::Response};
use std::collections::BTreeSet;

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "",
    lists: ["7", GLOBAL],
    limit: Limit::Seconds("retry-after"),
    answer: |request, parts, listed| {
        if request.header("authorization") != "Bearer s3cret" {
            return json(
                401,
                &json!({"status": "error", "category": "INVALID_AUTHENTICATION"}),
            );
        }
        if parts == ["communication-preferences", "v4", "definitions"] {
            return json(200, &json!({}));
        }
        if parts == ["crm", "v3", "objects", "contacts"] {
            return contacts(request, listed);
        }
        let [
            "communication-preferences",
            "v4",
            "statuses",
            address,
            rest @ ..,
        ] = parts
        else {
            return json(404, &json!({"status": "error"}));
        };
        if address.starts_with("bad") {
            return json(
                400,
                &json!({"status": "error", "category": "VALIDATION_ERROR"}),
            );
        }
        let entry = ("7".to_owned(), (*address).to_owned());
        match (request.method.as_str(), rest) {
            ("POST", ["unsubscribe-all"]) => {
                assert_eq!(request.query("channel").as_deref(), Some("EMAIL"));
                set(listed, GLOBAL, address, true);
                json(200, &json!({"status": "COMPLETE", "results": []}))
            }
            ("GET", ["unsubscribe-all"]) => {
                let query = |name| request.query(name).unwrap();
                assert_eq!(
                    (query("channel"), query("verbose")),
                    ("EMAIL".to_owned(), "true".to_owned())
                );
                let one = json!({"channel": "EMAIL", "wideStatusType": "PORTAL_WIDE", "status": "UNSUBSCRIBED"});
                let out = listed.contains(&(GLOBAL.to_owned(), (*address).to_owned()));
                let results = if out { vec![one] } else { vec![] };
                json(200, &json!({"status": "COMPLETE", "results": results}))
            }
            ("GET", []) => {
                assert_eq!(request.query("channel").as_deref(), Some("EMAIL"));
                let status = if listed.contains(&entry) {
                    "UNSUBSCRIBED"
                } else {
                    "NOT_SPECIFIED"
                };
                let one = json!({"channel": "EMAIL", "subscriptionId": 7, "status": status});
                json(200, &json!({"status": "COMPLETE", "results": [one]}))
            }
            ("POST", []) => {
                let body = request.json();
                assert_eq!(
                    (&body["channel"], &body["subscriptionId"]),
                    (&json!("EMAIL"), &json!(7))
                );
                let suppress = body["statusState"] == "UNSUBSCRIBED";
                assert_eq!(body.get("legalBasis").is_some(), !suppress);
                set(listed, "7", address, suppress);
                json(200, &json!({"status": "COMPLETE", "results": []}))
            }
            other => panic!("{other:?}"),
        }
    },
};

/// A page of all contacts, one of whom is on no list and one of whom has no address. A cursor is an address, and the link
/// to the next page leads elsewhere.
fn contacts(request: &Received, listed: &Listed) -> Response<Body> {
    assert_eq!(request.method, Method::GET);
    let limit: usize = request.query("limit").unwrap().parse().unwrap();
    assert!((1..=100).contains(&limit));
    let asked = request.query("properties").unwrap();
    let property = asked.strip_prefix("email,").unwrap();
    let list = match property.strip_prefix("hs_email_optout") {
        Some("") => GLOBAL,
        Some("_7") => "7",
        _ => "",
    };
    let after = request.query("after").unwrap_or_default();
    let mut all: BTreeSet<_> = listed.iter().map(|(_, address)| address.as_str()).collect();
    all.extend(["~in@example.com", "~none"]);
    let all = all.into_iter();
    let mut rest = all.filter(|address| *address > after.as_str()).peekable();
    let mut results = vec![];
    let mut reached = "";
    while let (true, Some(address)) = (results.len() < limit, rest.next()) {
        reached = address;
        let out = listed.contains(&(list.to_owned(), address.to_owned()));
        let email = address.contains('@').then_some(address);
        let mut properties = json!({"email": email, "hs_object_id": "1"});
        if !list.is_empty() {
            properties[property] = if out { json!("true") } else { Value::Null };
        }
        results.push(json!({"id": "1", "properties": properties, "archived": false}));
    }
    let mut body = json!({"results": results});
    if rest.peek().is_some() {
        let link = "https://elsewhere.example/crm/v3/objects/contacts?after=77";
        body["paging"] = json!({"next": {"after": reached, "link": link}});
    }
    json(200, &body)
}

const TYPE: Vendor = Vendor {
    lists: ["7", "7"],
    ..VENDOR
};

rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);
rehearsals!(
    VENDOR,
    a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it,
    a_token_that_is_refused_is_tried_again_and_says_so,
    a_credential_is_asked_about_by_a_read_and_a_refusal_is_told,
    one_contact_that_is_refused_costs_no_other,
    a_scope_is_its_list_and_what_is_global_is_every_list
);

#[tokio::test]
async fn a_subscription_type_is_opted_out_of_and_into_again() {
    TYPE.a_contact_is_suppressed_and_lifted_however_often_that_is_told()
        .await;
}

#[tokio::test]
async fn who_opted_out_of_all_is_not_subscribed_to_one_type() {
    let running = VENDOR.usual().await;
    for scope in ["news", "offers"] {
        running.tell(&suppress("jane@example.com", scope)).await;
    }
    let answer = running.tell(&lift("jane@example.com", "news")).await;
    let verdict = verdict(&answer);
    assert!(
        verdict.starts_with("dead: the contact has opted out of all"),
        "{answer:?}"
    );
    assert_eq!(running.lists("jane@example.com").len(), 2);
}

#[tokio::test]
async fn an_opt_out_of_all_is_final_and_a_lift_subscribes_nobody_who_was_not_out() {
    let running = VENDOR.usual().await;
    let answer = running.tell(&lift("jane@example.com", "offers")).await;
    assert!(
        verdict(&answer).starts_with("dead: HubSpot lets nobody"),
        "{answer:?}"
    );
    let answer = running.tell(&lift("jane@example.com", "news")).await;
    assert_eq!(verdict(&answer), "done");
    assert!(
        running
            .received()
            .iter()
            .all(|request| request.method == Method::GET)
    );
}

#[tokio::test]
async fn a_list_shows_contacts_only() {
    let running = VENDOR.usual().await;
    assert!(!running.target.book().unwrap().shows_all());
}

#[tokio::test]
async fn all_email_is_another_list_than_a_type_and_a_type_that_is_none_is_said_to_be_none() {
    let running = VENDOR.start("{ a = 'global', b = '7', c = '8' }").await;
    set(&mut running.listed(), GLOBAL, "jane@example.com", true);
    set(&mut running.listed(), "7", "joe@example.com", true);
    set(&mut running.listed(), GLOBAL, "~none", true);
    let book = running.target.book().unwrap();
    for (list, address, unread) in [(GLOBAL, "jane@example.com", 1), ("7", "joe@example.com", 0)] {
        let page = book.page(list, None).await.unwrap();
        assert_eq!(
            (page.entries.len(), page.unread, page.next),
            (1, unread, None)
        );
        assert_eq!(page.entries[0].contact.address, address);
    }
    let answer = book.page("8", None).await.unwrap_err();
    let verdict = verdict(&answer);
    assert!(
        verdict.starts_with("dead: HubSpot's contacts have no property hs_email_optout_8"),
        "{verdict}"
    );
}
