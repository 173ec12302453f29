//! Postmark as it is documented: the suppressions of message streams, and their dump.

use std::io;

use axum::{body::Body, http::Response};
use common::delivery::Outcome;
use futures_util::stream;

use super::*;
use crate::targets::{
    platform::rehearsal::{Limit, Listed, Vendor, json, lift, rehearsals, set, suppress},
    standin::{Received, response, verdict},
};

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "",
    lists: ["outbound", "broadcast"],
    limit: Limit::Seconds("retry-after"),
    answer: |request, parts, listed| {
        if request.header("x-postmark-server-token") != "s3cret" {
            return json(
                401,
                &json!({"ErrorCode": 10, "Message": "Bad or missing Server API token."}),
            );
        }
        if parts == ["server"] {
            return json(200, &json!({}));
        }
        assert_eq!(request.header("accept"), "application/json");
        let (stream, create) = match (request.method.as_str(), parts) {
            ("POST", ["message-streams", stream, "suppressions"]) => (*stream, true),
            ("POST", ["message-streams", stream, "suppressions", "delete"]) => (*stream, false),
            ("GET", ["message-streams", stream, "suppressions", "dump"]) => {
                return dump(request, stream, listed);
            }
            _ => return json(404, &json!({})),
        };
        let body = request.json();
        let asked = body["Suppressions"].as_array().unwrap();
        assert!((1..=50).contains(&asked.len()));
        let one = |asked: &Value| {
            let address = asked["EmailAddress"].as_str().unwrap();
            let complained = (stream.to_owned(), format!("complaint of {address}"));
            let (status, message) = if listed.contains(&complained) {
                (
                    "Failed",
                    Some("You do not have the required authority to change this suppression."),
                )
            } else if address.starts_with("bad") {
                ("Failed", Some("An invalid email address was provided."))
            } else {
                set(listed, stream, address, create);
                (if create { "Suppressed" } else { "Deleted" }, None)
            };
            json!({"EmailAddress": address, "Status": status, "Message": message})
        };
        let results: Vec<_> = asked.iter().map(one).collect();
        json(200, &json!({"Suppressions": results}))
    },
};

/// The day on which an address was suppressed.
fn day(address: &str) -> Date {
    let sum: i32 = address.bytes().map(i32::from).sum();
    date(2019, 12, 17) + (sum % 1000).days()
}

/// All of some days. Of the day of `large` is more than is read, if another day comes with it; of the day of `vast` anyway.
/// With `slow` the connection is cut: of its day if another day comes with it, and of the day of `slowest` anyway.
fn dump(request: &Received, stream: &str, listed: &Listed) -> Response<Body> {
    let [from, to]: [Date; 2] =
        ["fromdate", "todate"].map(|name| request.query(name).unwrap().parse().unwrap());
    assert!(from <= to);
    let of_days: Vec<_> = listed
        .iter()
        .map(|(list, address)| (list, address, day(address)))
        .filter(|(list, _, day)| *list == stream && (from..=to).contains(day))
        .collect();
    let is_large = |(_, address, _): &(_, &String, _)| {
        address.starts_with("vast") || address.starts_with("large") && from < to
    };
    if of_days.iter().any(is_large) {
        return response(200, vec![b' '; (16 << 20) + 1]);
    }
    let is_cut = |(_, address, _): &(_, &String, _)| {
        address.starts_with("slowest") || address.starts_with("slow") && from < to
    };
    if of_days.iter().any(is_cut) {
        let cut = Err::<Vec<u8>, _>(io::Error::other("cut"));
        return response(200, Body::from_stream(stream::iter([cut])));
    }
    let one = |(_, address, day): &(_, _, Date)| {
        json!({
            "EmailAddress": address,
            "SuppressionReason": "ManualSuppression",
            "Origin": "Recipient",
            "CreatedAt": format!("{day}T08:58:33-05:00"),
        })
    };
    let all: Vec<_> = of_days.iter().map(one).collect();
    json(200, &json!({"Suppressions": all}))
}

rehearsals!(VENDOR);
rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

#[tokio::test]
async fn days_that_hold_more_than_is_read_are_read_in_halves_and_each_once() {
    days_are_read_in_halves("large@example.com").await;
}

