//! Links that unsubscribe with one click (RFC 8058), made for the mails that are about to be sent. Nothing is looked up and
//! nothing is recorded: `optout links` makes the same without us.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{clock, config::Links, contact::Contact, http::Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    App, body,
    error::{Error, Result},
    openapi::PROBLEM,
    query::Query,
};

/// The most contacts of one request.
const MOST: usize = 10_000;

/// Whom links are wanted for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LinksWanted)]
pub(crate) struct Wanted {
    /// What the links unsubscribe from; without it everything. At most 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    scope: Option<String>,
    /// Email addresses and phone numbers, at most 10,000.
    #[schema(max_items = 10000)]
    contacts: Vec<String>,
}

/// The links, in the order of the contacts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LinksMade)]
pub(crate) struct Made {
    items: Vec<Item>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LinkMade)]
pub(crate) struct Item {
    /// As it was given.
    contact: String,
    /// The page behind it is for people, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    headers: Option<Headers>,
    /// Why it cannot be read; then there is no link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

/// What goes into the mail, to be covered by its DKIM signature.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LinkHeaders)]
pub(crate) struct Headers {
    #[serde(rename = "List-Unsubscribe")]
    list_unsubscribe: String,
    #[serde(rename = "List-Unsubscribe-Post")]
    list_unsubscribe_post: String,
}

/// `POST /api/v1/links`: the headers `List-Unsubscribe` and `List-Unsubscribe-Post` for each contact.
#[utoipa::path(
    post, path = "/api/v1/links", operation_id = "make_links", tag = "Links",
    request_body = Wanted,
    responses(
        (status = 200, body = Made),
        (status = 409, body = Problem, content_type = PROBLEM, description = "No links are configured."),
    )
)]
pub(crate) async fn make(
    State(app): State<Arc<App>>,
    query: Query,
    body::Json(Wanted { scope, contacts }): body::Json<Wanted>,
) -> Result<Json<Made>> {
    query.finish()?;
    let links = app.links.as_deref().ok_or_else(|| {
        let why = "no links can be made without a [links] section: configure its url and its keys, alike for every process";
        Error::Conflict(why.to_owned())
    })?;
    let scope = scope.map(body::scope).transpose()?;
    if contacts.len() > MOST {
        let why = format!("has {} entries, but {MOST} are the most", contacts.len());
        return Err(Error::field("contacts", why));
    }
    let items = contacts
        .into_iter()
        .map(|raw| item(links, scope.as_deref(), raw));
    Ok(Json(Made {
        items: items.collect::<Result<_>>()?,
    }))
}

fn item(links: &Links, scope: Option<&str>, raw: String) -> Result<Item> {
    let contact = match Contact::parse(&raw) {
        Ok(contact) => contact,
        Err(why) => {
            return Ok(Item {
                contact: raw,
                url: None,
                headers: None,
                error: Some(why.to_string()),
            });
        }
    };
    let made = links
        .make(&contact, scope, clock::now())
        .map_err(|why| Error::field("scope", format!("cannot be in a link: {why}")))?;
    let [(_, list_unsubscribe), (_, list_unsubscribe_post)] = made.headers();
    Ok(Item {
        contact: raw,
        headers: Some(Headers {
            list_unsubscribe,
            list_unsubscribe_post,
        }),
        url: Some(made.url),
        error: None,
    })
}
