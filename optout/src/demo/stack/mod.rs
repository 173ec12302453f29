//! `optout demo --stack`: a company that sends by Brevo, Postmark and Twilio, and one opt-out followed through all of them.
//!
//! Its configuration is what the README shows; only the URLs are those of stand-ins, in the place of Brevo's and Postmark's
//! APIs. Twilio has no API by which an opt-out could be entered, so before an SMS the check is asked by both addresses of
//! its recipient. What is printed the ledger and the api say; if any of it is not as it should be, the demo fails.

mod platforms;
mod print;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::Router;
use common::{
    config::{Config, Loaded, Role, Source},
    event::Event,
    http::{self, Limits},
    ledger::{Ledger, StoredEnvelope},
    lifecycle::Lifecycle,
    startup,
};
use reqwest::{Client, Method};
use serde_json::Value;
use uuid::Uuid;

use super::{
    API_KEY, PATIENCE, Ports, accept,
    report::{self, Story, Told},
    services,
};
use crate::{
    client::{self, Api, Reach},
    send,
};
use platforms::{Platform, Report};

/// As the README shows it.
const CONFIGURATION: &str = include_str!("stack.toml");

/// The variables that it names, with what the stand-ins and the samples go by.
const SECRETS: [(&str, &str); 5] = [
    ("BREVO_WEBHOOK_TOKEN", "demo-brevo-webhook"),
    ("POSTMARK_WEBHOOK_PASSWORD", "demo-postmark-webhook"),
    ("TWILIO_AUTH_TOKEN", "demo-twilio"),
    ("BREVO_API_KEY", BREVO.1),
    ("POSTMARK_SERVER_TOKEN", POSTMARK.1),
];

/// The header by which each platform knows who calls, and its value.
const BREVO: (&str, &str) = ("api-key", "demo-brevo-api");
const POSTMARK: (&str, &str) = ("x-postmark-server-token", "demo-postmark-api");

const JANE: &str = "jane@example.com";
/// Of who writes in Twilio's example.
const PHONE: &str = "+15558675310";

/// The platforms that keep what they are told.
pub(super) struct Company {
    news: Arc<Platform>,
    receipts: Arc<Platform>,
}

/// The configuration, and the environment that it is read in.
pub(super) fn configuration(folder: &Path, ports: Ports) -> (String, BTreeMap<String, String>) {
    let at = |name: &str| format!("http://127.0.0.1:{}/{name}", ports.standins);
    let mut environment = secrets();
    environment.insert("OPTOUT__TARGETS__0__URL".to_owned(), at("brevo"));
    environment.insert("OPTOUT__TARGETS__1__URL".to_owned(), at("postmark"));
    (services(folder, ports) + CONFIGURATION, environment)
}

