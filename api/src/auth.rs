//! Who asks, and whether they may: `X-API-Key: KEY` or `Authorization: Bearer KEY`.
//!
//! Where both are given the first one counts, so that a proxy may use the other for itself. A given key is compared
//! with every configured one in constant time.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::Response,
};
use common::{
    config::{ApiKey, Role},
    signature,
};

use crate::{App, Error};

/// The name of the key that a request came with; what logs and histories tell instead of the key.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) String);

/// Lets a request pass whose key has at least the role `needed`.
pub(crate) async fn pass(
    State((app, needed)): State<(Arc<App>, Role)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let given = credential(request.headers()).ok_or(Error::NoKey)?;
    let key = find(&app.keys, given).ok_or(Error::UnknownKey)?;
    if key.role < needed {
        return Err(Error::Forbidden {
            needed,
            has: key.role,
        });
    }
    let caller = Caller(key.name.clone());
    request.extensions_mut().insert(caller);
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

/// Looks at every key, also after the right one, so that the time does not tell which it was.
fn find<'a>(keys: &'a [ApiKey], given: &[u8]) -> Option<&'a ApiKey> {
    keys.iter().fold(None, |found, key| {
        if signature::any_equal(given, &key.keys) {
            found.or(Some(key))
        } else {
            found
        }
    })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    /// Refuses on a path that was declared without a role.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().cloned().ok_or(Error::NoKey)
    }
}
