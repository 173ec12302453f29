//! Jira as it is documented: issues made, found again, and refused.

use std::sync::Mutex;

use super::*;
use crate::targets::standin::{Standin, deliver, delivery, mistakes, response, target, verdict};

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
    } else if doc["type"] != "doc" || doc["version"] != 1 || nodes.any(|node| node["text"] == "") {
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
            ("GET", "/rest/api/3/myself") => response(200, "{\"accountId\":\"7\"}"),
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

#[tokio::test]
async fn a_credential_is_asked_about_by_who_one_is() {
    let server = jira(0).await;
    for (token, expected) in [
        ("env:TOKEN", "Accepted("),
        ("old", "Refused(\"answered 401"),
    ] {
        let settings = settings(&server, "").replace("env:TOKEN", token);
        let probe = format!("{:?}", target(KIND, &settings).probe().await);
        assert!(probe.starts_with(expected), "{probe}");
    }
}

#[test]
fn settings_that_cannot_work_are_mistakes_by_key() {
    let good = "url = 'https://example.atlassian.net'\nusername = 'a'\ntoken = 'b'\n";
    assert_eq!(mistakes(KIND, good), ["project: is missing"]);
    assert!(mistakes(KIND, &format!("{good}project = 'A\" OR 1'"))[0].starts_with("project: is "));
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
