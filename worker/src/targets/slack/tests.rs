use std::time::{Duration, Instant};

use common::{
    contact::Contact,
    delivery::{Delivery, Outcome},
    event::Kind as EventKind,
};
use serde_json::Value;

use super::*;
use crate::targets::standin::{
    Received, Standin, deliver, delivery, delivery_of, mistakes, response, target, verdict,
};

/// What Slack refuses: it answers `invalid_payload` or `invalid_blocks` for a message beyond its limits.
fn accepts(request: &Received) -> Result<(), String> {
    let message = request.json();
    let blocks = message["blocks"].as_array().ok_or("no blocks")?;
    let text = |value: &Value, most: usize| match value["text"].as_str() {
        Some(text) if (1..=most).contains(&text.chars().count()) => Ok(()),
        _ => Err(format!("text of {value} has not 1 to {most} characters")),
    };
    text(&message, 40_000)?;
    if !(1..=50).contains(&blocks.len()) {
        return Err(format!("{} blocks", blocks.len()));
    }
    for block in blocks {
        match block["type"].as_str() {
            Some("header") => text(&block["text"], 150)?,
            Some("section") => match block["fields"].as_array() {
                Some(fields) if fields.len() > 10 => return Err("more than 10 fields".to_owned()),
                Some(fields) => fields.iter().try_for_each(|field| text(field, 2000))?,
                None => text(&block["text"], 3000)?,
            },
            Some("context") => block["elements"]
                .as_array()
                .ok_or("no elements")?
                .iter()
                .try_for_each(|e| text(e, 3000))?,
            Some("actions") => text(&block["elements"][0]["text"], 75)?,
            other => return Err(format!("a block of type {other:?}")),
        }
    }
    Ok(())
}

async fn slack() -> Standin {
    Standin::start(|request, _| {
        match (
            request.method.as_str(),
            request.path.as_str(),
            accepts(request),
        ) {
            ("POST", "/services/T0/B0/s3cret", Ok(())) => response(200, "ok"),
            ("POST", "/services/T0/B0/s3cret", Err(_)) => response(400, "invalid_blocks"),
            _ => response(404, "no_service"),
        }
    })
    .await
}

fn settings(slack: &Standin, more: &str) -> String {
    format!("url = '{}/services/T0/B0/s3cret'\n{more}", slack.url)
}

/// The same target at a pace that suits a test.
fn quick(url: &str, pause: Duration, outbound: Outbound) -> Slack {
    let style = message::Style {
        shown: false,
        dashboard: None,
    };
    Slack {
        url: Url::parse(url).unwrap(),
        style,
        digest_after: 5,
        pause,
        next: Mutex::new(tokio::time::Instant::now()),
        outbound,
    }
}

fn all_text(message: &Value) -> String {
    message.to_string()
}

