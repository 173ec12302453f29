//! Who may send webhooks, and what everybody else is told.

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{
    config::Config,
    envelope::Envelope,
    event::Draft,
    providers::{Adapter, Keys, Malformed, Need, Provider, Rejected, Request, Sample},
    queue::Priority,
};
use secrecy::ExposeSecret;

use crate::{
    harness::{config, door, open},
    queue::{Behaviour, TestQueue},
};

fn source(auth: &str) -> String {
    format!("[[sources]]\nname = 'a'\nprovider = 'postmark'\nauth = {auth}")
}

fn basic(credentials: impl AsRef<[u8]>) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

/// Posts with each header; gives the statuses. All refusals must read the same.
async fn statuses(auth: &str, header: &str, values: &[&str]) -> Vec<u16> {
    let door = door(&source(auth)).await;
    let missing = door.post("/webhooks/a", &[], b"{}").await;
    assert_eq!(missing.status, 401);
    assert_eq!(
        missing.header("content-type"),
        Some("application/problem+json")
    );
    let mut statuses = vec![];
    for value in values {
        let answer = door.post("/webhooks/a", &[(header, value)], b"{}").await;
        if answer.status != 200 {
            assert_eq!(answer.says(), missing.says(), "{value}");
        }
        statuses.push(answer.status);
    }
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(door.queue.envelopes().len(), taken);
    statuses
}

#[tokio::test]
async fn a_bearer_token_is_any_of_those_configured_and_its_scheme_in_any_case() {
    let values = [
        "Bearer old",
        "bearer new",
        "BEARER  new",
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        "old",
        "Basic old",
    ];
    let statuses = statuses(
        "{ kind = 'bearer', token = ['old', 'new'] }",
        "authorization",
        &values,
    )
    .await;
    assert_eq!(statuses, [200, 200, 200, 401, 401, 401, 401, 401]);
}

// rows: NB-15, SM-24
#[tokio::test]
async fn basic_credentials_are_utf8_split_at_the_first_colon() {
    let auth = "{ kind = 'basic', username = 'optöut', password = ['a:b', 'new'] }";
    let encoded = [
        basic("optöut:a:b"),
        basic("optöut:new").replace("Basic", "bAsIc"),
        basic("optöut:new").trim_end_matches('=').to_owned(),
        basic("optöut:a"),
        basic("optout:new"),
        basic("optöut"),
        basic(":"),
        basic([0xff, b':', 0xff]),
        "Basic %%%".to_owned(),
    ];
    let values: Vec<_> = encoded.iter().map(String::as_str).collect();
    let statuses = statuses(auth, "authorization", &values).await;
    assert_eq!(statuses, [200, 200, 200, 401, 401, 401, 401, 401, 401]);
}

#[tokio::test]
async fn a_secret_header_is_compared_whole() {
    let auth = "{ kind = 'header', name = 'X-Secret', secret = ['one', 'two'] }";
    let statuses = statuses(auth, "x-SECRET", &["one", "two", "on", "onee", "One", ""]).await;
    assert_eq!(statuses, [200, 200, 401, 401, 401, 401]);
}

// rows: NB-14, NB-15, SM-24
#[tokio::test]
async fn a_bare_url_with_a_token_is_enough() {
    let door = door(&source(
        "{ kind = 'query', name = 'token', secret = ['s/e+c=r', 'new'] }",
    ))
    .await;
    let queries = [
        ("?token=s%2Fe%2Bc%3Dr", 200),
        ("?token=s/e+c=r", 200),
        ("/?x=y&token=new", 200),
        ("?token=wrong", 401),
        ("?token=", 401),
        ("?Token=new", 401),
        ("", 401),
    ];
    for (query, status) in queries {
        assert_eq!(
            door.post(&format!("/webhooks/a{query}"), &[], b"{}")
                .await
                .status,
            status,
            "{query}"
        );
    }
}

