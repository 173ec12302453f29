//! Who asks, and whether they may: `X-API-Key: KEY` or `Authorization: Bearer KEY`.
//!
//! Where both are given the first one counts, so that a proxy may use the other for itself. Which key it is, and how often
//! it may ask, is [the keyring](crate::keyring)'s affair.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::Response,
};
use common::config::Role;
use uuid::Uuid;

use crate::{App, Error};

/// The name of the key that a request came with; what logs and histories tell instead of the key.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) String);

/// The id of the key that a request came with, where the ledger keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredKey(pub(crate) Uuid);

/// Lets a request pass whose key has at least the role `needed`.
pub(crate) async fn pass(
    State((app, needed)): State<(Arc<App>, Role)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let given = credential(request.headers()).ok_or(Error::NoKey)?;
    let admitted = app.keys.admit(&app.ledger, given).await?;
    if admitted.role < needed {
        return Err(Error::Forbidden {
            needed,
            has: admitted.role,
        });
    }
    let extensions = request.extensions_mut();
    extensions.insert(Caller(admitted.name));
    if let Some(id) = admitted.id {
        extensions.insert(StoredKey(id));
    }
    Ok(next.run(request).await)
}

fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| key.trim().as_bytes())
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    /// Refuses on a path that was declared without a role.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().cloned().ok_or(Error::NoKey)
    }
}
