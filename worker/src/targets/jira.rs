//! Jira Cloud: an issue per event.
//!
//! Jira knows no idempotency key, so each issue has a label made of the delivery's id, and is looked for by it before
//! one is made. Jira's search lags behind by some seconds: an attempt that follows a lost answer within them can make
//! a second issue, with the same label.
//!
//! Settings: `url`, `allow_http`, `username` (the account's address), `token` (secret), `project` (its key),
//! `issue_type` (`Task`), `summary` and `description` (templates), `labels`.

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
    Kind, Setup, Target,
    template::{Format, Template},
    ticket::{TEXT, TITLE, join, lines, one_line, read, said},
};
use common::outbound::{Outbound, Reply};

pub(super) const KIND: Kind = Kind {
    name: "jira",
    rate: None,
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::targets::standin::{
        Standin, deliver, delivery, mistakes, response, target, verdict,
    };

    /// Basic authentication of `ops@example.com` with `s3cret`.
    const AUTHORIZATION: &str = "Basic b3BzQGV4YW1wbGUuY29tOnMzY3JldA==";

    /// What Jira refuses in an issue.
    fn flaw(fields: &Value) -> Option<&'static str> {
        let summary = fields["summary"].as_str()?;
        let doc = &fields["description"];
        let mut nodes = doc["content"]
            .as_array()?
            .iter()
            .flat_map(|paragraph| paragraph["content"].as_array().unwrap());
        if summary.is_empty() || summary.chars().count() > 255 || summary.contains('\n') {
            Some("The summary is invalid because it contains newline characters or is too long.")
        } else if doc["type"] != "doc"
            || doc["version"] != 1
            || nodes.any(|node| node["text"] == "")
        {
            Some("Operation value must be an Atlassian Document")
        } else if fields["project"]["key"] != "OPS" {
            Some("valid project is required")
        } else {
            None
        }
    }

    /// Keeps issues as Jira does; the `lost`th answer to a creation is a 503 although the issue was made.
    async fn jira(lost: usize) -> Standin {
        let issues = Mutex::new(Vec::<Value>::new());
        Standin::start(move |request, _| {
            if request.header("authorization") != AUTHORIZATION {
                return response(401, "Client must be authenticated to access this resource.");
            }
            let mut issues = issues.lock().unwrap();
            match (request.method.as_str(), request.path.as_str()) {
                ("POST", "/rest/api/3/search/jql") => {
                    let jql = request.json()["jql"].as_str().unwrap().to_owned();
                    let label = jql
                        .strip_prefix("project = \"OPS\" AND labels = ")
                        .unwrap()
                        .trim_matches('"')
                        .to_owned();
                    let found: Vec<_> = issues
                        .iter()
                        .enumerate()
                        .filter(|(_, issue)| {
                            issue["labels"].as_array().unwrap().contains(&json!(label))
                        })
                        .map(|(index, _)| json!({"id": "1", "key": format!("OPS-{}", index + 1)}))
                        .collect();
                    response(200, json!({"issues": found, "isLast": true}).to_string())
                }
                ("POST", "/rest/api/3/issue") => {
                    let fields = request.json()["fields"].take();
                    if let Some(flaw) = flaw(&fields) {
                        return response(
                            400,
                            json!({"errorMessages": [flaw], "errors": {}}).to_string(),
                        );
                    }
                    issues.push(fields);
                    if issues.len() == lost {
                        return response(503, "");
                    }
                    response(
                        201,
                        json!({"id": "10000", "key": format!("OPS-{}", issues.len()), "self": "x"})
                            .to_string(),
                    )
                }
                _ => response(404, ""),
            }
        })
        .await
    }

    fn settings(jira: &Standin, more: &str) -> String {
        format!(
            "url = '{}'\nusername = 'ops@example.com'\ntoken = 'env:TOKEN'\nproject = 'OPS'\n{more}",
            jira.url
        )
    }

    #[tokio::test]
    async fn an_event_becomes_an_issue() {
        let server = jira(0).await;
        let target = target(
            KIND,
            &settings(&server, "issue_type = 'Bug'\nlabels = ['privacy']"),
        );
        let delivery = delivery(1);
        let answer = deliver(&*target, &delivery).await;
        assert_eq!(
            (verdict(&answer), answer.excerpt.as_deref(), answer.status),
            ("done".to_owned(), Some("issue OPS-1 was made"), Some(201))
        );
        let fields = server.received()[1].json()["fields"].take();
        assert_eq!(fields["summary"], "Unsubscribed: jane1@example.com (shop)");
        assert_eq!(fields["issuetype"]["name"], "Bug");
        assert_eq!(
            fields["labels"],
            json!(["privacy", format!("optout-{}", delivery.id)])
        );
        assert_eq!(
            fields["description"]["content"][0]["content"],
            json!([{"type": "text", "text": "jane1@example.com: unsubscribed"}])
        );
    }

    #[tokio::test]
    async fn an_issue_whose_answer_was_lost_is_found_again_and_not_made_twice() {
        let server = jira(1).await;
        let target = target(KIND, &settings(&server, ""));
        assert_eq!(
            verdict(&deliver(&*target, &delivery(1)).await),
            "retry: answered 503 Service Unavailable"
        );
        let second = deliver(&*target, &delivery(1)).await;
        assert_eq!(
            (verdict(&second), second.excerpt.as_deref()),
            ("done".to_owned(), Some("issue OPS-1 was there already"))
        );
        assert_eq!(verdict(&deliver(&*target, &delivery(2)).await), "done");
        let made = server
            .received()
            .iter()
            .filter(|request| request.path.ends_with("/issue"))
            .count();
        assert_eq!(made, 2);
    }

    #[tokio::test]
    async fn a_hostile_reason_stays_text_and_within_the_limits() {
        let server = jira(0).await;
        let target = target(
            KIND,
            &settings(
                &server,
                "summary = '{{ reason }}'\ndescription = '{{ reason }}'",
            ),
        );
        let mut hostile = delivery(1);
        hostile.event.reason = Some(format!(
            "h1. [x|javascript:1]\r\n\r\n\n\ny\n\nz {}",
            "w".repeat(40_000)
        ));
        assert_eq!(verdict(&deliver(&*target, &hostile).await), "done");
    }

    #[test]
    fn settings_that_cannot_work_are_mistakes_by_key() {
        let good = "url = 'https://example.atlassian.net'\nusername = 'a'\ntoken = 'b'\n";
        assert_eq!(mistakes(KIND, good), ["project: is missing"]);
        assert!(
            mistakes(KIND, &format!("{good}project = 'A\" OR 1'"))[0].starts_with("project: is ")
        );
        assert!(
            mistakes(KIND, &format!("{good}project = 'A'\nlabels = ['x y']"))[0]
                .starts_with("labels: has \"x y\"")
        );
        assert!(
            mistakes(
                KIND,
                &format!("{good}project = 'A'\nsummary = '{{{{ x }}}}'")
            )[0]
            .starts_with("summary: names x")
        );
    }
}
