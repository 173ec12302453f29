//! Amazon SES as it is documented: signatures, the suppression list, contact lists with topics.

use super::*;
use crate::targets::{
    platform::rehearsal::{Limit, Listed, Vendor, json, lift, rehearsals, set, suppress, told},
    standin::{Received, mistakes, response, verdict},
};
use axum::{body::Body, http::Response};
use common::{
    event::Kind as EventKind,
    signature::{hex, hmac_sha256},
};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "region = 'eu-central-1'\naccess_key = 'AKID'",
    lists: ["global", "letters:offers"],
    limit: Limit::Seconds("retry-after"),
    answer,
};

const WHOLE: Vendor = Vendor {
    lists: ["letters", "global"],
    ..VENDOR
};

fn answer(request: &Received, parts: &[&str], listed: &mut Listed) -> Response<Body> {
    if let Some(response) = refusal(request) {
        return response;
    }
    if parts == ["v2", "email", "account"] {
        return json(200, &json!({"SendingEnabled": true}));
    }
    if let ["v2", "email", "suppression", "addresses", address @ ..] = parts {
        return suppression(request, address, listed);
    }
    let not_found = json(404, &json!({"message": "not found"}));
    let invalid = json(400, &json!({"message": "invalid email address"}));
    if let ["v2", "email", "contact-lists", list, "contacts", "list"] = parts {
        return contacts(request, list, listed);
    }
    match (request.method.as_str(), parts) {
        ("POST", ["v2", "email", "contact-lists", list, "contacts"]) => {
            let body = request.json();
            let address = body["EmailAddress"].as_str().unwrap();
            if address.starts_with("bad") {
                return invalid;
            }
            if !listed.insert((format!("contacts of {list}"), address.to_owned())) {
                return json(400, &json!({"message": "already exists"}));
            }
            replace(listed, list, address, &body);
            response(200, "{}")
        }
        (method, ["v2", "email", "contact-lists", list, "contacts", address]) => {
            let entry = (format!("contacts of {list}"), (*address).to_owned());
            match (listed.contains(&entry), method) {
                (false, _) => not_found,
                (true, "GET") => json(200, &contact(listed, list, address)),
                (true, "PUT") => {
                    replace(listed, list, address, &request.json());
                    response(200, "{}")
                }
                _ => panic!("{method}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// The account's list.
fn suppression(request: &Received, address: &[&str], listed: &mut Listed) -> Response<Body> {
    let not_found = json(404, &json!({"message": "not found"}));
    match (request.method.as_str(), address) {
        ("GET", []) => summaries(request, listed),
        ("PUT", []) => {
            let body = request.json();
            let address = body["EmailAddress"].as_str().unwrap();
            let reason = body["Reason"].as_str().unwrap();
            assert!(["BOUNCE", "COMPLAINT"].contains(&reason));
            if address.starts_with("bad") {
                return json(400, &json!({"message": "invalid email address"}));
            }
            if address.starts_with("often") {
                let error = "ThrottlingException:http://internal.amazon.com/";
                let throttled = Response::builder().status(400);
                let throttled = throttled.header("x-amzn-errortype", error);
                return throttled.body("{}".into()).unwrap();
            }
            set(listed, GLOBAL, address, true);
            listed.retain(|(list, _)| *list != reason_of(address));
            listed.insert((reason_of(address), reason.to_owned()));
            response(200, "{}")
        }
        ("GET", [address]) => {
            let mut entries = listed.iter();
            let entry = entries.find(|(list, _)| *list == reason_of(address));
            entry.map_or(not_found, |(_, reason)| {
                let entry = json!({"EmailAddress": address, "Reason": reason});
                json(200, &json!({"SuppressedDestination": entry}))
            })
        }
        ("DELETE", [address]) => {
            listed.retain(|(list, _)| *list != reason_of(address));
            if set(listed, GLOBAL, address, false) {
                response(200, "{}")
            } else {
                not_found
            }
        }
        other => panic!("{other:?}"),
    }
}

/// A page of the account's list.
fn summaries(request: &Received, listed: &Listed) -> Response<Body> {
    let size = request.query("PageSize").unwrap().parse().unwrap();
    let of_list = listed.iter().filter(|(list, _)| list == GLOBAL);
    let all: Vec<_> = of_list.map(|(_, address)| address.as_str()).collect();
    let (some, next) = cut(&all, size, request.query("NextToken"));
    let summary = |address: &&str| {
        let mut reasons = listed
            .iter()
            .filter(|(list, _)| *list == reason_of(address));
        let reason = reasons.next().map_or("BOUNCE", |(_, reason)| reason);
        json!({"EmailAddress": address, "Reason": reason, "LastUpdateTime": 1_611_255_296.5})
    };
    let some: Vec<_> = some.iter().map(summary).collect();
    json(
        200,
        &json!({"SuppressedDestinationSummaries": some, "NextToken": next}),
    )
}

/// A page of all contacts of a list, of whom one opted out of nothing.
fn contacts(request: &Received, list: &str, listed: &Listed) -> Response<Body> {
    assert_eq!(request.method, Method::POST);
    let body = request.json();
    let size = body["PageSize"].as_u64().unwrap();
    let token = body.get("NextToken").map(|token| token.as_str().unwrap());
    let (known, topics) = (format!("contacts of {list}"), format!("{list}:"));
    let of_list = |other: &str| other == known || other == list || other.starts_with(&topics);
    let all: BTreeSet<_> = listed.iter().filter(|(other, _)| of_list(other)).collect();
    let all: BTreeSet<_> = all.iter().map(|(_, address)| address.as_str()).collect();
    let all: Vec<_> = all.into_iter().chain(["~in@example.com"]).collect();
    let size = usize::try_from(size).unwrap();
    let (some, next) = cut(&all, size, token.map(str::to_owned));
    let some: Vec<_> = some.iter().map(|one| contact(listed, list, one)).collect();
    json(200, &json!({"Contacts": some, "NextToken": next}))
}

/// Some of all, and the token by which the next are asked for, which has to be encoded in a query.
fn cut<'a>(
    all: &'a [&'a str],
    size: usize,
    token: Option<String>,
) -> (&'a [&'a str], Option<String>) {
    assert!((1..=1000).contains(&size));
    let start: usize = token.map_or(0, |token| {
        token.strip_suffix("+/ =").unwrap().parse().unwrap()
    });
    let end = all.len().min(start + size);
    let next = (end < all.len()).then(|| format!("{end}+/ ="));
    (&all[start..end], next)
}

/// Where the reason of an entry of the account's list is kept.
fn reason_of(address: &str) -> String {
    format!("reason of {address}")
}

/// Refuses what is not signed as AWS documents it.
fn refusal(request: &Received) -> Option<Response<Body>> {
    if request.header("authorization") == authorization(request) {
        return None;
    }
    let why = "The request signature we calculated does not match the signature you provided.";
    Some(json(403, &json!({"message": why})))
}

/// By the steps of the documentation, apart from the code that signs:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
fn authorization(request: &Received) -> String {
    let method = &request.method;
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    // The path is encoded once more, its slashes not; the query is put in order.
    let path = path.replace('%', "%25");
    let mut query: Vec<_> = query.split('&').collect();
    query.sort_unstable();
    let query = query.join("&");
    let (host, date) = (request.header("host"), request.header("x-amz-date"));
    let hash = hex(&Sha256::digest(&request.body));
    let headers = "host;x-amz-date";
    let asked =
        format!("{method}\n{path}\n{query}\nhost:{host}\nx-amz-date:{date}\n\n{headers}\n{hash}");
    let asked = hex(&Sha256::digest(asked));
    let parts = [&date[..8], "eu-central-1", "ses", "aws4_request"];
    let scope = parts.join("/");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{asked}");
    let key = parts.iter().fold(b"AWS4s3cret".to_vec(), |key, part| {
        hmac_sha256(&key, &[part.as_bytes()]).to_vec()
    });
    let signature = hex(&hmac_sha256(&key, &[text.as_bytes()]));
    format!(
        "AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={headers}, Signature={signature}"
    )
}

/// All that a list has of a contact, lost but for what the body says.
fn replace(listed: &mut Listed, list: &str, address: &str, body: &Value) {
    let prefix = format!("{list}:");
    listed.retain(|(other, who)| who != address || !(other == list || other.starts_with(&prefix)));
    set(listed, list, address, body["UnsubscribeAll"] == true);
    let none = vec![];
    for preference in body["TopicPreferences"].as_array().unwrap_or(&none) {
        let topic = format!("{list}:{}", preference["TopicName"].as_str().unwrap());
        set(
            listed,
            &topic,
            address,
            preference["SubscriptionStatus"] == "OPT_OUT",
        );
    }
}

fn contact(listed: &Listed, list: &str, address: &str) -> Value {
    let topics = listed.iter().filter(|(_, who)| who == address);
    let topics = topics.filter_map(|(other, _)| other.strip_prefix(&format!("{list}:")));
    let topics: Vec<_> = topics
        .map(|topic| json!({"TopicName": topic, "SubscriptionStatus": "OPT_OUT"}))
        .collect();
    let all = listed.contains(&(list.to_owned(), address.to_owned()));
    json!({
        "ContactListName": list,
        "EmailAddress": address,
        "TopicPreferences": topics,
        "UnsubscribeAll": all,
        "AttributesData": "{\"plan\":1}",
        "CreatedTimestamp": 1,
    })
}

rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);
rehearsals!(
    VENDOR,
    a_contact_is_suppressed_and_lifted_however_often_that_is_told,
    a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it,
    a_token_that_is_refused_is_tried_again_and_says_so,
    a_credential_is_asked_about_by_a_read_and_a_refusal_is_told,
    one_contact_that_is_refused_costs_no_other
);

#[tokio::test]
async fn a_contact_list_is_read_page_by_page_and_a_topic_is_not_the_whole() {
    WHOLE
        .a_list_is_read_page_by_page_and_no_other_with_it()
        .await;
    let running = VENDOR
        .start("{ one = 'letters:one', two = 'letters:two', all = 'letters' }")
        .await;
    for (scope, address) in [("one", "jane@example.com"), ("all", "joe@example.com")] {
        running.tell(&suppress(address, scope)).await;
    }
    for (list, address) in [
        ("letters:one", Some("jane@example.com")),
        ("letters:two", None),
        ("letters", Some("joe@example.com")),
    ] {
        let read: Vec<_> = running.read(list).await.into_iter().collect();
        assert_eq!(read, Vec::from_iter(address), "{list}");
    }
}

#[tokio::test]
async fn the_account_s_list_says_since_when_and_why() {
    let running = VENDOR.usual().await;
    for (kind, lane, words) in [
        (EventKind::Bounced, Lane::Deliverability, "BOUNCE"),
        (EventKind::Unsubscribed, Lane::Consent, "COMPLAINT"),
    ] {
        running.tell(&told(kind, "jane@example.com", "news")).await;
        let book = running.target.book().unwrap();
        let page = book.page(GLOBAL, None).await.unwrap();
        let entry = &page.entries[0];
        assert_eq!(entry.since, "2021-01-21T18:54:56.5Z".parse().ok());
        let why = (entry.why.lane, entry.why.words.as_deref());
        assert_eq!(why, (lane, Some(words)));
    }
}

#[tokio::test]
async fn a_contact_list_is_told_and_a_contact_that_is_not_there_is_made() {
    WHOLE
        .a_contact_is_suppressed_and_lifted_however_often_that_is_told()
        .await;
}

#[tokio::test]
async fn opting_out_of_one_topic_keeps_what_was_said_of_the_others() {
    let running = VENDOR
        .start("{ one = 'letters:one', two = 'letters:two' }")
        .await;
    for scope in ["one", "two"] {
        let answer = running.tell(&suppress("jane@example.com", scope)).await;
        assert_eq!(verdict(&answer), "done");
    }
    let lists = |running: &crate::targets::platform::rehearsal::Running| {
        let lists = running.lists("jane@example.com").into_iter();
        lists.filter(|list| list.contains(':')).collect::<Vec<_>>()
    };
    assert_eq!(lists(&running), ["letters:one", "letters:two"]);
    let sent = running.received().pop().unwrap();
    assert_eq!(sent.json()["AttributesData"], "{\"plan\":1}");
    let answer = running.tell(&lift("jane@example.com", "one")).await;
    assert_eq!(verdict(&answer), "done");
    assert_eq!(lists(&running), ["letters:two"]);
}

#[tokio::test]
async fn a_lift_makes_no_contact_and_opts_nobody_in_who_was_not_out() {
    let running = VENDOR
        .start("{ one = 'letters:one', all = 'letters' }")
        .await;
    running.tell(&suppress("joe@example.com", "all")).await;
    let before = running.received().len();
    for address in ["joe@example.com", "ann@example.com"] {
        let answer = running.tell(&lift(address, "one")).await;
        assert_eq!(verdict(&answer), "done");
    }
    let asked = running.received();
    assert!(
        asked[before..]
            .iter()
            .all(|request| request.method == Method::GET)
    );
}

#[tokio::test]
async fn a_bounce_is_entered_as_one_and_all_else_as_a_complaint() {
    let running = VENDOR.usual().await;
    for (kind, reason) in [
        (EventKind::Bounced, "BOUNCE"),
        (EventKind::Complained, "COMPLAINT"),
        (EventKind::Unsubscribed, "COMPLAINT"),
    ] {
        running.tell(&told(kind, "jane@example.com", "news")).await;
        let kept = (reason_of("jane@example.com"), reason.to_owned());
        assert!(running.listed().contains(&kept), "{kind}");
    }
}

#[tokio::test]
async fn a_bounce_after_an_opt_out_leaves_it_a_complaint() {
    let running = VENDOR.usual().await;
    for kind in [EventKind::Unsubscribed, EventKind::Bounced] {
        let answer = running.tell(&told(kind, "jane@example.com", "news")).await;
        assert_eq!(verdict(&answer), "done", "{kind}");
    }
    let kept = (reason_of("jane@example.com"), "COMPLAINT".to_owned());
    assert!(running.listed().contains(&kept));
}

#[tokio::test]
async fn a_400_that_says_nothing_of_the_contact_is_tried_again() {
    let running = VENDOR.usual().await;
    let answer = running.tell(&suppress("often@example.com", "news")).await;
    assert!(verdict(&answer).starts_with("retry: answered 400"));
    assert_eq!(answer.status, Some(400));
}

#[test]
fn settings_that_cannot_work_are_mistakes_by_key() {
    let good = "access_key = 'a'\ntoken = 't'\n";
    let mistakes = mistakes(
        KIND,
        &format!("{good}region = 'Europe!'\nscopes = {{ news = 'a:b:c' }}"),
    );
    assert_eq!(mistakes.len(), 2);
    assert!(
        mistakes[0].starts_with("region: is \"Europe!\""),
        "{mistakes:?}"
    );
    assert!(
        mistakes[1].starts_with("scopes.news: is \"a:b:c\""),
        "{mistakes:?}"
    );
}
