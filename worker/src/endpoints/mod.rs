//! The endpoints that users registered over the api, as this worker knows them, and which of the configured targets somebody
//! has disabled.
//!
//! What it knows is compared with the ledger, by one number, before anything is decided by it: an endpoint that was
//! registered before a webhook was accepted is told of it. Only if the number has changed are they all read again. What
//! has not changed of an endpoint keeps its outlet, and with it its breaker; its slots are the deliver loop's.

pub(crate) mod deliver;
mod desk;
pub(crate) mod health;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{
    config,
    delivery::State,
    endpoint::{self, Sendable},
    event::Kind,
    ledger::{self, Ledger},
    outbound::Outbound,
};
use tracing::{error, warn};
use url::Url;
use uuid::Uuid;

use crate::{Outlet, breaker::Breaker, targets};

/// The endpoints, kept up to date.
pub struct Endpoints {
    settings: config::Endpoints,
    outbound: Outbound,
    known: Mutex<Arc<Known>>,
    /// Held by whoever reads them all.
    reading: tokio::sync::Mutex<()>,
}

/// All endpoints at one time.
#[derive(Default)]
pub(crate) struct Known {
    version: Option<i64>,
    endpoints: HashMap<Uuid, Registered>,
    /// Who is told of a kind, and how a delivery to each begins.
    told: HashMap<Kind, Vec<(String, State)>>,
    /// The configured targets that somebody has disabled.
    disabled: HashSet<String>,
}

struct Registered {
    row: Sendable,
    /// None while it is disabled.
    outlet: Option<Arc<Outlet>>,
}

/// How an endpoint stands.
pub(crate) enum Standing<'a> {
    Enabled(&'a Arc<Outlet>),
    Disabled,
    Deleted,
}

