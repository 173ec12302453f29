//! The operations listener of every process: `/healthz` (alive, each loop named), `/readyz` (each dependency named, 503
//! when one is away) and `/metrics` (Prometheus).

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use futures_util::future::{BoxFuture, join_all};
use serde_json::{Map, Value, json};

use crate::{
    claims::Claims,
    ledger::Ledger,
    lifecycle::{Lifecycle, LoopState},
    queue::Queue,
    telemetry::Metrics,
};

/// A dependency that does not answer in this time is away.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What the listener tells about.
pub struct Ops {
    lifecycle: Lifecycle,
    metrics: Metrics,
    dependencies: Vec<(&'static str, Check)>,
}

impl Ops {
    pub fn new(lifecycle: Lifecycle, metrics: Metrics) -> Self {
        Self {
            lifecycle,
            metrics,
            dependencies: vec![],
        }
    }

    #[must_use]
    pub fn queue(self, queue: Arc<dyn Queue>) -> Self {
        self.depends("queue", move || {
            let queue = Arc::clone(&queue);
            Box::pin(async move { queue.ping().await.map_err(|error| error.to_string()) })
        })
    }

    #[must_use]
    pub fn claims(self, claims: Arc<dyn Claims>) -> Self {
        self.depends("claims", move || {
            let claims = Arc::clone(&claims);
            Box::pin(async move { claims.ping().await.map_err(|error| error.to_string()) })
        })
    }

    #[must_use]
    pub fn ledger(self, ledger: Ledger) -> Self {
        self.depends("ledger", move || {
            let ledger = ledger.clone();
            Box::pin(async move { ledger.ping().await.map_err(|error| error.to_string()) })
        })
    }

    fn depends<F>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    {
        // A process that uses one store through two of its parts names it once.
        if self.dependencies.iter().all(|(known, _)| *known != name) {
            self.dependencies.push((name, Box::new(check)));
        }
        self
    }

    /// The three paths.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route(
                "/metrics",
                get(|State(ops): State<Arc<Self>>| async move { ops.metrics.render() }),
            )
            .with_state(Arc::new(self))
    }
}

async fn healthz(State(ops): State<Arc<Ops>>) -> impl IntoResponse {
    let loops = ops.lifecycle.loops();
    let alive = loops.values().all(|state| *state == LoopState::Running);
    let named: Map<_, _> = loops
        .into_iter()
        .map(|(name, state)| {
            let state = match state {
                LoopState::Running => "running",
                LoopState::Stopped => "stopped",
                LoopState::Died => "died",
            };
            (name, Value::from(state))
        })
        .collect();
    (
        status(alive),
        Json(json!({ "alive": alive, "loops": named })),
    )
}

async fn readyz(State(ops): State<Arc<Ops>>) -> impl IntoResponse {
    let checks = ops.dependencies.iter().map(|(name, check)| async move {
        let answer = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {} s", CHECK_TIMEOUT.as_secs()),
        };
        (*name, answer)
    });
    let answers = join_all(checks).await;
    let ready = !ops.lifecycle.is_stopping() && answers.iter().all(|(_, answer)| answer == "ok");
    let named: Map<_, _> = answers
        .into_iter()
        .map(|(name, answer)| (name.to_owned(), Value::from(answer)))
        .collect();
    (
        status(ready),
        Json(json!({ "ready": ready, "dependencies": named })),
    )
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
