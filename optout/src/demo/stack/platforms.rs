//! Stand-ins for the parts of Brevo's and Postmark's APIs by which contacts are suppressed. They keep what they are told, and
//! report it by their webhooks as far as the platforms do:
//!
//! - Postmark tells of each change of a suppression list, with the origin `Customer`:
//!   <https://postmarkapp.com/developer/webhooks/subscription-change-webhook>
//! - Brevo tells of `contact_updated`, which names the contact and its blocklist by email within:
//!   <https://github.com/sendinblue/APIv3-php-library/issues/175>. What it tells of the blocklist by SMS is written
//!   nowhere, so here it tells nothing of that.
//!
//! Their bodies are the samples' with another contact and another time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use common::{clock, config::Source, lifecycle::Lifecycle};
use reqwest::Client;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use super::super::{accepted, report::Story};
use crate::send;

/// A list of Brevo's, by what its API calls it.
const EMAIL: &str = "emailBlacklisted";
const SMS: &str = "smsBlacklisted";

/// One platform: what it suppresses, and what it has reported.
pub(super) struct Platform {
    /// Where it reports to.
    pub(super) source: Source,
    http: Client,
    door: String,
    /// The header, and its value, by which it knows who calls.
    key: (&'static str, &'static str),
    outbox: UnboundedSender<Report>,
    state: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Each a list and a contact.
    suppressed: BTreeSet<(String, String)>,
    /// How many reports are still to be sent.
    due: usize,
    /// Those that were accepted, until somebody takes them.
    sent: Vec<Story>,
}

/// A webhook: a sample's body with some fields of its own.
#[derive(Clone)]
pub(super) struct Report {
    like: &'static str,
    fields: Map<String, Value>,
}

impl Report {
    fn like(sample: &'static str, fields: Value) -> Self {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Self {
            like: sample,
            fields,
        }
    }

    /// What Brevo tells once a recipient has used the link of a newsletter.
    pub(super) fn of_unsubscribe(email: &str) -> Self {
        let now = clock::now().as_second();
        let fields = json!({ "email": email, "ts_event": now, "ts": now });
        Self::like("marketing-unsubscribe", fields)
    }
}

impl Platform {
    /// Begins to report to the source; what is told of the platform comes in by [`brevo`] or [`postmark`].
    pub(super) fn start(
        source: Source,
        http: Client,
        door: String,
        key: (&'static str, &'static str),
        lifecycle: &Lifecycle,
    ) -> Arc<Self> {
        let (outbox, reports) = unbounded_channel();
        let platform = Arc::new(Self {
            source,
            http,
            door,
            key,
            outbox,
            state: Mutex::default(),
        });
        let reporting = Arc::clone(&platform).report_all(reports, lifecycle.clone());
        lifecycle.spawn(format!("reports of {}", platform.source.name), reporting);
        platform
    }

    /// A recipient opts out there: Brevo suppresses the contact, and tells of it.
    pub(super) async fn unsubscribed(&self, email: &str, report: &Report) -> anyhow::Result<Story> {
        self.set(EMAIL, email, true);
        self.send(report).await
    }

    /// Sends a report at once.
    pub(super) async fn send(&self, report: &Report) -> anyhow::Result<Story> {
        let sample = send::sample(&*self.source.provider, Some(report.like))?;
        let mut body: Map<String, Value> = serde_json::from_str(sample.body())?;
        body.extend(report.fields.clone());
        let headers = vec![("content-type".into(), "application/json".to_owned())];
        let body = Value::Object(body).to_string();
        let request = send::post_body(&self.http, &self.door, &self.source, headers, body);
        accepted(&self.source, report.like, request).await
    }

