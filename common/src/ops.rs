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
    /// Two dependencies of which one is enough.
    either: Option<(&'static str, &'static str)>,
}

impl Ops {
    pub fn new(lifecycle: Lifecycle, metrics: Metrics) -> Self {
        Self {
            lifecycle,
            metrics,
            dependencies: vec![],
            either: None,
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

    /// One of the two that does its part is enough for the process to be ready, whatever the other says.
    #[must_use]
    pub fn either(mut self, one: &'static str, other: &'static str) -> Self {
        self.either = Some((one, other));
        self
    }

    /// Depends on whatever `check` asks.
    #[must_use]
    pub fn depends<F>(mut self, name: &'static str, check: F) -> Self
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
    let ready = !ops.lifecycle.is_stopping() && suffice(&answers, ops.either);
    let named: Map<_, _> = answers
        .into_iter()
        .map(|(name, answer)| (name.to_owned(), Value::from(answer)))
        .collect();
    (
        status(ready),
        Json(json!({ "ready": ready, "dependencies": named })),
    )
}

/// Whether the process can do its job by what its dependencies answered.
fn suffice(
    answers: &[(&'static str, String)],
    either: Option<(&'static str, &'static str)>,
) -> bool {
    let well = |name: &str| {
        answers
            .iter()
            .any(|(known, answer)| *known == name && answer == "ok")
    };
    let borne = |name: &str| match either {
        Some((one, other)) => (name == one && well(other)) || (name == other && well(one)),
        None => false,
    };
    answers.iter().all(|(name, _)| well(name) || borne(name))
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_that_stand_in_for_each_other_is_enough_but_not_none() {
        let answers = |queue: &str, spool: &str, ledger: &str| {
            let answers = [("queue", queue), ("spool", spool), ("ledger", ledger)];
            answers.map(|(name, answer)| (name, answer.to_owned()))
        };
        let either = Some(("spool", "queue"));
        for (queue, spool, ledger, ready) in [
            ("ok", "ok", "ok", true),
            ("away", "ok", "ok", true),
            ("ok", "full", "ok", true),
            ("away", "full", "ok", false),
            ("away", "ok", "away", false),
        ] {
            assert_eq!(suffice(&answers(queue, spool, ledger), either), ready);
        }
        assert!(!suffice(&answers("away", "ok", "ok"), None));
    }
}
