//! What the browser's headers tell: the session that it holds, whether TLS is between us, and whether another website
//! sent the form.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use common::ledger::LONGEST;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

const COOKIE: &str = "optout_session";

/// Over TLS. Browsers take a cookie of such a name only with `Secure`, for the one host, so no sister domain can plant one.
const SECURE_COOKIE: &str = "__Host-optout_session";

/// Whether the request came to the proxy before us over TLS. Who lies here makes their own cookie useless.
fn is_secure(headers: &HeaderMap) -> bool {
    headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn name(headers: &HeaderMap) -> &'static str {
    if is_secure(headers) {
        SECURE_COOKIE
    } else {
        COOKIE
    }
}

/// The session's token that the browser holds.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let name = name(headers);
    let given = headers.get_all(header::COOKIE).into_iter();
    let pairs = given.filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Gives the browser a session to hold, or takes it away.
pub(super) fn cookie(
    headers: &HeaderMap,
    token: Option<&SecretString>,
) -> [(HeaderName, HeaderValue); 1] {
    let (value, age) = token.map_or(("", 0), |token| (token.expose_secret(), LONGEST.as_secs()));
    let secure = if is_secure(headers) { "; Secure" } else { "" };
    let text = format!(
        "{}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}",
        name(headers)
    );
    let value = HeaderValue::from_str(&text).expect("a token is letters, digits, - and _");
    [(header::SET_COOKIE, value)]
}

/// Whether another website caused this request. A browser says so itself, unless it is old or there is neither TLS nor
/// this very machine between; then the origin that it names has to be the host that it asks.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| Url::parse(origin).ok());
    let authority = origin.as_ref().map(Url::authority);
    authority.is_none_or(|authority| {
        let asked = [text("host"), text("x-forwarded-host")];
        !asked
            .into_iter()
            .flatten()
            .any(|host| bare(host) == authority)
    })
}

/// A host without the port that goes without saying.
fn bare(host: &str) -> &str {
    let host = host.trim();
    host.strip_suffix(":80")
        .or_else(|| host.strip_suffix(":443"))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = given.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn what_another_website_sent_is_told_by_what_browsers_say() {
        let host = ("host", "optout.example:8081");
        for (said, foreign) in [
            (vec![host], false),
            (vec![host, ("sec-fetch-site", "same-origin")], false),
            (vec![host, ("sec-fetch-site", "none")], false),
            (vec![host, ("sec-fetch-site", "same-site")], true),
            (vec![host, ("sec-fetch-site", "cross-site")], true),
            (vec![host, ("origin", "http://optout.example:8081")], false),
            (vec![host, ("origin", "http://optout.example")], true),
            (vec![host, ("origin", "https://evil.example")], true),
            (vec![host, ("origin", "null")], true),
            (vec![host, ("origin", "")], true),
            (vec![("origin", "http://optout.example")], true),
            (
                vec![("host", "127.0.0.1:443"), ("origin", "https://127.0.0.1")],
                false,
            ),
            (
                vec![
                    host,
                    ("x-forwarded-host", "lists.example"),
                    ("origin", "https://lists.example"),
                ],
                false,
            ),
        ] {
            assert_eq!(is_foreign(&headers(&said)), foreign, "{said:?}");
        }
    }

    #[test]
    fn over_tls_none_but_the_cookie_that_needs_it_is_read() {
        let both = "a=b; optout_session=plain; __Host-optout_session=safe";
        let plain = headers(&[("cookie", both)]);
        assert_eq!(token(&plain), Some("plain"));
        let tls = headers(&[("cookie", both), ("x-forwarded-proto", "https")]);
        assert_eq!(token(&tls), Some("safe"));
        let [(_, given)] = cookie(&tls, Some(&"abc".into()));
        let text =
            "__Host-optout_session=abc; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(given, text);
        let [(_, taken)] = cookie(&plain, None);
        let text = "optout_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict";
        assert_eq!(taken, text);
    }
}
