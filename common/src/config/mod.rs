//! The configuration: one TOML file, any key of which the environment can set. The only reader of the environment.
//!
//! Every mistake is found in one go ([`crate::settings`]). What a target's own settings mean is its kind's affair: the
//! worker reads them from [`Target::settings`], into the same list of mistakes.

mod endpoints;
mod links;
mod load;
mod origin;
mod rate;
mod reconcile;
mod retention;
mod services;
mod source;
mod stores;
mod target;

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    names::names,
    schedule::{LONGEST, Schedule},
    settings::Section,
};

pub use endpoints::Endpoints;
pub use links::{Links, Made, Purpose};
pub use load::{LoadError, Loaded, USUAL, environment};
pub use origin::Origin;
pub use rate::Rate;
pub use reconcile::Reconcile;
pub use retention::{Keep, Retention};
pub use services::{Api, ApiKey, Ingress, Role, Spool, Talkable, Worker};
pub use source::{AuthKind, Credential, Source};
pub use stores::{Claims, Ledger, Queue};
pub use target::{Filter, Target};

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
    pub reconcile: Reconcile,
    pub outbound: Outbound,
    pub endpoints: Endpoints,
    /// None where links are neither made nor opened.
    pub links: Option<Arc<Links>>,
    pub telemetry: Telemetry,
    pub sources: Vec<Source>,
    pub targets: Vec<Target>,
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
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// A filter such as `info` or `info,common::queue=debug`.
    pub log: String,
    pub format: LogFormat,
}

impl Config {
    /// Reads the whole configuration; mistakes are noted in `root`.
    fn read(root: &mut Section) -> Self {
        let sources = root.sections("sources", false);
        let given = sources.len();
        let config = Self {
            ingress: Ingress::read(root.section("ingress")),
            api: Api::read(root.section("api")),
            worker: Worker::read(root.section("worker")),
            queue: Queue::read(root.section("queue")),
            claims: Claims::read(root.section("claims")),
            ledger: Ledger::read(root.section("ledger")),
            retry: read_retry(root.section("retry")),
            reconcile: Reconcile::read(root.section("reconcile")),
            outbound: Outbound::read(root.section("outbound")),
            endpoints: Endpoints::read(root.section("endpoints")),
            links: Links::read(root.section("links")),
            telemetry: Telemetry::read(root.section("telemetry")),
            sources: sources.into_iter().filter_map(Source::read).collect(),
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
        // Of a source that is no good itself its own mistake is told.
        if config.sources.len() == given {
            config.find_mirrored();
        }
        if config.ingress.spool.is_some() && config.queue.is_embedded() {
            root.mistake("ingress.spool.path", "is given, but the queue is a file itself, which needs no spool: leave it out, or set queue.url to a broker, amqp://…");
        }
        config
    }

    /// That each target mirrors a source there is.
    fn find_mirrored(&self) {
        for target in &self.targets {
            let Some(mirrored) = target.mirrors.as_deref() else {
                continue;
            };
            if self.source(mirrored).is_none() {
                let names: Vec<_> = self.sources.iter().map(|one| one.name.as_str()).collect();
                let known = match &names[..] {
                    [] => "there are none".to_owned(),
                    names => format!("there are {}", names.join(", ")),
                };
                let why = format!("is {mirrored:?}, which is no source's name; {known}");
                target.settings.mistake("mirrors", why);
            }
        }
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

/// What [`is_name`] wants.
pub const NAME_RULE: &str = "is not usable in a URL: use 1 to 64 of a-z, A-Z, 0-9, - and _";

/// Whether a text can stand in a URL, a queue's name and a metric's label.
pub fn is_name(text: &str) -> bool {
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

    use secrecy::ExposeSecret;

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
    fn a_spool_wants_a_path_a_broker_and_some_room() {
        let mistakes = |text: &str| {
            let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
            let mistakes = loaded.mistakes().into_iter();
            mistakes.map(|mistake| mistake.key).collect::<Vec<_>>()
        };
        let broker = "[queue]\nurl = 'amqp://localhost'\n";
        let spool = "[ingress.spool]\npath = 'spool.db'\n";
        assert_eq!(mistakes(spool), ["ingress.spool.path"]);
        for wrong in ["max_size = '10KiB'", "max_size = 'much'"] {
            let text = format!("{broker}{spool}{wrong}");
            assert_eq!(mistakes(&text), ["ingress.spool.max_size"]);
        }
        let text = format!("{broker}[ingress.spool]\npath = ''");
        assert_eq!(mistakes(&text), ["ingress.spool.path"]);

        let loaded = Loaded::from_text(&format!("{broker}{spool}"), BTreeMap::new()).unwrap();
        assert_eq!(loaded.mistakes(), []);
        assert_eq!(loaded.config.ingress.spool.unwrap().max_size, 1 << 30);
        assert!(
            Loaded::from_text(broker, BTreeMap::new())
                .unwrap()
                .config
                .ingress
                .spool
                .is_none()
        );
    }

    #[test]
    fn what_a_target_mirrors_is_a_source() {
        let mistakes = |mirrored: &str, provider: &str| {
            let text = format!(
                "[[sources]]\nname = 'crm'\nprovider = '{provider}'\nauth = {{ kind = 'none' }}\n\
                 [[targets]]\nname = 'crm'\nkind = 'http'\nevents = ['*']\nmirrors = '{mirrored}'"
            );
            let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
            let mistakes: Vec<_> = loaded.mistakes().iter().map(ToString::to_string).collect();
            (mistakes, loaded.config.targets[0].mirrors.clone())
        };
        assert_eq!(mistakes("crm", "generic"), (vec![], Some("crm".to_owned())));
        let why = "targets[0].mirrors: is \"cmr\", which is no source's name; there are crm";
        assert_eq!(mistakes("cmr", "generic").0, [why]);
        let (of_the_source, _) = mistakes("crm", "carrier-pigeon");
        assert!(of_the_source.len() == 1 && of_the_source[0].starts_with("sources[0].provider"));
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
    fn rates_and_origins_of_the_api_are_read_and_what_is_wrong_is_named() {
        let text = "
            [api]
            rate = '1000/1s'
            cors_origins = ['https://app.example.com']
            keys = [{ name = 'ops', key = 'a-long-secret', role = 'admin', rate = '5/m' }]
        ";
        let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
        assert_eq!(loaded.mistakes(), []);
        let api = &loaded.config.api;
        assert_eq!(api.rate.unwrap().to_string(), "1000/1s");
        assert_eq!(api.keys[0].rate.unwrap().to_string(), "5/1m");
        assert_eq!(api.cors_origins[0].as_str(), "https://app.example.com");
        let shown = format!("{:?}", loaded.effective());
        assert!(
            shown.contains("5/1m") && !shown.contains("a-long-secret"),
            "{shown}"
        );

        let text = "
            [api]
            rate = 'often'
            cors_origins = ['https://app.example.com', '*']
            keys = [{ name = 'ops', key = 'a-long-secret', role = 'admin', rate = '0/s' }]
        ";
        let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
        let mistakes: Vec<_> = loaded.mistakes().iter().map(ToString::to_string).collect();
        for (key, why) in [
            ("api.keys[0].rate: ", "a rate such as"),
            ("api.rate: ", "a rate such as"),
            (
                "api.cors_origins: ",
                "[1] is \"*\", but the answers are about people",
            ),
        ] {
            let named = |mistake: &String| mistake.starts_with(key) && mistake.contains(why);
            assert!(mistakes.iter().any(named), "{key} {mistakes:?}");
        }
        assert_eq!(mistakes.len(), 3);
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
