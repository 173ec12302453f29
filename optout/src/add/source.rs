//! `optout sources add`: an account at a provider, whose webhooks are received.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use common::{
    config::{AuthKind, Config},
    providers::{self, Need, Provider, Suit},
};
use url::Url;

use super::{
    Common, Given,
    ask::Asker,
    credential::{Adding, SOMEWHERE, kind_of},
    file::ConfigFile,
    name, say,
    section::Section,
    write,
};
use crate::client;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add an account at a provider to the configuration, and say what is to be done there
    Add(Options),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Such as postmark; `generic` for any other sender
    provider: Option<String>,
    #[command(flatten)]
    common: Common,
    /// What its requests have to prove: bearer, basic, header, query, signature or none; else what suits the provider best
    #[arg(long, value_name = "KIND")]
    auth: Option<AuthKind>,
    /// Where the provider reaches ingress, such as `https://hooks.example.com`; else `[ingress] public_origin`, or `[links] url`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(crate) fn run(path: Option<&Path>, command: Command) -> ExitCode {
    let Command::Add(options) = command;
    client::block_on(async { add(path, options) })
}

fn add(path: Option<&Path>, options: Options) -> anyhow::Result<ExitCode> {
    let asker = Asker::new(options.common.yes);
    let file = ConfigFile::open(path)?;
    let config = &file.loaded().config;
    let provider = provider(asker, options.provider.as_deref())?;
    let taken: Vec<_> = config
        .sources
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    let name = name(asker, options.common.name, provider.name(), &taken)?;
    let suit = suit(asker, provider, options.auth)?;
    let adding = Adding {
        file: &file,
        asker,
        provider,
        guide: provider.guide(),
        suit,
        base: base(asker, config, provider, options.url)?,
        given: Given::new(options.common.settings, &["provider", "kind"])?,
        section: Section::new("sources", &name),
        entered: vec![],
    };
    let (section, told) = adding.fill(&name)?;
    file.with(&section, &section.whole())?;
    if !write(&file, asker, &section)? {
        return Ok(ExitCode::FAILURE);
    }
    if !asker.can_ask() {
        say(&format!("\n{}", told.trim_end()))?;
    }
    say(&next(provider, suit, &name))?;
    Ok(ExitCode::SUCCESS)
}

/// The provider that was named, or that the asker names.
fn provider(asker: Asker, given: Option<&str>) -> anyhow::Result<&'static dyn Provider> {
    let names: Vec<_> = providers::ALL
        .iter()
        .map(|provider| provider.name())
        .collect();
    let known = || names.join(", ");
    let wanted = match given {
        Some(name) => name.to_owned(),
        None if asker.can_ask() => asker.word("Provider", &names, None)?,
        None => bail!("the provider is missing: known are {}", known()),
    };
    providers::find(&wanted)
        .with_context(|| format!("no provider is called {wanted:?}; known are {}", known()))
}

/// The credential: of the kind that was named, or that the asker names, or that suits the provider best. None is
/// `kind = "none"`.
fn suit(
    asker: Asker,
    provider: &dyn Provider,
    given: Option<AuthKind>,
) -> anyhow::Result<Option<Suit>> {
    let suits = provider.guide().suits;
    let of = |kind: AuthKind| suits.iter().copied().find(|suit| kind_of(*suit) == kind);
    if let Some(kind) = given {
        return Ok(of(kind).or(match kind {
            AuthKind::None => None,
            AuthKind::Bearer => Some(Suit::Bearer),
            AuthKind::Basic => Some(Suit::BasicInUrl),
            AuthKind::Header => Some(Suit::Header),
            AuthKind::Query => Some(Suit::Query),
            AuthKind::Signature => Some(Suit::SignatureByOurs),
        }));
    }
    let mut kinds: Vec<_> = suits.iter().map(|suit| kind_of(*suit).as_str()).collect();
    kinds.dedup();
    if kinds.len() > 1 && asker.can_ask() {
        let title = format!("Credentials that suit {}", provider.guide().title);
        let kind = asker.word(&title, &kinds, kinds.first().copied())?;
        return Ok(suits
            .iter()
            .copied()
            .find(|suit| kind_of(*suit).as_str() == kind));
    }
    Ok(suits.first().copied())
}

/// Where the webhook's path is added to, and perhaps a user and a token.
fn check(text: &str) -> Result<(), String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    let Some(url) = url else {
        return Err(format!(
            "{text:?} is no URL such as https://hooks.example.com"
        ));
    };
    let is_bare = url.username().is_empty() && url.password().is_none();
    if !is_bare || url.query().is_some() || url.fragment().is_some() {
        return Err(
            "has a user, a password, a query or a fragment, but only where we are reached is needed, such as https://hooks.example.com"
                .to_owned(),
        );
    }
    Ok(())
}

/// Where the provider reaches us, without a slash at its end.
fn base(
    asker: Asker,
    config: &Config,
    provider: &dyn Provider,
    given: Option<String>,
) -> anyhow::Result<String> {
    let base = match (given, provider.asks_at()) {
        (Some(given), _) => given,
        (None, None) => {
            let origin = config.ingress.public_origin.as_ref();
            let origin = origin.or(config.links.as_deref().map(common::config::Links::url));
            match origin {
                Some(origin) => origin.as_str().to_owned(),
                None if asker.can_ask() => asker.text(
                    "Where providers reach ingress, such as https://hooks.example.com",
                    Some(SOMEWHERE),
                    check,
                )?,
                None => SOMEWHERE.to_owned(),
            }
        }
        (None, Some(_)) if asker.can_ask() => asker.text(
            "Where it reaches the api, such as https://optout.example.com",
            Some(SOMEWHERE),
            check,
        )?,
        (None, Some(_)) => SOMEWHERE.to_owned(),
    };
    if let Err(why) = check(&base) {
        bail!("--url {why}");
    }
    Ok(base.trim_end_matches('/').to_owned())
}

/// Why the credential was not tried, and how it is.
fn next(provider: &dyn Provider, suit: Option<Suit>, name: &str) -> String {
    let (title, kind) = (provider.guide().title, provider.name());
    let service = if provider.asks_at().is_some() {
        "the api"
    } else {
        "ingress"
    };
    let needs = provider.needs();
    let is_signed = suit == Some(Suit::Signature);
    if is_signed && needs.contains(&Need::Topics) {
        return format!(
            "\nOnly {title} can sign what this source wants: that is seen when it sends. Start Optout again, so that it reads the \
             file; then have it send a sample:\n\n    optout send {kind} --source {name}\n\n\
             That posts nothing, but says by which command your topic sends it."
        );
    }
    let by_its_key = if is_signed && needs.contains(&Need::PublicKey) {
        format!(
            " Only {title} has the key that it signs by: the sample was signed by another, which the command names and the source \
             would have to hold, too, while you try."
        )
    } else {
        String::new()
    };
    format!(
        "\nNobody can be asked whether {title} sends what this source wants: that is seen when it sends. Start Optout again, \
         so that it reads the file; then try what it takes:\n\n    optout send {kind} --source {name}\n\n\
         That posts a sample to {service} as {title} would, with the source's credentials.{by_its_key}"
    )
}