#[tokio::test]
async fn of_a_list_all_must_hold() {
    let auth =
        "[{ kind = 'bearer', token = 'b' }, { kind = 'header', name = 'x-secret', secret = 'h' }]";
    let door = door(&source(auth)).await;
    for (bearer, secret, status) in [
        ("b", "h", 200),
        ("b", "x", 401),
        ("x", "h", 401),
        ("x", "x", 401),
    ] {
        let headers = [
            ("authorization", &*format!("Bearer {bearer}")),
            ("x-secret", secret),
        ];
        assert_eq!(
            door.post("/webhooks/a", &headers, b"{}").await.status,
            status,
            "{bearer} {secret}"
        );
    }
    assert_eq!(
        door.post("/webhooks/a", &[("authorization", "Bearer b")], b"{}")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_401_asks_for_the_scheme_that_the_source_wants() {
    for (auth, challenge) in [
        ("{ kind = 'bearer', token = 'x' }", Some("Bearer")),
        (
            "{ kind = 'basic', username = 'x', password = 'x' }",
            Some("Basic realm=\"optout\""),
        ),
        ("{ kind = 'query', name = 'x', secret = 'x' }", None),
    ] {
        let answer = door(&source(auth))
            .await
            .post("/webhooks/a", &[], b"{}")
            .await;
        assert_eq!(answer.header("www-authenticate"), challenge, "{auth}");
    }
}

#[tokio::test]
async fn a_stranger_is_refused_before_any_of_the_body_is_read() {
    let door = door(&source("{ kind = 'bearer', token = 'x' }")).await;
    // The body never comes.
    let answer = door.send(b"POST /webhooks/a HTTP/1.1\r\nhost: door\r\nconnection: close\r\ncontent-length: 9\r\n\r\n").await;
    assert_eq!(answer.status, 401);
}

/// Signs with the sum of the body's bytes, and refuses by a code of its own.
#[derive(Debug)]
struct Signing;

impl Provider for Signing {
    fn name(&self) -> &'static str {
        "signing"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret]
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let sum: u32 = request.body.iter().map(|byte| u32::from(*byte)).sum();
        let signatures = keys
            .secrets
            .iter()
            .map(|key| format!("{}{sum}", key.expose_secret()));
        let given = request.header.get("x-signature").ok_or(Rejected)?;
        if signatures.into_iter().any(|signature| signature == given) {
            Ok(())
        } else {
            Err(Rejected)
        }
    }

    fn priority(&self, _: &[u8]) -> Priority {
        Priority::Urgent
    }

    fn parse(&self, _: &Envelope) -> Result<Vec<Result<Draft, Malformed>>, Malformed> {
        Ok(vec![])
    }

    fn samples(&self) -> &'static [Sample] {
        &[]
    }
}

fn signing(also: &str) -> Config {
    let mut config = config(&source(also));
    config.sources[0].provider = Adapter::Known(&Signing);
    let keys = Keys {
        secrets: vec!["old".into(), "new".into()],
        ..Keys::default()
    };
    config.sources[0]
        .credentials
        .push(common::config::Credential::Signature(keys));
    config
}

#[tokio::test]
async fn a_signature_is_checked_over_the_raw_body_by_the_provider() {
    let door = open(
        &signing("{ kind = 'none' }"),
        TestQueue::new(Behaviour::Store),
    )
    .await;
    for (signature, body, status) in [
        ("old3", &b"\x01\x02"[..], 200),
        ("new3", b"\x01\x02", 200),
        ("new3", b"\x01\x02\x01", 401),
        ("new", b"\x01\x02", 401),
        ("other3", b"\x01\x02", 401),
    ] {
        let answer = door
            .post("/webhooks/a", &[("x-signature", signature)], body)
            .await;
        assert_eq!(answer.status, status, "{signature} {body:?}");
    }
    assert_eq!(door.post("/webhooks/a", &[], b"").await.status, 401);
    assert_eq!(door.queue.envelopes().len(), 2);
}

#[tokio::test]
async fn a_signature_and_a_token_must_both_hold() {
    let config = signing("{ kind = 'query', name = 't', secret = 'x' }");
    let door = open(&config, TestQueue::new(Behaviour::Store)).await;
    for (path, signature, status) in [
        ("/webhooks/a?t=x", "old1", 200),
        ("/webhooks/a?t=x", "old2", 401),
        ("/webhooks/a?t=y", "old1", 401),
    ] {
        let answer = door
            .post(path, &[("x-signature", signature)], b"\x01")
            .await;
        assert_eq!(answer.status, status, "{path} {signature}");
    }
}
