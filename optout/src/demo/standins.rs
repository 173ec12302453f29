//! What the demo tells: stand-ins that speak as Slack, Zendesk and a webhook's receiver do, a user database, and the
//! configuration that points at them.

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use common::{
    config::Config,
    http::{self, Limits},
    lifecycle::Lifecycle,
    providers::{self, Provider},
};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use super::{API_KEY, Ports, services, told};

/// The secret by which the demo signs what it sends to the webhook.
const SECRET: &str = "whsec_ZGVtby1zZWNyZXQtb2Ytb3B0b3V0LTEyMzQ1Njc4";

/// The demo's configuration, as a user would write it.
pub(super) fn configuration(folder: &Path, ports: Ports) -> String {
    services(folder, ports) + &targets(folder, ports) + &sources()
}

fn targets(folder: &Path, ports: Ports) -> String {
    let (folder, standins) = (folder.display(), ports.standins);
    format!(
        r#"
        [[targets]]
        name = "users"
        kind = "database"
        events = ["unsubscribed", "complained", "bounced", "resubscribed"]
        url = "sqlite:{folder}/users.db"
        [targets.statements]
        unsubscribed = "UPDATE users SET email_opt_in = 0, opted_out_at = :occurred_at WHERE email = :email"
        complained = "UPDATE users SET email_opt_in = 0, opted_out_at = :occurred_at WHERE email = :email"
        bounced = "UPDATE users SET email_opt_in = 0, opted_out_at = :occurred_at WHERE email = :email"
        resubscribed = "UPDATE users SET email_opt_in = 1, opted_out_at = NULL WHERE email = :email"
        [[targets]]
        name = "slack"
        kind = "slack"
        events = ["unsubscribed", "complained", "bounced"]
        url = "http://127.0.0.1:{standins}/slack"
        rate = "50/s"
        [[targets]]
        name = "tickets"
        kind = "zendesk"
        events = ["unsubscribed", "complained", "bounced"]
        url = "http://127.0.0.1:{standins}"
        username = "demo@example.com"
        token = "demo-token"
        [[targets]]
        name = "webhook"
        kind = "http"
        events = ["*"]
        url = "http://127.0.0.1:{standins}/hook"
        secret = "{SECRET}"
        [[targets]]
        name = "log"
        kind = "file"
        events = ["*"]
        path = "{folder}/events.jsonl"
        "#
    )
}

/// One source of each provider.
fn sources() -> String {
    let source = |provider: &&dyn Provider| {
        let name = provider.name();
        let auth = match provider.asks_at() {
            Some(_) => r#"kind = "signature", key = "demo-password", site = "demo""#,
            None => r#"kind = "basic", username = "optout", password = "demo-password""#,
        };
        format!(
            r#"
            [[sources]]
            name = "{name}-demo"
            provider = "{name}"
            auth = {{ {auth} }}
            "#
        )
    };
    providers::ALL.iter().map(source).collect()
}

/// Starts the stand-ins and fills the user database.
pub(super) async fn start(
    folder: &Path,
    ports: Ports,
    config: &Config,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    users(folder, config).await?;
    let listener = http::bind(SocketAddr::from(([127, 0, 0, 1], ports.standins))).await?;
    let serve = http::serve(listener, router(), Limits::default(), lifecycle.clone());
    lifecycle.spawn("stand-ins", serve);
    Ok(())
}

/// A user database in which everybody that the samples speak of has opted in.
async fn users(folder: &Path, config: &Config) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("users.db"))
        .create_if_missing(true);
    let mut users = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql("CREATE TABLE users (email TEXT PRIMARY KEY, email_opt_in INTEGER NOT NULL DEFAULT 1, opted_out_at TEXT)")
        .execute(&mut users)
        .await?;
    for (source, sample) in told(config) {
        let envelope = sample.envelope(Uuid::nil(), &source.name, &[]);
        for draft in source.provider.parse(&envelope)?.into_iter().flatten() {
            if let Some(contact) = draft.contact {
                let insert = sqlx::query("INSERT OR IGNORE INTO users (email) VALUES ($1)")
                    .bind(contact.address);
                insert.execute(&mut users).await?;
            }
        }
    }
    users.close().await?;
    Ok(())
}

/// What may be asked of it afterwards.
pub(super) fn tries(ports: Ports) -> Vec<String> {
    let Ports { ingress, api, .. } = ports;
    [
        format!("curl 'http://127.0.0.1:{api}/api/v1/check?email=user@example.com' -H 'X-API-Key: {API_KEY}'"),
        format!("curl 'http://127.0.0.1:{api}/api/v1/events' -H 'X-API-Key: {API_KEY}'"),
        format!("curl -u optout:demo-password http://127.0.0.1:{ingress}/webhooks/notifiedby-demo \\"),
        r#"     -d '{"event":"unsubscribed","email":"you@example.com","timestamp":"2026-01-01T00:00:00Z"}'"#.to_owned(),
    ]
    .into()
}

fn router() -> Router {
    Router::new()
        .route("/slack", post(|| async { "ok" }))
        .route("/hook", post(hook))
        .route("/api/v2/tickets.json", get(no_tickets).post(ticket))
}

/// Takes only what is signed, as a receiver should.
async fn hook(headers: HeaderMap) -> StatusCode {
    let signed = headers.contains_key("webhook-signature") && headers.contains_key("webhook-id");
    if signed {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::UNAUTHORIZED
    }
}

async fn no_tickets() -> Json<Value> {
    Json(json!({ "tickets": [], "count": 0, "next_page": null }))
}

async fn ticket() -> (StatusCode, Json<Value>) {
    static TICKETS: AtomicU64 = AtomicU64::new(1);
    let id = TICKETS.fetch_add(1, Ordering::Relaxed);
    (
        StatusCode::CREATED,
        Json(json!({ "ticket": { "id": id, "status": "new" } })),
    )
}
