//! What providers ask before they send, and what a signature wants to be fetched for.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::providers::{self, Sample};
use ingress::Calls;

use crate::{
    harness::{config, door, open_calling},
    queue::{Behaviour, TestQueue},
};

const SES: &str = "[[sources]]
name = 'ses'
provider = 'ses'
auth = { kind = 'signature', topics = ['arn:aws:sns:us-east-1:123456789012:ses-events'] }";

/// Of the key that the samples are signed by.
const CERTIFICATE: &[u8] = include_bytes!("../../../common/samples/ses/certificate.pem");

fn sample(name: &str) -> Sample {
    let samples = providers::find("ses").unwrap().samples();
    *samples.iter().find(|sample| sample.name == name).unwrap()
}

/// Calls that are noted, of which those for a certificate are answered with it and the others by `visited`.
fn noting(
    certificate: Option<&'static [u8]>,
    visited: Option<&'static [u8]>,
) -> (Calls, Arc<Mutex<Vec<String>>>) {
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = Arc::clone(&noted);
    let calls = Calls::by(Arc::new(move |url| {
        to.lock().unwrap().push(url.path().to_owned());
        let confirms = url.query_pairs().any(|(name, _)| name == "Action");
        let answer = if confirms { visited } else { certificate };
        Box::pin(async move { answer.map(Bytes::from_static) })
    }));
    (calls, noted)
}

#[tokio::test]
async fn a_message_is_checked_by_a_certificate_that_is_fetched_once() {
    let (calls, noted) = noting(Some(CERTIFICATE), None);
    let door = open_calling(&config(SES), TestQueue::new(Behaviour::Store), calls).await;
    for name in ["bounce", "complaint", "bounce"] {
        let body = sample(name).body();
        assert_eq!(
            door.post("/webhooks/ses", &[], body.as_bytes())
                .await
                .status,
            200,
            "{name}"
        );
        let forged = body.replace("jane@", "jone@");
        assert_eq!(
            door.post("/webhooks/ses", &[], forged.as_bytes())
                .await
                .status,
            401,
            "{name}"
        );
    }
    let other = sample("bounce").body().replace(":ses-events", ":theirs");
    assert_eq!(
        door.post("/webhooks/ses", &[], other.as_bytes())
            .await
            .status,
        401
    );
    assert_eq!(
        noted.lock().unwrap().len(),
        1,
        "and nothing for another's topic"
    );
}

#[tokio::test]
async fn without_the_certificate_the_message_is_to_be_sent_again() {
    let (calls, _) = noting(None, None);
    let door = open_calling(&config(SES), TestQueue::new(Behaviour::Store), calls).await;
    let answer = door
        .post("/webhooks/ses", &[], sample("bounce").body().as_bytes())
        .await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_subscription_to_a_pinned_topic_is_confirmed_before_it_is_answered() {
    let body = sample("confirmation").body().as_bytes();
    for (visited, status) in [(Some(&b""[..]), 200), (None, 503)] {
        let (calls, noted) = noting(Some(CERTIFICATE), visited);
        let door = open_calling(&config(SES), TestQueue::new(Behaviour::Store), calls).await;
        assert_eq!(door.post("/webhooks/ses", &[], body).await.status, status);
        assert_eq!(
            noted.lock().unwrap().len(),
            2,
            "the certificate, and the confirmation"
        );
    }
}

#[tokio::test]
async fn who_may_call_without_credentials_has_nobody_called() {
    let anybody = "[[sources]]\nname = 'ses'\nprovider = 'ses'\nauth = { kind = 'none' }";
    let (calls, noted) = noting(Some(CERTIFICATE), Some(b""));
    let door = open_calling(&config(anybody), TestQueue::new(Behaviour::Store), calls).await;
    let body = sample("confirmation").body().as_bytes();
    assert_eq!(door.post("/webhooks/ses", &[], body).await.status, 200);
    assert!(noted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_twilio_is_answered_is_nothing_that_it_would_pass_on() {
    let text = "[[sources]]\nname = 'sms'\nprovider = 'twilio'\nauth = { kind = 'none' }";
    let answer = door(text)
        .await
        .post(
            "/webhooks/sms",
            &[],
            b"MessageSid=SM1&From=%2B15551234567&Body=STOP",
        )
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "<Response/>"));
    assert_eq!(answer.header("content-type"), Some("text/xml"));
    let id = answer.header("x-optout-envelope").unwrap();
    assert!(id.parse::<uuid::Uuid>().is_ok(), "{id}");
}

#[tokio::test]
async fn an_event_that_comes_by_get_is_refused_where_a_probe_is_answered() {
    let door =
        door("[[sources]]\nname = 'sms'\nprovider = 'twilio'\nauth = { kind = 'none' }").await;
    for (path, status) in [
        ("/webhooks/sms", 200),
        ("/webhooks/sms?token=x", 200),
        (
            "/webhooks/sms?Body=STOP&MessageSid=SM1&From=%2B15558675310",
            405,
        ),
    ] {
        assert_eq!(door.request("GET", path).await.status, status, "{path}");
    }
    assert!(door.queue.envelopes().is_empty());
}
