//! Any URL: an internal tool, Zapier, n8n, and the endpoints that users register over the api.
//!
//! Signed by Standard Webhooks: `webhook-id` is the delivery's id, the same at every attempt, `webhook-timestamp` is
//! the attempt's. While a secret is rotated, list both: each is signed with. A secret is `whsec_` and base64 and nothing
//! else: the receivers' libraries decode what comes after the prefix, so a plain text would sign with one key here and
//! another there. Unsigned is a choice that is written out.
//!
//! Settings: `url` (secret), `allow_http`, `secret` (one or several) or `sign = false`, `headers` (a table; values may be
//! `env:NAME`), `method` (`POST`), `body` (a template; the default is SentinMail's event payload), `content_type`
//! (`application/json`).

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use common::{
    delivery::{Answer, Delivery},
    outbound::Outbound,
    settings::Section,
    webhook::{self, Key, Payload},
};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    Ask, Guide, Kind, Probe, Setup, Target, Wanted,
    template::{Format, Template},
};

pub(super) const KIND: Kind = Kind {
    name: "http",
    rate: None,
    guide: Guide {
        title: "the system",
        asks: &[
            Ask::secret("url", "the URL that is told"),
            Ask {
                key: "secret",
                what: "the secret by which requests are signed",
                answer: Wanted::Signing,
            },
        ],
        events: &["*"],
        steps: &[
            "Have it verify each request by the secret, with a library of Standard Webhooks, from the raw body and the headers webhook-id, webhook-timestamp and webhook-signature.",
        ],
    },
    build,
};

/// What the target sets itself, or what would break the request.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

struct Http {
    url: Url,
    method: Method,
    headers: HeaderMap,
    /// None of them where the target is not to be signed for.
    keys: Vec<Key>,
    body: Option<Template>,
    outbound: Outbound,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = setup.outbound.read_url(section);
    let keys = keys(section);
    let method = method(section);
    let headers = headers(section);
    let media_type = section.or("content_type", "application/json".to_owned());
    let has_body = section.keys().iter().any(|key| key == "body");
    let format = Format::of(&media_type);
    let body = has_body.then(|| Template::required(section, "body", format));
    let Ok(content_type) = HeaderValue::from_str(&media_type) else {
        section.mistake(
            "content_type",
            format!("is {media_type:?}, but a media type such as \"text/plain\" is needed"),
        );
        return None;
    };
    if !has_body && format != Format::Json {
        section.mistake(
            "content_type",
            format!("is {media_type:?}, but without a body template JSON is sent"),
        );
        return None;
    }
    let mut headers = headers?;
    headers.insert(CONTENT_TYPE, content_type);
    if matches!(body, Some(None)) {
        return None;
    }
    Some(Box::new(Http {
        url: url?,
        method: method?,
        headers,
        keys: keys?,
        body: body.flatten(),
        outbound: setup.outbound.clone(),
    }))
}

/// The target that a registered endpoint is.
pub(crate) fn endpoint(url: Url, keys: Vec<Key>, outbound: Outbound) -> Box<dyn Target> {
    let json = HeaderValue::from_static("application/json");
    Box::new(Http {
        url,
        method: Method::POST,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
        keys,
        body: None,
        outbound,
    })
}

/// The signing keys, none of them where `sign = false`.
fn keys(section: &mut Section) -> Option<Vec<Key>> {
    let sign = section.or("sign", true);
    let given = section.keys().iter().any(|key| key == "secret");
    match (sign, given) {
        (false, false) => return Some(vec![]),
        (false, true) => {
            section.secrets("secret");
            section.mistake(
                "secret",
                "is given although sign = false: take one of them out",
            );
            return None;
        }
        (true, false) => {
            section.mistake(
                "secret",
                "is missing: make one with `echo whsec_$(openssl rand -base64 32)`, or set sign = false",
            );
            return None;
        }
        (true, true) => {}
    }
    let before = section.mistakes().len();
    let keys: Option<Vec<_>> = section.secrets("secret").iter().map(Key::of).collect();
    if keys.is_none() {
        section.mistake(
            "secret",
            "is no Standard Webhooks secret, which is whsec_ and base64: make one with \
             `echo whsec_$(openssl rand -base64 32)`",
        );
    }
    keys.filter(|_| section.mistakes().len() == before)
}

fn method(section: &mut Section) -> Option<Method> {
    match section.or("method", "POST".to_owned()).as_str() {
        "POST" => Some(Method::POST),
        "PUT" => Some(Method::PUT),
        "PATCH" => Some(Method::PATCH),
        other => {
            section.mistake(
                "method",
                format!("is {other:?}, but POST, PUT or PATCH is needed"),
            );
            None
        }
    }
}

fn headers(section: &mut Section) -> Option<HeaderMap> {
    let mut table = section.section("headers");
    let mut headers = HeaderMap::new();
    let before = section.mistakes().len();
    for key in table.keys() {
        let secret = table.optional_secret(&key);
        let name = HeaderName::from_bytes(key.as_bytes());
        let value = secret.map(|secret| HeaderValue::from_str(secret.expose_secret()));
        match (name, value) {
            (Err(_), _) => table.mistake(&key, "is no name of a header"),
            (Ok(name), _) if RESERVED.contains(&name.as_str()) => {
                table.mistake(
                    &key,
                    "is a header that is set for each request and cannot be another",
                );
            }
            (Ok(_), Some(Err(_))) => {
                table.mistake(&key, "holds characters that a header cannot have");
            }
            (Ok(name), Some(Ok(mut value))) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (Ok(_), None) => {}
        }
    }
    (section.mistakes().len() == before).then_some(headers)
}

#[async_trait]
impl Target for Http {
    async fn probe(&self) -> Probe {
        Probe::Unasked("every request to it tells it of an event: a test of the target sends one")
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            answers.push(self.send(delivery).await.unwrap_or_else(|answer| answer));
        }
        answers
    }
}

impl Http {
    async fn send(&self, delivery: &Delivery) -> Result<Answer, Answer> {
        let body = match &self.body {
            Some(template) => template.render(delivery)?.into_bytes(),
            None => Payload::from(delivery).to_json(),
        };
        let request = self
            .outbound
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone());
        let signed = webhook::sign(request, &self.keys, delivery.id, body);
        let reply = self
            .outbound
            .exchange(signed, self.outbound.deadline())
            .await?;
        Ok(reply.answer())
    }
}
