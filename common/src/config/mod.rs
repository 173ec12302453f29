//! The configuration: one TOML file, any key of which the environment can set. The only reader of the environment.
//!
//! Every mistake is found in one go ([`crate::settings`]). What a target's own settings mean is its kind's affair: the
//! worker reads them from [`Target::settings`], into the same list of mistakes.

mod load;
mod source;
mod target;

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    names::names,
    schedule::{LONGEST, Schedule},
    settings::{ByteSize, Section},
};

pub use load::{LoadError, Loaded, environment};
pub use source::{AuthKind, Credential, Source};
pub use target::{Filter, Rate, Target};

/// Everything that is configured.
#[derive(Debug)]
pub struct Config {
    pub ingress: Ingress,
    pub api: Api,
    pub worker: Worker,
    pub queue: Queue,
    pub claims: Claims,
    pub ledger: Ledger,
    pub retry: Schedule,
    pub outbound: Outbound,
    pub telemetry: Telemetry,
    pub sources: Vec<Source>,
    pub targets: Vec<Target>,
}

/// `[ingress]`: the HTTP door.
#[derive(Debug)]
pub struct Ingress {
    pub bind: SocketAddr,
    pub ops_bind: SocketAddr,
    /// Counted while streaming; above it the answer is 413.
    pub max_body: usize,
    /// How long a request waits for the queue before it is answered 503.
    pub publish_timeout: Duration,
    /// Requests in hand at a time; above it the answer is 503 at once.
    pub max_in_flight: usize,
    /// How long a client may take over its headers, and again over its body.
    pub read_timeout: Duration,
    pub max_connections: usize,
}

/// `[api]`: what reads and writes the ledger on request.
#[derive(Debug)]
pub struct Api {
    pub bind: SocketAddr,
    pub ops_bind: SocketAddr,
    pub keys: Vec<ApiKey>,
}

names! {
    /// What a key may do; each role may all that the ones before it may.
    Role { Check = "check", Read = "read", Write = "write", Admin = "admin" }
}

/// One of `api.keys`.
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub name: String,
    pub keys: Vec<SecretString>,
    pub role: Role,
}

/// `[worker]`.
#[derive(Debug)]
pub struct Worker {
    pub ops_bind: SocketAddr,
    /// Messages of envelopes in hand, per inbound queue.
    pub prefetch: u16,
    /// How long it finishes what is in hand after SIGTERM.
    pub shutdown_timeout: Duration,
    /// How often deliveries that ought to move and do not are looked for.
    pub sweep_every: Duration,
}

/// `[queue]`.
#[derive(Debug)]
pub struct Queue {
    pub url: SecretString,
    /// Stands before every queue's name, so that several Optouts can share a broker.
    pub prefix: String,
}

/// `[claims]`.
#[derive(Debug)]
pub struct Claims {
    pub url: SecretString,
    pub prefix: String,
}

/// `[ledger]`.
#[derive(Debug)]
pub struct Ledger {
    pub url: SecretString,
    pub max_connections: u32,
}

/// `[outbound]`: the rules for all that leaves over HTTP.
#[derive(Debug)]
pub struct Outbound {
    /// Private networks that targets may be in.
    pub allow_networks: Vec<IpNet>,
}

names! {
    /// How log lines are written.
    LogFormat { Human = "human", Json = "json" }
}

/// `[telemetry]`.
#[derive(Debug)]
pub struct Telemetry {
    /// A filter such as `info` or `info,common::queue=debug`.
    pub log: String,
    pub format: LogFormat,
}

impl Config {
    /// Reads the whole configuration; mistakes are noted in `root`.
    fn read(root: &mut Section) -> Self {
        let config = Self {
            ingress: Ingress::read(root.section("ingress")),
            api: Api::read(root.section("api")),
            worker: Worker::read(root.section("worker")),
            queue: Queue::read(root.section("queue")),
            claims: Claims::read(root.section("claims")),
            ledger: Ledger::read(root.section("ledger")),
            retry: read_retry(root.section("retry")),
            outbound: Outbound::read(root.section("outbound")),
            telemetry: Telemetry::read(root.section("telemetry")),
            sources: root
                .sections("sources", false)
                .into_iter()
                .filter_map(Source::read)
                .collect(),
            targets: root
                .sections("targets", false)
                .into_iter()
                .filter_map(Target::read)
                .collect(),
        };
        unique(
            root,
            "sources",
            config.sources.iter().map(|source| source.name.as_str()),
        );
        unique(
            root,
            "targets",
            config.targets.iter().map(|target| target.name.as_str()),
        );
        unique(
            root,
            "api.keys",
            config.api.keys.iter().map(|key| key.name.as_str()),
        );
        config
    }

