//! Credentials: what a request has to prove before it is taken.
//!
//! All of a source's credentials must hold; of several secrets any will do. Every one is compared, in constant time, also
//! when an earlier one has failed and when nothing was given: neither the time nor the answer tells a wrong secret from
//! a missing one.

use std::fmt;

use axum::http::{HeaderMap, header, request::Parts};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use common::{
    config::{Credential, Source},
    providers::{Headers, Rejected, Request},
    signature::{any_equal, equal},
};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use url::Url;

/// Senders differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Checks all that a request's head can prove, before its body is read: a stranger does not make us buffer.
pub(crate) fn check_head(credentials: &[Credential], head: &Parts) -> Result<(), Rejected> {
    all(credentials.iter().map(|credential| match credential {
        Credential::Bearer { tokens } => {
            let token = authorization(&head.headers, "bearer").unwrap_or_default();
            any_equal(token.as_bytes(), tokens)
        }
        Credential::Basic {
            username,
            passwords,
        } => {
            let given = authorization(&head.headers, "basic")
                .and_then(decode_basic)
                .unwrap_or_default();
            let (name, password) = given.split_once(':').unwrap_or_default();
            equal(name.as_bytes(), username.as_bytes()) & any_equal(password.as_bytes(), passwords)
        }
        Credential::Header { name, secrets } => {
            let given = head
                .headers
                .get(name)
                .map_or(&b""[..], |value| value.as_bytes());
            any_equal(given, secrets)
        }
        Credential::Query { name, secrets } => {
            any_equal(&query_value(head.uri.query(), name), secrets)
        }
        Credential::Signature(_) => true,
    }))
}

/// Where the certificate stands without which the provider's own signature cannot be checked.
pub(crate) fn certificate(
    source: &Source,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Option<Url> {
    let header = Lookup(headers);
    let request = Request::new(&header, body, now);
    let mut credentials = source.credentials.iter();
    credentials.find_map(|credential| match credential {
        Credential::Signature(keys) => source.provider.certificate(&request, keys),
        Credential::Bearer { .. }
        | Credential::Basic { .. }
        | Credential::Header { .. }
        | Credential::Query { .. } => None,
    })
}

/// Checks the provider's own signature over the raw body, where the source asks for it.
pub(crate) fn check_body(
    source: &Source,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    certificate: Option<&[u8]>,
) -> Result<(), Rejected> {
    let header = Lookup(headers);
    let request = Request {
        certificate,
        ..Request::new(&header, body, now)
    };
    all(source
        .credentials
        .iter()
        .map(|credential| match credential {
            Credential::Signature(keys) => source.provider.verify(&request, keys).is_ok(),
            Credential::Bearer { .. }
            | Credential::Basic { .. }
            | Credential::Header { .. }
            | Credential::Query { .. } => true,
        }))
}

/// What `WWW-Authenticate` asks for. A secret header, a token in the URL and a signature have no scheme to ask by.
pub(crate) fn challenges(credentials: &[Credential]) -> impl Iterator<Item = &'static str> {
    credentials
        .iter()
        .filter_map(|credential| match credential {
            Credential::Bearer { .. } => Some("Bearer"),
            Credential::Basic { .. } => Some("Basic realm=\"optout\""),
            Credential::Header { .. } | Credential::Query { .. } | Credential::Signature(_) => None,
        })
}

/// Whether a header holds a secret of this source, and so is never kept.
pub(crate) fn is_secret(credentials: &[Credential], header: &str) -> bool {
    let named = credentials.iter().any(|credential| match credential {
        Credential::Header { name, .. } => name == header,
        Credential::Bearer { .. }
        | Credential::Basic { .. }
        | Credential::Query { .. }
        | Credential::Signature(_) => false,
    });
    named || matches!(header, "authorization" | "proxy-authorization" | "cookie")
}

/// Not `all`, which would stop at the first that fails.
fn all(checks: impl Iterator<Item = bool>) -> Result<(), Rejected> {
    let hold = checks.fold(true, |hold, check| hold & check);
    if hold { Ok(()) } else { Err(Rejected) }
}

/// What follows the scheme, whose name is case-insensitive, in an `Authorization` header.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let given = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    given
        .filter_map(|value| value.trim().split_once(' '))
        .find(|(name, _)| name.eq_ignore_ascii_case(scheme))
        .map(|(_, value)| value.trim_start())
}

fn decode_basic(encoded: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(encoded).ok()?).ok()
}

/// The first value of `name`, percent-decoded; a plus sign is a plus sign. Empty if it is not there.
fn query_value(query: Option<&str>, name: &str) -> Vec<u8> {
    let pairs = query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut named = pairs.filter(|(key, _)| percent_decode_str(key).eq(name.bytes()));
    named
        .next()
        .map(|(_, value)| percent_decode_str(value).collect())
        .unwrap_or_default()
}

/// The headers as providers see them. Their values do not show in a `{:?}`.
struct Lookup<'a>(&'a HeaderMap);

impl fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Headers for Lookup<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_url_is_percent_decoded_and_keeps_its_plus_signs() {
        let value = |query| String::from_utf8(query_value(query, "token")).unwrap();
        assert_eq!(value(Some("a=b&token=x%2Fy%3D+z&token=second")), "x/y=+z");
        assert_eq!(value(Some("to%6ben=x")), "x");
        assert_eq!(value(Some("token")), "");
        assert_eq!(value(Some("tokens=x")), "");
        assert_eq!(value(None), "");
    }

    #[test]
    fn the_debug_form_of_headers_shows_no_value() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer s3cret".parse().unwrap());
        assert_eq!(format!("{:?}", Lookup(&headers)), "[\"authorization\"]");
    }
}
