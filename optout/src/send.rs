//! `optout send PROVIDER`: posts a provider's sample to a running Optout, with the credentials that the source asks for.
//!
//! It goes where the provider sends: to the source's URL at ingress, or to the path of the api that answers its question.

use std::{borrow::Cow, process::ExitCode};

use anyhow::{Context, bail};
use common::{
    clock,
    config::{Config, Credential, Loaded, Source},
    providers::{self, Keys, Proof, Provider, Sample},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};

use crate::client;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// As it is called in the configuration, such as postmark
    provider: String,
    /// The source to post to; else the first one of that provider whose credentials can be proven here
    #[arg(long)]
    source: Option<String>,
    /// The sample; else the provider's first
    #[arg(long)]
    sample: Option<String>,
    /// The ingress to post to, or the api that answers a question; else the configured one
    #[arg(long)]
    url: Option<String>,
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) async fn send(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let provider = providers::find(&options.provider).with_context(|| {
        let known: Vec<_> = providers::ALL
            .iter()
            .map(|provider| provider.name())
            .collect();
        format!(
            "no provider is called {:?}; known are {}",
            options.provider,
            known.join(", ")
        )
    })?;
    let sample = sample(provider, options.sample.as_deref())?;
    let source = source(&loaded.config, provider, options.source.as_deref(), sample)?;
    let base = options
        .url
        .unwrap_or_else(|| base(&loaded.config, provider));
    let answer = post(&client::http()?, &base, source, sample).await?;
    let status = answer.status();
    println!("{status} {}", answer.text().await?);
    Ok(if status.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The source called `name`, else the first one of the provider that takes the sample, else the first one.
fn source<'a>(
    config: &'a Config,
    provider: &dyn Provider,
    name: Option<&str>,
    sample: Sample,
) -> anyhow::Result<&'a Source> {
    let mut of_provider = config
        .sources
        .iter()
        .filter(|source| source.provider.name() == provider.name());
    match name {
        Some(name) => of_provider.find(|source| source.name == name),
        None => of_provider
            .clone()
            .find(|source| signature(source, sample).is_ok())
            .or_else(|| of_provider.next()),
    }
    .with_context(|| match name {
        Some(name) => format!(
            "no source of the provider {} is called {name:?}",
            provider.name()
        ),
        None => format!(
            "no source of the provider {} is configured; add one under [[sources]]",
            provider.name()
        ),
    })
}

/// The configured service that the provider sends to.
pub(crate) fn base(config: &Config, provider: &dyn Provider) -> String {
    let bind = match provider.asks_at() {
        Some(_) => config.api.bind,
        None => config.ingress.bind,
    };
    format!("http://{bind}")
}

/// The provider's sample called `name`, else its first.
pub(crate) fn sample(provider: &dyn Provider, name: Option<&str>) -> anyhow::Result<Sample> {
    let samples = provider.samples();
    let found = match name {
        None => samples.first(),
        Some(name) => samples.iter().find(|sample| sample.name == name),
    };
    let Some(found) = found else {
        let known: Vec<_> = samples.iter().map(|sample| sample.name).collect();
        bail!(
            "{} has no such sample; it has {}",
            provider.name(),
            known.join(", ")
        );
    };
    Ok(*found)
}

