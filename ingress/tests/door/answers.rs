//! What a caller is answered.

use serde_json::json;

use crate::{
    harness::{OPEN, config, door, open},
    queue::{Behaviour, TestQueue},
};

const NOTIFIEDBY: &str =
    r#"{"event":"unsubscribed","email":"user@example.com","timestamp":"2024-07-02T18:04:00Z"}"#;

// rows: NB-1, NB-2, NB-8, SM-1, SM-2, SM-3, SM-4
#[tokio::test]
async fn a_webhook_is_answered_200_and_the_id_of_its_envelope_once_it_is_stored() {
    for provider in ["notifiedby", "sentinmail", "postmark", "brevo"] {
        let source =
            format!("[[sources]]\nname = 'a'\nprovider = '{provider}'\nauth = {{ kind = 'none' }}");
        let door = door(&source).await;
        let answer = door
            .post(
                "/webhooks/a",
                &[("content-type", "application/json")],
                NOTIFIEDBY.as_bytes(),
            )
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.json(),
            json!({ "received": true, "id": door.queue.only().id })
        );
    }
}

// rows: NB-14, NB-16, NB-18, NB-20, PM-21
#[tokio::test]
async fn whatever_its_form_a_body_is_taken_and_no_cookie_or_token_of_a_form_is_asked_for() {
    let door = door(OPEN).await;
    let types: [&[(&str, &str)]; 4] = [
        &[],
        &[("content-type", "application/json")],
        &[
            ("content-type", "text/plain"),
            ("origin", "https://elsewhere.example"),
        ],
        &[("content-type", "no type"), ("cookie", "session=1")],
    ];
    for headers in types {
        for body in [&b"{}"[..], b"[]", b"", b"no json", b"\xff\x00"] {
            assert_eq!(
                door.post("/webhooks/open", headers, body).await.status,
                200,
                "{headers:?} {body:?}"
            );
        }
    }
    assert_eq!(door.queue.envelopes().len(), 20);
}

// rows: NB-21
#[tokio::test]
async fn each_source_has_a_url_of_its_own_with_and_without_a_final_slash() {
    let other = "[[sources]]\nname = 'Other_1'\nprovider = 'brevo'\nauth = { kind = 'none' }";
    let door = door(&format!("{OPEN}\n{other}")).await;
    for path in [
        "/webhooks/open",
        "/webhooks/open/",
        "/webhooks/Other_1",
        "/webhooks/Other_1/?a=b",
    ] {
        assert_eq!(door.post(path, &[], b"{}").await.status, 200, "{path}");
    }
    let sources: Vec<_> = door
        .queue
        .envelopes()
        .into_iter()
        .map(|envelope| envelope.source)
        .collect();
    assert_eq!(sources, ["open", "open", "Other_1", "Other_1"]);
}

