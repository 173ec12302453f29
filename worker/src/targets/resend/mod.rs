//! Resend: the team's suppression list, and its contacts' leave for broadcasts.
//!
//! <https://resend.com/docs/api-reference/suppressions/add-batch-suppressions>,
//! <https://resend.com/docs/api-reference/contacts/update-contact>. A list is `suppressions`, which stops every message, or
//! `broadcasts`, which stops marketing and is what a `resend` source hears of. A contact that Resend does not know is made,
//! since one that is imported later would be sent to; a lift makes none.
//!
//! The lists are read by <https://resend.com/docs/api-reference/suppressions/list-suppressions> and by
//! <https://resend.com/docs/api-reference/contacts/list-contacts>, which lists every contact: those with leave are left out
//! here, and since when one has none is not stated.

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use common::{
    delivery::Answer,
    event::{GLOBAL, Lane},
    outbound::Reply,
    settings::Section,
};
use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, Why, too_large},
};

/// A team may make five requests a second, those by which it sends among them:
/// <https://resend.com/docs/api-reference/rate-limit>
pub(super) const KIND: Kind = Kind {
    name: "resend",
    rate: Some(Rate {
        calls: 2,
        per: Duration::from_secs(1),
    }),
    guide: Guide::platform(
        "Resend",
        &[
            Ask::token("an API key"),
            Ask::usual_list(
                "suppressions",
                "Resend's list for every scope: suppressions, which stops every message, or broadcasts",
            ),
        ],
        &["API Keys: create one with full access; one with sending access may not do this."],
    ),
    build,
};

/// The most addresses in one request.
const BATCH: usize = 100;

/// The most entries on a page.
const PAGE: &str = "100";

const SUPPRESSIONS: &str = "suppressions";
const BROADCASTS: &str = "broadcasts";

struct Resend(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.resend.com";
    let api = Api::read(section, setup, Some(url), Credential::Bearer);
    let scopes = Scopes::read(section, |list| {
        let known = [SUPPRESSIONS, BROADCASTS].contains(&list).then_some(());
        known.ok_or_else(|| {
            format!("is {list:?}, but \"{SUPPRESSIONS}\" or \"{BROADCASTS}\" is needed")
        })
    });
    Some(platform::target(Resend(api?), scopes?, setup))
}

#[async_trait]
impl Platform for Resend {
    fn most(&self) -> usize {
        BATCH
    }

    /// Lifts go one by one: a 404 for one of several would be taken for all of them.
    fn batch(&self, list: &str, suppress: bool) -> usize {
        if list == SUPPRESSIONS && suppress {
            BATCH
        } else {
            1
        }
    }

    fn scope_of<'a>(&self, list: &'a str) -> &'a str {
        if list == BROADCASTS { GLOBAL } else { list }
    }

    /// <https://resend.com/docs/api-reference/domains/list-domains>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        self.0.ask(Method::GET, &["domains"], deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        if call.list == BROADCASTS {
            return self.contact(call).await;
        }
        let verb = if call.suppress { "add" } else { "remove" };
        let body = json!({"emails": call.addresses()});
        let path = ["suppressions", "batch", verb];
        let reply = self.0.send(Method::POST, &path, &body, call.deadline);
        let already: &[u16] = if call.suppress { &[] } else { &[404] };
        call.settled(reply.await?, already)
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[derive(Deserialize)]
struct Listing<T> {
    has_more: bool,
    data: Vec<T>,
}

#[derive(Deserialize)]
struct Suppression {
    id: String,
    email: String,
    origin: Option<String>,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct Contact {
    id: String,
    email: String,
    unsubscribed: bool,
}

#[async_trait]
impl Lists for Resend {
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let mut page = Page::default();
        if list == BROADCASTS {
            let read: Listing<Contact> = self.read("contacts", after, deadline).await?;
            page.next = read.next(|one| &one.id)?;
            for one in read.data.iter().filter(|one| one.unsubscribed) {
                page.email(&one.email, None, None);
            }
        } else {
            let read: Listing<Suppression> = self.read("suppressions", after, deadline).await?;
            page.next = read.next(|one| &one.id)?;
            for one in read.data {
                let lane = match one.origin.as_deref() {
                    Some("complaint") => Lane::Complaint,
                    Some("bounce") => Lane::Deliverability,
                    Some("manual") => Lane::Manual,
                    _ => Lane::Consent,
                };
                let words = one.origin;
                page.email(&one.email, one.created_at.as_deref(), Why { lane, words });
            }
        }
        Ok(page)
    }
}

impl<T> Listing<T> {
    /// After which entry the next page begins.
    fn next(&self, id: impl Fn(&T) -> &String) -> Result<Option<String>, Answer> {
        match (self.has_more, self.data.last()) {
            (false, _) => Ok(None),
            (true, Some(last)) => Ok(Some(id(last).clone())),
            (true, None) => Err(Answer::retry(
                "answered that there is more, but nothing else",
            )),
        }
    }
}

impl Resend {
    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Listing<T>, Answer> {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.map(|id| ("after", id)));
        let request = self.0.request(Method::GET, &[path]).query(&query);
        self.0.page(request, deadline).await?.ok_or_else(too_large)
    }

    async fn contact(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let path = ["contacts", call.address()];
        let mut body = json!({"unsubscribed": call.suppress});
        let reply = self.0.send(Method::PATCH, &path, &body, call.deadline);
        let reply = reply.await?;
        if reply.status != 404 || !call.suppress {
            return call.settled(reply, &[404]);
        }
        body["email"] = json!(call.address());
        let reply = self
            .0
            .send(Method::POST, &["contacts"], &body, call.deadline);
        call.settled(reply.await?, &[])
    }
}
