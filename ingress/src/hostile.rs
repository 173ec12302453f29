//! What strangers may write into the headers and the URL, the credentials' reader withstands.

use axum::http::{HeaderValue, Request, header, request::Parts};
use common::config::Credential;
use hostile::{bytes, withstands};

use crate::auth::check_head;

fn credentials() -> [Credential; 4] {
    let secrets = || vec!["secret-one".into(), "s/e+c=r:et".into()];
    [
        Credential::Bearer { tokens: secrets() },
        Credential::Basic {
            username: "optout".to_owned(),
            passwords: secrets(),
        },
        Credential::Header {
            name: "x-token".to_owned(),
            secrets: secrets(),
        },
        Credential::Query {
            name: "token".to_owned(),
            secrets: secrets(),
        },
    ]
}

/// A request's head with these headers and this query, as far as HTTP lets such bytes through.
fn head(query: &[u8], authorization: &[u8], token: &[u8]) -> Option<Parts> {
    let query = query.iter().map(|byte| char::from(*byte));
    let uri = format!("/webhooks/a?{}", query.collect::<String>());
    let request = Request::post(uri)
        .header(
            header::AUTHORIZATION,
            HeaderValue::from_bytes(authorization).ok()?,
        )
        .header("x-token", HeaderValue::from_bytes(token).ok()?);
    Some(request.body(()).ok()?.into_parts().0)
}

#[test]
fn no_header_and_no_url_makes_the_credentials_reader_panic_or_lets_a_stranger_in() {
    // Near the right ones, and none of them right.
    let samples = [
        &b"Bearer secret-on"[..],
        b"Basic b3B0b3V0OnNlY3JldC1vbmU",
        b"Basic b3B0b3V0OnM",
        b"token=s%2Fe%2Bc%3Dr:e",
        b"to%6ben=secret&token=secret-one%00",
        b"secret-onee",
    ];
    let inputs = (bytes(samples), bytes(samples), bytes(samples));
    withstands(
        "credentials",
        file!(),
        &inputs,
        |(query, authorization, token)| {
            let Some(head) = head(&query, &authorization, &token) else {
                return;
            };
            let all = credentials();
            let right: Vec<_> = all
                .iter()
                .map(|credential| check_head(std::slice::from_ref(credential), &head).is_ok())
                .collect();
            assert_eq!(
                check_head(&all, &head).is_ok(),
                right.iter().all(|right| *right)
            );
            // Right is only what says the secret itself.
            let says = |bytes: &[u8], secret: &str| String::from_utf8_lossy(bytes).contains(secret);
            if right[0] {
                assert!(says(&authorization, "secret-one") || says(&authorization, "s/e+c=r:et"));
            }
            if right[2] {
                assert!(
                    ["secret-one", "s/e+c=r:et"]
                        .iter()
                        .any(|secret| token == secret.as_bytes())
                );
            }
        },
    );
}
