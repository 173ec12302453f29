//! The dashboard: what happened to each opt-out, and what to do where one is stuck, for people.
//!
//! Pages are made here, whole, and need no script; the script that there is brings them up to date and tells times in the
//! viewer's zone. What a page shows and does is what the handlers of the api answer and do: it calls them, so there is
//! one way to do each thing, with one set of rules and one trail. Its paths are no part of the OpenAPI document, which
//! describes the api for programs, so they are mounted beside `routes()`.

mod asset;
mod chart;
mod contact;
mod delivery;
mod endpoint;
mod event;
mod evidence;
mod failure;
mod form;
mod fresh;
mod guard;
mod import;
mod live;
mod mask;
mod overview;
mod page;
mod pulse;
mod quarantine;
mod reconciliation;
mod replay;
mod sign_in;
mod source;
mod suppression;
mod target;
mod visitor;

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{MethodRouter, get, post},
};
use common::{
    config::{Config, Role},
    lifecycle::Lifecycle,
    seal::Sealer,
};

use crate::App;
use live::Live;
use page::Pages;
use pulse::Pulse;
use source::Source;

pub(crate) use failure::nothing;
pub(crate) use live::run;

/// What pages are made with.
pub(crate) struct Dashboard {
    pages: Pages,
    sources: Vec<Source>,
    /// Nobody said where providers reach ingress.
    is_bound: bool,
    /// What exports are signed with, where a key is set.
    sealer: Option<Sealer>,
    pulse: Pulse,
    live: Live,
}

impl Dashboard {
    pub(crate) fn new(config: &Config, lifecycle: &Lifecycle) -> Self {
        Self {
            pages: Pages::new(),
            sources: source::of(config),
            is_bound: config.ingress.public_origin.is_none(),
            sealer: config.api.signing_key.as_ref().and_then(Sealer::new),
            pulse: Pulse::new(lifecycle),
            live: Live::new(lifecycle),
        }
    }
}

/// A path, the least role that it wants, and what answers there.
type Path = (&'static str, Role, MethodRouter<Arc<App>>);

/// The paths that want a session.
pub(crate) fn paths() -> Vec<Path> {
    [seen(), list(), compared(), machinery()]
        .into_iter()
        .flatten()
        .collect()
}

/// What happened, and telling it again.
fn seen() -> Vec<Path> {
    vec![
        ("/contacts", Role::Read, get(contact::show)),
        ("/contacts/reveal", Role::Read, post(contact::reveal)),
        ("/contacts/export", Role::Read, post(contact::export)),
        ("/events", Role::Read, get(event::list)),
        ("/events/{id}", Role::Read, get(event::show)),
        ("/events/{id}/reveal", Role::Read, post(event::reveal)),
        ("/deliveries", Role::Read, get(delivery::list)),
        ("/deliveries/{id}", Role::Read, get(delivery::show)),
        ("/deliveries/{id}/retry", Role::Write, post(delivery::retry)),
        ("/quarantine", Role::Read, get(quarantine::list)),
        ("/quarantine/{id}", Role::Read, get(quarantine::show)),
        (
            "/quarantine/{id}/reveal",
            Role::Read,
            post(quarantine::reveal),
        ),
        (
            "/quarantine/{id}/retry",
            Role::Write,
            post(quarantine::retry),
        ),
        ("/replays", Role::Read, get(replay::list)),
        ("/replays/start", Role::Write, post(replay::start)),
        ("/replays/{id}", Role::Read, get(replay::show)),
    ]
}

/// The list of suppressions.
fn list() -> Vec<Path> {
    let add = get(suppression::form).post(suppression::add);
    let import = get(import::form).post(import::import);
    vec![
        ("/suppressions", Role::Read, get(suppression::list)),
        (
            "/suppressions/export",
            Role::Read,
            post(suppression::export),
        ),
        ("/suppressions/add", Role::Write, add),
        ("/suppressions/import", Role::Write, import),
        ("/suppressions/{id}", Role::Read, get(suppression::show)),
        (
            "/suppressions/{id}/reveal",
            Role::Read,
            post(suppression::reveal),
        ),
        (
            "/suppressions/{id}/lift",
            Role::Write,
            post(suppression::lift),
        ),
    ]
}

/// What platforms list beside it.
fn compared() -> Vec<Path> {
    vec![
        ("/reconciliations", Role::Read, get(reconciliation::list)),
        (
            "/reconciliations/start",
            Role::Write,
            post(reconciliation::start),
        ),
        (
            "/reconciliations/{id}",
            Role::Read,
            get(reconciliation::show),
        ),
        (
            "/reconciliations/{id}/export",
            Role::Read,
            post(reconciliation::export),
        ),
    ]
}

/// Where things come from and go to, and the session itself.
fn machinery() -> Vec<Path> {
    vec![
        ("/targets", Role::Read, get(target::list)),
        ("/targets/{name}", Role::Read, get(target::show)),
        ("/targets/{name}/enable", Role::Write, post(target::enable)),
        (
            "/targets/{name}/disable",
            Role::Write,
            post(target::disable),
        ),
        ("/targets/{name}/test", Role::Write, post(target::test)),
        ("/endpoints/{id}", Role::Read, get(endpoint::show)),
        (
            "/endpoints/{id}/enable",
            Role::Write,
            post(endpoint::enable),
        ),
        (
            "/endpoints/{id}/disable",
            Role::Write,
            post(endpoint::disable),
        ),
        ("/endpoints/{id}/test", Role::Write, post(endpoint::test)),
        ("/sources", Role::Read, get(source::list)),
        ("/live", Role::Read, get(live::watch)),
        ("/sign-out", Role::Read, post(sign_in::sign_out)),
    ]
}

/// The paths that want none.
pub(crate) fn open_paths() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/", get(sign_in::door)),
        ("/sign-in", post(sign_in::sign_in)),
        ("/assets/{name}", get(asset::show)),
    ]
}

/// All of it.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let router = paths()
        .into_iter()
        .fold(Router::new(), |router, (path, role, methods)| {
            let state = (Arc::clone(app), role);
            router.route(
                path,
                methods.route_layer(from_fn_with_state(state, visitor::pass)),
            )
        });
    open_paths()
        .into_iter()
        .fold(router, |router, (path, methods)| {
            router.route(path, methods)
        })
}
