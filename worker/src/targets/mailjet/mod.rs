//! Mailjet: its contacts' exclusion from campaigns, and its contact lists.
//!
//! <https://dev.mailjet.com/email/reference/contacts/contact/>, <https://dev.mailjet.com/email/reference/contacts/subscriptions/>.
//! A list is `global`, which excludes from every campaign, or a contact list's number, which is what a `mailjet` source's
//! events have as their scope. A contact that Mailjet does not know is made, since one that is imported later would be sent
//! to; a lift makes none, and subscribes only who is on the list and unsubscribed. Mailjet answers 304 to a change that
//! changes nothing.
//!
//! `global` is read from the contacts, by the filter `IsExcludedFromCampaigns`. A contact list's subscriptions name contacts
//! by number only, so of those that were ended each contact is asked for by itself, which Mailjet says is the only way
//! (<https://github.com/mailjet/mailjet-apiv3-php/issues/54>). A contact that was deleted is still there, with an address that
//! is nobody's any more (<https://github.com/mailjet/mailjet-apiv3-php/issues/212>).
//!
//! Settings beside those of every platform: `username` (the API key; `token` is the secret key). No figure is documented.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use futures_util::future::try_join_all;
use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, read, too_large},
};

pub(super) const KIND: Kind = Kind {
    name: "mailjet",
    rate: None,
    guide: Guide::platform(
        "Mailjet",
        &[
            Ask::text("username", "the API key"),
            Ask::token("the secret key that belongs to it"),
            Ask::usual_list(
                "global",
                "Mailjet's list for every scope: global, which excludes from every campaign, or a contact list's number",
            ),
        ],
        &["Account settings > API key management shows the API key and makes a secret key."],
    ),
    build,
};

const GLOBAL: &str = "global";

const NOT_MODIFIED: u16 = 304;

/// The domain of those that were deleted.
const DELETED: &str = "domain.invalid";

/// The most entries on a page: <https://github.com/mailjet/api-documentation/blob/master/guides/_api-overview.md>.
const PAGE: usize = 1000;

/// Of a contact list so many are read at a time, so that their contacts can be asked for before the deadline, and so many of
/// these at once.
const MEMBERS: usize = 50;
const AT_ONCE: usize = 10;

struct Mailjet(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.mailjet.com";
    let username: Option<String> = section.required("username");
    let name = username.clone().unwrap_or_default();
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Basic(name, token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = list == GLOBAL || list.bytes().all(|byte| byte.is_ascii_digit());
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but \"global\" or the number of a contact list is needed")
        })
    });
    username?;
    Some(platform::target(Mailjet(api?), scopes?, setup))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Subscriptions {
    data: Vec<Subscription>,
}

/// Mailjet states numbers and booleans as themselves or as strings.
#[derive(Deserialize)]
struct Subscription {
    #[serde(rename = "ListID")]
    list: Value,
    #[serde(rename = "IsUnsub", default)]
    unsubscribed: Value,
}

impl Subscription {
    /// Whether it is one of this list that was ended.
    fn is_out(&self, list: &str) -> bool {
        is(&self.list, list) && is(&self.unsubscribed, "true")
    }
}

fn is(value: &Value, text: &str) -> bool {
    plain(value) == text
}

fn plain(value: &Value) -> String {
    value.to_string().trim_matches('"').to_owned()
}

