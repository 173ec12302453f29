use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::*;
use crate::targets::standin::{
    Received, Standin, deliver, delivery, mistakes, response, target, verdict,
};

/// The secret of the specification's own vector, and another.
const SECRETS: [&str; 2] = [
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
];

/// What a receiver does who uses the reference library.
fn verifies(request: &Received, secret: &str) -> bool {
    let verified = Webhook::new(secret)
        .unwrap()
        .verify(&request.body, &request.headers);
    verified.is_ok()
}

async fn receiver() -> Standin {
    Standin::start(|_, _| response(200, "thanks")).await
}

#[tokio::test]
async fn a_delivery_is_signed_by_standard_webhooks_with_every_secret() {
    let server = receiver().await;
    let target = target(
        KIND,
        &format!("url = '{}/hook'\nsecret = {SECRETS:?}", server.url),
    );
    let delivery = delivery(1);
    let answer = deliver(&*target, &delivery).await;
    assert_eq!(
        (verdict(&answer), answer.status, answer.excerpt.as_deref()),
        ("done".to_owned(), Some(200), Some("thanks"))
    );
    let request = &server.received()[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/hook")
    );
    assert_eq!(request.header("webhook-id"), delivery.id.to_string());
    assert_eq!(request.header("idempotency-key"), delivery.id.to_string());
    assert_eq!(request.json()["id"], json!(delivery.event.id));
    for secret in SECRETS {
        assert!(verifies(request, secret));
    }
    assert!(!verifies(request, "whsec_AAAA"));
    let mut forged = request.clone();
    forged.body = b"{}".to_vec().into();
    assert!(!verifies(&forged, SECRETS[0]));
}

#[tokio::test]
async fn a_repeat_has_the_same_id() {
    let server = receiver().await;
    let target = target(KIND, &format!("url = '{}'\nsign = false", server.url));
    deliver(&*target, &delivery(1)).await;
    deliver(&*target, &delivery(1)).await;
    let requests = server.received();
    assert_eq!(
        requests[0].header("webhook-id"),
        requests[1].header("webhook-id")
    );
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].header("webhook-signature"), "");
}

#[tokio::test]
async fn method_headers_and_body_are_the_user_s() {
    let server = receiver().await;
    let settings = format!(
        "url = '{}/x?y=1'\nsign = false\nmethod = 'PUT'\nheaders = {{ Authorization = 'env:TOKEN', X-Team = 'crm' }}\n\
         body = '{{\"email\": {{{{ contact }}}}, \"why\": {{{{ reason }}}}, \"class\": {{{{ bounce_class }}}}}}'",
        server.url
    );
    assert_eq!(
        verdict(&deliver(&*target(KIND, &settings), &delivery(1)).await),
        "done"
    );
    let request = &server.received()[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("PUT", "/x?y=1")
    );
    assert_eq!(
        (request.header("authorization"), request.header("x-team")),
        ("s3cret", "crm")
    );
    let body =
        json!({"email": "jane1@example.com", "why": "too many \"offers\"", "class": Value::Null});
    assert_eq!(request.json(), body);
}

#[tokio::test]
async fn gone_is_final_and_says_what_to_do() {
    let server = Standin::start(|_, _| response(410, "")).await;
    let target = target(KIND, &format!("url = '{}'\nsign = false", server.url));
    let why = verdict(&deliver(&*target, &delivery(1)).await);
    assert!(
        why.starts_with("dead: answered 410 Gone: ") && why.contains("remove the target"),
        "{why}"
    );
}

#[test]
fn settings_that_cannot_work_are_mistakes_by_key() {
    let url = "url = 'https://example.com/x'\n";
    let only = |more: &str| {
        let mut mistakes = mistakes(KIND, &format!("{url}{more}"));
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes.remove(0)
    };
    assert!(only("").starts_with("secret: is missing: make one with"));
    for secret in [
        "'plain'",
        "'whsec_'",
        "'whsec_%%'",
        "['whsec_AAAA', 'plain']",
    ] {
        let why = only(&format!("secret = {secret}"));
        assert!(
            why.starts_with("secret: is no Standard Webhooks secret") && !why.contains("plain"),
            "{why}"
        );
    }
    assert!(
        only("secret = 'env:UNSET'").starts_with("secret: names the environment variable UNSET")
    );
    assert!(only("secret = 'whsec_AAAA'\nsign = false").starts_with("secret: is given although"));
    assert!(only("sign = false\nmethod = 'GET'").starts_with("method: is \"GET\""));
    assert!(
        only("sign = false\nheaders = { Host = 'x' }")
            .starts_with("headers.Host: is a header that is set")
    );
    assert!(only("sign = false\nheaders = { 'a b' = 'x' }").starts_with("headers.a b: is no name"));
    assert!(
        only("sign = false\nheaders = { a = \"x\\ny\" }")
            .starts_with("headers.a: holds characters")
    );
    assert!(
        only("sign = false\ncontent_type = 'text/plain'")
            .starts_with("content_type: is \"text/plain\", but without")
    );
    assert!(only("sign = false\nbody = '{{ nothing }}'").starts_with("body: names nothing"));
}

// rows: SM-20
#[test]
fn a_url_without_encryption_is_a_mistake_unless_it_is_asked_for() {
    let plain = format!(
        "url = 'http://hooks.example.com/x'\nsecret = '{}'\n",
        SECRETS[0]
    );
    assert!(mistakes(KIND, &plain)[0].starts_with("url: is sent to without encryption"));
    assert!(mistakes(KIND, &format!("{plain}allow_http = true")).is_empty());
}
