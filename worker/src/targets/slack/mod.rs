//! Slack, by an incoming webhook: a message per event, or one digest when many have gathered.
//!
//! Slack takes about one message a second. What gathers meanwhile comes in one call: up to `digest_after` events are
//! sent one by one at that pace, more become one message. Slack knows no idempotency key, so an event is shown twice
//! when a process dies between Slack's answer and its recording.
//!
//! Settings: `url` (secret), `allow_http`, `contact` (`masked`, the default, or `shown`), `digest_after` (5),
//! `dashboard_url` (for a button that leads to the event).

mod message;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use common::{
    config::Rate,
    delivery::{Answer, Delivery, Outcome},
    event::derived_id,
    settings::Section,
};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout_at},
};
use url::Url;
use uuid::Uuid;

use super::{Ask, Guide, Kind, Probe, Setup, Target};
use common::outbound::Outbound;

pub(super) const KIND: Kind = Kind {
    name: "slack",
    rate: Some(RATE),
    guide: Guide {
        title: "Slack",
        asks: &[Ask::secret("url", "the incoming webhook's URL")],
        events: &["unsubscribed", "complained"],
        steps: &[
            "api.slack.com/apps > your app > Incoming Webhooks: add one to a channel and copy its URL.",
        ],
    },
    build,
};

/// <https://api.slack.com/apis/rate-limits>
const RATE: Rate = Rate {
    calls: 1,
    per: Duration::from_secs(1),
};

/// As many as one digest is made of.
const BATCH: usize = 50;

struct Slack {
    url: Url,
    style: message::Style,
    digest_after: usize,
    pause: Duration,
    /// When the next message may go.
    next: Mutex<Instant>,
    outbound: Outbound,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = setup.outbound.read_url(section);
    let contact = section.or("contact", "masked".to_owned());
    if !matches!(contact.as_str(), "masked" | "shown") {
        section.mistake(
            "contact",
            format!("is {contact:?}, but \"masked\" or \"shown\" is needed"),
        );
        return None;
    }
    let digest_after = section.or("digest_after", 5_usize);
    if digest_after == 0 {
        section.mistake(
            "digest_after",
            "is 0, but at least 1 is needed: how many events are shown one by one",
        );
        return None;
    }
    let given = section.keys().iter().any(|key| key == "dashboard_url");
    let dashboard: Option<Url> = section.optional("dashboard_url");
    if given && dashboard.is_none() {
        return None;
    }
    Some(Box::new(Slack {
        url: url?,
        style: message::Style {
            shown: contact == "shown",
            dashboard,
        },
        digest_after,
        pause: setup.rate.unwrap_or(RATE).pause(),
        next: Mutex::new(Instant::now()),
        outbound: setup.outbound.clone(),
    }))
}

#[async_trait]
impl Target for Slack {
    fn batch(&self) -> usize {
        BATCH
    }

    /// One after the other, so that events gather while a message is on its way, and become a digest.
    fn slots(&self) -> u16 {
        1
    }

    async fn probe(&self) -> Probe {
        Probe::Unasked(
            "an incoming webhook of Slack's takes messages and answers no questions: a test of the target posts one",
        )
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let deadline = self.outbound.deadline();
        // Held for the whole call: another one waits for it, as it has to wait for the pause.
        let Ok(mut next) = timeout_at(deadline, self.next.lock()).await else {
            return vec![not_sent(None, "no time was left in this call"); deliveries.len()];
        };
        if deliveries.len() > self.digest_after {
            let ids: Vec<_> = deliveries
                .iter()
                .map(|delivery| delivery.id.to_string())
                .collect();
            let key = derived_id("digest", "slack", ids.iter().map(String::as_str));
            let digest = message::digest(deliveries, &self.style);
            let answer = self.post(&digest, key, &mut next, deadline).await;
            return vec![answer; deliveries.len()];
        }
        let mut answers: Vec<Answer> = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let answer = match answers.last().map(|answer| &answer.outcome) {
                // What Slack has just refused for lack of time or health it would refuse again.
                Some(Outcome::Retry { after, why }) => not_sent(*after, why),
                None | Some(Outcome::Done | Outcome::Withheld | Outcome::Dead { .. }) => {
                    let message = message::single(delivery, &self.style);
                    self.post(&message, delivery.id, &mut next, deadline).await
                }
            };
            answers.push(answer);
        }
        answers
    }
}

impl Slack {
    /// Sends a message when the pause after the one before is over: at `next`, which then moves on.
    async fn post(
        &self,
        message: &Value,
        key: Uuid,
        next: &mut Instant,
        deadline: Instant,
    ) -> Answer {
        if *next >= deadline {
            return not_sent(None, "no time was left in this call");
        }
        sleep_until(*next).await;
        *next = Instant::now() + self.pause;
        let request = self.outbound.request(Method::POST, self.url.clone());
        let request = request
            .header("idempotency-key", key.to_string())
            .json(message);
        let reply = match self.outbound.exchange(request, deadline).await {
            Ok(reply) => reply,
            Err(error) => return error.into(),
        };
        let mut answer = reply.answer();
        // Slack says what is wrong in one word: `no_service`, `channel_is_archived`, `invalid_payload`.
        let word = answer
            .excerpt
            .as_deref()
            .map(str::trim)
            .filter(|text| is_word(text))
            .map(str::to_owned);
        if let (Outcome::Retry { why, .. } | Outcome::Dead { why }, Some(word)) =
            (&mut answer.outcome, word)
        {
            *why = format!("{why}: {word}");
        }
        answer
    }
}

fn not_sent(after: Option<Duration>, why: &str) -> Answer {
    let why = format!("not sent: {}", why.trim_start_matches("not sent: "));
    Answer {
        outcome: Outcome::Retry { after, why },
        status: None,
        excerpt: None,
    }
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