/// Posts a sample as its provider would, with every credential that the source demands.
pub(crate) async fn post(
    client: &Client,
    base: &str,
    source: &Source,
    sample: Sample,
) -> anyhow::Result<Response> {
    let (mut headers, body) = signature(source, sample)?.map_or_else(
        || (vec![], sample.body().to_owned()),
        |proof| (proof.headers, proof.body),
    );
    let own = sample.headers().filter(|(name, _)| {
        let replaced = |(given, _): &(Cow<'_, str>, _)| given.eq_ignore_ascii_case(name);
        !headers.iter().any(replaced)
    });
    let own: Vec<_> = own
        .map(|(name, value)| (name.into(), value.to_owned()))
        .collect();
    headers.extend(own);
    post_body(client, base, source, headers, body).await
}

/// Posts a body where the source's provider posts, with those of the source's credentials that do not depend on it.
pub(crate) async fn post_body(
    client: &Client,
    base: &str,
    source: &Source,
    headers: Vec<(Cow<'static, str>, String)>,
    body: String,
) -> anyhow::Result<Response> {
    let base = base.trim_end_matches('/');
    let mut url = match source.provider.asks_at() {
        Some(path) => format!("{base}{path}"),
        None => format!("{base}/webhooks/{}", source.name),
    };
    for (credential, joint) in source
        .credentials
        .iter()
        .filter_map(in_url)
        .zip(std::iter::once("?").chain(std::iter::repeat("&")))
    {
        url = format!("{url}{joint}{}", credential?);
    }
    let mut request = client.post(&url).body(body);
    for (name, value) in headers {
        request = request.header(name.as_ref(), value);
    }
    for credential in &source.credentials {
        request = prove(request, credential)?;
    }
    request
        .send()
        .await
        .with_context(|| format!("no answer from {base}"))
}

/// The provider's own signature, where the source asks for it.
fn signature(source: &Source, sample: Sample) -> anyhow::Result<Option<Proof>> {
    let mut proof = None;
    for credential in &source.credentials {
        if let Credential::Signature(keys) = credential {
            let made = source.provider.prove(&sample, keys, clock::now());
            proof = Some(made.with_context(|| unsigned(source, sample, keys))?);
        }
    }
    Ok(proof)
}

/// Why a sample cannot be signed, and what would let it through.
fn unsigned(source: &Source, sample: Sample, keys: &Keys) -> String {
    let (name, called) = (source.provider.name(), &source.name);
    if let Some(key) = sample.public_key() {
        return format!(
            "only {name} can sign for this source; the sample was signed by another key, which the source would have to hold, too, as its public_key: {key}"
        );
    }
    let beside = format!(
        "or post it to a source of {name} that asks for no signature, such as one with auth = {{ kind = \"basic\", … }}, by --source NAME"
    );
    match source.provider.command(&sample, keys) {
        Some(command) => format!(
            "only the provider can sign for the source {called:?}, by a key that it gives to nobody. Have it send what the sample says:\n\n{command}\n\n{beside}"
        ),
        None => format!(
            "only the provider can sign for the source {called:?}, by a key that it gives to nobody, and it cannot be told to send this sample. Choose another by --sample, {beside}"
        ),
    }
}

/// A token that stands in the URL.
fn in_url(credential: &Credential) -> Option<anyhow::Result<String>> {
    let Credential::Query { name, secrets } = credential else {
        return None;
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    Some(first(secrets).map(|secret| format!("{}={}", encoded(name), encoded(&secret))))
}

fn prove(request: RequestBuilder, credential: &Credential) -> anyhow::Result<RequestBuilder> {
    Ok(match credential {
        Credential::Bearer { tokens } => request.bearer_auth(first(tokens)?),
        Credential::Basic {
            username,
            passwords,
        } => request.basic_auth(username, Some(first(passwords)?)),
        Credential::Header { name, secrets } => request.header(name, first(secrets)?),
        // In the URL, and in the body.
        Credential::Query { .. } | Credential::Signature(_) => request,
    })
}

fn first(secrets: &[SecretString]) -> anyhow::Result<String> {
    secrets
        .first()
        .map(|secret| secret.expose_secret().to_owned())
        .context("the source has no secret")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const TOPICS: &str = r#"auth = { kind = "signature", topics = ["arn:aws:sns:eu-west-1:123456789012:ses-events"] }"#;
    const BASIC: &str = r#"auth = { kind = "basic", username = "optout", password = "s3cret" }"#;

    /// A configuration with these sources of SES, each by its name and its credentials.
    fn config(sources: &[(&str, &str)]) -> Config {
        let sections = sources.iter().map(|(name, auth)| {
            format!("[[sources]]\nname = \"{name}\"\nprovider = \"ses\"\n{auth}\n")
        });
        let text = sections.collect::<Vec<_>>().concat();
        let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
        assert_eq!(loaded.mistakes(), []);
        loaded.config
    }

    fn ses(name: Option<&str>) -> (&'static dyn Provider, Sample) {
        let ses = providers::find("ses").unwrap();
        (ses, sample(ses, name).unwrap())
    }

    #[test]
    fn the_source_that_takes_the_sample_is_preferred_to_one_for_which_only_the_provider_can_sign() {
        let config = config(&[("signed", TOPICS), ("guarded", BASIC)]);
        let (provider, sample) = ses(None);
        let chosen = |name| source(&config, provider, name, sample).unwrap();
        assert_eq!(chosen(None).name, "guarded");
        assert!(signature(chosen(None), sample).unwrap().is_none());
        assert_eq!(chosen(Some("signed")).name, "signed");
    }

    #[test]
    fn what_only_sns_can_sign_is_refused_with_what_to_do_instead() {
        let config = config(&[("signed", TOPICS)]);
        let why = |name| {
            let (provider, sample) = ses(name);
            let source = source(&config, provider, None, sample).unwrap();
            signature(source, sample).unwrap_err().to_string()
        };
        let complaint = why(Some("complaint"));
        for told in [
            "only the provider can sign for the source \"signed\"",
            "aws sns publish --region 'eu-west-1' --topic-arn 'arn:aws:sns:eu-west-1:123456789012:ses-events' --message '{",
            "by --source NAME",
        ] {
            assert!(complaint.contains(told), "{complaint}");
        }
        let confirmation = why(Some("confirmation"));
        assert!(confirmation.contains("cannot be told to send this sample"));
        assert!(!confirmation.contains("aws sns"));
    }
}
