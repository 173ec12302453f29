//! Signing in with a key of the api, and out again.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header::RETRY_AFTER},
    response::{IntoResponse, Redirect, Response},
};
use common::{config::Role, http::Problem};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{
    failure,
    form::{Filters, Form, urlencoded},
    guard, overview, page,
    visitor::{Visitor, local},
};
use crate::{
    App, body,
    error::{Error, Result, asked},
};

/// What the sign-in page shows.
#[derive(Default, Serialize)]
struct View {
    /// Why it did not work.
    wrong: Option<String>,
    /// Where to go then.
    next: Option<String>,
}

/// `GET /`: the overview; for who has no session, the way in.
pub(super) async fn door(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    filters: Result<Filters>,
) -> Response {
    let visitor = match Visitor::of(&app, &headers).await {
        Ok(visitor) => visitor,
        Err(error) => return failure::page(&app, None, error.into_response()),
    };
    let Some(visitor) = visitor else {
        let next = filters.unwrap_or_default().take("next");
        let view = View { next, wrong: None };
        return page::render(&app, None, "", "sign_in.html", &view);
    };
    let response = overview::show(&app, &visitor).await.into_response();
    failure::page(&app, Some(&visitor), response)
}

/// `POST /sign-in`: opens a session for a key of the role `read` or more. A key that is none is told what the api tells,
/// and counts as it does there.
pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (key, next) = match fields(&headers, body).await {
        Ok(given) => given,
        Err(error) => return refused(&app, &error, None),
    };
    match open(&app, &key).await {
        Ok(token) => {
            let cookie = guard::cookie(&headers, Some(&token));
            (cookie, Redirect::to(&local(next.as_deref()))).into_response()
        }
        Err(error) => refused(&app, &error, next),
    }
}

/// `POST /sign-out`: ends the session.
pub(super) async fn sign_out(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response> {
    asked(app.ledger.close_session(form.visitor.token.as_bytes())).await?;
    Ok((guard::cookie(&headers, None), Redirect::to("/")).into_response())
}

async fn fields(headers: &HeaderMap, body: Body) -> Result<(SecretString, Option<String>)> {
    if guard::is_foreign(headers) {
        return Err(Error::NotFromHere);
    }
    let mut fields = urlencoded(&body::bytes(body).await?);
    let key = fields.remove("key").unwrap_or_default().trim().to_owned();
    let next = fields.remove("next").filter(|next| !next.is_empty());
    Ok((key.into(), next))
}

async fn open(app: &App, key: &SecretString) -> Result<SecretString> {
    let admitted = app.keys.admit(&app.ledger, key.expose_secret().as_bytes());
    let admitted = admitted.await?;
    if admitted.role < Role::Read {
        return Err(Error::Forbidden {
            needed: Role::Read,
            has: admitted.role,
        });
    }
    let session = app.ledger.open_session(&admitted.name, admitted.id, key);
    asked(session).await
}

/// The sign-in page again, with what was wrong.
fn refused(app: &App, error: &Error, next: Option<String>) -> Response {
    error.log();
    let problem = error.problem();
    let wrong = match error {
        Error::UnknownKey => "This key is none that opens anything here.".to_owned(),
        Error::Forbidden { .. } => {
            "This key has the role check, which may ask for checks alone. The dashboard needs a key with the role read, \
             write or admin."
                .to_owned()
        }
        _ => sentence(&problem),
    };
    let wrong = Some(wrong);
    let mut page = page::render(app, None, "", "sign_in.html", &View { wrong, next });
    *page.status_mut() = problem.status;
    if let Some(pause) = problem.retry_after {
        let pause = pause.as_secs().max(1).into();
        page.headers_mut().insert(RETRY_AFTER, pause);
    }
    page
}

fn sentence(problem: &Problem) -> String {
    let mut letters = problem.detail.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
