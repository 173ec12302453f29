//! An outlet: a configured target with what the deliver stage needs to treat it fairly.

use std::{sync::Arc, time::Duration};

use common::{
    config::{self, Config, Filter},
    endpoint,
    outbound::{NoClient, Outbound},
};
use governor::DefaultDirectRateLimiter;

use crate::{
    breaker::Breaker,
    targets::{self, KINDS, Setup, Target},
};

/// What a target's own `timeout` takes the place of.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// A target, its slots, its rate and its breaker.
pub struct Outlet {
    pub name: String,
    pub events: Filter,
    /// The source by which its platform reports changes.
    pub mirrors: Option<String>,
    pub enabled: bool,
    pub slots: u16,
    pub rate: Option<DefaultDirectRateLimiter>,
    pub timeout: Duration,
    pub breaker: Arc<Breaker>,
    pub target: Box<dyn Target>,
}

/// All configured targets, and the way out that they share with the endpoints.
pub struct Outlets {
    pub(crate) configured: Vec<Arc<Outlet>>,
    pub(crate) outbound: Outbound,
}

impl Outlets {
    /// The configured target called `name`.
    pub fn find(&self, name: &str) -> Option<&Outlet> {
        let mut configured = self.configured.iter().map(AsRef::as_ref);
        configured.find(|outlet: &&Outlet| outlet.name == name)
    }
}

impl Outlet {
    /// Its name in metrics: a label that took each endpoint's would have no end of values.
    pub(crate) fn label(&self) -> &str {
        endpoint::id_of(&self.name).map_or(&self.name, |_| endpoint::ALL)
    }

    /// Messages in hand per queue: those of the calls under way, and those whose outcomes are being recorded and
    /// acknowledged, which under load are many times as many; a free slot is not to wait for either. What a rate holds
    /// back would only be kept from other workers.
    pub(crate) fn prefetch(&self) -> u16 {
        let calls = u16::try_from(self.target.batch())
            .unwrap_or(u16::MAX)
            .saturating_mul(self.slots);
        match self.rate {
            Some(_) => calls.saturating_mul(2).clamp(16, 512),
            None => calls.saturating_mul(32).clamp(64, 512),
        }
    }
}

/// Builds every target. What is wrong with its settings is noted where the configuration's other mistakes are.
pub fn outlets(config: &Config) -> Result<Outlets, NoClient> {
    let outbound = Outbound::new(config.outbound.allow_networks.clone(), DEFAULT_TIMEOUT)?;
    let configured = config
        .targets
        .iter()
        .filter_map(|target| build(target, &outbound))
        .map(Arc::new);
    Ok(Outlets {
        configured: configured.collect(),
        outbound,
    })
}

fn build(target: &config::Target, outbound: &Outbound) -> Option<Outlet> {
    let mut settings = target.settings.clone();
    let Some(kind) = targets::find(&target.kind) else {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        settings.mistake(
            "kind",
            format!("is {:?}; known are {}", target.kind, known.join(", ")),
        );
        return None;
    };
    let rate = target.rate.or(kind.rate);
    let events = target.events.kinds();
    let setup = Setup {
        events: &events,
        rate,
        outbound: &outbound.with_timeout(target.timeout),
    };
    let built = (kind.build)(&mut settings, &setup);
    settings.finish();
    let built = built?;
    Some(Outlet {
        name: target.name.clone(),
        events: target.events.clone(),
        mirrors: target.mirrors.clone(),
        enabled: target.enabled,
        slots: target.slots.min(built.slots()),
        rate: rate.and_then(config::Rate::limiter),
        timeout: target.timeout,
        breaker: Arc::new(Breaker::new(target.breaker_after)),
        target: built,
    })
}