#[tokio::test]
async fn days_whose_answer_does_not_arrive_are_read_in_halves_and_each_once() {
    days_are_read_in_halves("slow@example.com").await;
    let running = VENDOR.usual().await;
    let slowest = "slowest@example.com";
    set(&mut running.listed(), "outbound", slowest, true);
    let book = running.target.book().unwrap();
    let one = format!("{}/1", day(slowest));
    let answer = book.page("outbound", Some(&one)).await.unwrap_err();
    assert!(verdict(&answer).starts_with("retry: "), "{answer:?}");
}

async fn days_are_read_in_halves(difficult: &str) {
    let running = VENDOR.usual().await;
    for address in [difficult, "jane@example.com", "joe@example.com"] {
        set(&mut running.listed(), "outbound", address, true);
    }
    assert_eq!(running.read("outbound").await.len(), 3);
    let (mut next, mut longest, mut shortest) = (FIRST, 0, MONTH);
    for request in running.received() {
        let [from, to]: [Date; 2] =
            ["fromdate", "todate"].map(|name| request.query(name).unwrap().parse().unwrap());
        let days = (to - from).get_days() + 1;
        (longest, shortest) = (longest.max(days), shortest.min(days));
        assert_eq!(from, next);
        let is_refused = days > 1 && (from..=to).contains(&day(difficult));
        if !is_refused {
            next = to.tomorrow().unwrap();
        }
    }
    assert!(next > clock::now().to_zoned(TimeZone::UTC).date());
    assert_eq!((longest, shortest), (180, 1));
}

#[test]
fn what_postmark_calls_a_suppression_says_for_which_cause_it_is() {
    for (reason, origin, lane) in [
        ("HardBounce", "Recipient", Lane::Deliverability),
        ("SpamComplaint", "Recipient", Lane::Complaint),
        ("ManualSuppression", "Recipient", Lane::Consent),
        ("ManualSuppression", "Customer", Lane::Manual),
        ("ManualSuppression", "Admin", Lane::Manual),
    ] {
        let one = Suppressed {
            email_address: "jane@example.com".to_owned(),
            suppression_reason: Some(reason.to_owned()),
            origin: Some(origin.to_owned()),
            created_at: None,
        };
        let words = format!("{reason} ({origin})");
        let expected = Why {
            lane,
            words: Some(words),
        };
        assert_eq!(why(&one), expected);
    }
}

#[tokio::test]
async fn a_day_that_holds_more_than_is_read_is_said_and_a_page_says_since_when_and_why() {
    let running = VENDOR.usual().await;
    set(&mut running.listed(), "outbound", "jane@example.com", true);
    set(&mut running.listed(), "outbound", "vast@example.com", true);
    let book = running.target.book().unwrap();
    let of = |address| format!("{}/1", day(address));
    let page = book.page("outbound", Some(&of("jane@example.com"))).await;
    let entry = &page.unwrap().entries[0];
    let since = format!("{}T13:58:33Z", day("jane@example.com"));
    assert_eq!(entry.since, since.parse().ok());
    assert_eq!(
        entry.why.words.as_deref(),
        Some("ManualSuppression (Recipient)")
    );
    let page = book.page("outbound", Some(&of("vast@example.com"))).await;
    let Outcome::Dead { why } = page.unwrap_err().outcome else {
        panic!("it is final");
    };
    assert!(why.contains("more than the 16 MiB"), "{why}");
}

#[tokio::test]
async fn a_complaint_is_not_lifted_and_needs_no_suppression() {
    let running = VENDOR.usual().await;
    let complaint = "complaint of jane@example.com".to_owned();
    running.listed().insert(("outbound".to_owned(), complaint));
    let answer = running.tell(&suppress("jane@example.com", "news")).await;
    assert_eq!(verdict(&answer), "done");
    let answer = running.tell(&lift("jane@example.com", "news")).await;
    let verdict = verdict(&answer);
    assert!(
        verdict.starts_with("dead: Postmark does not let"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn as_many_as_one_request_holds_are_one_request() {
    let running = VENDOR.usual().await;
    assert_eq!(running.target.batch(), 50);
    let deliveries: Vec<_> = (0..120)
        .map(|number| suppress(&format!("jane{number}@example.com"), "news"))
        .collect();
    let answers = running.target.deliver(&deliveries).await;
    assert!(answers.iter().all(|answer| verdict(answer) == "done"));
    assert_eq!((running.received().len(), running.listed().len()), (3, 120));
}
