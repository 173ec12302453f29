//! A signature that does not cover the body lets one request in, with its repeats.

use common::{
    clock,
    contact::Contact,
    envelope::{self, Envelope},
    providers::{self, Keys},
};
use uuid::Uuid;

use crate::bench::{Bench, inbound};

const SOURCES: &str = "
    [[sources]]
    name = 'signed'
    provider = 'mailgun'
    auth = { kind = 'signature', secret = 's3cret' }
    [[sources]]
    name = 'guarded'
    provider = 'mailgun'
    auth = { kind = 'basic', username = 'mailgun', password = 's3cret' }";

/// A click as Mailgun signs it.
fn clicked() -> String {
    let mailgun = providers::find("mailgun").unwrap();
    let mut samples = mailgun.samples().iter();
    let sample = samples.find(|sample| sample.name == "clicked").unwrap();
    let keys = Keys {
        secrets: vec!["s3cret".into()],
        ..Keys::default()
    };
    let proof = mailgun.prove(sample, &keys, clock::now());
    proof.unwrap().body
}

/// What whoever saw it may make of it.
fn made_up(seen: &str) -> String {
    assert!(seen.contains("\"clicked\"") && seen.contains("alice@example.com"));
    seen.replace("\"clicked\"", "\"unsubscribed\"")
        .replace("alice@example.com", "victim@example.com")
}

async fn publish(bench: &Bench, source: &str, body: &str) -> Uuid {
    let envelope = Envelope {
        id: Uuid::now_v7(),
        source: source.to_owned(),
        received_at: clock::now(),
        content_type: Some("application/json".to_owned()),
        headers: vec![],
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
    };
    bench
        .publish(inbound(), envelope::encode([&envelope]))
        .await;
    envelope.id
}

async fn is_suppressed(bench: &Bench, email: &str) -> bool {
    let contact = Contact::email(email).unwrap();
    let found = bench.ledger.check(&contact, None).await;
    !found.unwrap().is_empty()
}

#[tokio::test]
async fn who_saw_a_request_can_have_no_other_taken_by_its_signature_and_a_repeat_is_a_duplicate() {
    let bench = Bench::with("", SOURCES).await;
    let seen = clicked();
    let first = publish(&bench, "signed", &seen).await;
    bench.work();
    bench.log_has(1).await;
    publish(&bench, "signed", &seen).await;
    let forged = publish(&bench, "signed", &made_up(&seen)).await;
    let held = bench.held(1).await;
    assert_eq!(held[0].envelope_id, forged);
    assert!(
        held[0].reason.contains(&first.to_string()),
        "{}",
        held[0].reason
    );
    assert!(!is_suppressed(&bench, "victim@example.com").await);
    // Signed anew, it is another request.
    publish(&bench, "signed", &made_up(&clicked())).await;
    bench.log_has(2).await;
    assert!(is_suppressed(&bench, "victim@example.com").await);
    bench.held(1).await;
}

#[tokio::test]
async fn where_no_signature_is_checked_a_token_keeps_nothing_out() {
    let bench = Bench::with("", SOURCES).await;
    let seen = clicked();
    publish(&bench, "guarded", &seen).await;
    bench.work();
    bench.log_has(1).await;
    publish(&bench, "guarded", &made_up(&seen)).await;
    bench.log_has(2).await;
    assert!(is_suppressed(&bench, "victim@example.com").await);
}
