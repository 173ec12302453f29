//! Mailchimp as it is documented: members of audiences, added, changed and listed.

use axum::{body::Body, http::Response};

use super::*;
use crate::targets::platform::rehearsal::{
    Limit, Listed, Vendor, json, lift, rehearsals, set, suppress,
};
use crate::targets::standin::{Received, mistakes, verdict};

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "",
    lists: ["a6b5da1054", "b7c6eb2165"],
    limit: Limit::Seconds("retry-after"),
    answer: |request, parts, listed| {
        // Basic authentication of `optout` with `s3cret`.
        if request.header("authorization") != "Basic b3B0b3V0OnMzY3JldA==" {
            return json(401, &json!({"title": "API Key Invalid", "status": 401}));
        }
        if parts == ["3.0", "ping"] {
            return json(200, &json!({}));
        }
        if let ["3.0", "lists", audience, "members"] = parts[..] {
            return members(request, audience, listed);
        }
        let ["3.0", "lists", audience, "members", address] = parts[..] else {
            return json(404, &json!({"title": "Resource Not Found", "status": 404}));
        };
        let title = |title: &str| {
            json(
                400,
                &json!({"title": title, "status": 400, "detail": address}),
            )
        };
        let often = || {
            let detail = "has signed up to a lot of lists very recently";
            json(400, &json!({"title": "Invalid Resource", "detail": detail}))
        };
        let entry = (audience.to_owned(), address.to_owned());
        match request.method.as_str() {
            "PUT" => {
                let body = request.json();
                assert_eq!(
                    request.query("skip_merge_validation").as_deref(),
                    Some("true")
                );
                assert_eq!(body["email_address"], address);
                assert_eq!(
                    (&body["status"], &body["status_if_new"]),
                    (&json!("unsubscribed"), &json!("unsubscribed"))
                );
                match address {
                    bad if bad.starts_with("bad") => return title("Invalid Resource"),
                    eager if eager.starts_with("eager") => return often(),
                    gone if gone.starts_with("gone") => {
                        return title("Forgotten Email Not Subscribed");
                    }
                    _ => set(listed, audience, address, true),
                };
                json(200, &json!({"status": "unsubscribed"}))
            }
            "GET" if address.starts_with("clean") => json(200, &json!({"status": "cleaned"})),
            "GET" if listed.contains(&entry) => json(200, &json!({"status": "unsubscribed"})),
            "GET" if address.starts_with("jane") => json(200, &json!({"status": "pending"})),
            "GET" => json(404, &json!({"title": "Resource Not Found", "status": 404})),
            "PATCH" if address.starts_with("often") => often(),
            "PATCH" if address.starts_with("self") => title("Member In Compliance State"),
            "PATCH" => {
                assert_eq!(request.json(), json!({"status": "subscribed"}));
                assert!(listed.remove(&entry));
                json(200, &json!({"status": "subscribed"}))
            }
            _ => json(405, &json!({"title": "Method Not Allowed", "status": 405})),
        }
    },
};

/// A page of the members of a status: who is on the list has unsubscribed, but for addresses that begin with `clean`.
fn members(request: &Received, audience: &str, listed: &Listed) -> Response<Body> {
    let asked = |name| request.query(name).unwrap();
    let number = |name| asked(name).parse::<usize>().unwrap();
    assert!(number("count") <= 1000);
    let fields = asked("fields");
    let all: Vec<_> = listed
        .iter()
        .filter(|(list, address)| {
            let status = if address.starts_with("clean") {
                CLEANED
            } else {
                UNSUBSCRIBED
            };
            list == audience && status == asked("status")
        })
        .map(|(_, address)| {
            let mut member = json!({"email_address": address, "status": asked("status")});
            if fields.contains("members.unsubscribe_reason") && address.starts_with("jane") {
                member["unsubscribe_reason"] = json!("Too many emails");
            }
            member
        })
        .collect();
    let page = all.iter().skip(number("offset")).take(number("count"));
    let page: Vec<_> = page.collect();
    json(200, &json!({"members": page, "total_items": all.len()}))
}

rehearsals!(VENDOR);
rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

#[tokio::test]
async fn who_was_cleaned_is_read_after_who_unsubscribed_and_why() {
    let running = VENDOR.usual().await;
    for address in ["clean@example.com", "jane@example.com", "no address"] {
        set(&mut running.listed(), VENDOR.lists[0], address, true);
    }
    let book = running.target.book().unwrap();
    let first = book.page(VENDOR.lists[0], None).await.unwrap();
    assert_eq!(first.unread, 1);
    assert_eq!(first.entries[0].contact.address, "jane@example.com");
    let reason = |page: &Page| page.entries[0].why.words.clone();
    assert_eq!(reason(&first).as_deref(), Some("Too many emails"));
    let next = first.next.as_deref();
    let second = book.page(VENDOR.lists[0], next).await.unwrap();
    assert_eq!(second.entries[0].contact.address, "clean@example.com");
    assert_eq!(
        (reason(&second).as_deref(), second.next),
        (Some("cleaned"), None)
    );
}

#[tokio::test]
async fn an_empty_page_before_the_stated_end_is_not_the_last() {
    let short = Vendor {
        answer: |_, _, _| json(200, &json!({"members": [], "total_items": 3})),
        ..VENDOR
    };
    let running = short.usual().await;
    let book = running.target.book().unwrap();
    let list = VENDOR.lists[0];
    let answer = book.page(list, Some("cleaned:2")).await.unwrap_err();
    assert!(verdict(&answer).starts_with("retry: "), "{answer:?}");
    let page = book.page(list, Some("cleaned:3")).await.unwrap();
    assert_eq!(page, Page::default());
}

#[tokio::test]
async fn whom_mailchimp_lets_nobody_subscribe_is_a_final_answer_to_a_lift() {
    let running = VENDOR.usual().await;
    for (address, why) in [
        ("self@example.com", "only the contact"),
        ("clean@example.com", "has cleaned"),
    ] {
        running.tell(&suppress(address, "news")).await;
        let answer = running.tell(&lift(address, "news")).await;
        let verdict = verdict(&answer);
        assert!(
            verdict.starts_with("dead: Mailchimp") && verdict.contains(why),
            "{verdict}"
        );
    }
    running.tell(&suppress("often@example.com", "news")).await;
    let answer = running.tell(&lift("often@example.com", "news")).await;
    assert!(verdict(&answer).starts_with("retry: Mailchimp allows"));
    let answer = running.tell(&suppress("gone@example.com", "news")).await;
    assert_eq!(verdict(&answer), "done");
}

#[tokio::test]
async fn a_suppression_that_is_refused_for_now_is_tried_again() {
    let running = VENDOR.usual().await;
    let answer = running.tell(&suppress("eager@example.com", "news")).await;
    assert!(verdict(&answer).starts_with("retry: Mailchimp allows"));
}

#[tokio::test]
async fn a_lift_subscribes_nobody_who_was_not_unsubscribed() {
    let running = VENDOR.usual().await;
    for address in ["jane@example.com", "joe@example.com"] {
        let answer = running.tell(&lift(address, "news")).await;
        assert_eq!(verdict(&answer), "done");
    }
    assert!(
        running
            .received()
            .iter()
            .all(|request| request.method == Method::GET)
    );
}

#[test]
fn the_url_is_the_data_centre_s_and_has_to_be_written() {
    let mistakes = mistakes(KIND, "token = 't'\nscopes = { news = 'a' }");
    assert_eq!(mistakes, ["url: is missing"]);
}
