//! Mailgun: the unsubscribes of its domains, and the members of its mailing lists.
//!
//! <https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/unsubscribe>,
//! <https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/mailing-lists>. A list is a domain, all of
//! whose mail is then suppressed (the tag `*`), or a mailing list's address, which is what a `mailgun` source's events have
//! as their scope; what a domain's unsubscribes tell is global. Who is no member of a mailing list becomes one that is not
//! subscribed; a lift makes none. What Mailgun has found out itself, its bounces and complaints, is not read and
//! stays as it is.
//!
//! Both are read from one address to the next: a domain's unsubscribes a thousand at a time, of which only those of all mail
//! count (<https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/unsubscribe/get-v3--domainid--unsubscribes>),
//! and a mailing list's members who are not subscribed a hundred at a time, of whom it says no time
//! (<https://documentation.mailgun.com/docs/inboxready/api-reference/optimize/mailgun/mailing-lists/get-lists-list_address-members-pages.md>).
//! Past the end there is one more page, whose entries are `null` (<https://github.com/mailgun/mailgun.js/issues/342>).
//!
//! For Mailgun in Europe: `url = "https://api.eu.mailgun.net"`. No figure is documented for these requests.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use common::{
    contact::Contact, delivery::Answer, event::GLOBAL, outbound::Reply, settings::Section,
};
use jiff::{
    Timestamp,
    fmt::rfc2822::{DateTimeParser, DateTimePrinter},
};
use reqwest::{Method, header::CONTENT_TYPE};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, Told, too_large},
};

pub(super) const KIND: Kind = Kind {
    name: "mailgun",
    rate: None,
    guide: Guide::platform(
        "Mailgun",
        &[
            Ask::token("an API key of the account"),
            Ask::list("the domain for every scope, or a mailing list's address"),
        ],
        &[
            "Account settings > API keys: add one of the role admin or developer; a domain's sending key does not do.",
            "For an account in Europe give --set url=https://api.eu.mailgun.net, too.",
        ],
    ),
    build,
};

/// A request takes up to a thousand.
const BATCH: usize = 100;

/// The tag of all of a domain's mail.
const ALL: &str = "*";

struct Mailgun(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.mailgun.net";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Basic("api".to_owned(), token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = list.contains('.').then_some(());
        known.ok_or_else(|| {
            format!("is {list:?}, but a domain or the address of a mailing list is needed")
        })
    });
    Some(platform::target(Mailgun(api?), scopes?, setup))
}