#[async_trait]
impl Platform for Mailjet {
    /// <https://dev.mailjet.com/email/reference/contacts/contact-list/>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let request = self.0.request(Method::GET, &["v3", "REST", "contactslist"]);
        let request = request.query(&[("Limit", "1")]);
        self.0.exchange(request, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        if call.list == GLOBAL {
            return self.exclusion(call).await;
        }
        if !call.suppress {
            let path = ["v3", "REST", "contact", call.address(), "getcontactslists"];
            let reply = self.0.ask(Method::GET, &path, call.deadline).await?;
            if reply.status == 404 {
                return call.settled(reply, &[404]);
            }
            let (reply, found): (_, Subscriptions) = read(reply)?;
            if !found.data.iter().any(|one| one.is_out(call.list)) {
                return Ok(vec![call.done(&reply)]);
            }
        }
        let action = if call.suppress { "unsub" } else { "addforce" };
        let path = ["v3", "REST", "contactslist", call.list, "managecontact"];
        let body = json!({"Email": call.address(), "Action": action});
        let reply = self.0.send(Method::POST, &path, &body, call.deadline);
        call.settled(reply.await?, &[NOT_MODIFIED])
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing<T> {
    data: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contact {
    email: String,
    is_excluded_from_campaigns: Value,
    /// Empty where it never was.
    exclusion_from_campaigns_updated_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    #[serde(rename = "ContactID")]
    contact: Value,
    is_unsubscribed: Value,
    unsubscribed_at: Option<String>,
}

#[async_trait]
impl Lists for Mailjet {
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let Ok(offset) = after.unwrap_or("0").parse() else {
            return Err(Answer::dead("asked for a page that begins at no number"));
        };
        if list == GLOBAL {
            self.excluded(offset, deadline).await
        } else {
            self.unsubscribed(list, offset, deadline).await
        }
    }
}

impl Mailjet {
    async fn exclusion(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let contacts = ["v3", "REST", "contact"];
        let path = [&contacts[..], &[call.address()]].concat();
        let mut body = json!({"IsExcludedFromCampaigns": call.suppress});
        let reply = self.0.send(Method::PUT, &path, &body, call.deadline);
        let reply = reply.await?;
        if reply.status != 404 || !call.suppress {
            return call.settled(reply, &[NOT_MODIFIED, 404]);
        }
        body["Email"] = json!(call.address());
        let reply = self.0.send(Method::POST, &contacts, &body, call.deadline);
        call.settled(reply.await?, &[])
    }

    async fn excluded(&self, offset: usize, deadline: Instant) -> Result<Page, Answer> {
        let filter = [("IsExcludedFromCampaigns", "true")];
        let contacts = self.listing("contact", &filter, PAGE, offset, deadline);
        let contacts: Vec<Contact> = contacts.await?;
        let mut page = Page {
            next: following(offset, contacts.len(), PAGE),
            ..Page::default()
        };
        // Had the filter gone unheeded, all contacts would be here.
        let excluded = |one: &&Contact| is(&one.is_excluded_from_campaigns, "true");
        for one in contacts.iter().filter(excluded) {
            let since = one.exclusion_from_campaigns_updated_at.as_deref();
            put(&mut page, &one.email, since);
        }
        Ok(page)
    }

    async fn unsubscribed(
        &self,
        list: &str,
        offset: usize,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let filter = [("ContactsList", list), ("Unsub", "true")];
        let members = self.listing("listrecipient", &filter, MEMBERS, offset, deadline);
        let mut members: Vec<Member> = members.await?;
        let mut page = Page {
            next: following(offset, members.len(), MEMBERS),
            ..Page::default()
        };
        members.retain(|one| is(&one.is_unsubscribed, "true"));
        for some in members.chunks(AT_ONCE) {
            let asked = some.iter().map(|one| self.address(&one.contact, deadline));
            for (one, address) in some.iter().zip(try_join_all(asked).await?) {
                if let Some(address) = address {
                    put(&mut page, &address, one.unsubscribed_at.as_deref());
                }
            }
        }
        Ok(page)
    }

    /// A contact's address; None of one that is gone.
    async fn address(&self, contact: &Value, deadline: Instant) -> Result<Option<String>, Answer> {
        let path = ["v3", "REST", "contact", &plain(contact)];
        let reply = self.0.ask(Method::GET, &path, deadline).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let (_, found): (_, Listing<Contact>) = read(reply)?;
        let mut found = found.data.into_iter();
        let none = || Answer::retry("answered with no contact where one was asked for");
        found.next().map(|one| Some(one.email)).ok_or_else(none)
    }

    async fn listing<T: DeserializeOwned>(
        &self,
        of: &str,
        filter: &[(&str, &str)],
        limit: usize,
        offset: usize,
        deadline: Instant,
    ) -> Result<Vec<T>, Answer> {
        let request = self.0.request(Method::GET, &["v3", "REST", of]);
        let request = request
            .query(filter)
            .query(&[("Limit", limit), ("Offset", offset)]);
        let read: Option<Listing<T>> = self.0.page(request, deadline).await?;
        Ok(read.ok_or_else(too_large)?.data)
    }
}

/// Puts a contact on the page, unless it was deleted: then it names nobody.
fn put(page: &mut Page, address: &str, since: Option<&str>) {
    let domain = address.rsplit_once('@').map(|(_, domain)| domain);
    if domain.is_some_and(|domain| domain.eq_ignore_ascii_case(DELETED)) {
        page.unread += 1;
    } else {
        page.email(address, since, None);
    }
}

/// Where the next page begins: a page that is not full is the last.
fn following(offset: usize, read: usize, limit: usize) -> Option<String> {
    let next = offset.checked_add(read)?;
    (read >= limit).then(|| next.to_string())
}
