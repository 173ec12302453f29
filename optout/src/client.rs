//! What the commands share that talk to a running Optout.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use common::{
    config::{LoadError, Loaded, Role},
    startup,
};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

/// Loads the configuration and runs a command; what goes wrong is told on standard error, with exit status 1.
pub(crate) fn run<F>(path: Option<&Path>, command: impl FnOnce(Loaded) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let (loaded, ()) = match startup::load(path, |_| ()) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    block_on(command(loaded))
}

/// Runs a command that needs no whole configuration; what goes wrong is told likewise, with the usual exit status where no
/// configuration could be read at all.
pub(crate) fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(command));
    ended.unwrap_or_else(|error| {
        complain(&error);
        if error.is::<LoadError>() {
            ExitCode::from(startup::MISCONFIGURED)
        } else {
            ExitCode::FAILURE
        }
    })
}

#[expect(clippy::print_stderr, reason = "the answer of a command")]
fn complain(error: &anyhow::Error) {
    eprintln!("{error:#}");
}

/// How long a service of ours may keep silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// A client for our own services, which may well be on a private address. It has no deadline for the whole: an export may
/// take its time.
pub(crate) fn http() -> anyhow::Result<Client> {
    Ok(builder().read_timeout(SILENCE).build()?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the outbound client refuses private addresses, where our own services are"
)]
fn builder() -> ClientBuilder {
    // Fails only if it is installed already.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .tcp_keepalive(SILENCE)
}

/// Where the api is, and the key to ask it with.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Reach {
    /// The api to ask; else the configured one
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file that holds the key to ask with; else the first of api.keys whose role suffices
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

/// The api of a running Optout.
#[derive(Debug)]
pub(crate) struct Api {
    http: Client,
    base: Url,
    key: SecretString,
}

impl Api {
    /// The api that is reached so, with a key that may do what `needed` may.
    pub(crate) fn new(loaded: &Loaded, reach: &Reach, needed: Role) -> anyhow::Result<Self> {
        let api = &loaded.config.api;
        let base = match &reach.url {
            Some(url) => Url::parse(url).with_context(|| format!("--url {url} is no URL"))?,
            None => Url::parse(&format!("http://{}", api.bind))?,
        };
        let configured = || {
            let fit = api.keys.iter().find(|key| key.role >= needed)?;
            fit.keys.first().cloned()
        };
        let key = match &reach.key_file {
            Some(path) => read_key(path)?,
            None => configured().with_context(|| {
                format!("none of api.keys has the role {needed}: configure one, or give --key-file with one that `optout keys create` made")
            })?,
        };
        Ok(Self {
            http: http()?,
            base,
            key,
        })
    }

    /// The same for a request that is answered only when its body has been dealt with, however long that takes: there
    /// silence is no failure. That the host is gone is noticed by TCP.
    pub(crate) fn patient(self) -> anyhow::Result<Self> {
        let http = builder().build()?;
        Ok(Self { http, ..self })
    }

    /// Where `path` is, which begins with a slash.
    pub(crate) fn at(&self, path: &str) -> anyhow::Result<Url> {
        Ok(self.base.join(path)?)
    }

    /// A request to `path`.
    pub(crate) fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let request = self.http.request(method, self.at(path)?);
        Ok(request.bearer_auth(self.key.expose_secret()))
    }

    /// Sends the request; an answer that is no success is an error that says what the api says.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = request.send().await;
        let answer = answer.with_context(|| format!("no answer from the api at {}", self.base))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let problem: Value = answer.json().await.unwrap_or_default();
        match problem["detail"].as_str() {
            Some(detail) => bail!("the api answers {status}: {detail}"),
            None => bail!("the api answers {status}"),
        }
    }

    /// Sends the request and reads the answer.
    pub(crate) async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = self.send(request).await?;
        answer.json().await.context("the api's answer is no JSON")
    }
}

fn read_key(path: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--key-file {} cannot be read", path.display()))?;
    Ok(text.trim().into())
}