fn secrets() -> BTreeMap<String, String> {
    let secrets = SECRETS.iter();
    secrets
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Starts the stand-ins.
pub(super) async fn start(
    ports: Ports,
    config: &Config,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Company> {
    let (http, door) = (client::http()?, door(config));
    let platform = |name, key| {
        let source = source(config, name)?.clone();
        anyhow::Ok(Platform::start(
            source,
            http.clone(),
            door.clone(),
            key,
            lifecycle,
        ))
    };
    let (news, receipts) = (platform("news", BREVO)?, platform("receipts", POSTMARK)?);
    let router = Router::new()
        .nest("/brevo", platforms::brevo(&news))
        .nest("/postmark", platforms::postmark(&receipts));
    let listener = http::bind(SocketAddr::from(([127, 0, 0, 1], ports.standins))).await?;
    let serve = http::serve(listener, router, Limits::default(), lifecycle.clone());
    lifecycle.spawn("stand-ins", serve);
    Ok(Company { news, receipts })
}

fn door(config: &Config) -> String {
    format!("http://{}", config.ingress.bind)
}

fn source<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Source> {
    let mut sources = config.sources.iter();
    let found = sources.find(|source| source.name == name);
    found.with_context(|| format!("there is no source {name}"))
}

/// What may be asked of it afterwards.
pub(super) fn tries(ports: Ports) -> Vec<String> {
    let Ports { ingress, api, .. } = ports;
    [
        format!("curl 'http://127.0.0.1:{api}/api/v1/check?email={JANE}&phone=%2B15558675310' -H 'X-API-Key: {API_KEY}'"),
        format!("curl 'http://127.0.0.1:{api}/api/v1/contacts/{JANE}' -H 'X-API-Key: {API_KEY}'"),
        format!("curl http://127.0.0.1:{ingress}/webhooks/news -H 'Authorization: Bearer demo-brevo-webhook' \\"),
        r#"     -d '{"event":"unsubscribe","email":"you@example.com","ts_event":1767225600}'"#.to_owned(),
    ]
    .into()
}

/// Tells Jane's story.
pub(super) async fn show(loaded: &Loaded, company: &Company) -> anyhow::Result<()> {
    let stage = Stage {
        config: &loaded.config,
        ledger: startup::ledger_at_once(&loaded.config).await?,
        api: Api::new(loaded, &Reach::default(), Role::Write)?,
        http: client::http()?,
        company,
    };
    print::title();
    stage.ask([&[], &[], &[]]).await?;
    print::act(1, "Jane unsubscribes by the link of a newsletter.");
    let webhook = Report::of_unsubscribe(JANE);
    let opt_out = stage.opts_out(&webhook).await?;
    stage.ask([&["news"], &["news"], &["news"]]).await?;
    print::act(2, "She answers STOP to an SMS.");
    stage.stops().await?;
    stage.ask([&["news"], &["news"], &["news", "sms"]]).await?;
    print::act(3, "Brevo sends the first webhook once more.");
    stage.repeats(&webhook).await?;
    print::act(
        4,
        "She asks for the newsletter again, and support lifts the opt-out.",
    );
    stage.lifts(&opt_out).await?;
    stage.ask([&[], &[], &["sms"]]).await?;
    print::act(5, "What the platforms hold then:");
    stage.holds()
}

/// The company at work.
struct Stage<'a> {
    config: &'a Config,
    ledger: Ledger,
    api: Api,
    http: Client,
    company: &'a Company,
}

impl Stage<'_> {
    /// What is asked before each newsletter, receipt and SMS, and whose word has to be against it.
    async fn ask(&self, expected: [&[&str]; 3]) -> anyhow::Result<()> {
        let asked: [(_, &[_]); 3] = [
            ("newsletter", &[("email", JANE)]),
            ("receipt", &[("email", JANE), ("scope", "outbound")]),
            ("SMS", &[("email", JANE), ("phone", PHONE)]),
        ];
        let begun = Instant::now();
        let mut answers = vec![];
        for ((what, question), expected) in asked.into_iter().zip(expected) {
            let request = self.api.request(Method::GET, "/api/v1/check")?;
            let answer = self.api.json(request.query(question)).await?;
            let by = answer["suppressions"].as_array().into_iter().flatten();
            let mut by: Vec<_> = by.filter_map(|by| by["source"].as_str()).collect();
            by.sort_unstable();
            let unsubscribed = answer["unsubscribed"].as_bool();
            ensure!(
                by == expected && unsubscribed == Some(!expected.is_empty()),
                "before a {what} the check answers {answer}, but {expected:?} should be against it"
            );
            answers.push((what, by.into_iter().map(str::to_owned).collect()));
        }
        print::check(&answers, begun.elapsed());
        Ok(())
    }

    /// Brevo, of which it is, is not told; Postmark is, and reports it back.
    async fn opts_out(&self, webhook: &Report) -> anyhow::Result<Event> {
        let story = self.company.news.unsubscribed(JANE, webhook).await?;
        let told = [("news", "withheld"), ("receipts", "done")];
        let event = self.follow(&story, told).await?;
        self.reported(&event, [0, 1]).await?;
        Ok(event)
    }

    /// Twilio heeds it by itself, Postmark sends no SMS, and Brevo is told.
    async fn stops(&self) -> anyhow::Result<()> {
        let source = source(self.config, "sms")?;
        let sample = send::sample(&*source.provider, Some("stop"))?;
        let story = accept(&self.http, &door(self.config), source, sample).await?;
        let told = [("news", "done"), ("receipts", "withheld")];
        let event = self.follow(&story, told).await?;
        self.reported(&event, [0, 0]).await
    }

    /// The same request again: it is known as a duplicate, and has no event of its own.
    async fn repeats(&self, webhook: &Report) -> anyhow::Result<()> {
        let story = self.company.news.send(webhook).await?;
        let stored = self.until_stored(&story).await?;
        let told = story.told(&self.ledger).await?;
        ensure!(
            stored.duplicates == 1 && told.is_empty(),
            "the repeat has {} duplicates and {} events, but should have one and none",
            stored.duplicates,
            told.len()
        );
        print::repeat(&story, &stored);
        Ok(())
    }

    async fn until_stored(&self, story: &Story) -> anyhow::Result<StoredEnvelope> {
        let begun = Instant::now();
        loop {
            if let Some(stored) = self.ledger.envelope(story.envelope).await? {
                return Ok(stored);
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "the repeat was not recorded within {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// By the api. There is but one suppression to lift: the echo has set none.
    async fn lifts(&self, opt_out: &Event) -> anyhow::Result<()> {
        let asked = self.api.request(Method::GET, "/api/v1/suppressions")?;
        let asked = asked.query(&[("email", JANE), ("state", "active")]);
        let found = self.api.json(asked).await?;
        let standing = found["items"].as_array().context("the list has no items")?;
        ensure!(
            standing.len() == 1 && id(&standing[0]["event_id"])? == opt_out.id,
            "the opt-out alone should suppress {JANE}, but the list is {found}"
        );
        let path = format!("/api/v1/suppressions/{}", id(&standing[0]["id"])?);
        let lift = self.api.request(Method::DELETE, &path)?;
        let begun = Instant::now();
        let lifted = self.api.json(lift.query(&[("reason", "asked us to")]));
        let (lifted, took) = (lifted.await?, begun.elapsed());
        let event = self.ledger.event(id(&lifted["event_id"])?).await?;
        let story = Story {
            provider: "api",
            sample: "lift",
            envelope: event.context("the lift has no event")?.envelope_id,
            took,
        };
        let told = [("news", "done"), ("receipts", "done")];
        let event = self.follow(&story, told).await?;
        self.reported(&event, [1, 1]).await
    }

    /// Shows what became of a story's one event at each target, which has to be what is expected there.
    async fn follow(&self, story: &Story, expected: [(&str, &str); 2]) -> anyhow::Result<Event> {
        let told = story.until_told(&self.ledger, expected.len(), PATIENCE);
        let mut told = told.await?;
        for told in &told {
            report::event(story, told, self.config);
        }
        ensure!(told.len() == 1, "{} events came of one", told.len());
        let Told { event, deliveries } = told.remove(0);
        ensure!(
            deliveries.len() == expected.len(),
            "{} targets were to be told, not {}",
            expected.len(),
            deliveries.len()
        );
        for (target, outcome) in expected {
            let found = deliveries.iter().find(|(row, _)| row.target == target);
            let last = found.and_then(|(_, attempts)| attempts.last());
            let became = last.map(|last| last.outcome.as_str());
            ensure!(
                became == Some(outcome),
                "{target} should be {outcome}, but is {became:?}"
            );
        }
        Ok(event)
    }

    /// Shows what the platforms report of what they were told of `cause`. Postmark's reports are echoes of it; those of
    /// Brevo say nothing that would suppress or lift. Nobody is told of any.
    async fn reported(&self, cause: &Event, expected: [usize; 2]) -> anyhow::Result<()> {
        let Company { news, receipts } = self.company;
        for ((platform, of), expected) in [(news, None), (receipts, Some(cause.id))]
            .into_iter()
            .zip(expected)
        {
            let name = &platform.source.name;
            let reports = platform.reports(PATIENCE).await?;
            ensure!(
                reports.len() == expected,
                "{name} reported {} changes, not {expected}",
                reports.len()
            );
            for story in reports {
                let told = story.until_told(&self.ledger, 0, PATIENCE).await?;
                for Told { event, deliveries } in told {
                    ensure!(
                        event.echo_of == of && event.changes().is_empty() && deliveries.is_empty(),
                        "what {name} reports is taken for news"
                    );
                    print::report(name, &event, cause);
                }
            }
        }
        Ok(())
    }

    /// What is left is the STOP, which nobody lifted.
    fn holds(&self) -> anyhow::Result<()> {
        let Company { news, receipts } = self.company;
        let expected = [vec![format!("{PHONE} (smsBlacklisted)")], vec![]];
        for (platform, expected) in [news, receipts].into_iter().zip(expected) {
            let held = platform.suppressed();
            print::holds(
                &platform.source.name,
                platform.source.provider.name(),
                &held,
            );
            ensure!(
                held == expected,
                "{} should suppress {expected:?}, but suppresses {held:?}",
                platform.source.name
            );
        }
        print::end();
        Ok(())
    }
}

fn id(value: &Value) -> anyhow::Result<Uuid> {
    let id = value.as_str().unwrap_or_default().parse();
    id.with_context(|| format!("the api's answer has {value} where an id should be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_shows_this_configuration_and_it_needs_nothing_but_its_secrets() {
        let readme = include_str!("../../../../README.md");
        let shown = format!("```toml\n{CONFIGURATION}```\n");
        assert!(readme.contains(&shown), "the README shows another one");
        let loaded = Loaded::from_text(CONFIGURATION, secrets()).unwrap();
        let outlets = worker::outlets(&loaded.config);
        assert!(outlets.is_ok());
        let mistakes: Vec<_> = loaded.mistakes().iter().map(ToString::to_string).collect();
        assert_eq!(mistakes, [""; 0]);
    }
}
