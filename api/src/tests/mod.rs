//! The api by its real router over real ledgers: each test runs on SQLite and on PostgreSQL, with a queue that writes
//! down what it is given and can be told to refuse.

mod answer;
mod auth;
mod brevo;
mod check;
mod compliance;
mod contacts;
mod dashboard;
mod deliveries;
mod endpoint_rules;
mod endpoints;
mod erasure;
mod errors;
mod events;
mod fact;
mod headers;
mod hostile_refusals;
mod hostile_values;
mod import;
mod keys;
mod limits;
mod links;
mod openapi;
mod quarantine;
mod reconciliations;
mod recorder;
mod replays;
mod silence;
mod submissions;
mod suppressions;
mod talkable;
mod targets;
mod witness;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use common::{
    clock,
    config::{ApiKey, Loaded, Role},
    contact::Contact,
    delivery::{Attempt, Delivery, State},
    envelope::Envelope,
    event::{Draft, Event, Identity, Kind, Undetermined},
    http::hardened,
    ledger::{Entry, Finished, Ledger},
    lifecycle::Lifecycle,
    providers::Provider,
    queue::QueueName,
};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::{AnyPool, AssertSqlSafe, any::install_default_drivers};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

use answer::{Answer, ask};
use fact::{Fact, fact};
use recorder::Recorder;

use crate::{
    App,
    checks::Checks,
    dashboard::Dashboard,
    endpoints::Rules,
    keyring::Keyring,
    openapi::Description,
    router,
    talkable::Desk,
    trail::{self, Trail},
};

/// Waits for what has just moved to lie in the past: SQLite's clock ticks by the millisecond.
async fn next_tick() {
    let begun = clock::now();
    while clock::now() < begun + Duration::from_millis(1) {
        tokio::task::yield_now().await;
    }
}

/// An api over a ledger of its own. There is a key for each role, `ROLE-key-0123`, the sources `shop` and `news`, the
/// target `slack`, and the target `off`, which is disabled.
struct Door {
    store: &'static str,
    app: Arc<App>,
    router: Router,
    ledger: Ledger,
    queue: Arc<Recorder>,
    /// What was answered: operations with their statuses.
    answered: Mutex<BTreeSet<String>>,
    /// What pages that are kept up to date end with.
    lifecycle: Lifecycle,
    /// Of the database.
    url: String,
    _folder: TempDir,
}

/// Runs a test on each of the databases.
async fn on_each(test: impl AsyncFn(&Door)) {
    for store in ["SQLite", "PostgreSQL"] {
        let folder = tempfile::tempdir().unwrap();
        let url = match store {
            "SQLite" => format!("sqlite:{}", folder.path().join("ledger.db").display()),
            _ => postgres().await,
        };
        let pepper = Some("a pepper for these tests".into());
        let ledger = Ledger::open(&url, 4).unwrap().with_pepper(pepper);
        ledger.migrate().await.unwrap();
        let mut door = Door::new(store, ledger, folder);
        door.url = url;
        test(&door).await;
    }
}

/// A new database on the tests' PostgreSQL server.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment where their servers are"
)]
async fn postgres() -> String {
    let variable = "OPTOUT_TEST_POSTGRES_URL";
    let url = std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the tests by scripts/test"));
    install_default_drivers();
    let server = AnyPool::connect(&url).await.unwrap();
    let name = format!("test_{}", Uuid::now_v7().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&server)
        .await
        .unwrap();
    let (server_url, _) = url.rsplit_once('/').unwrap();
    format!("{server_url}/{name}")
}

impl Door {
    fn new(store: &'static str, ledger: Ledger, folder: TempDir) -> Self {
        let (queue, lifecycle) = (Arc::new(Recorder::default()), Lifecycle::new());
        let key = |role: &Role| ApiKey {
            name: format!("the {role} key"),
            keys: vec![
                format!("{role}-old-key").into(),
                format!("{role}-key-0123").into(),
            ],
            role: *role,
            rate: None,
        };
        let text = "[endpoints]\nallow_http = true\n[outbound]\nallow_networks = ['127.0.0.0/8']";
        let text = format!("{text}\n{}", links::CONFIGURED);
        let mut config = Loaded::from_text(&text, BTreeMap::new()).unwrap().config;
        config.api.keys = Role::ALL.iter().map(key).collect();
        let app = App {
            ledger: ledger.clone(),
            queue: Arc::<Recorder>::clone(&queue),
            keys: Keyring::new(&config.api),
            checks: Checks::start(ledger.clone(), &Lifecycle::new()),
            cors_origins: vec![],
            sources: BTreeSet::from(["shop".to_owned(), "news".to_owned(), "api".to_owned()]),
            targets: BTreeMap::from([("slack".to_owned(), true), ("off".to_owned(), false)]),
            endpoints: Rules::new(&config).unwrap(),
            links: config.links.clone(),
            talkable: Desk {
                sources: vec![],
                settings: config.api.talkable.clone(),
            },
            trail: Trail::new().0,
            description: Description::new(),
            dashboard: Dashboard::new(&config, &lifecycle),
        };
        let app = Arc::new(app);
        Self {
            store,
            router: hardened(router(Arc::clone(&app))),
            app,
            ledger,
            queue,
            answered: Mutex::default(),
            lifecycle,
            url: String::new(),
            _folder: folder,
        }
    }