    /// The delays that delayed messages will want: the schedule's steps, and the longest that a target may ask for.
    pub fn delays(&self) -> Vec<Duration> {
        let mut delays = self.retry.steps().to_vec();
        delays.push(LONGEST);
        delays.sort_unstable();
        delays.dedup();
        delays
    }

    /// The source called `name`.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }
}

impl Ingress {
    fn read(mut section: Section) -> Self {
        let ingress = Self {
            bind: section.or("bind", local(8080)),
            ops_bind: section.or("ops_bind", local(9080)),
            max_body: section.or("max_body", ByteSize(1 << 20)).0,
            publish_timeout: section.or("publish_timeout", Duration::from_secs(5)),
            max_in_flight: section.or("max_in_flight", 4096),
            read_timeout: section.or("read_timeout", Duration::from_secs(10)),
            max_connections: section.or("max_connections", 16_384),
        };
        for (key, value) in [
            ("max_in_flight", ingress.max_in_flight),
            ("max_connections", ingress.max_connections),
        ] {
            if !(1..=1_000_000).contains(&value) {
                section.mistake(key, "is out of range: 1 to 1000000");
            }
        }
        if ingress.max_body == 0 || ingress.max_body > 15 << 20 {
            section.mistake("max_body", "is out of range: 1B to 15MiB, since a body travels in one queue message, of which RabbitMQ takes 16MiB");
        }
        section.finish();
        ingress
    }
}

impl Api {
    fn read(mut section: Section) -> Self {
        let api = Self {
            bind: section.or("bind", local(8081)),
            ops_bind: section.or("ops_bind", local(9081)),
            keys: section
                .sections("keys", false)
                .into_iter()
                .filter_map(ApiKey::read)
                .collect(),
        };
        section.finish();
        api
    }
}

impl ApiKey {
    fn read(mut section: Section) -> Option<Self> {
        let name = section.required("name");
        let keys = section.secrets("key");
        for key in &keys {
            if key.expose_secret().len() < 8 {
                section.mistake("key", "is too short: a key has at least 8 characters");
            }
        }
        let role = section.required("role");
        section.finish();
        Some(Self {
            name: name?,
            keys,
            role: role?,
        })
    }
}

impl Worker {
    fn read(mut section: Section) -> Self {
        let worker = Self {
            ops_bind: section.or("ops_bind", local(9082)),
            prefetch: section.or("prefetch", 128),
            shutdown_timeout: section.or("shutdown_timeout", Duration::from_secs(25)),
            sweep_every: section.or("sweep_every", Duration::from_mins(1)),
        };
        if worker.prefetch == 0 {
            section.mistake("prefetch", "is 0, but at least 1 is needed");
        }
        section.finish();
        worker
    }
}

impl Queue {
    fn read(mut section: Section) -> Self {
        let url = store_url(
            &mut section,
            "sqlite:data/queue.db",
            &["sqlite:", "amqp://", "amqps://"],
        );
        let prefix = prefix(&mut section);
        section.finish();
        Self { url, prefix }
    }
}

impl Claims {
    fn read(mut section: Section) -> Self {
        let url = store_url(
            &mut section,
            "sqlite:data/queue.db",
            &["sqlite:", "redis://", "rediss://"],
        );
        let prefix = prefix(&mut section);
        section.finish();
        Self { url, prefix }
    }
}

impl Ledger {
    fn read(mut section: Section) -> Self {
        let url = store_url(
            &mut section,
            "sqlite:data/ledger.db",
            &["sqlite:", "postgres://", "postgresql://"],
        );
        let max_connections = section.or("max_connections", 10);
        section.finish();
        Self {
            url,
            max_connections,
        }
    }
}

impl Outbound {
    fn read(mut section: Section) -> Self {
        let outbound = Self {
            allow_networks: section.or("allow_networks", vec![]),
        };
        section.finish();
        outbound
    }
}

impl Telemetry {
    fn read(mut section: Section) -> Self {
        let telemetry = Self {
            log: section.or("log", "info".to_owned()),
            format: section.or("format", LogFormat::Human),
        };
        if let Err(error) = telemetry.log.parse::<tracing_subscriber::EnvFilter>() {
            section.mistake("log", format!("is no log filter such as \"info\": {error}"));
        }
        section.finish();
        telemetry
    }
}