    /// Waits until all that it was told so far is reported, and takes the reports.
    pub(super) async fn reports(&self, patience: Duration) -> anyhow::Result<Vec<Story>> {
        let begun = Instant::now();
        loop {
            {
                let mut held = self.held();
                if held.due == 0 {
                    return Ok(std::mem::take(&mut held.sent));
                }
            }
            anyhow::ensure!(
                begun.elapsed() < patience,
                "{} has not reported what it was told within {patience:?}",
                self.source.name
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whom it suppresses: the list and the contact of each.
    pub(super) fn suppressed(&self) -> Vec<String> {
        let held = self.held();
        let pairs = held.suppressed.iter();
        pairs
            .map(|(list, contact)| format!("{contact} ({list})"))
            .collect()
    }

    /// Puts a contact on a list, or takes it off; says whether that changed anything.
    fn set(&self, list: &str, contact: &str, suppressed: bool) -> bool {
        let entry = (list.to_owned(), contact.to_owned());
        let mut held = self.held();
        if suppressed {
            held.suppressed.insert(entry)
        } else {
            held.suppressed.remove(&entry)
        }
    }

    /// Has it told of a change by a webhook, soon.
    fn tell(&self, report: Report) {
        self.held().due += 1;
        // It is refused only once the process stops.
        self.outbox.send(report).ok();
    }

    async fn report_all(
        self: Arc<Self>,
        mut reports: UnboundedReceiver<Report>,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<()> {
        loop {
            let next = tokio::select! {
                next = reports.recv() => next,
                () = lifecycle.stopping() => None,
            };
            let Some(report) = next else {
                return Ok(());
            };
            // What is not accepted stays due, which whoever waits for it notices.
            match self.send(&report).await {
                Ok(story) => {
                    let mut held = self.held();
                    held.due -= 1;
                    held.sent.push(story);
                }
                Err(error) => warn!(error = format!("{error:#}"), "a report was not accepted"),
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only who has the key may ask anything.
async fn with_key(State(platform): State<Arc<Platform>>, request: Request, next: Next) -> Response {
    let (name, value) = platform.key;
    let given = request.headers().get(name);
    if given.is_some_and(|given| given.as_bytes() == value.as_bytes()) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

/// Brevo's contacts: <https://developers.brevo.com/reference/create-contact>.
pub(super) fn brevo(platform: &Arc<Platform>) -> Router {
    Router::new()
        .route("/v3/contacts", post(block))
        .route("/v3/contacts/{contact}", put(unblock))
        .layer(middleware::from_fn_with_state(
            Arc::clone(platform),
            with_key,
        ))
        .with_state(Arc::clone(platform))
}

async fn block(State(platform): State<Arc<Platform>>, Json(body): Json<Value>) -> Response {
    let named = match (&body["email"], &body["attributes"]["SMS"]) {
        (Value::String(email), _) => Some((EMAIL, email)),
        (_, Value::String(number)) => Some((SMS, number)),
        _ => None,
    };
    let Some((list, contact)) = named.filter(|(list, _)| body[list] == true) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if !platform.set(list, contact, true) {
        return StatusCode::NO_CONTENT.into_response();
    }
    updated(&platform, list, contact, true);
    (StatusCode::CREATED, Json(json!({ "id": 1 }))).into_response()
}

async fn unblock(
    State(platform): State<Arc<Platform>>,
    Path(contact): Path<String>,
    Json(body): Json<Value>,
) -> StatusCode {
    let Some(list) = [EMAIL, SMS].into_iter().find(|list| body[list] == false) else {
        return StatusCode::BAD_REQUEST;
    };
    if !platform.set(list, &contact, false) {
        return StatusCode::NOT_FOUND;
    }
    updated(&platform, list, &contact, false);
    StatusCode::NO_CONTENT
}

fn updated(platform: &Platform, list: &str, contact: &str, suppressed: bool) {
    if list == EMAIL {
        let content = json!([{ "email": contact, "emailBlacklist": suppressed }]);
        let fields = json!({ "content": content, "ts": clock::now().as_second() });
        platform.tell(Report::like("contact-updated", fields));
    }
}

/// Postmark's suppressions: <https://postmarkapp.com/developer/api/suppressions-api>.
pub(super) fn postmark(platform: &Arc<Platform>) -> Router {
    let list = "/message-streams/{stream}/suppressions";
    Router::new()
        .route(list, post(suppress))
        .route(&format!("{list}/delete"), post(reactivate))
        .layer(middleware::from_fn_with_state(
            Arc::clone(platform),
            with_key,
        ))
        .with_state(Arc::clone(platform))
}

async fn suppress(
    State(platform): State<Arc<Platform>>,
    Path(stream): Path<String>,
    Json(body): Json<Value>,
) -> Json<Value> {
    change(&platform, &stream, &body, true)
}

async fn reactivate(
    State(platform): State<Arc<Platform>>,
    Path(stream): Path<String>,
    Json(body): Json<Value>,
) -> Json<Value> {
    change(&platform, &stream, &body, false)
}

fn change(platform: &Platform, stream: &str, body: &Value, suppressed: bool) -> Json<Value> {
    let (status, sample) = if suppressed {
        ("Suppressed", "subscription-change-manual")
    } else {
        ("Deleted", "subscription-change-reactivation")
    };
    let asked = body["Suppressions"].as_array().into_iter().flatten();
    let emails = asked.filter_map(|one| one["EmailAddress"].as_str());
    let one = |email: &str| {
        if platform.set(stream, email, suppressed) {
            let fields = json!({ "Recipient": email, "MessageStream": stream, "Origin": "Customer", "ChangedAt": clock::now() });
            platform.tell(Report::like(sample, fields));
        }
        json!({ "EmailAddress": email, "Status": status, "Message": null })
    };
    Json(json!({ "Suppressions": emails.map(one).collect::<Vec<_>>() }))
}