    /// An api of its own over the same stores, with this in its configuration.
    fn configured(&self, text: &str) -> App {
        let loaded = Loaded::from_text(text, BTreeMap::new()).unwrap();
        assert_eq!(loaded.mistakes(), []);
        let queue = Arc::<Recorder>::clone(&self.queue);
        let (trail, lifecycle) = (Trail::new().0, Lifecycle::new());
        App::new(
            &loaded.config,
            self.ledger.clone(),
            queue,
            trail,
            &lifecycle,
        )
        .unwrap()
    }

    /// A pool of the tests' own on the ledger's database, for what nobody may ask of it otherwise.
    async fn database(&self) -> AnyPool {
        AnyPool::connect(&self.url).await.unwrap()
    }

    /// Asks with the key of a role that may do it.
    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[("x-api-key", "read-key-0123")])
            .await
    }

    async fn post(&self, path: &str) -> Answer {
        self.send("POST", path, &[("x-api-key", "write-key-0123")])
            .await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_body(method, path, headers, Body::empty()).await
    }

    /// Sends a body with the key of a role that may write.
    async fn write(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("x-api-key", "write-key-0123")];
        self.send_body(method, path, &headers, Body::from(body.to_string()))
            .await
    }

    async fn send_body(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Answer {
        let answer = ask(&self.router, method, path, headers, body).await;
        // Whatever a test is about, what is answered is as it is described.
        let answered = witness::hold(method, path, &answer);
        self.answered.lock().unwrap().extend(answered);
        answer
    }

    /// What was published to the route stage since it was last asked: the drafts of each request.
    fn asked(&self) -> Vec<common::request::Request> {
        let envelopes = self.queue.take().into_iter().map(|message| {
            assert!(matches!(message.queue, QueueName::Inbound(_)));
            let mut envelopes = common::envelope::decode(message.body).unwrap();
            assert_eq!(envelopes.len(), 1);
            envelopes.remove(0)
        });
        envelopes
            .map(|envelope| serde_json::from_slice(&envelope.body).unwrap())
            .collect()
    }

    /// Does what the worker does with what was published, with the target `slack`.
    async fn work(&self) {
        let provider = common::request::Api;
        for message in self.queue.take() {
            let envelope = common::envelope::decode(message.body).unwrap().remove(0);
            let drafts = provider.parse(&envelope).unwrap().into_iter().flatten();
            let events: Vec<_> = drafts
                .map(|draft| draft.into_event(&envelope, "api", Undetermined::Suppress))
                .collect();
            let told = |event| (event, vec![("slack".to_owned(), State::Pending)]);
            let entry = Entry {
                envelope: &envelope,
                provider: "api",
                events: events.iter().map(told).collect(),
                duplicates: vec![],
                echoes: vec![],
                unreadable: vec![],
            };
            self.ledger.record(&[entry]).await.unwrap();
        }
    }

    /// Whether a check with this query says "do not send".
    async fn unsubscribed(&self, query: &str) -> bool {
        let answer = self.get(&format!("/api/v1/check?{query}")).await;
        answer.body["unsubscribed"].as_bool().unwrap()
    }

    /// How many records the audit trail has, after it was verified.
    async fn audited(&self) -> i64 {
        let verified = self.ledger.verify_audit().await.unwrap();
        assert_eq!(verified.broken, None);
        verified.records
    }

    /// The items of a list that is expected to be answered.
    async fn items(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.body["items"].as_array().unwrap().clone()
    }

    /// Records one event in an envelope of its own, with deliveries to `targets`.
    async fn record(&self, fact: Fact, targets: &[&str]) -> Event {
        let (envelope, event) = fact.event();
        let targets = targets
            .iter()
            .map(|target| ((*target).to_owned(), State::Pending))
            .collect();
        let entry = Entry {
            envelope: &envelope,
            provider: "test",
            events: vec![(&event, targets)],
            duplicates: vec![],
            echoes: vec![],
            unreadable: vec![],
        };
        self.ledger.record(&[entry]).await.unwrap();
        event
    }

    /// Records an unsubscribe with a delivery to `target`, and gives both ids.
    async fn delivery_to(&self, target: &str) -> (Event, Uuid) {
        let event = self.record(fact(Kind::Unsubscribed), &[target]).await;
        let id = Delivery::id_of(event.id, target);
        (event, id)
    }

    /// Lets the attempt `number` at a delivery end in `state`.
    async fn attempt(&self, delivery: Uuid, number: i64, state: State) {
        let attempt = Attempt {
            number,
            started_at: clock::now(),
            duration_ms: 7,
            outcome: "dead".to_owned(),
            status: Some(410),
            error: Some("gone".to_owned()),
            answer: Some("no such hook".to_owned()),
        };
        let finished = Finished {
            delivery,
            state,
            again: None,
            attempt,
        };
        let lease = Duration::from_secs(30);
        let me = Uuid::now_v7();
        self.ledger.take(&[delivery], me, lease).await.unwrap();
        self.ledger.finish(&[finished], me).await.unwrap();
    }

    /// Follows the pages of a list to its end, and gives the ids and the number of pages.
    async fn all_pages(&self, path: &str) -> (Vec<String>, usize) {
        let (mut ids, mut pages, mut cursor) = (vec![], 0, String::new());
        loop {
            let answer = self.get(&format!("{path}{cursor}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            ids.extend(
                answer.body["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| text(&item["id"])),
            );
            pages += 1;
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (ids, pages),
            }
        }
    }
}

impl Drop for Door {
    #[expect(clippy::print_stderr, reason = "which database a failing test was at")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on {}", self.store);
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
