//! A worker in this process, and a platform behind a real server whose lists can be read.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{self, Path, Query},
    http::StatusCode,
    routing::get,
};
use common::{
    contact::Contact,
    delivery::State,
    envelope,
    event::{Draft, Identity, Kind},
    ledger::{
        DeliveryFilter, DeliveryRow, Difference, DifferenceFilter, Progress, Reconciliation,
        Standing,
    },
    request::Request,
};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::bench::{Bench, inbound, until};

/// A platform with two audiences: of each who is in it, by address, with their status.
#[derive(Clone, Default)]
pub(crate) struct Platform(Arc<Mutex<BTreeMap<(String, String), String>>>);

pub(crate) const NEWS: &str = "a1";
pub(crate) const OFFERS: &str = "b2";

/// An audience that the platform does not let be read.
pub(crate) const SECRET: &str = "c3";

impl Platform {
    /// Its URL; it ends with the test's runtime.
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub(crate) async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let member = get(async |_: Path<(String, String)>| StatusCode::NOT_FOUND).put(told);
        let router = Router::new()
            .route("/3.0/lists/{audience}/members", get(members))
            .route("/3.0/lists/{audience}/members/{address}", member)
            .with_state(self.clone());
        drop(tokio::spawn(axum::serve(listener, router).into_future()));
        url
    }

    pub(crate) fn set(&self, audience: &str, address: &str, status: &str) {
        let place = (audience.to_owned(), address.to_owned());
        self.0.lock().unwrap().insert(place, status.to_owned());
    }

    pub(crate) fn forget(&self, audience: &str, address: &str) {
        let place = (audience.to_owned(), address.to_owned());
        assert!(self.0.lock().unwrap().remove(&place).is_some());
    }

    pub(crate) fn has(&self, audience: &str, address: &str) -> bool {
        let place = (audience.to_owned(), address.to_owned());
        self.0.lock().unwrap().contains_key(&place)
    }
}

async fn members(
    extract::State(platform): extract::State<Platform>,
    Path(audience): Path<String>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    if audience == SECRET {
        return Err(StatusCode::FORBIDDEN);
    }
    let number = |name: &str| asked[name].parse::<usize>().unwrap();
    let members = platform.0.lock().unwrap();
    let members = members
        .iter()
        .filter(|((of, _), status)| *of == audience && **status == asked["status"])
        .map(|((_, address), status)| json!({ "email_address": address, "status": status, "last_changed": "2026-05-04T12:00:00+00:00" }));
    let all: Vec<_> = members.collect();
    let page: Vec<_> = all
        .iter()
        .skip(number("offset"))
        .take(number("count"))
        .collect();
    Ok(Json(json!({ "members": page, "total_items": all.len() })))
}

async fn told(
    extract::State(platform): extract::State<Platform>,
    Path((audience, address)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Json<Value> {
    platform.set(&audience, &address, body["status"].as_str().unwrap());
    Json(json!({ "status": body["status"] }))
}

/// A worker whose targets are a file and the platform.
pub(crate) struct World {
    pub(crate) bench: Bench,
    pub(crate) platform: Platform,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("", "").await
    }

    /// With these settings of the platform's target, and these in all. The worker is not started.
    pub(crate) async fn with(target: &str, settings: &str) -> Self {
        let platform = Platform::default();
        let url = platform.start().await;
        let settings = format!(
            "[[targets]]\nname = 'crm'\nkind = 'mailchimp'\nevents = ['unsubscribed', 'complained', 'resubscribed']\n\
             url = '{url}'\ntoken = 'k'\nscopes = {{ news = '{NEWS}', offers = '{OFFERS}' }}\n{target}\n\
             [outbound]\nallow_networks = ['127.0.0.0/8']\n{settings}\n"
        );
        let bench = Bench::with("", &settings).await;
        Self { bench, platform }
    }

    /// Somebody opts out or in, and all targets are told of it.
    pub(crate) async fn says(&self, kind: Kind, email: &str, scope: &str) {
        let draft = Draft {
            contact: Contact::email(email).ok(),
            scope: Some(scope.to_owned()),
            ..Draft::new(kind, "said", Identity::Own(Uuid::now_v7().to_string()))
        };
        let request = Request {
            actor: "test".to_owned(),
            action: "test".to_owned(),
            request: json!({}),
            drafts: vec![draft],
        };
        let message = envelope::encode([&request.into_envelope()]);
        let before = self.deliveries().await.len();
        self.bench.publish(inbound(), message).await;
        until(async || {
            let all = self.deliveries().await;
            let told = |row: &DeliveryRow| row.state == State::Delivered;
            (all.len() == before + 2 && all.iter().all(told)).then_some(())
        })
        .await;
    }

    pub(crate) async fn deliveries(&self) -> Vec<DeliveryRow> {
        let all = DeliveryFilter::default();
        let page = self.bench.ledger.deliveries(&all, 100, None).await;
        page.unwrap().items
    }

    /// Changes the ledger past its own ways.
    pub(crate) async fn change(&self, text: &'static str) {
        let path = self.bench.folder.path().join("ledger.db");
        let url = format!("sqlite:{}", path.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    }

    /// Makes all that was recorded an hour old.
    pub(crate) async fn an_hour_passes(&self) {
        self.change(
            "UPDATE registers SET updated_at = updated_at - 3600000000;
            UPDATE deliveries SET moved_at = moved_at - 3600000000",
        )
        .await;
    }

    pub(crate) async fn reconciled(&self, target: Option<&str>, repair: bool) -> Reconciliation {
        let ledger = &self.bench.ledger;
        let asked = ledger
            .ask_reconciliation(target, repair, "test")
            .await
            .unwrap();
        until(async || {
            let now = ledger.reconciliation(asked.id).await.unwrap().unwrap();
            (now.state != Progress::Running).then_some(now)
        })
        .await
    }

    /// What differs, as `address list difference`, in order.
    pub(crate) async fn differences(&self, of: &Reconciliation) -> Vec<String> {
        let found = self.found(of).await;
        let mut lines: Vec<_> = found
            .iter()
            .map(|one| format!("{} {} {}", one.contact, one.list, one.difference))
            .collect();
        lines.sort();
        lines
    }

    pub(crate) async fn found(&self, of: &Reconciliation) -> Vec<Difference> {
        let filter = DifferenceFilter::default();
        let page = self
            .bench
            .ledger
            .differences(of.id, &filter, 100, None)
            .await;
        page.unwrap().items
    }

    /// In which scopes a contact is suppressed, each with the source that says so.
    pub(crate) async fn suppressed(&self, email: &str) -> Vec<String> {
        let contact = Contact::email(email).unwrap();
        let registers = self.bench.ledger.registers(&[contact]).await.unwrap();
        let active = registers.iter().filter(|it| it.state == Standing::Active);
        active
            .map(|it| format!("{} {}", it.scope, it.source))
            .collect()
    }
}
