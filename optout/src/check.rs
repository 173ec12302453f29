//! `optout check CONTACT`: what a sender would be answered. Exit status 0 for "may be mailed", 2 for "unsubscribed".

use std::process::ExitCode;

use anyhow::Context;
use common::{
    config::{Loaded, Role},
    contact::{Channel, Contact},
};
use reqwest::Method;
use serde_json::Value;

use crate::client::{Api, Reach};

/// The exit status for a contact that must not be sent to.
const UNSUBSCRIBED: u8 = 2;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// An email address, or a phone number such as +15551234567
    contact: String,
    /// A stream, list or purpose; without it the strictest answer is given
    #[arg(long)]
    scope: Option<String>,
    #[command(flatten)]
    reach: Reach,
    /// The answer as it came
    #[arg(long)]
    json: bool,
}

pub(crate) async fn check(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let api = Api::new(&loaded, &options.reach, Role::Check)?;
    let contact = Contact::parse(&options.contact)?;
    let name = match contact.channel {
        Channel::Email => "email",
        Channel::Sms => "phone",
    };
    let mut question = vec![(name, contact.address)];
    question.extend(options.scope.map(|scope| ("scope", scope)));
    let request = api.request(Method::GET, "/api/v1/check")?.query(&question);
    let body = api.json(request).await?;
    let unsubscribed = body["unsubscribed"].as_bool();
    let unsubscribed = unsubscribed.context("the api's answer has no `unsubscribed`")?;
    tell(unsubscribed, &body, options.json);
    Ok(if unsubscribed {
        ExitCode::from(UNSUBSCRIBED)
    } else {
        ExitCode::SUCCESS
    })
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
