//! A platform's HTTP API: where it is, who asks, and what its answers mean.

use common::{
    delivery::{Answer, Outcome},
    outbound::{Outbound, Reply},
    settings::Section,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::super::{Setup, ticket};

/// What stays as it is in a part of a path (RFC 3986, 2.3). A `+` does not, since some read it as a space.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Of a page of a list no more than this is read.
const PAGE_LIMIT: usize = 16 << 20;

/// How a platform knows who asks.
pub(crate) enum Credential {
    Bearer(SecretString),
    Basic(String, SecretString),
    /// A header that is the secret, behind a word.
    Header(&'static str, &'static str, SecretString),
}

/// A platform's API.
pub(crate) struct Api {
    base: Url,
    outbound: Outbound,
    credential: Credential,
}

impl Api {
    /// Reads `url`, `allow_http` and `token`.
    pub(crate) fn read(
        section: &mut Section,
        setup: &Setup<'_>,
        default: Option<&str>,
        credential: impl FnOnce(SecretString) -> Credential,
    ) -> Option<Self> {
        let base = setup.outbound.read_url_or(section, default);
        let token = section.secret("token");
        Some(Self {
            base: base?,
            outbound: setup.outbound.clone(),
            credential: credential(token?),
        })
    }

    /// A request of the path that the parts make.
    pub(crate) fn request(&self, method: Method, parts: &[&str]) -> RequestBuilder {
        let request = self
            .outbound
            .request(method, ticket::join(&self.base, &path(parts)))
            .header("accept", "application/json");
        match &self.credential {
            Credential::Bearer(token) => request.bearer_auth(token.expose_secret()),
            Credential::Basic(name, token) => request.basic_auth(name, Some(token.expose_secret())),
            Credential::Header(name, word, token) => {
                let value = format!("{word}{}", token.expose_secret());
                match HeaderValue::from_str(&value) {
                    Ok(mut value) => {
                        value.set_sensitive(true);
                        request.header(*name, value)
                    }
                    // The request then cannot be built, which is what is said of it.
                    Err(_) => request.header(*name, value),
                }
            }
        }
    }

    /// Sends it.
    pub(crate) async fn exchange(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Reply, Answer> {
        Ok(self.outbound.exchange(request, deadline).await?)
    }

    /// Sends a request for a page of a list, and reads it. None if the answer is larger than is read at once.
    pub(crate) async fn page<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Option<T>, Answer> {
        page(&self.outbound, request, deadline).await
    }

    /// Sends JSON.
    pub(crate) async fn send(
        &self,
        method: Method,
        parts: &[&str],
        body: &Value,
        deadline: Instant,
    ) -> Result<Reply, Answer> {
        self.exchange(self.request(method, parts).json(body), deadline)
            .await
    }

    /// Sends no body.
    pub(crate) async fn ask(
        &self,
        method: Method,
        parts: &[&str],
        deadline: Instant,
    ) -> Result<Reply, Answer> {
        self.exchange(self.request(method, parts), deadline).await
    }
}

/// The same for a platform that makes its requests by itself.
pub(crate) async fn page<T: DeserializeOwned>(
    outbound: &Outbound,
    request: RequestBuilder,
    deadline: Instant,
) -> Result<Option<T>, Answer> {
    let sent = outbound.exchange_up_to(PAGE_LIMIT, request, deadline);
    let reply = sent.await?;
    if reply.body.len() == PAGE_LIMIT {
        return Ok(None);
    }
    read(reply).map(|(_, page)| Some(page))
}

/// What is said of a page that is larger than is read, where no smaller one can be asked for.
pub(crate) fn too_large() -> Answer {
    Answer::dead(format!(
        "answered with more than the {} MiB that are read at once",
        PAGE_LIMIT >> 20
    ))
}

/// A path of these parts.
pub(crate) fn path(parts: &[&str]) -> String {
    let encoded = parts
        .iter()
        .map(|part| utf8_percent_encode(part, UNRESERVED).to_string());
    encoded.collect::<Vec<_>>().join("/")
}

/// A 2xx, or else what the answer means. A credential that is refused is for a person to mend and no verdict on a contact.
pub(crate) fn accepted(reply: Reply) -> Result<Reply, Answer> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let mut answer = reply.answer();
    if matches!(reply.status.as_u16(), 401 | 403) {
        answer.outcome = Outcome::Retry {
            after: None,
            why: format!(
                "answered {}: the token is wrong, or may not do this",
                reply.status
            ),
        };
    }
    Err(answer)
}

/// A 2xx, read as the vendor documents it.
pub(crate) fn read<T: DeserializeOwned>(reply: Reply) -> Result<(Reply, T), Answer> {
    let reply = accepted(reply)?;
    let read = ticket::read(&reply)?;
    Ok((reply, read))
}
