//! Erasure on request: a person asks that what is held of them goes. Their opt-out stays, by a hash.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{
    http::Problem,
    ledger::{Erased, Erasure, ErasureRequest},
};
use serde::Deserialize;
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    body,
    error::{Error, Result, reported},
    openapi::PROBLEM,
    query::Query,
};

/// Whose data goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ErasureWanted)]
pub(crate) struct Wanted {
    #[schema(min_length = 1)]
    email: Option<String>,
    #[schema(min_length = 1)]
    phone: Option<String>,
    /// Either of the two.
    #[schema(min_length = 1)]
    contact: Option<String>,
    /// Such as the number of the request. It is kept in the audit trail for good, so it is not to be personal.
    #[schema(min_length = 1, max_length = 16384)]
    reference: Option<String>,
    /// Erase although targets are still to be told of an opt-out, or bodies that name the contact wait in quarantine:
    /// neither can be done afterwards.
    #[serde(default)]
    force: bool,
}

/// `POST /api/v1/contacts/erase`: takes away what names a contact, and keeps a hash of it that still suppresses.
#[utoipa::path(
    post, path = "/api/v1/contacts/erase", operation_id = "erase_contact", tag = "Contacts",
    request_body = Wanted,
    responses(
        (status = 200, body = Erasure),
        (status = 409, body = Problem, content_type = PROBLEM,
            description = "Targets are still to be told of it, quarantine may name it, or no pepper is configured."),
    )
)]
pub(crate) async fn erase(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Query,
    body::Json(wanted): body::Json<Wanted>,
) -> Result<Json<Erasure>> {
    query.finish()?;
    let contact = body::one_contact(
        wanted.email.as_deref(),
        wanted.phone.as_deref(),
        wanted.contact.as_deref(),
    )?;
    let reference = wanted.reference.map(|text| body::text("reference", text));
    let request = ErasureRequest {
        actor,
        reference: reference.transpose()?,
        force: wanted.force,
    };
    match reported(app.ledger.erase(&contact, &request)).await? {
        Erased::Done(erasure) => {
            info!(key = request.actor, contact = erasure.contact, "contact erased");
            Ok(Json(erasure))
        }
        Erased::Waits {
            deliveries,
            changes,
            quarantined,
        } => Err(Error::Conflict(waits(&deliveries, &changes, &quarantined))),
        Erased::NoPepper => Err(Error::Conflict(
            "nothing can be erased without ledger.pepper, the key of the hashes that go on suppressing: configure it for \
             every process"
                .to_owned(),
        )),
    }
}

fn waits(deliveries: &[Uuid], changes: &[Uuid], quarantined: &[Uuid]) -> String {
    let named = |what: &str, ids: &[Uuid]| {
        let ids: Vec<_> = ids.iter().map(Uuid::to_string).collect();
        (!ids.is_empty()).then(|| format!("{what} {}", ids.join(", ")))
    };
    let waiting = [
        named(
            "targets are still to be told of it by the deliveries",
            deliveries,
        ),
        named(
            "changes of the last minutes may not be on their way to the targets yet, the events",
            changes,
        ),
        named("it may be named by what waits in quarantine,", quarantined),
    ];
    let waiting: Vec<_> = waiting.into_iter().flatten().collect();
    format!(
        "the contact is not erased yet: {}; see to these first, or give \"force\": true, after which they cannot be",
        waiting.join("; ")
    )
}
