//! Resend as it is documented: the suppressions, and the contacts' leave for broadcasts.

use super::*;
use crate::targets::platform::rehearsal::{
    Limit, Listed, Vendor, json, lift, rehearsals, set, suppress, told,
};
use crate::targets::standin::{Received, verdict};
use axum::{body::Body, http::Response};
use common::event::Kind as EventKind;
use serde_json::Value;

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "",
    lists: [SUPPRESSIONS, BROADCASTS],
    limit: Limit::Seconds("ratelimit-reset"),
    answer: |request, parts, listed| {
        if request.header("authorization") != "Bearer s3cret" {
            let error = json!({"statusCode": 403, "name": "invalid_api_key", "message": "invalid"});
            return json(403, &error);
        }
        if parts == ["domains"] {
            return json(200, &json!({}));
        }
        if let ("GET", [list @ ("suppressions" | "contacts")]) = (request.method.as_str(), parts) {
            return listing(request, list, listed);
        }
        let body = request.json();
        let invalid =
            json!({"statusCode": 422, "name": "validation_error", "message": "invalid email"});
        match (request.method.as_str(), parts) {
            ("POST", ["suppressions", "batch", verb @ ("add" | "remove")]) => {
                let asked = body["emails"].as_array().unwrap();
                let most = if *verb == "add" { 100 } else { 1 };
                assert!((1..=most).contains(&asked.len()));
                let asked: Vec<_> = asked.iter().map(|one| one.as_str().unwrap()).collect();
                if asked.iter().any(|one| one.starts_with("bad")) {
                    return json(422, &invalid);
                }
                for one in asked {
                    set(listed, SUPPRESSIONS, one, *verb == "add");
                }
                json(200, &json!({"data": []}))
            }
            ("PATCH", ["contacts", address]) => {
                if !listed.contains(&("known".to_owned(), (*address).to_owned())) {
                    let error =
                        json!({"statusCode": 404, "name": "not_found", "message": "no contact"});
                    return json(404, &error);
                }
                set(
                    listed,
                    BROADCASTS,
                    address,
                    body["unsubscribed"].as_bool().unwrap(),
                );
                json(200, &json!({"object": "contact", "id": "1"}))
            }
            ("POST", ["contacts"]) => {
                let address = body["email"].as_str().unwrap();
                if address.starts_with("bad") {
                    return json(422, &invalid);
                }
                set(
                    listed,
                    BROADCASTS,
                    address,
                    body["unsubscribed"].as_bool().unwrap(),
                );
                json(201, &json!({"object": "contact", "id": "1"}))
            }
            _ => json(
                405,
                &json!({"statusCode": 405, "name": "method_not_allowed", "message": "no"}),
            ),
        }
    },
};

/// A page of the suppressions, or of all contacts, of whom one has leave. An entry's id is its address in capitals; its
/// origin is the address's name, where that is one.
fn listing(request: &Received, path: &str, listed: &Listed) -> Response<Body> {
    let limit: usize = request.query("limit").unwrap().parse().unwrap();
    assert!((1..=100).contains(&limit));
    let list = if path == "contacts" { BROADCASTS } else { path };
    let of_list = listed.iter().filter(|(other, _)| other == list);
    let mut rows: Vec<Value> = of_list
        .map(|(_, address)| {
            let time = "2023-10-06 23:47:56.678+00";
            let id = address.to_uppercase();
            let origin = address.split('@').next();
            let origin = origin.filter(|origin| ["bounce", "complaint", "manual"].contains(origin));
            json!({"id": id, "email": address, "origin": origin, "created_at": time, "unsubscribed": true})
        })
        .collect();
    if path == "contacts" {
        rows.push(json!({"id": "0", "email": "with@example.com", "unsubscribed": false}));
    }
    let after = request.query("after");
    let start = after.map_or(0, |id| {
        1 + rows
            .iter()
            .position(|row| row["id"] == id.as_str())
            .unwrap()
    });
    let more = rows.len() > start + limit;
    let data: Vec<_> = rows.drain(start..).take(limit).collect();
    json(
        200,
        &json!({"object": "list", "has_more": more, "data": data}),
    )
}

rehearsals!(VENDOR);
rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

#[tokio::test]
async fn a_suppression_says_since_when_and_by_what_and_a_contact_does_not() {
    let running = VENDOR.usual().await;
    let book = running.target.book().unwrap();
    for (list, name, since, lane) in [
        (SUPPRESSIONS, "bounce", true, Lane::Deliverability),
        (SUPPRESSIONS, "complaint", true, Lane::Complaint),
        (SUPPRESSIONS, "manual", true, Lane::Manual),
        (SUPPRESSIONS, "jane", true, Lane::Consent),
        (BROADCASTS, "jane", false, Lane::Consent),
    ] {
        running.listed().clear();
        set(
            &mut running.listed(),
            list,
            &format!("{name}@example.com"),
            true,
        );
        let page = book.page(list, None).await.unwrap();
        assert_eq!((page.entries.len(), page.next), (1, None), "{list}");
        let entry = &page.entries[0];
        let time = "2023-10-06T23:47:56.678Z".parse().ok();
        assert_eq!(entry.since, time.filter(|_| since));
        let words = (name != "jane").then_some(name);
        assert_eq!((entry.why.lane, entry.why.words.as_deref()), (lane, words));
    }
}

#[tokio::test]
async fn only_broadcasts_are_reported_and_as_global() {
    let running = VENDOR.usual().await;
    assert!(running.target.reports("offers", "global"));
    assert!(!running.target.reports("news", "global"));
}

#[tokio::test]
async fn several_are_suppressed_at_once_and_lifted_one_by_one() {
    let running = VENDOR.usual().await;
    for (kind, requests) in [(EventKind::Unsubscribed, 1), (EventKind::Resubscribed, 2)] {
        let before = running.received().len();
        let addresses = ["jane@example.com", "joe@example.com"];
        let deliveries = addresses.map(|address| told(kind, address, "news"));
        let answers = running.target.deliver(&deliveries).await;
        assert!(answers.iter().all(|answer| verdict(answer) == "done"));
        assert_eq!(running.received().len() - before, requests);
    }
}

#[tokio::test]
async fn a_contact_is_kept_from_broadcasts_whether_or_not_it_is_known_and_a_lift_makes_none() {
    let running = VENDOR.usual().await;
    let known = ("known".to_owned(), "jane@example.com".to_owned());
    running.listed().insert(known);
    for (address, events) in [("jane@example.com", 1), ("joe@example.com", 2)] {
        let before = running.received().len();
        let answer = running.tell(&suppress(address, "offers")).await;
        assert_eq!(verdict(&answer), "done");
        assert!(running.lists(address).contains(BROADCASTS));
        assert_eq!(running.received().len() - before, events);
    }
    for address in ["jane@example.com", "ann@example.com"] {
        let answer = running.tell(&lift(address, "offers")).await;
        assert_eq!(verdict(&answer), "done");
        assert!(!running.lists(address).contains(BROADCASTS));
    }
}
