//! `optout check CONTACT`: what a sender would be answered. Exit status 0 for "may be mailed", 2 for "unsubscribed".

use std::process::ExitCode;

use anyhow::{Context, bail};
use common::{
    config::Loaded,
    contact::{Channel, Contact},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use crate::client;

/// The exit status for a contact that must not be sent to.
const UNSUBSCRIBED: u8 = 2;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// An email address, or a phone number such as +15551234567
    contact: String,
    /// A stream, list or purpose; without it the strictest answer is given
    #[arg(long)]
    scope: Option<String>,
    /// The api to ask; else the configured one
    #[arg(long)]
    url: Option<String>,
    /// The answer as it came
    #[arg(long)]
    json: bool,
}

pub(crate) async fn check(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let api = &loaded.config.api;
    let base = options.url.as_ref();
    let base = base.map_or_else(|| format!("http://{}", api.bind), Clone::clone);
    let url = question(
        &base,
        &Contact::parse(&options.contact)?,
        options.scope.as_deref(),
    )?;
    let key = api.keys.first().and_then(|key| key.keys.first());
    let key = key.context("no api.keys are configured to ask with")?;
    let request = client::http()?.get(url).bearer_auth(key.expose_secret());
    let answer = request.send().await;
    let answer = answer.with_context(|| format!("no answer from the api at {base}"))?;
    let status = answer.status();
    let body: Value = answer.json().await.context("the api's answer is no JSON")?;
    if !status.is_success() {
        let detail = body["detail"].as_str().unwrap_or_default();
        bail!("the api answers {status}: {detail}");
    }
    let unsubscribed = body["unsubscribed"].as_bool();
    let unsubscribed = unsubscribed.context("the api's answer has no `unsubscribed`")?;
    tell(unsubscribed, &body, options.json);
    Ok(if unsubscribed {
        ExitCode::from(UNSUBSCRIBED)
    } else {
        ExitCode::SUCCESS
    })
}

fn question(base: &str, contact: &Contact, scope: Option<&str>) -> anyhow::Result<Url> {
    let base = Url::parse(base).with_context(|| format!("--url {base} is no URL"))?;
    let mut url = base.join("/api/v1/check")?;
    let name = match contact.channel {
        Channel::Email => "email",
        Channel::Sms => "phone",
    };
    url.query_pairs_mut().append_pair(name, &contact.address);
    if let Some(scope) = scope {
        url.query_pairs_mut().append_pair("scope", scope);
    }
    Ok(url)
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn tell(unsubscribed: bool, body: &Value, json: bool) {
    if json {
        println!("{body}");
        return;
    }
    println!(
        "{}",
        if unsubscribed {
            "unsubscribed"
        } else {
            "may be mailed"
        }
    );
    for suppression in body["suppressions"].as_array().into_iter().flatten() {
        let text = |key: &str| suppression[key].as_str().unwrap_or_default().to_owned();
        let (kind, scope) = (text("kind"), text("scope"));
        println!(
            "  {kind} in {scope} by {} since {}",
            text("source"),
            text("occurred_at")
        );
    }
}
