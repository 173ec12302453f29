//! SparkPost: its suppression list, which has two types of entry.
//!
//! <https://developers.sparkpost.com/api/suppression-list/>. A list is `transactional` or `non_transactional`. What a
//! `sparkpost` source's events tell is of non-transactional mail, and global. What SparkPost's compliance has entered nobody
//! takes off.
//!
//! A list is read by SparkPost's own cursor, a thousand entries at a time:
//! <https://developers.sparkpost.com/api/suppression-list/#suppression-list-get-search-suppressions>. It holds all that keep
//! mail of its type back, bounces and complaints among them, but no entries of single mailing lists.
//!
//! Settings beside those of every platform: `subaccount` (a number; without, the primary account's list). In Europe:
//! `url = "https://api.eu.sparkpost.com"`. No figure is documented for these requests.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use common::{
    delivery::Answer,
    event::{GLOBAL, Lane},
    outbound::Reply,
    settings::Section,
};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{
        self, Api, Call, Credential, Lists, Page, Platform, Scopes, Why, refused, too_large,
    },
};

pub(super) const KIND: Kind = Kind {
    name: "sparkpost",
    rate: None,
    guide: Guide::platform(
        "SparkPost",
        &[
            Ask::token("an API key"),
            Ask::usual_list(
                "non_transactional",
                "SparkPost's list for every scope: non_transactional or transactional",
            ),
        ],
        &[
            "Configuration > API Keys: create one with Suppression Lists: Read/Write.",
            "For an account in Europe give --set url=https://api.eu.sparkpost.com, too.",
        ],
    ),
    build,
};

/// A request takes up to ten thousand.
const BATCH: usize = 100;

/// The entries that an answer holds.
const PAGE: &str = "1000";

const NON_TRANSACTIONAL: &str = "non_transactional";

const TYPES: [&str; 2] = ["transactional", NON_TRANSACTIONAL];

struct SparkPost {
    api: Api,
    subaccount: u32,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.sparkpost.com";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Header("authorization", "", token)
    });
    let subaccount = section.or("subaccount", 0_u32);
    let scopes = Scopes::read(section, |list| {
        let known = TYPES.contains(&list).then_some(());
        known.ok_or_else(|| format!("is {list:?}, but one of {} is needed", TYPES.join(", ")))
    });
    let platform = SparkPost {
        api: api?,
        subaccount,
    };
    Some(platform::target(platform, scopes?, setup))
}

#[derive(Deserialize)]
struct Found {
    results: Vec<Suppressed>,
    links: Vec<Link>,
}

#[derive(Deserialize)]
struct Suppressed {
    recipient: String,
    #[serde(rename = "type")]
    kind: String,
    source: Option<String>,
    description: Option<String>,
    created: Option<String>,
    /// Of a single mailing list.
    list_id: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
    rel: String,
}

#[async_trait]
impl Platform for SparkPost {
    fn most(&self) -> usize {
        BATCH
    }

    fn batch(&self, _list: &str, suppress: bool) -> usize {
        if suppress { BATCH } else { 1 }
    }

    fn scope_of<'a>(&self, list: &'a str) -> &'a str {
        if list == NON_TRANSACTIONAL {
            GLOBAL
        } else {
            list
        }
    }

    /// <https://developers.sparkpost.com/api/suppression-list/#suppression-list-get-retrieve-summary>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["api", "v1", "suppression-list", "summary"];
        let request = self.api.request(Method::GET, &path);
        let request = request.header("x-msys-subaccount", self.subaccount);
        self.api.exchange(request, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let mut path = vec!["api", "v1", "suppression-list"];
        if call.suppress {
            let one = |told: &platform::Told<'_>| {
                let address = &told.contact.address;
                let why = format!("told by optout: {}", told.lane);
                json!({"recipient": address, "type": call.list, "description": why})
            };
            let all: Vec<_> = call.contacts.iter().map(one).collect();
            let request = self.request(Method::PUT, &path, &json!({"recipients": all}));
            return call.settled(self.api.exchange(request, call.deadline).await?, &[]);
        }
        path.push(call.address());
        let request = self.request(Method::DELETE, &path, &json!({"type": call.list}));
        // Without it the entries of single mailing lists, which others have made, would go as well.
        let request = request.query(&[("list_id", "")]);
        let reply = self.api.exchange(request, call.deadline).await?;
        if reply.status == 403 && String::from_utf8_lossy(&reply.body).contains("Compliance") {
            let why = "SparkPost's compliance has entered this address and lets nobody take it off";
            return Err(refused(&reply, why));
        }
        call.settled(reply, &[404])
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[async_trait]
impl Lists for SparkPost {
    /// Goes on at a cursor of theirs.
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let path = ["api", "v1", "suppression-list"];
        let request = self.api.request(Method::GET, &path);
        let request = request
            .header("x-msys-subaccount", self.subaccount)
            .query(&[
                ("types", list),
                ("list_id", ""),
                ("per_page", PAGE),
                ("cursor", after.unwrap_or("initial")),
            ]);
        let found: Option<Found> = self.api.page(request, deadline).await?;
        let Found { results, links } = found.ok_or_else(too_large)?;
        let mut page = Page::default();
        // After the last page there is one more, with nothing on it.
        let next = links.iter().find(|link| link.rel == "next");
        if let Some(link) = next.filter(|_| !results.is_empty()) {
            let none = || Answer::retry("answered with a link to the next page without a cursor");
            page.next = Some(cursor(&link.href).ok_or_else(none)?);
        }
        let is_listed = |one: &Suppressed| one.kind == list && one.list_id.is_none();
        for one in results.into_iter().filter(is_listed) {
            let lane = match one.source.as_deref() {
                Some("Spam Complaint") => Lane::Complaint,
                Some("Bounce Rule") => Lane::Deliverability,
                Some("Manually Added") => Lane::Manual,
                _ => Lane::Consent,
            };
            let described = one.description.filter(|described| !described.is_empty());
            let words = described.or(one.source);
            page.email(&one.recipient, one.created.as_deref(), Why { lane, words });
        }
        Ok(page)
    }
}

/// The cursor in a link. Nothing else is taken of it, whose host may be any.
fn cursor(href: &str) -> Option<String> {
    let (_, query) = href.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, cursor) = pairs.find(|(name, _)| name == "cursor")?;
    (!cursor.is_empty()).then(|| cursor.into_owned())
}

impl SparkPost {
    fn request(&self, method: Method, path: &[&str], body: &Value) -> RequestBuilder {
        let request = self.api.request(method, path).json(body);
        request.header("x-msys-subaccount", self.subaccount)
    }
}