fn read_retry(mut section: Section) -> Schedule {
    let steps = section.or("schedule", Schedule::default().steps().to_vec());
    if steps.len() > 64 {
        section.mistake("schedule", "has more than 64 steps");
    }
    if steps
        .iter()
        .any(|step| *step < Duration::from_millis(100) || *step > LONGEST)
    {
        section.mistake("schedule", "has a step out of range: 100ms to 24h each");
    }
    section.finish();
    Schedule::new(steps)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn store_url(section: &mut Section, default: &str, schemes: &[&str]) -> SecretString {
    let url = section
        .secret_url("url", Some(default))
        .unwrap_or_else(|| default.into());
    if !schemes
        .iter()
        .any(|scheme| url.expose_secret().starts_with(scheme))
    {
        section.mistake(
            "url",
            format!("is none of the stores known here: {}…", schemes.join("…, ")),
        );
    }
    url
}

fn prefix(section: &mut Section) -> String {
    let prefix = section.or("prefix", "optout".to_owned());
    if !is_name(&prefix) {
        section.mistake("prefix", NAME_RULE);
    }
    prefix
}

const NAME_RULE: &str = "is not usable in a URL: use 1 to 64 of a-z, A-Z, 0-9, - and _";

/// Whether a text can stand in a URL, a queue's name and a metric's label.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn unique<'a>(root: &Section, list: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = std::collections::BTreeSet::new();
    for name in names.filter(|name| !seen.insert(*name)).collect::<Vec<_>>() {
        root.mistake(
            list,
            format!("has more than one entry with the name {name:?}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn five_mistakes_are_all_named_at_once() {
        let text = "
            [ingress]
            bind = 'everywhere'
            colour = 'blue'
            [retry]
            schedule = ['5 parsecs']
            [[sources]]
            name = 'a'
            provider = 'carrier-pigeon'
            auth = { kind = 'none' }
            [[targets]]
            name = 'slack'
            kind = 'slack'
            events = ['unsubscribed', 'vanished']
        ";
        let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
        let keys: Vec<_> = loaded
            .mistakes()
            .into_iter()
            .map(|mistake| mistake.key)
            .collect();
        for key in [
            "ingress.bind",
            "ingress.colour",
            "retry.schedule",
            "sources[0].provider",
            "targets[0].events",
        ] {
            assert!(
                keys.iter().any(|found| found == key),
                "{key} is not among {keys:?}"
            );
        }
        assert_eq!(keys.len(), 5, "{keys:?}");
    }

    #[test]
    fn the_environment_sets_any_key() {
        let environment = [
            ("OPTOUT__INGRESS__BIND", "0.0.0.0:1234"),
            ("OPTOUT__INGRESS__MAX_BODY", "2MiB"),
            ("OPTOUT__RETRY__SCHEDULE", "['1s', '2s']"),
            (
                "OPTOUT__API__KEYS",
                "[{ name = 'ops', key = 'env:KEY', role = 'admin' }]",
            ),
            ("OPTOUT__SOURCES__0__NAME", "other"),
            ("KEY", "a-long-secret"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = "[[sources]]\nname = 'a'\nprovider = 'postmark'\nauth = { kind = 'none' }";
        let loaded = Loaded::from_text(text, environment.into()).unwrap();
        assert_eq!(loaded.mistakes(), []);
        assert_eq!(loaded.config.ingress.bind.to_string(), "0.0.0.0:1234");
        assert_eq!(loaded.config.ingress.max_body, 2 << 20);
        assert_eq!(
            loaded.config.retry.steps(),
            [Duration::from_secs(1), Duration::from_secs(2)]
        );
        assert_eq!(
            loaded.config.api.keys[0].keys[0].expose_secret(),
            "a-long-secret"
        );
        assert_eq!(loaded.config.sources[0].name, "other");
    }

    #[test]
    fn the_documented_file_holds_the_defaults() {
        let documented =
            Loaded::from_text(include_str!("../../../optout.toml"), BTreeMap::new()).unwrap();
        let defaults = Loaded::from_text("", BTreeMap::new()).unwrap();
        assert_eq!(documented.mistakes(), []);
        assert_eq!(documented.effective(), defaults.effective());
    }
}
