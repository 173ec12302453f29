//! The question before every send: may this contact be written to?
//!
//! Whatever keeps it from being answered, the answer does not read as "subscribed": beside the status every problem of
//! this path holds `"unsubscribed": true`, for a client that looks at nothing else.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{http::Problem, ledger::Suppression};
use serde::Serialize;

use crate::{
    App,
    error::{Error, Result, asked},
    query::Query,
};

#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    unsubscribed: bool,
    suppressions: Vec<Suppression>,
}

/// `GET /api/v1/check?email=&phone=&scope=`: with both contacts, what suppresses either.
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    query: Result<Query>,
) -> std::result::Result<Json<Answer>, Problem> {
    answer(&app, query).await.map(Json).map_err(|error| {
        error.log();
        error.problem().with("unsubscribed", true)
    })
}

async fn answer(app: &App, query: Result<Query>) -> Result<Answer> {
    let mut query = query?;
    let (email, phone, scope) = (query.email()?, query.phone()?, query.text("scope")?);
    query.finish()?;
    if email.is_none() && phone.is_none() {
        return Err(Error::parameter(
            "email",
            "is missing, and so is phone: at least one of them is needed",
        ));
    }
    let mut suppressions = vec![];
    for contact in [email, phone].iter().flatten() {
        suppressions.extend(asked(app.ledger.check(contact, scope.as_deref())).await?);
    }
    Ok(Answer {
        unsubscribed: !suppressions.is_empty(),
        suppressions,
    })
}
