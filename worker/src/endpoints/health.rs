//! How endpoints fare, and the end of one that has done nothing but fail for too long: it is disabled, which is an event
//! like any other, and its deliveries wait until a person enables it again.

use common::{
    clock, endpoint, envelope,
    event::{Draft, Identity, Kind},
    ledger::{self, Act, Failing, Fared},
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{Message, Priority, QueueName},
    request::Request,
};
use metrics::counter;
use serde_json::{Map, Value, json};
use tracing::{error, warn};
use url::Url;

use crate::{App, recorder::Verdict};

/// Who disables an endpoint, and what it is called.
const ACTOR: &str = "worker";
const DISABLED: &str = "endpoint.disabled";

/// Notes what came of the attempts at endpoints, and disables those that have failed for too long. None if the worker is
/// told to stop before. Noted twice it says the same; if the process dies before, the next attempt tells enough.
pub(crate) async fn note(app: &App, verdicts: &[Verdict], lifecycle: &Lifecycle) -> Option<()> {
    let fared: Vec<_> = verdicts.iter().filter_map(fared).collect();
    if fared.is_empty() {
        return Some(());
    }
    let noted = until_done(lifecycle, "fare", || async {
        match app.ledger.note_fared(&fared).await {
            Err(ledger::Error::Refused(error)) => {
                error!(%error, "the ledger refuses the record of how endpoints fare");
                Ok(vec![])
            }
            answered => answered,
        }
    });
    let now = clock::now();
    let failing = noted.await?.into_iter().filter(|failing| {
        let failed = |one: &Fared| one.endpoint == failing.endpoint && one.error.is_some();
        let since = now.duration_since(failing.since).unsigned_abs();
        since >= app.endpoints.disable_after() && fared.iter().any(failed)
    });
    for one in failing {
        disable(app, &one, lifecycle).await?;
    }
    Some(())
}

/// What an attempt says of its endpoint; None if its target is none.
fn fared(verdict: &Verdict) -> Option<Fared> {
    let endpoint = endpoint::id_of(&verdict.target)?;
    let attempt = &verdict.finished.as_ref()?.attempt;
    let took = std::time::Duration::from_millis(attempt.duration_ms.unsigned_abs());
    let at = attempt.started_at.saturating_add(took);
    Some(Fared {
        endpoint,
        at: at.unwrap_or(attempt.started_at),
        error: attempt.error.clone(),
    })
}

/// Tells of it, and then does it: if the process dies in between, or several workers come to it at once, it is the same
/// event again at the next failure, and a duplicate.
async fn disable(app: &App, failing: &Failing, lifecycle: &Lifecycle) -> Option<()> {
    let days = app.endpoints.disable_after();
    let reason = format!(
        "nothing but failures since {}, which is more than {days:?}",
        failing.since
    );
    let (id, details) = (failing.endpoint, details(failing));
    let mut draft = Draft::new(
        Kind::Other,
        DISABLED,
        Identity::Derived(vec![
            DISABLED.to_owned(),
            id.to_string(),
            failing.since.to_string(),
        ]),
    );
    draft.metadata = details.clone();
    let request = Request {
        actor: ACTOR.to_owned(),
        action: DISABLED.to_owned(),
        request: Value::Object(details.clone()),
        drafts: vec![draft],
    };
    let message = Message {
        queue: QueueName::Inbound(Priority::Bulk),
        body: envelope::encode([&request.into_envelope()]),
        delay: std::time::Duration::ZERO,
    };
    until_done(lifecycle, "publish", || {
        app.queue.publish(vec![message.clone()])
    })
    .await?;
    let act = Act {
        actor: ACTOR.to_owned(),
        action: "endpoint.disable",
        subject: Some(id.to_string()),
        details,
        ..Act::default()
    };
    let disabled = until_done(lifecycle, "disable", || {
        app.ledger
            .disable_endpoint(id, failing.since, &reason, &act)
    });
    if disabled.await? {
        counter!("optout_endpoints_disabled_total").increment(1);
        warn!(endpoint.id = %id, since = %failing.since, "an endpoint has failed for too long; it is disabled");
    }
    Some(())
}

/// Of the URL only the host: its path may be a secret.
fn details(failing: &Failing) -> Map<String, Value> {
    let url = Url::parse(&failing.url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    [
        ("endpoint", json!(failing.endpoint)),
        ("host", json!(host)),
        ("failing_since", json!(failing.since)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}