#[tokio::test]
async fn a_probe_is_answered_before_any_credentials_are_there() {
    let disabled =
        "[[sources]]\nname = 'off'\nprovider = 'brevo'\nenabled = false\nauth = { kind = 'none' }";
    let guarded = "[[sources]]\nname = 'guarded'\nprovider = 'brevo'\nauth = { kind = 'bearer', token = 'x' }";
    let door = door(&format!("{guarded}\n{disabled}")).await;
    for path in ["/webhooks/guarded", "/webhooks/guarded/", "/webhooks/off"] {
        for method in ["GET", "HEAD"] {
            let answer = door.request(method, path).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (200, ""),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_answered_404_whatever_the_method() {
    let door = door(OPEN).await;
    for path in [
        "/webhooks/opem",
        "/webhooks/%ff",
        "/webhooks/",
        "/",
        "/webhooks/open/x",
        "/openapi.json",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT"] {
            let answer = door.request(method, path).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
        }
        let problem = door.request("POST", path).await.json();
        assert_eq!(
            (&problem["status"], &problem["title"]),
            (&json!(404), &json!("Not Found"))
        );
    }
}

// rows: SM-1
#[tokio::test]
async fn every_other_method_is_answered_405_with_what_is_allowed() {
    let door = door(OPEN).await;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = door.request(method, "/webhooks/open").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
}

#[tokio::test]
async fn a_disabled_source_refuses_by_its_providers_code_and_stores_nothing() {
    // 403 is how Postmark is told to stop trying.
    for (provider, status) in [("notifiedby", 404), ("postmark", 403)] {
        let source = format!(
            "[[sources]]\nname = 'off'\nprovider = '{provider}'\nauth = {{ kind = 'none' }}"
        );
        let door = door(&format!("{source}\nenabled = false")).await;
        let answer = door.post("/webhooks/off", &[], b"{}").await;
        assert_eq!(answer.status, status, "{provider}");
        assert!(door.queue.envelopes().is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_to_be_sent_again_by_the_code_that_its_provider_understands() {
    let brevo = "[[sources]]\nname = 'brevo'\nprovider = 'brevo'\nauth = { kind = 'none' }";
    let config = config(&format!("{OPEN}\n{brevo}"));
    let door = open(&config, TestQueue::new(Behaviour::Refuse)).await;
    for behaviour in [Behaviour::Refuse, Behaviour::Away] {
        door.queue.become_(behaviour);
        for (path, status) in [("/webhooks/open", 503), ("/webhooks/brevo", 429)] {
            let answer = door.post(path, &[], b"{}").await;
            assert_eq!(answer.status, status, "{behaviour:?}");
            assert_eq!(answer.header("retry-after"), Some("5"));
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
            assert!(
                !answer.body.contains("disk") && !answer.body.contains("connection"),
                "{}",
                answer.body
            );
        }
    }
    door.queue.become_(Behaviour::Store);
    assert_eq!(door.post("/webhooks/open", &[], b"{}").await.status, 200);
}

#[tokio::test]
async fn what_is_taken_and_what_is_refused_is_counted() {
    let metrics = common::telemetry::Metrics::install().unwrap();
    let door = door("[[sources]]\nname = 'counted'\nprovider = 'postmark'\nauth = { kind = 'bearer', token = 'x' }").await;
    door.post("/webhooks/counted", &[("authorization", "Bearer x")], b"{}")
        .await;
    door.post("/webhooks/counted", &[("authorization", "Bearer x")], b"{}")
        .await;
    door.post("/webhooks/counted", &[], b"{}").await;
    door.post("/webhooks/made-up-by-a-stranger", &[], b"{}")
        .await;
    let shown = metrics.render();
    for line in [
        r#"optout_ingress_accepted_total{source="counted",provider="postmark"} 2"#,
        r#"optout_ingress_refused_total{source="counted",reason="unauthorized"} 1"#,
        r#"optout_ingress_refused_total{source="",reason="unknown_source"}"#,
        r#"optout_ingress_publish_seconds_count{priority="urgent"}"#,
        r#"optout_ingress_gathered_envelopes_total{priority="urgent"}"#,
        r#"optout_ingress_gathered_messages_total{priority="urgent"}"#,
        "optout_ingress_in_flight",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("stranger"), "{shown}");
}

#[tokio::test]
async fn no_answer_is_kept_shown_in_a_frame_or_guessed_at_and_none_says_what_serves() {
    let door = door(&OPEN.replace("'none'", "'bearer', token = 'right'")).await;
    let right = [("authorization", "Bearer right")];
    for (answer, status) in [
        (door.post("/webhooks/open", &right, b"{}").await, 200),
        (door.post("/webhooks/open", &[], b"{}").await, 401),
        (door.post("/webhooks/nobody", &right, b"{}").await, 404),
        (door.request("GET", "/").await, 404),
        (door.request("PUT", "/webhooks/open").await, 405),
    ] {
        assert_eq!(answer.status, status);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "content-security-policy",
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        ] {
            assert_eq!(answer.header(name), Some(value), "{status}");
        }
        let told = |(name, _): &&(String, String)| {
            ["server", "via", "x-powered-by", "set-cookie"].contains(&name.as_str())
                || name.starts_with("access-control-")
        };
        assert_eq!(answer.headers.iter().find(told), None, "{status}");
    }
}