impl Endpoints {
    pub(crate) fn new(settings: config::Endpoints, outbound: &Outbound) -> Self {
        Self {
            outbound: outbound.with_timeout(settings.timeout),
            settings,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Calls under way at a time, per endpoint.
    pub(crate) fn slots(&self) -> u16 {
        self.settings.slots
    }

    /// How long an endpoint may do nothing but fail.
    pub(crate) fn disable_after(&self) -> Duration {
        self.settings.disable_after
    }

    /// What was known when the ledger was last asked.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is now.
    pub(crate) async fn current(&self, ledger: &Ledger) -> ledger::Result<Arc<Known>> {
        let version = ledger.endpoints_version().await?;
        let known = self.known();
        if known.version == Some(version) {
            return Ok(known);
        }
        let _one_reads_for_all = self.reading.lock().await;
        let version = ledger.endpoints_version().await?;
        let known = self.known();
        if known.version == Some(version) {
            return Ok(known);
        }
        let rows = ledger.sendable_endpoints(None).await?;
        let disabled = ledger.disabled_targets().await?;
        let known = Arc::new(Known {
            disabled: disabled.into_keys().collect(),
            ..self.read(version, rows, &known)
        });
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        Ok(known)
    }

    fn read(&self, version: i64, rows: Vec<Sendable>, before: &Known) -> Known {
        let mut known = Known {
            version: Some(version),
            ..Known::default()
        };
        for row in rows {
            let outlet = if row.enabled {
                self.outlet(&row, before.endpoints.get(&row.id))
            } else {
                None
            };
            let state = if outlet.is_some() {
                State::Pending
            } else {
                State::Parked
            };
            for kind in row.events.kinds() {
                let told = known.told.entry(kind).or_default();
                told.push((endpoint::target(row.id), state));
            }
            known.endpoints.insert(row.id, Registered { row, outlet });
        }
        known
    }

    /// The outlet of an enabled endpoint: the one before, if nothing has changed; with its breaker, if the URL has not. None
    /// for one that is held back, whose deliveries wait as a disabled one's do.
    fn outlet(&self, row: &Sendable, before: Option<&Registered>) -> Option<Arc<Outlet>> {
        if let Some(before) = before
            && before.row == *row
        {
            return before.outlet.clone();
        }
        let Ok(url) = Url::parse(&row.url) else {
            error!(endpoint.id = %row.id, "an endpoint's URL cannot be read; its deliveries wait");
            return None;
        };
        if self.settings.holds_back(&url) {
            warn!(endpoint.id = %row.id, "an endpoint is http://, which endpoints.allow_http does not allow; its deliveries wait");
            return None;
        }
        let breaker = before
            .filter(|before| before.row.url == row.url)
            .and_then(|before| before.outlet.as_ref())
            .map_or_else(
                || Arc::new(Breaker::new(self.settings.breaker_after)),
                |outlet| Arc::clone(&outlet.breaker),
            );
        Some(Arc::new(Outlet {
            name: endpoint::target(row.id),
            events: row.events.clone(),
            mirrors: None,
            enabled: true,
            slots: self.settings.slots,
            rate: None,
            timeout: self.settings.timeout,
            breaker,
            target: targets::endpoint(url, row.keys.clone(), self.outbound.clone()),
        }))
    }
}

impl Known {
    /// The endpoints that are told of a kind of event, as targets, and how a delivery to each begins.
    pub(crate) fn told_of(&self, kind: Kind) -> &[(String, State)] {
        self.told.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// The number by which it is told whether this is what is; None before the ledger was ever asked.
    pub(crate) fn version(&self) -> Option<i64> {
        self.version
    }

    /// Whether a target takes deliveries now, be it configured or an endpoint: one that somebody has disabled does not.
    pub(crate) fn takes(&self, target: &str) -> bool {
        match endpoint::id_of(target) {
            Some(id) => matches!(self.standing(id), Standing::Enabled(_)),
            None => !self.disabled.contains(target),
        }
    }

    /// How the endpoint stands.
    pub(crate) fn standing(&self, id: Uuid) -> Standing<'_> {
        match self.endpoints.get(&id).map(|found| &found.outlet) {
            None => Standing::Deleted,
            Some(None) => Standing::Disabled,
            Some(Some(outlet)) => Standing::Enabled(outlet),
        }
    }

    /// The enabled ones.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = &Arc<Outlet>> {
        self.endpoints
            .values()
            .filter_map(|found| found.outlet.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use common::config::{Filter, Loaded};

    use super::*;
    use crate::breaker::Level;

    fn endpoints() -> Endpoints {
        with("[endpoints]\nbreaker_after = 1")
    }

    fn with(text: &str) -> Endpoints {
        let config = Loaded::from_text(text, [].into()).unwrap().config;
        let outbound = Outbound::new(vec![], Duration::from_secs(1)).unwrap();
        Endpoints::new(config.endpoints, &outbound)
    }

    fn row(id: u128, kind: Kind) -> Sendable {
        Sendable {
            id: Uuid::from_u128(id),
            url: "https://example.com/".to_owned(),
            events: Filter::Only([kind].into()),
            enabled: true,
            keys: vec![],
        }
    }

    #[test]
    fn an_endpoint_that_changes_keeps_its_breaker_unless_it_is_another_url() {
        let endpoints = endpoints();
        let known = endpoints.read(1, vec![row(1, Kind::Opened)], &Known::default());
        for outlet in known.enabled() {
            outlet.breaker.failed(tokio::time::Instant::now());
        }
        let level = |known: &Known| known.enabled().next().unwrap().breaker.level();
        let known = endpoints.read(2, vec![row(1, Kind::Clicked)], &known);
        assert_eq!(level(&known), Level::Open);
        let mut moved = row(1, Kind::Clicked);
        moved.url = "https://example.org/".to_owned();
        let known = endpoints.read(3, vec![moved], &known);
        assert_eq!(level(&known), Level::Closed);
    }

    #[test]
    fn each_endpoint_is_told_of_its_kinds_and_a_disabled_one_later() {
        let mut rows = vec![
            row(1, Kind::Opened),
            row(2, Kind::Clicked),
            row(3, Kind::Clicked),
        ];
        rows[2].enabled = false;
        let known = endpoints().read(1, rows, &Known::default());
        let target = |id| endpoint::target(Uuid::from_u128(id));
        assert_eq!(known.told_of(Kind::Opened), [(target(1), State::Pending)]);
        let clicked = [(target(2), State::Pending), (target(3), State::Parked)];
        assert_eq!(known.told_of(Kind::Clicked), clicked);
        assert_eq!(known.told_of(Kind::Bounced), []);
    }
    #[test]
    fn an_endpoint_without_encryption_waits_while_that_is_not_allowed() {
        let mut plain = row(1, Kind::Opened);
        plain.url = "http://example.com/".to_owned();
        let target = endpoint::target(plain.id);
        for (allowed, state) in [(false, State::Parked), (true, State::Pending)] {
            let endpoints = with(&format!("[endpoints]\nallow_http = {allowed}"));
            let known = endpoints.read(1, vec![plain.clone()], &Known::default());
            assert_eq!(known.told_of(Kind::Opened), [(target.clone(), state)]);
            let standing = known.standing(plain.id);
            assert_eq!(matches!(standing, Standing::Enabled(_)), allowed);
        }
    }
}
