//! Keys that the ledger keeps: made, listed and revoked by admins. Those of the configuration are not among them, and are
//! changed there.
//!
//! A key is told in the answer that it is made by, and never again. A change and its record in the audit trail are one
//! transaction; a key that was revoked is refused from then on by every process.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use common::{
    clock,
    config::Role,
    http::Problem,
    key::{Key, Wanted},
    ledger::Page,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    App,
    auth::{Caller, StoredKey},
    body,
    error::{Error, Result, asked},
    openapi::PROBLEM,
    query::{Id, Paging, Query},
};

/// A key that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(crate) struct Wish {
    /// 1 to 64 of a-z, A-Z, 0-9, - and _; no other live key has it.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    #[schema(value_type = Role)]
    role: String,
    /// Such as 100/1m; else the rate that is configured for all keys.
    rate: Option<String>,
    expires_at: Option<Timestamp>,
}

/// A key with itself, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyWithSecret)]
pub(crate) struct WithSecret {
    #[serde(flatten)]
    about: Key,
    key: String,
}

/// `GET /api/v1/keys`: newest first, the revoked and expired, too, and none of the keys themselves.
#[utoipa::path(
    get, path = "/api/v1/keys", operation_id = "list_keys", tag = "Keys",
    params(Paging), responses((status = 200, body = Page<Key>))
)]
pub(crate) async fn list(State(app): State<Arc<App>>, mut query: Query) -> Result<Json<Page<Key>>> {
    let paging = query.paging()?;
    query.finish()?;
    let page = app.ledger.keys(paging.limit, paging.cursor.as_deref());
    Ok(Json(asked(page).await?))
}

/// `POST /api/v1/keys`: makes one; 201 with the key. 409 if a live key has the name.
///
/// If the answer is lost there is a key that nobody knows: it is in the list, to be revoked.
#[utoipa::path(
    post, path = "/api/v1/keys", operation_id = "create_key", tag = "Keys",
    request_body = Wish,
    responses(
        (status = 201, body = WithSecret, description = "The key, which is shown this once."),
        (status = 409, body = Problem, content_type = PROBLEM, description = "Another key has this name."),
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    query: Query,
    body::Json(wish): body::Json<Wish>,
) -> Result<(StatusCode, Json<WithSecret>)> {
    query.finish()?;
    let wanted = wanted(&app, wish)?;
    let Some((about, secret)) = asked(app.ledger.create_key(&wanted, &actor)).await? else {
        let why = "another key has this name: choose another, or revoke that one";
        return Err(Error::Conflict(why.to_owned()));
    };
    let key = secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(WithSecret { about, key })))
}

/// `DELETE /api/v1/keys/{id}`: revokes it; 204, also if it was revoked before. Not the key that asks: who revokes that one by
/// mistake may have no other, and who means it can do so by `optout keys revoke` or with another key.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", operation_id = "revoke_key", tag = "Keys",
    responses(
        (status = 204, description = "It opens nothing any more."),
        (status = 409, body = Problem, content_type = PROBLEM, description = "It is the key that asks."),
    )
)]
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    own: Option<Extension<StoredKey>>,
    Id(id): Id,
    query: Query,
) -> Result<StatusCode> {
    query.finish()?;
    if own.is_some_and(|Extension(StoredKey(own))| own == id) {
        let why = "this is the key that asks: revoke it with another one, or by optout keys revoke";
        return Err(Error::Conflict(why.to_owned()));
    }
    match asked(app.ledger.revoke_key(id, &actor)).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Error::NotFound { what: "key", id }),
    }
}

fn wanted(app: &App, wish: Wish) -> Result<Wanted> {
    let wrong = |field, why: String| Error::field(field, why);
    let role = wish
        .role
        .parse()
        .map_err(|why| wrong("role", format!("is wrong: {why}")))?;
    let rate = wish.rate.map(|rate| rate.parse());
    let wanted = Wanted {
        name: wish.name,
        role,
        rate: rate.transpose().map_err(|why| wrong("rate", why))?,
        expires_at: wish.expires_at.map(clock::truncate),
    };
    let is_configured = app.keys.is_configured(&wanted.name);
    wanted
        .check(is_configured, clock::now())
        .map_err(|invalid| wrong(invalid.field, invalid.why))?;
    Ok(wanted)
}
