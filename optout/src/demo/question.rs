//! The questions of the providers that ask, such as Talkable's before each mail: asked of the api before the samples are
//! posted and again once they hold, so that the answer is seen to turn.

use std::time::{Duration, Instant};

use anyhow::Context;
use common::{
    config::Config,
    providers::{Sample, talkable::Question},
};
use reqwest::Client;

use crate::send;

/// What was asked of whom, and what was answered.
pub(super) struct Answer {
    pub(super) provider: &'static str,
    pub(super) contact: String,
    pub(super) unsubscribed: bool,
    /// From the question to the answer.
    pub(super) took: Duration,
}

/// Asks every sample that names somebody.
pub(super) async fn ask(http: &Client, config: &Config) -> anyhow::Result<Vec<Answer>> {
    let mut answers = vec![];
    for source in &config.sources {
        let provider = &*source.provider;
        if provider.asks_at().is_none() {
            continue;
        }
        for sample in provider.samples() {
            let Some(contact) = asked_of(*sample)? else {
                continue;
            };
            let begun = Instant::now();
            let base = send::base(config, provider);
            let answer = send::post(http, &base, source, *sample).await?;
            let took = begun.elapsed();
            let answer: serde_json::Value = answer.error_for_status()?.json().await?;
            let unsubscribed = answer["result"]["unsubscribed"].as_bool();
            answers.push(Answer {
                provider: provider.name(),
                contact,
                unsubscribed: unsubscribed.context("the api's answer has no `unsubscribed`")?,
                took,
            });
        }
    }
    Ok(answers)
}

/// The address that a question names.
fn asked_of(sample: Sample) -> anyhow::Result<Option<String>> {
    let asked = Question::read(sample.body().as_bytes())?.asked()?;
    Ok(asked
        .contacts
        .into_iter()
        .next()
        .map(|contact| contact.address))
}