#[tokio::test]
async fn an_event_becomes_a_message_that_says_what_where_why_and_when() {
    let server = slack().await;
    let target = target(
        KIND,
        &settings(&server, "dashboard_url = 'https://optout.example/base/'"),
    );
    let delivery = delivery(1);
    assert_eq!(verdict(&deliver(&*target, &delivery).await), "done");
    let received = &server.received()[0];
    assert_eq!(received.header("idempotency-key"), delivery.id.to_string());
    let message = received.json();
    assert_eq!(message["text"], "Unsubscribed: j…@example.com (shop)");
    assert_eq!(message["blocks"][0]["text"]["text"], "Unsubscribed");
    let text = all_text(&message);
    for part in [
        "shop (sentinmail)",
        "news",
        "too many",
        "<!date^1775140200^",
        "2026-04-02 14:30:00 UTC",
        &delivery.id.to_string(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let link = format!("https://optout.example/base/events/{}", delivery.event.id);
    assert_eq!(message["blocks"][3]["elements"][0]["url"], link);
}

#[tokio::test]
async fn the_contact_is_masked_unless_it_is_to_be_shown() {
    let server = slack().await;
    for (more, address_is_there) in [("", false), ("contact = 'shown'", true)] {
        deliver(&*target(KIND, &settings(&server, more)), &delivery(1)).await;
        let text = all_text(&server.received().last().unwrap().json());
        assert_eq!(text.contains("jane1@example.com"), address_is_there);
    }
}

#[tokio::test]
async fn what_a_sender_wrote_mentions_nobody_and_stays_within_the_limits() {
    let server = slack().await;
    let target = target(KIND, &settings(&server, "contact = 'shown'"));
    let mut hostile = delivery(1);
    hostile.event.reason = Some(format!(
        "<!channel> & <https://evil.example|click> {}",
        "&".repeat(5000)
    ));
    hostile.event.scope = "<".repeat(4000);
    hostile.event.source = ">".repeat(4000);
    assert_eq!(verdict(&deliver(&*target, &hostile).await), "done");
    let text = all_text(&server.received()[0].json());
    assert!(text.contains("&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;"));
    assert!(!text.contains("<!channel>"));
}

#[tokio::test]
async fn more_than_digest_after_become_one_message_with_counts_and_the_first_twenty() {
    let server = slack().await;
    let target = target(KIND, &settings(&server, ""));
    let mut many: Vec<Delivery> = (0..40).map(delivery).collect();
    many.extend((40..50).map(|n| {
        delivery_of(
            EventKind::Complained,
            Contact::phone("+15551234567").ok(),
            n,
        )
    }));
    assert_eq!(target.batch(), many.len());
    let answers = target.deliver(&many).await;
    assert!(answers.len() == 50 && answers.iter().all(|answer| answer.outcome == Outcome::Done));
    assert_eq!(server.received().len(), 1);
    let text = all_text(&server.received()[0].json());
    for part in [
        "50 events",
        "*40* Unsubscribed (shop)",
        "*10* Spam complaint (shop)",
        "and 30 more",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(text.matches('•').count(), 20);
}

#[tokio::test]
async fn a_digest_of_the_longest_contacts_stays_within_the_limits() {
    let server = slack().await;
    let target = target(KIND, &settings(&server, "contact = 'shown'"));
    let address = format!("{}@{}.example", "&".repeat(60), "a".repeat(60));
    let many: Vec<_> = (0..50)
        .map(|n| {
            let mut one = delivery_of(EventKind::Bounced, Contact::email(&address).ok(), n);
            one.event.source = format!("{n}{}", "<".repeat(300));
            one
        })
        .collect();
    assert_eq!(target.deliver(&many).await[0].outcome, Outcome::Done);
}

#[tokio::test]
async fn up_to_digest_after_are_sent_one_by_one_at_the_pace_of_the_rate() {
    let server = slack().await;
    let url = format!("{}/services/T0/B0/s3cret", server.url);
    let target = quick(
        &url,
        Duration::from_millis(60),
        crate::targets::standin::outbound(),
    );
    let few: Vec<_> = (0..5).map(delivery).collect();
    let started = Instant::now();
    let answers = target.deliver(&few).await;
    assert!(answers.iter().all(|answer| answer.outcome == Outcome::Done));
    assert_eq!(server.received().len(), 5);
    assert!(started.elapsed() >= Duration::from_millis(240));
}

#[tokio::test]
async fn calls_at_once_keep_the_pace_together() {
    let server = slack().await;
    let url = format!("{}/services/T0/B0/s3cret", server.url);
    let target = quick(
        &url,
        Duration::from_millis(60),
        crate::targets::standin::outbound(),
    );
    let started = Instant::now();
    let calls = (0..4).map(|number| async move { [delivery(number), delivery(10 + number)] });
    let calls = calls.map(|call| async { target.deliver(&call.await).await });
    futures_util::future::join_all(calls).await;
    assert_eq!(server.received().len(), 8);
    assert!(started.elapsed() >= Duration::from_millis(7 * 60));
    assert_eq!(target.slots(), 1);
}

#[tokio::test]
async fn after_a_refusal_for_now_the_rest_of_the_call_waits_too() {
    let server = Standin::start(|_, before| match before {
        0 => response(200, "ok"),
        _ => axum::http::Response::builder()
            .status(429)
            .header("retry-after", "30")
            .body("ratelimited".into())
            .unwrap(),
    })
    .await;
    let target = quick(
        &server.url,
        Duration::ZERO,
        crate::targets::standin::outbound(),
    );
    let answers = target
        .deliver(&(0..4).map(delivery).collect::<Vec<_>>())
        .await;
    assert_eq!(server.received().len(), 2);
    let after = Some(Duration::from_secs(30));
    assert_eq!(answers[0].outcome, Outcome::Done);
    let why = "answered 429 Too Many Requests: ratelimited".to_owned();
    assert_eq!(
        answers[1].outcome,
        Outcome::Retry {
            after,
            why: why.clone()
        }
    );
    for answer in &answers[2..] {
        assert_eq!(
            answer.outcome,
            Outcome::Retry {
                after,
                why: format!("not sent: {why}")
            }
        );
    }
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_says_what_was_not_sent() {
    let server = slack().await;
    let url = format!("{}/services/T0/B0/s3cret", server.url);
    let outbound = crate::targets::standin::outbound().with_timeout(Duration::from_millis(1500));
    let answers = quick(&url, Duration::from_millis(900), outbound)
        .deliver(&(0..3).map(delivery).collect::<Vec<_>>())
        .await;
    let verdicts: Vec<_> = answers.iter().map(verdict).collect();
    assert_eq!(
        verdicts,
        [
            "done",
            "done",
            "retry: not sent: no time was left in this call"
        ]
    );
}

#[tokio::test]
async fn slack_s_own_word_for_what_is_wrong_is_kept() {
    let server = slack().await;
    let answer = deliver(
        &*target(KIND, &format!("url = '{}/services/gone'", server.url)),
        &delivery(1),
    )
    .await;
    assert_eq!(verdict(&answer), "dead: answered 404 Not Found: no_service");
    assert_eq!(
        (answer.status, answer.excerpt.as_deref()),
        (Some(404), Some("no_service"))
    );
}

#[tokio::test]
async fn when_slack_is_away_the_reason_does_not_hold_the_secret_url() {
    let answer = deliver(
        &*target(KIND, "url = 'http://127.0.0.1:1/services/T0/B0/s3cret'"),
        &delivery(1),
    )
    .await;
    let why = verdict(&answer);
    assert!(
        why.starts_with("retry: ") && why.contains("refused"),
        "{why}"
    );
    assert!(
        !why.contains("s3cret") && !why.contains("services"),
        "{why}"
    );
}

#[test]
fn settings_that_cannot_work_are_mistakes_by_key() {
    assert_eq!(mistakes(KIND, "contact = 'masked'"), ["url: is missing"]);
    let url = "url = 'https://hooks.slack.com/services/x'\n";
    assert_eq!(
        mistakes(KIND, &format!("{url}contact = 'hidden'")),
        ["contact: is \"hidden\", but \"masked\" or \"shown\" is needed"]
    );
    assert!(mistakes(KIND, &format!("{url}digest_after = 0"))[0].starts_with("digest_after: is 0"));
    assert!(
        mistakes(KIND, &format!("{url}dashboard_url = 'here'"))[0].starts_with("dashboard_url: ")
    );
    assert!(
        mistakes(KIND, "url = 'http://hooks.slack.com/services/x'")[0]
            .starts_with("url: is sent to without encryption")
    );
    assert!(
        mistakes(KIND, "url = 'https://10.0.0.1/services/x'")[0]
            .contains("outbound.allow_networks")
    );
}
