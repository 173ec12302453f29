//! Jira Cloud: an issue per event.
//!
//! Jira knows no idempotency key, so each issue has a label made of the delivery's id, and is looked for by it before
//! one is made. Jira's search lags behind by some seconds: an attempt that follows a lost answer within them can make
//! a second issue, with the same label.
//!
//! Settings: `url`, `allow_http`, `username` (the account's address), `token` (secret), `project` (its key),
//! `issue_type` (`Task`), `summary` and `description` (templates), `labels`.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use common::{
    delivery::{Answer, Delivery},
    settings::Section,
};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    Ask, Guide, Kind, Probe, Setup, Target,
    template::{Format, Template},
    ticket::{TEXT, TITLE, join, lines, one_line, read, said},
};
use common::outbound::{Outbound, Reply};

pub(super) const KIND: Kind = Kind {
    name: "jira",
    rate: None,
    guide: Guide {
        title: "Jira",
        asks: &[
            Ask::text(
                "url",
                "your Jira's URL, such as https://example.atlassian.net",
            ),
            Ask::text(
                "username",
                "the address of the account that files the issues",
            ),
            Ask::token("an API token of that account"),
            Ask::text("project", "the key of the project, such as PRIV"),
        ],
        events: &["complained"],
        steps: &[
            "id.atlassian.com > Security > API tokens: create one, as the account that files the issues.",
        ],
    },
    build,
};

/// Jira refuses a longer summary.
const SUMMARY: usize = 255;

/// Jira refuses a description of more than 32767 characters, its markup counted.
const DESCRIPTION: usize = 20_000;

struct Jira {
    url: Url,
    username: String,
    token: SecretString,
    project: String,
    issue_type: String,
    summary: Template,
    description: Template,
    labels: Vec<String>,
    outbound: Outbound,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = setup.outbound.read_url(section);
    let username = section.required::<String>("username");
    let token = section.secret("token");
    let project = section.required::<String>("project");
    let issue_type = section.or("issue_type", "Task".to_owned());
    let summary = Template::or(section, "summary", TITLE, Format::Text);
    let description = Template::or(section, "description", TEXT, Format::Text);
    let labels = section.or("labels", vec!["optout".to_owned()]);
    let project = project?;
    if project.is_empty()
        || !project
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        section.mistake(
            "project",
            format!("is {project:?}, but a project's key such as \"OPS\" is needed"),
        );
        return None;
    }
    if let Some(label) = labels
        .iter()
        .find(|label| label.is_empty() || label.contains(char::is_whitespace))
    {
        section.mistake("labels", format!("has {label:?}, but a label is one word"));
        return None;
    }
    Some(Box::new(Jira {
        url: url?,
        username: username?,
        token: token?,
        project,
        issue_type,
        summary: summary?,
        description: description?,
        labels,
        outbound: setup.outbound.clone(),
    }))
}

#[async_trait]
impl Target for Jira {
    /// <https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-myself/#api-rest-api-3-myself-get>
    async fn probe(&self) -> Probe {
        let url = join(&self.url, "rest/api/3/myself");
        let request = self.outbound.request(Method::GET, url);
        let request = request.basic_auth(&self.username, Some(self.token.expose_secret()));
        let asked = self.outbound.exchange(request, self.outbound.deadline());
        Probe::of(asked.await.map_err(Answer::from))
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
    issues: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    key: String,
}

impl Jira {
    async fn file(&self, delivery: &Delivery, deadline: Instant) -> Result<Answer, Answer> {
        let label = format!("optout-{}", delivery.id);
        let issue = self.issue(delivery, &label)?;
        let jql = format!("project = \"{}\" AND labels = \"{label}\"", self.project);
        let query = json!({"jql": jql, "maxResults": 1, "fields": ["key"]});
        let reply = self
            .post("rest/api/3/search/jql", &query, delivery, deadline)
            .await?;
        let found: Found = read(&reply)?;
        if let Some(Issue { key }) = found.issues.first() {
            return Ok(said(&reply, format!("issue {key} was there already")));
        }
        let reply = self
            .post("rest/api/3/issue", &issue, delivery, deadline)
            .await?;
        let made: Issue = read(&reply)?;
        Ok(said(&reply, format!("issue {} was made", made.key)))
    }

    async fn post(
        &self,
        path: &str,
        body: &Value,
        delivery: &Delivery,
        deadline: Instant,
    ) -> Result<Reply, Answer> {
        let request = self
            .outbound
            .request(Method::POST, join(&self.url, path))
            .basic_auth(&self.username, Some(self.token.expose_secret()))
            .header("idempotency-key", delivery.id.to_string())
            .header("accept", "application/json")
            .json(body);
        Ok(self.outbound.exchange(request, deadline).await?)
    }

    fn issue(&self, delivery: &Delivery, label: &str) -> Result<Value, Answer> {
        let description = lines(&self.description.render(delivery)?, DESCRIPTION);
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(String::as_str)
            .chain([label])
            .collect();
        Ok(json!({"fields": {
            "project": {"key": self.project},
            "issuetype": {"name": self.issue_type},
            "summary": one_line(&self.summary.render(delivery)?, SUMMARY),
            "description": document(&description),
            "labels": labels,
        }}))
    }
}

/// Plain text in Atlassian's document format: a paragraph per block of lines. Text nodes are never read as markup.
fn document(text: &str) -> Value {
    let paragraphs: Vec<_> = text
        .split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            let mut content = vec![];
            for line in block.lines() {
                if !content.is_empty() {
                    content.push(json!({"type": "hardBreak"}));
                }
                // An empty text node is refused.
                if !line.is_empty() {
                    content.push(json!({"type": "text", "text": line}));
                }
            }
            json!({"type": "paragraph", "content": content})
        })
        .collect();
    json!({"type": "doc", "version": 1, "content": paragraphs})
}
