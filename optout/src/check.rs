//! `optout check CONTACT`: what a sender would be answered. Exit status 0 for "may be mailed", 2 for "unsubscribed".

use std::process::ExitCode;

use anyhow::{Context, bail};
use common::{config::Loaded, contact::Contact};
use secrecy::ExposeSecret;
use serde_json::Value;

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

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) async fn check(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let api = &loaded.config.api;
    let key = api
        .keys
        .first()
        .and_then(|key| key.keys.first())
        .context("no api.keys are configured to ask with")?;
    let contact = Contact::parse(&options.contact)?;
    let name = match contact.channel {
        common::contact::Channel::Email => "email",
        common::contact::Channel::Sms => "phone",
    };
    let base = options
        .url
        .unwrap_or_else(|| format!("http://{}", api.bind));
    let mut url = url::Url::parse(&base)
        .with_context(|| format!("--url {base} is no URL"))?
        .join("/api/v1/check")?;
    url.query_pairs_mut().append_pair(name, &contact.address);
    if let Some(scope) = &options.scope {
        url.query_pairs_mut().append_pair("scope", scope);
    }
    let request = client::http()?.get(url).bearer_auth(key.expose_secret());
    let answer = request
        .send()
        .await
        .with_context(|| format!("no answer from the api at {base}"))?;
    let status = answer.status();
    let body: Value = answer.json().await.context("the api's answer is no JSON")?;
    if !status.is_success() {
        bail!(
            "the api answers {status}: {}",
            body["detail"].as_str().unwrap_or_default()
        );
    }
    let unsubscribed = body["unsubscribed"]
        .as_bool()
        .context("the api's answer has no `unsubscribed`")?;
    if options.json {
        println!("{body}");
    } else {
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
            println!(
                "  {} in {} by {} since {}",
                text("kind"),
                text("scope"),
                text("source"),
                text("occurred_at")
            );
        }
    }
    Ok(if unsubscribed {
        ExitCode::from(UNSUBSCRIBED)
    } else {
        ExitCode::SUCCESS
    })
}
