//! Zendesk: a ticket per event.
//!
//! A ticket is found again by its `external_id` before one is made, since a delivery whose answer was lost comes again
//! with the same id. It is always looked for: Zendesk keeps an `Idempotency-Key` for two hours only, refuses one whose
//! body differs (a template was changed meanwhile), and a retry may come days later. One more GET per ticket is cheap.
//! The key is sent all the same: it closes the gap between two attempts that run at once.
//!
//! Settings: `url`, `allow_http`, `username`, `token` (secret), `subject` and `body` (templates), `tags`, `priority`.

#[cfg(test)]
mod tests;

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
    Ask, Guide, Kind, Probe, Rate, Setup, Target,
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
    guide: Guide {
        title: "Zendesk",
        asks: &[
            Ask::text(
                "url",
                "your Zendesk's URL, such as https://example.zendesk.com",
            ),
            Ask::text("username", "the address of the agent who files the tickets"),
            Ask::token("an API token"),
        ],
        events: &["complained"],
        steps: &[
            "Admin Center > Apps and integrations > APIs > API tokens: allow token access and add one.",
        ],
    },
    build,
};

/// The longest subject that is sent.
const SUBJECT: usize = 150;

/// A comment holds 64 KiB.
const BODY: usize = 16_000;

const PRIORITIES: [&str; 4] = ["low", "normal", "high", "urgent"];

struct Zendesk {
    tickets: Url,
    me: Url,
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
    let url = url?;
    let tickets = join(&url, "api/v2/tickets.json");
    Some(Box::new(Zendesk {
        tickets,
        me: join(&url, "api/v2/users/me.json"),
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
    /// <https://developer.zendesk.com/api-reference/ticketing/users/users/#show-self>: who is not known is nobody there.
    async fn probe(&self) -> Probe {
        let me = self.outbound.request(Method::GET, self.me.clone());
        let asked = self
            .outbound
            .exchange(self.signed(me), self.outbound.deadline());
        let nobody = |reply: &Reply| {
            let me: Value = reply.json().unwrap_or_default();
            reply.status.is_success() && !me["user"]["id"].is_u64()
        };
        match asked.await {
            Ok(reply) if nobody(&reply) => {
                Probe::Refused("it takes who asks for nobody".to_owned())
            }
            asked => Probe::of(asked.map_err(Answer::from)),
        }
    }

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
        let request = self.signed(request);
        let request = request.header("idempotency-key", delivery.id.to_string());
        Ok(self.outbound.exchange(request, deadline).await?)
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let name = format!("{}/token", self.username);
        request.basic_auth(name, Some(self.token.expose_secret()))
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
