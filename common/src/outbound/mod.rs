//! The one HTTP client by which anything leaves: no redirects, no proxy, one deadline for the whole exchange, a bounded
//! answer, and no private, loopback or link-local address unless `outbound.allow_networks` lists it.
//!
//! What it says of a failure never holds the URL, whose path or query may be a secret.

mod address;
#[cfg(test)]
mod rebinding;
mod reply;
#[cfg(test)]
mod tests;

use std::{error::Error as _, sync::Arc, time::Duration};

use ipnet::IpNet;
use reqwest::{Client, Method, Request, RequestBuilder, redirect};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::{delivery::Answer, settings::Section};
use address::{Guard, System};

pub use address::Refused;
pub use reply::{Reply, excerpt};

/// How long an exchange may take where the target does not say otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Of an answer no more than this is read, unless more is asked for; then the connection is dropped.
const ANSWER_LIMIT: usize = 64 << 10;

/// The way out. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: Client,
    guard: Guard,
    timeout: Duration,
}

/// Why there was no answer. None of these is final: names, addresses, networks and configurations change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no complete answer within {0:?}")]
    Deadline(Duration),
    #[error("the request could not be made or its answer not be read")]
    Exchange(#[source] reqwest::Error),
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make the outbound HTTP client")]
pub struct NoClient(#[source] reqwest::Error);

impl Outbound {
    /// `allow_networks` is what may be reached although it is not public.
    pub fn new(allow_networks: Vec<IpNet>, timeout: Duration) -> Result<Self, NoClient> {
        Self::over(Guard::new(allow_networks, Arc::new(System)), timeout)
    }

    fn over(guard: Guard, timeout: Duration) -> Result<Self, NoClient> {
        // An error means that the process has a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the client that the ban points to"
        )]
        let client = Client::builder()
            .user_agent(concat!("optout/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(30))
            .dns_resolver(guard.clone())
            .build()
            .map_err(NoClient)?;
        Ok(Self {
            client,
            guard,
            timeout,
        })
    }

    /// The same way out with another time limit: a target's own.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// How long one attempt may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When an attempt that starts now has to be over.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Whether a target may have this URL, as far as can be known without asking a name server.
    pub fn check_url(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("is no URL of the web: https:// is needed".to_owned());
        }
        self.guard.check(url).map_err(|refused| refused.to_string())
    }

    /// Reads the `url` of a target, shown masked since its path may be a secret, and `allow_http`.
    ///
    /// Without encryption whoever stands between reads addresses and credentials, so `http://` is taken only where
    /// `allow_http` says so or the host is an address in `outbound.allow_networks`.
    pub fn read_url(&self, section: &mut Section) -> Option<Url> {
        self.read_url_or(section, None)
    }

    /// The same, where a system that has one address needs none to be written.
    pub fn read_url_or(&self, section: &mut Section, default: Option<&str>) -> Option<Url> {
        let allow_http = section.or("allow_http", false);
        let text = section.secret_url("url", default)?;
        let checked = match Url::parse(text.expose_secret()) {
            Err(error) => Err(format!("is no URL: {error}")),
            Ok(url) if url.scheme() == "http" && !allow_http && !self.guard.lists(&url) => Err(
                "is sent to without encryption: use https://, or set allow_http = true to have it so all the same"
                    .to_owned(),
            ),
            Ok(url) => self.check_url(&url).map(|()| url),
        };
        checked.map_err(|why| section.mistake("url", why)).ok()
    }

    /// A request, to be filled in and given to [`Outbound::exchange`].
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request and reads the answer, all before `deadline`.
    pub async fn exchange(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        self.exchange_up_to(ANSWER_LIMIT, request, deadline).await
    }

    /// The same, where the answer may have so many bytes.
    pub async fn exchange_up_to(
        &self,
        most: usize,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let request = request.build().map_err(Error::exchange)?;
        self.guard.check(request.url())?;
        timeout_at(deadline, self.send(request, most))
            .await
            .map_err(|_| Error::Deadline(self.timeout))?
    }

    async fn send(&self, request: Request, most: usize) -> Result<Reply, Error> {
        let mut response = self
            .client
            .execute(request)
            .await
            .map_err(Error::exchange)?;
        let mut reply = Reply::new(response.status(), response.headers());
        while reply.body.len() < most {
            match response.chunk().await.map_err(Error::exchange)? {
                Some(chunk) => reply
                    .body
                    .extend_from_slice(&chunk[..chunk.len().min(most - reply.body.len())]),
                None => break,
            }
        }
        Ok(reply)
    }
}

impl Error {
    fn exchange(error: reqwest::Error) -> Self {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(refused) = inner.downcast_ref::<Refused>() {
                return Self::Refused(refused.clone());
            }
            cause = inner.source();
        }
        Self::Exchange(error.without_url())
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            why = format!("{why}: {inner}");
            cause = inner.source();
        }
        Self::retry(why)
    }
}
