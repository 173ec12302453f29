//! Sources: the accounts at providers that webhooks come from, with the address to paste there.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use common::{
    config::{Config, Credential},
    refused::Refused,
};
use jiff::Timestamp;
use serde::Serialize;

use super::{page::render, visitor::Visitor};
use crate::{App, error::Result};

/// A configured source, without its secrets.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Source {
    pub(super) name: String,
    provider: &'static str,
    enabled: bool,
    /// Of a provider that asks rather than tells: where in the api.
    asks: Option<&'static str>,
    /// What to paste at the provider.
    url: String,
    /// What its requests have to prove, in words.
    proves: Vec<&'static str>,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    source: &'a Source,
    last_event_at: Option<Timestamp>,
    /// What proved nothing in the last day, as ingress told it.
    refused: Option<&'a Refused>,
}

#[derive(Serialize)]
struct List<'a> {
    items: Vec<Row<'a>>,
    /// Providers may reach it elsewhere than where it listens.
    is_bound: bool,
}

/// The sources of the configuration.
pub(super) fn of(config: &Config) -> Vec<Source> {
    let door = &config.ingress;
    let bound = || format!("http://{}", door.bind);
    let origin = door.public_origin.as_ref();
    let origin = origin.map_or_else(bound, |origin| origin.as_str().to_owned());
    let source = |source: &common::config::Source| {
        let secret = source
            .credentials
            .iter()
            .find_map(|credential| match credential {
                Credential::Query { name, .. } => Some(format!("?{name}=SECRET")),
                _ => None,
            });
        let secret = secret.unwrap_or_default();
        Source {
            name: source.name.clone(),
            provider: source.provider.name(),
            enabled: source.enabled,
            asks: source.provider.asks_at(),
            url: format!("{origin}/webhooks/{}{secret}", source.name),
            proves: source.credentials.iter().map(words).collect(),
        }
    };
    config.sources.iter().map(source).collect()
}

fn words(credential: &Credential) -> &'static str {
    match credential {
        Credential::Bearer { .. } => "a bearer token",
        Credential::Basic { .. } => "user name and password",
        Credential::Header { .. } => "a secret in a header",
        Credential::Query { .. } => "a secret in the address",
        Credential::Signature(_) => "the provider's signature",
    }
}

/// `GET /sources`
pub(super) async fn list(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Response> {
    let heard = app.dashboard.pulse.heard(&app).await?;
    let heard: BTreeMap<_, _> = heard
        .iter()
        .map(|(source, at)| (source.as_str(), *at))
        .collect();
    let refused = app.dashboard.pulse.refused(&app).await?;
    let rows = app.dashboard.sources.iter().map(|source| Row {
        source,
        last_event_at: heard.get(source.name.as_str()).copied(),
        refused: refused.get(&source.name),
    });
    let view = List {
        items: rows.collect(),
        is_bound: app.dashboard.is_bound,
    };
    Ok(render(
        &app,
        Some(&visitor),
        "sources",
        "sources.html",
        &view,
    ))
}
