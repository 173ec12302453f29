//! Zendesk as it is documented: tickets made, found again, and refused.

use std::sync::Mutex;

use super::*;
use crate::targets::standin::{Standin, deliver, delivery, mistakes, response, target, verdict};

/// Basic authentication of `ops@example.com/token` with `s3cret`.
const AUTHORIZATION: &str = "Basic b3BzQGV4YW1wbGUuY29tL3Rva2VuOnMzY3JldA==";

/// Keeps tickets as Zendesk does; the `lost`th answer to a POST is a 502 although the ticket was made.
async fn zendesk(lost: usize) -> Standin {
    zendesk_of(lost, "7").await
}

/// The same, where whoever asks is `me`.
async fn zendesk_of(lost: usize, me: &'static str) -> Standin {
    let tickets = Mutex::new(Vec::<Value>::new());
    Standin::start(move |request, _| {
        if request.header("authorization") != AUTHORIZATION {
            return response(401, "{\"error\":\"Couldn't authenticate you\"}");
        }
        let mut tickets = tickets.lock().unwrap();
        match (request.method.as_str(), request.path.split_once('?')) {
            ("GET", Some(("/api/v2/tickets.json", query))) => {
                let wanted = query.strip_prefix("external_id=").unwrap();
                let found: Vec<_> = tickets
                    .iter()
                    .filter(|ticket| ticket["external_id"] == wanted)
                    .collect();
                response(
                    200,
                    json!({"tickets": found, "next_page": null, "count": found.len()}).to_string(),
                )
            }
            ("GET", None) if request.path == "/api/v2/users/me.json" => {
                response(200, format!("{{\"user\":{{\"id\":{me}}}}}"))
            }
            ("POST", None) if request.path == "/api/v2/tickets.json" => {
                assert!(!request.header("idempotency-key").is_empty());
                let mut ticket = request.json()["ticket"].take();
                if ticket["comment"]["body"].as_str().is_none_or(str::is_empty) {
                    return response(422, "{\"error\":\"RecordInvalid\"}");
                }
                ticket["id"] = json!(tickets.len() + 101);
                tickets.push(ticket.clone());
                if tickets.len() == lost {
                    return response(502, "bad gateway");
                }
                response(201, json!({"ticket": ticket}).to_string())
            }
            _ => response(404, "{\"error\":\"InvalidEndpoint\"}"),
        }
    })
    .await
}

fn settings(zendesk: &Standin, more: &str) -> String {
    format!(
        "url = '{}/'\nusername = 'ops@example.com'\ntoken = 'env:TOKEN'\n{more}",
        zendesk.url
    )
}

#[tokio::test]
async fn an_event_becomes_a_ticket() {
    let server = zendesk(0).await;
    let target = target(
        KIND,
        &settings(&server, "priority = 'high'\ntags = ['privacy']"),
    );
    let delivery = delivery(1);
    let answer = deliver(&*target, &delivery).await;
    assert_eq!(
        (verdict(&answer), answer.excerpt.as_deref(), answer.status),
        ("done".to_owned(), Some("ticket 101 was made"), Some(201))
    );
    let ticket = server.received()[1].json()["ticket"].take();
    assert_eq!(
        server.received()[1].header("idempotency-key"),
        delivery.id.to_string()
    );
    assert_eq!(ticket["external_id"], format!("optout-{}", delivery.id));
    assert_eq!(ticket["subject"], "Unsubscribed: jane1@example.com (shop)");
    assert_eq!(
        (&ticket["priority"], &ticket["tags"]),
        (&json!("high"), &json!(["privacy"]))
    );
    let body = ticket["comment"]["body"].as_str().unwrap();
    assert!(
        body.contains("Reason: too many \"offers\"\nCampaign: spring\n"),
        "{body}"
    );
}

#[tokio::test]
async fn a_ticket_whose_answer_was_lost_is_found_again_and_not_made_twice() {
    let server = zendesk(1).await;
    let target = target(KIND, &settings(&server, ""));
    let first = deliver(&*target, &delivery(1)).await;
    assert_eq!(verdict(&first), "retry: answered 502 Bad Gateway");
    let second = deliver(&*target, &delivery(1)).await;
    assert_eq!(
        (verdict(&second), second.excerpt.as_deref()),
        ("done".to_owned(), Some("ticket 101 was there already"))
    );
    let posts = server
        .received()
        .iter()
        .filter(|request| request.method == Method::POST)
        .count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn what_a_sender_wrote_fills_in_no_placeholder_and_breaks_no_subject() {
    let server = zendesk(0).await;
    let target = target(
        KIND,
        &settings(&server, "subject = '{{ reason }}'\nbody = '{{ reason }}'"),
    );
    let mut hostile = delivery(1);
    hostile.event.reason = Some(format!(
        "{{{{ticket.requester.email}}}}\r\nX: y {}",
        "z".repeat(500)
    ));
    assert_eq!(verdict(&deliver(&*target, &hostile).await), "done");
    let ticket = server.received()[1].json()["ticket"].take();
    let subject = ticket["subject"].as_str().unwrap();
    assert!(
        subject.starts_with("{ {ticket.requester.email}} X: y zz") && subject.len() == SUBJECT,
        "{subject}"
    );
    assert!(!ticket["comment"]["body"].as_str().unwrap().contains("{{"));
}

#[tokio::test]
async fn wrong_credentials_are_final_and_a_page_that_is_no_json_is_not() {
    let server = zendesk(0).await;
    let settings = settings(&server, "").replace("env:TOKEN", "old");
    assert_eq!(
        verdict(&deliver(&*target(KIND, &settings), &delivery(1)).await),
        "dead: answered 401 Unauthorized"
    );
    let portal = Standin::start(|_, _| response(200, "<html>log in</html>")).await;
    let settings = self::settings(&portal, "");
    let answer = deliver(&*target(KIND, &settings), &delivery(1)).await;
    assert_eq!(
        verdict(&answer),
        "retry: answered 200 OK, but not with the JSON that its API documents"
    );
}

#[tokio::test]
async fn a_credential_is_asked_about_by_who_one_is() {
    for (me, token, expected) in [
        ("7", "env:TOKEN", "Accepted(\"answered 200 OK\")"),
        (
            "null",
            "env:TOKEN",
            "Refused(\"it takes who asks for nobody\")",
        ),
        ("7", "old", "Refused(\"answered 401 Unauthorized: "),
    ] {
        let server = zendesk_of(0, me).await;
        let settings = settings(&server, "").replace("env:TOKEN", token);
        let probe = format!("{:?}", target(KIND, &settings).probe().await);
        assert!(probe.starts_with(expected), "{probe}");
    }
}

#[test]
fn settings_that_cannot_work_are_mistakes_by_key() {
    let good = "url = 'https://example.zendesk.com'\nusername = 'a'\ntoken = 'b'\n";
    assert_eq!(
        mistakes(KIND, ""),
        [
            "url: is missing",
            "username: is missing",
            "token: is missing"
        ]
    );
    assert!(
        mistakes(KIND, &format!("{good}subject = '{{{{ who }}}}'"))[0]
            .starts_with("subject: names who")
    );
    assert!(
        mistakes(KIND, &format!("{good}body = '{{% if %}}'"))[0]
            .starts_with("body: is no template")
    );
    assert!(
        mistakes(KIND, &format!("{good}priority = 'asap'"))[0].starts_with("priority: is \"asap\"")
    );
    assert!(
        mistakes(KIND, &format!("{good}tags = ['two words']"))[0]
            .starts_with("tags: has \"two words\"")
    );
}
