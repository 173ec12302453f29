//! Klaviyo: the suppressions of its profiles, by email.
//!
//! <https://developers.klaviyo.com/en/reference/bulk_suppress_profiles>,
//! <https://developers.klaviyo.com/en/reference/bulk_unsuppress_profiles>. There is one list, `global`: a suppressed profile
//! gets no marketing by email, whatever it consented to. A profile that Klaviyo does not know is made. A lift takes back
//! only what was set so: who unsubscribed there, bounced or complained stays suppressed. SMS has no suppressions.
//!
//! Klaviyo does the work after its answer, which says nothing of single profiles.
//!
//! The list is read by <https://developers.klaviyo.com/en/reference/get_profiles>, filtered by the time of the suppression:
//! whoever has one is in it, for whichever reason. Of several the first says since when, and the gravest why. Of the link to
//! the next page only its cursor is used.

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use common::{
    contact::Contact,
    delivery::Answer,
    event::{Lane, rfc3339},
    outbound::Reply,
    settings::Section,
};
use reqwest::{Method, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, Why, too_large},
};

/// Both requests bear 700 a minute, and 75 a second.
pub(super) const KIND: Kind = Kind {
    name: "klaviyo",
    rate: Some(Rate {
        calls: 10,
        per: Duration::from_secs(1),
    }),
    guide: Guide::platform(
        "Klaviyo",
        &[
            Ask::token("a private API key"),
            Ask::usual_list(
                "global",
                "Klaviyo's list for every scope: it has one, the suppressions by email",
            ),
        ],
        &[
            "Settings > API keys: create a private key with full access to Subscriptions and Profiles.",
        ],
    ),
    build,
};

/// The most profiles in one request.
const BATCH: usize = 100;

/// The most profiles on a page, of which only this is asked for.
const PAGE: [(&str, &str); 4] = [
    ("page[size]", "100"),
    ("additional-fields[profile]", "subscriptions"),
    (
        "fields[profile]",
        "email,subscriptions.email.marketing.suppression",
    ),
    (
        "filter",
        "greater-or-equal(subscriptions.email.marketing.suppression.timestamp,1970-01-01T00:00:00Z)",
    ),
];

const CURSOR: &str = "page[cursor]";

/// Which version of the api this speaks; Klaviyo keeps each for two years.
const REVISION: &str = "2026-07-15";

const GLOBAL: &str = "global";

struct Klaviyo(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://a.klaviyo.com";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Header("authorization", "Klaviyo-API-Key ", token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = (list == GLOBAL).then_some(());
        known.ok_or_else(|| {
            format!(
                "is {list:?}, but \"global\" is needed: Klaviyo's suppressions cover the account"
            )
        })
    });
    Some(platform::target(Klaviyo(api?), scopes?, setup))
}

#[async_trait]
impl Platform for Klaviyo {
    fn most(&self) -> usize {
        BATCH
    }

    /// <https://developers.klaviyo.com/en/reference/get_bulk_suppress_profiles_jobs>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["api", "profile-suppression-bulk-create-jobs"];
        let request = self.0.request(Method::GET, &path);
        let request = request.header("revision", REVISION);
        self.0.exchange(request, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let verb = if call.suppress { "create" } else { "delete" };
        let profiles: Vec<Value> = call
            .addresses()
            .iter()
            .map(|address| json!({"type": "profile", "attributes": {"email": address}}))
            .collect();
        let body = json!({"data": {
            "type": format!("profile-suppression-bulk-{verb}-job"),
            "attributes": {"profiles": {"data": profiles}},
        }});
        let path = ["api", &format!("profile-suppression-bulk-{verb}-jobs")];
        let request = self.0.request(Method::POST, &path);
        let request = request
            .header("revision", REVISION)
            .header(CONTENT_TYPE, "application/vnd.api+json")
            .body(body.to_string());
        call.settled(self.0.exchange(request, call.deadline).await?, &[])
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[derive(Deserialize)]
struct Profiles {
    data: Vec<Profile>,
    links: Links,
}

#[derive(Deserialize)]
struct Links {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Profile {
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    email: Option<String>,
    subscriptions: Subscriptions,
}

#[derive(Deserialize)]
struct Subscriptions {
    email: Channel,
}

#[derive(Deserialize)]
struct Channel {
    marketing: Marketing,
}

#[derive(Deserialize)]
struct Marketing {
    suppression: Option<Vec<Suppression>>,
}

#[derive(Deserialize)]
struct Suppression {
    reason: String,
    timestamp: String,
}

#[async_trait]
impl Lists for Klaviyo {
    async fn page(
        &self,
        _list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let request = self.0.request(Method::GET, &["api", "profiles"]);
        let mut request = request.header("revision", REVISION).query(&PAGE);
        if let Some(cursor) = after {
            request = request.query(&[(CURSOR, cursor)]);
        }
        let read: Option<Profiles> = self.0.page(request, deadline).await?;
        let read = read.ok_or_else(too_large)?;
        let mut page = Page::default();
        if let Some(link) = &read.links.next {
            let none = || Answer::retry("answered with a link to the next page without a cursor");
            page.next = Some(cursor(link).ok_or_else(none)?);
        }
        // Were they not answered with, the list would read as empty.
        if !read.data.is_empty() && read.data.iter().all(|one| one.suppressions().is_none()) {
            let why =
                "answered with profiles of which none has the suppressions that were asked for";
            return Err(Answer::retry(why));
        }
        for profile in &read.data {
            let Some(all) = profile.suppressions() else {
                page.unread += 1;
                continue;
            };
            let Some(gravest) = all.iter().max_by_key(|one| one.gravity()) else {
                continue;
            };
            let since = all.iter().filter_map(|one| rfc3339(&one.timestamp)).min();
            // A profile that is known by its number only names nobody by email.
            let address = profile.attributes.email.as_deref().unwrap_or_default();
            let why = Why {
                lane: gravest.lane(),
                words: Some(gravest.reason.clone()),
            };
            page.add(Contact::email(address).ok(), since, why);
        }
        Ok(page)
    }
}

impl Profile {
    fn suppressions(&self) -> Option<&[Suppression]> {
        let marketing = &self.attributes.subscriptions.email.marketing;
        marketing.suppression.as_deref()
    }
}

impl Suppression {
    fn lane(&self) -> Lane {
        match self.reason.as_str() {
            "SPAM_COMPLAINT" => Lane::Complaint,
            "HARD_BOUNCE" | "INVALID_EMAIL" => Lane::Deliverability,
            _ => Lane::Consent,
        }
    }

    /// The graver, the less takes it back.
    fn gravity(&self) -> u8 {
        match self.lane() {
            Lane::Complaint => 2,
            Lane::Deliverability => 1,
            Lane::Consent | Lane::Manual => 0,
        }
    }
}

/// What a link to another page says of where it begins. The rest of it is not used.
fn cursor(link: &str) -> Option<String> {
    let link = Url::parse(link).ok()?;
    let mut pairs = link.query_pairs();
    let (_, cursor) = pairs.find(|(name, _)| name == CURSOR)?;
    (!cursor.is_empty()).then(|| cursor.into_owned())
}
