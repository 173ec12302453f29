//! Zendesk: a ticket per event.
//!
//! A ticket is found again by its `external_id` before one is made, since a delivery whose answer was lost comes again
//! with the same id. It is always looked for: Zendesk keeps an `Idempotency-Key` for two hours only, refuses one whose
//! body differs (a template was changed meanwhile), and a retry may come days later. One more GET per ticket is cheap.
//! The key is sent all the same: it closes the gap between two attempts that run at once.
//!
//! Settings: `url`, `allow_http`, `username`, `token` (secret), `subject` and `body` (templates), `tags`, `priority`.

use std::time::Duration;

use async_trait::async_trait;
use common::{
    delivery::{Answer, Delivery},
    settings::Section,
};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    Kind, Rate, Setup, Target,
    template::{Format, Template},
    ticket::{TEXT, TITLE, join, lines, one_line, read, said},
};
use common::outbound::{Outbound, Reply};

/// The smallest plan allows 200 requests a minute, and a ticket takes two.
pub(super) const KIND: Kind = Kind {
    name: "zendesk",
    rate: Some(Rate {
        calls: 100,
        per: Duration::from_mins(1),
    }),
    build,
};

/// The longest subject that is sent.
const SUBJECT: usize = 150;

/// A comment holds 64 KiB.
const BODY: usize = 16_000;

const PRIORITIES: [&str; 4] = ["low", "normal", "high", "urgent"];

struct Zendesk {
    tickets: Url,
    username: String,
    token: SecretString,
    subject: Template,
    body: Template,
    tags: Vec<String>,
    priority: Option<String>,
    outbound: Outbound,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = setup.outbound.read_url(section);
    let username = section.required::<String>("username");
    let token = section.secret("token");
    let subject = Template::or(section, "subject", TITLE, Format::Text);
    let body = Template::or(section, "body", TEXT, Format::Text);
    let tags = section.or("tags", vec!["optout".to_owned()]);
    let priority: Option<String> = section.optional("priority");
    if let Some(tag) = tags
        .iter()
        .find(|tag| tag.is_empty() || tag.contains(char::is_whitespace))
    {
        section.mistake("tags", format!("has {tag:?}, but a tag is one word"));
        return None;
    }
    if let Some(other) = priority
        .as_deref()
        .filter(|priority| !PRIORITIES.contains(priority))
    {
        section.mistake(
            "priority",
            format!(
                "is {other:?}, but one of {} is needed",
                PRIORITIES.join(", ")
            ),
        );
        return None;
    }
    let outbound = setup.outbound.clone();
    let tickets = join(&url?, "api/v2/tickets.json");
    Some(Box::new(Zendesk {
        tickets,
        username: username?,
        token: token?,
        subject: subject?,
        body: body?,
        tags,
        priority,
        outbound,
    }))
}

#[async_trait]
impl Target for Zendesk {
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let deadline = self.outbound.deadline();
        let mut answers = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            answers.push(
                self.file(delivery, deadline)
                    .await
                    .unwrap_or_else(|answer| answer),
            );
        }
        answers
    }
}

#[derive(Deserialize)]
struct Found {
    tickets: Vec<Ticket>,
}

#[derive(Deserialize)]
struct Made {
    ticket: Ticket,
}

#[derive(Deserialize)]
struct Ticket {
    id: u64,
}

impl Zendesk {
    async fn file(&self, delivery: &Delivery, deadline: Instant) -> Result<Answer, Answer> {
        let external_id = format!("optout-{}", delivery.id);
        let ticket = self.ticket(delivery, &external_id)?;
        let mut search = self.tickets.clone();
        search
            .query_pairs_mut()
            .append_pair("external_id", &external_id);
        let reply = self
            .exchange(
                self.outbound.request(Method::GET, search),
                delivery,
                deadline,
            )
            .await?;
        let found: Found = read(&reply)?;
        if let Some(Ticket { id }) = found.tickets.first() {
            return Ok(said(&reply, format!("ticket {id} was there already")));
        }
        let request = self
            .outbound
            .request(Method::POST, self.tickets.clone())
            .json(&ticket);
        let reply = self.exchange(request, delivery, deadline).await?;
        let made: Made = read(&reply)?;
        Ok(said(&reply, format!("ticket {} was made", made.ticket.id)))
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
        delivery: &Delivery,
        deadline: Instant,
    ) -> Result<Reply, Answer> {
        let request = request
            .basic_auth(
                format!("{}/token", self.username),
                Some(self.token.expose_secret()),
            )
            .header("idempotency-key", delivery.id.to_string());
        Ok(self.outbound.exchange(request, deadline).await?)
    }

    fn ticket(&self, delivery: &Delivery, external_id: &str) -> Result<Value, Answer> {
        let mut ticket = json!({
            "subject": one_line(&inert(&self.subject.render(delivery)?), SUBJECT),
            "comment": {"body": lines(&inert(&self.body.render(delivery)?), BODY)},
            "external_id": external_id,
            "tags": self.tags,
        });
        if let Some(priority) = &self.priority {
            ticket["priority"] = json!(priority);
        }
        Ok(json!({"ticket": ticket}))
    }
}

/// Zendesk fills in placeholders of its own, such as `{{ticket.requester.email}}`: what a sender wrote must be none.
fn inert(text: &str) -> String {
    text.replace("{{", "{ {").replace("{%", "{ %")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::targets::standin::{
        Standin, deliver, delivery, mistakes, response, target, verdict,
    };

    /// Basic authentication of `ops@example.com/token` with `s3cret`.
    const AUTHORIZATION: &str = "Basic b3BzQGV4YW1wbGUuY29tL3Rva2VuOnMzY3JldA==";

    /// Keeps tickets as Zendesk does; the `lost`th answer to a POST is a 502 although the ticket was made.
    async fn zendesk(lost: usize) -> Standin {
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
                        json!({"tickets": found, "next_page": null, "count": found.len()})
                            .to_string(),
                    )
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
            mistakes(KIND, &format!("{good}priority = 'asap'"))[0]
                .starts_with("priority: is \"asap\"")
        );
        assert!(
            mistakes(KIND, &format!("{good}tags = ['two words']"))[0]
                .starts_with("tags: has \"two words\"")
        );
    }
}
