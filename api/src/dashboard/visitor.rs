//! Who looks at the dashboard: a browser with a session that a key has opened.
//!
//! The session is looked up at each request, and so is its key, so whatever ends one of them ends what the browser may do.
//! A browser is believed to have sent a form on its own account only if the form holds the session's token and no other
//! website is known to have caused it.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, Method, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{config::Role, signature};
use serde::Serialize;
use url::{Url, form_urlencoded};

use super::{failure, guard};
use crate::{
    App,
    auth::Caller,
    error::{Error, Result, asked},
};

/// Whoever is signed in.
#[derive(Clone, Serialize)]
pub(crate) struct Visitor {
    /// The name of the key.
    pub(super) key: String,
    pub(super) role: Role,
    /// May change something.
    pub(super) writes: bool,
    /// Addresses and payloads are shown to them without more ado.
    pub(super) sees: bool,
    /// They do not, and asked for this once; the audit trail says so.
    pub(super) revealed: bool,
    /// What each form of this session holds.
    pub(super) csrf: String,
    /// What the browser holds.
    #[serde(skip)]
    pub(super) token: String,
}

impl Visitor {
    fn new(key: String, role: Role, token: String) -> Self {
        let csrf = signature::hmac_sha256(token.as_bytes(), &[b"optout dashboard form"]);
        Self {
            key,
            role,
            writes: role >= Role::Write,
            sees: role >= Role::Write,
            revealed: false,
            csrf: URL_SAFE_NO_PAD.encode(csrf),
            token,
        }
    }

    /// Who the browser is that sent this; None if it has no session.
    pub(super) async fn of(app: &App, headers: &HeaderMap) -> Result<Option<Self>> {
        match guard::token(headers) {
            Some(token) => Self::with(app, token).await,
            None => Ok(None),
        }
    }

    /// The same, looked up again; None if the session has ended.
    pub(super) async fn still(&self, app: &App) -> Result<Option<Self>> {
        Self::with(app, &self.token).await
    }

    async fn with(app: &App, token: &str) -> Result<Option<Self>> {
        let Some(session) = asked(app.ledger.session(token.as_bytes())).await? else {
            return Ok(None);
        };
        let role = session.role.or_else(|| {
            app.keys
                .role_of(&session.key, |key| session.is_of(token.as_bytes(), key))
        });
        let role = role.filter(|role| *role >= Role::Read);
        Ok(role.map(|role| Self::new(session.key.clone(), role, token.to_owned())))
    }

    /// The same, who has asked to see what is masked.
    pub(super) fn revealing(&self) -> Self {
        Self {
            sees: true,
            revealed: !self.sees,
            ..self.clone()
        }
    }

    /// As whom the handlers of the api know them.
    pub(super) fn caller(&self) -> Caller {
        Caller(self.key.clone())
    }

    /// Whether a form holds the token of this session.
    pub(super) fn sent(&self, csrf: &str) -> bool {
        signature::equal(csrf.as_bytes(), self.csrf.as_bytes())
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Error;

    /// Refuses on a path that was declared without a role.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parts.extensions.get().cloned().ok_or(Error::NoKey)
    }
}

/// Lets a request pass whose session's key has at least the role `needed`, sends who has none to sign in, and makes a page
/// of whatever goes wrong.
pub(super) async fn pass(
    State((app, needed)): State<(Arc<App>, Role)>,
    mut request: Request,
    next: Next,
) -> Response {
    let visitor = match Visitor::of(&app, request.headers()).await {
        Ok(Some(visitor)) => visitor,
        Ok(None) => return sign_in_first(&request),
        Err(error) => return failure::page(&app, None, error.into_response()),
    };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let refused = if changes && guard::is_foreign(request.headers()) {
        Some(Error::NotFromHere)
    } else if visitor.role < needed {
        let has = visitor.role;
        Some(Error::Forbidden { needed, has })
    } else {
        None
    };
    let response = if let Some(error) = refused {
        error.into_response()
    } else {
        request.extensions_mut().insert(visitor.clone());
        next.run(request).await
    };
    failure::page(&app, Some(&visitor), response)
}

/// To the sign-in page, and from there back to the page that was asked for.
fn sign_in_first(request: &Request) -> Response {
    let wanted = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    if *request.method() != Method::GET {
        return Redirect::to("/").into_response();
    }
    let next: String = form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
    Redirect::to(&format!("/?next={next}")).into_response()
}

/// A page of ours that may be gone to after signing in; whatever else is asked for is the overview.
pub(super) fn local(next: Option<&str>) -> String {
    let base = Url::parse("http://here.invalid").expect("this is a URL");
    let found = next.and_then(|next| base.join(next).ok());
    let found = found.filter(|url| url.origin() == base.origin());
    // Two slashes would begin another host.
    let path = found.as_ref().map_or("", Url::path).trim_start_matches('/');
    match found.as_ref().and_then(Url::query) {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_pages_of_ours_alone() {
        for (next, to) in [
            (None, "/"),
            (Some("/events?kind=opened"), "/events?kind=opened"),
            (Some("events"), "/events"),
            (Some("//evil.example/x"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("/\t/evil.example"), "/"),
            (Some("/..//evil.example"), "/evil.example"),
            (Some("https://evil.example"), "/"),
            (Some("javascript:alert(1)"), "/"),
        ] {
            assert_eq!(local(next), to, "{next:?}");
        }
    }
}