fn is_domain(list: &str) -> bool {
    !list.contains('@')
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Listing<T> {
    #[serde(deserialize_with = "or_null")]
    items: Vec<T>,
    paging: Paging,
}

#[derive(Deserialize)]
struct Paging {
    next: String,
}

#[derive(Deserialize)]
struct Unsubscribed {
    address: String,
    #[serde(deserialize_with = "or_null")]
    tags: Vec<String>,
    #[serde(default)]
    created_at: Value,
}

#[derive(Deserialize)]
struct Member {
    address: String,
    subscribed: bool,
}

/// Reads `null` as none of them. What is not there at all stays a mistake.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

#[async_trait]
impl Platform for Mailgun {
    fn most(&self) -> usize {
        BATCH
    }

    fn batch(&self, list: &str, suppress: bool) -> usize {
        if suppress && is_domain(list) {
            BATCH
        } else {
            1
        }
    }

    fn scope_of<'a>(&self, list: &'a str) -> &'a str {
        if is_domain(list) { GLOBAL } else { list }
    }

    /// <https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/domains/get-v4-domains>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let request = self.0.request(Method::GET, &["v4", "domains"]);
        let request = request.query(&[("limit", "1")]);
        self.0.exchange(request, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        if !is_domain(call.list) {
            return self.member(call).await;
        }
        let mut path = vec!["v3", call.list, "unsubscribes"];
        if call.suppress {
            let all = Value::Array(call.contacts.iter().map(unsubscribe).collect());
            let reply = self.0.send(Method::POST, &path, &all, call.deadline);
            return call.settled(reply.await?, &[]);
        }
        path.push(call.address());
        // Without it the tags that the contact unsubscribed from by themselves would go as well. Mailgun's own client has it:
        // https://github.com/mailgun/mailgun-go/blob/master/unsubscribes.go
        let request = self.0.request(Method::DELETE, &path).query(&[("tag", ALL)]);
        let reply = self.0.exchange(request, call.deadline).await?;
        call.settled(reply, &[404])
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[async_trait]
impl Lists for Mailgun {
    /// Goes on after an address.
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let mut page = Page::default();
        if is_domain(list) {
            let (path, query) = (["v3", list, "unsubscribes"], [("limit", "1000")]);
            let (items, next) = self.listing(&path, &query, after, deadline).await?;
            page.next = next;
            let of_all = |one: &Unsubscribed| one.tags.iter().any(|tag| tag == ALL);
            for one in items.into_iter().filter(of_all) {
                let since = one.created_at.as_str().and_then(time);
                page.add(Contact::email(&one.address).ok(), since, None);
            }
        } else {
            let path = ["v3", "lists", list, "members", "pages"];
            let query = [("limit", "100"), ("subscribed", "no")];
            let (items, next) = self.listing(&path, &query, after, deadline).await?;
            page.next = next;
            for member in items
                .into_iter()
                .filter(|member: &Member| !member.subscribed)
            {
                page.email(&member.address, None, None);
            }
        }
        Ok(page)
    }
}

/// `Fri, 18 Oct 2024 18:28:14 UTC`; the year 1 stands for no time.
fn time(stated: &str) -> Option<Timestamp> {
    let parser = DateTimeParser::new().relaxed_weekday(true);
    let stated = stated.replace("UTC", "GMT");
    let time = parser.parse_timestamp(stated.trim()).ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

/// The address that the next page is after. Nothing else is taken of the URL, whose host may be any.
fn divider(next: &str) -> Option<String> {
    let (_, query) = next.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, address) = pairs.find(|(name, _)| name == "address")?;
    Some(address.into_owned())
}

fn unsubscribe(told: &Told<'_>) -> Value {
    let at = DateTimePrinter::new().timestamp_to_rfc9110_string(&told.at);
    let mut one = json!({"address": told.contact.address, "tags": [ALL]});
    // It names no year but those of four digits.
    if let Ok(at) = at {
        one["created_at"] = json!(at);
    }
    one
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

impl Mailgun {
    /// What follows an address in a list, and after which address it goes on: until nothing does.
    async fn listing<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<(Vec<T>, Option<String>), Answer> {
        let mut request = self.0.request(Method::GET, path).query(query);
        if let Some(after) = after {
            request = request.query(&[("page", "next"), ("address", after)]);
        }
        let listing: Option<Listing<T>> = self.0.page(request, deadline).await?;
        let Listing { items, paging } = listing.ok_or_else(too_large)?;
        if items.is_empty() {
            return Ok((items, None));
        }
        match divider(&paging.next) {
            Some(next) if Some(next.as_str()) != after => Ok((items, Some(next))),
            _ => Err(Answer::retry("answered without where the next page begins")),
        }
    }

    async fn member(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let mut path = vec!["v3", "lists", call.list, "members"];
        let (method, form) = if call.suppress {
            let member = [
                ("address", call.address()),
                ("subscribed", "no"),
                ("upsert", "yes"),
            ];
            (Method::POST, form(&member))
        } else {
            path.push(call.address());
            (Method::PUT, form(&[("subscribed", "yes")]))
        };
        let request = self.0.request(method, &path);
        let request = request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let reply = self.0.exchange(request, call.deadline).await?;
        let already: &[u16] = if call.suppress { &[] } else { &[404] };
        call.settled(reply, already)
    }
}
