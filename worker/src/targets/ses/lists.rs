//! How SES's lists are read: the account's by
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListSuppressedDestinations.html>, a contact list by
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListContacts.html>.
//!
//! Of a contact list all contacts are read and those who are not out left out here, since the documentation does not say
//! whom a filter by topic leaves out of those who are unsubscribed from all. Since when a contact is out is not stated, only
//! when anything of it last changed.

use async_trait::async_trait;
use common::{contact::Contact as Person, delivery::Answer, event::Lane};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{
        platform::{self, Lists, Page, Why, path, too_large},
        ticket,
    },
    GLOBAL, OPT_OUT, Preference, Ses, named,
};

/// How many are asked for at a time. The documentation states no limit of either; these are careful.
const DESTINATIONS: u16 = 1000;
const CONTACTS: u16 = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Destinations {
    suppressed_destination_summaries: Vec<Destination>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Destination {
    email_address: String,
    reason: String,
    /// Seconds since 1970, with a fraction.
    #[serde(default)]
    last_update_time: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contacts {
    contacts: Vec<Listed>,
    next_token: Option<String>,
}

/// Not what `tell` reads of a contact, which takes what is missing for what was never set: if all were without it, the list
/// would read as one that nobody is on. Of a contact without preferences AWS may leave those out.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    email_address: String,
    unsubscribe_all: bool,
    #[serde(default)]
    topic_preferences: Vec<Preference>,
}

impl Listed {
    /// Whether it is opted out, of all or of the topic.
    fn is_out(&self, topic: Option<&str>) -> bool {
        let Some(topic) = topic else {
            return self.unsubscribe_all;
        };
        let mut preferences = self.topic_preferences.iter();
        preferences.any(|one| one.topic_name == topic && one.subscription_status == OPT_OUT)
    }
}

#[async_trait]
impl Lists for Ses {
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        if list == GLOBAL {
            self.destinations(after, deadline).await
        } else {
            self.contacts(list, after, deadline).await
        }
    }
}

impl Ses {
    async fn destinations(&self, after: Option<&str>, deadline: Instant) -> Result<Page, Answer> {
        let parts = ["v2", "email", "suppression", "addresses"];
        let mut url = ticket::join(&self.base, &path(&parts));
        let token = after.map(|token| format!("NextToken={}&", path(&[token])));
        let token = token.unwrap_or_default();
        url.set_query(Some(&format!("{token}PageSize={DESTINATIONS}")));
        let request = self.signed(Method::GET, url, None)?;
        let read: Destinations = self.read(request, deadline).await?;
        let mut page = Page {
            next: following(read.next_token),
            ..Page::default()
        };
        for one in read.suppressed_destination_summaries {
            let since = one.last_update_time.as_f64().and_then(unix);
            // Opt-outs are entered as complaints, too, by `tell`, and nothing tells them apart: taken for complaints,
            // which no consent takes back, they would stand for good.
            let lane = match one.reason.as_str() {
                "BOUNCE" => Lane::Deliverability,
                _ => Lane::Consent,
            };
            let words = Some(one.reason);
            let contact = Person::email(&one.email_address).ok();
            page.add(contact, since, Why { lane, words });
        }
        Ok(page)
    }

    async fn contacts(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let (list, topic) = named(list);
        let parts = ["v2", "email", "contact-lists", list, "contacts", "list"];
        let url = ticket::join(&self.base, &path(&parts));
        let mut body = json!({"PageSize": CONTACTS});
        if let Some(token) = after {
            body["NextToken"] = json!(token);
        }
        let request = self.signed(Method::POST, url, Some(&body))?;
        let read: Contacts = self.read(request, deadline).await?;
        let mut page = Page {
            next: following(read.next_token),
            ..Page::default()
        };
        for one in read.contacts {
            if one.is_out(topic) {
                page.email(&one.email_address, None, None);
            }
        }
        Ok(page)
    }

    /// AWS answers 400 to what was asked too often, too, and by its status alone that is told from nothing else.
    async fn read<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<T, Answer> {
        match platform::page(&self.outbound, request, deadline).await {
            Ok(page) => page.ok_or_else(too_large),
            Err(answer) if answer.status == Some(400) => Err(Answer {
                status: answer.status,
                excerpt: answer.excerpt,
                ..Answer::retry("answered 400, which may say that it was asked too often")
            }),
            Err(answer) => Err(answer),
        }
    }
}

fn following(token: Option<String>) -> Option<String> {
    token.filter(|token| !token.is_empty())
}

fn unix(seconds: f64) -> Option<Timestamp> {
    let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_without_what_is_asked_about_is_not_taken_for_one_that_is_not_out() {
        let read = |listed: Value| serde_json::from_value::<Listed>(listed);
        let none = read(json!({"EmailAddress": "jane@example.com", "TopicPreferences": []}));
        assert!(none.is_err());
        let out = json!([{"TopicName": "offers", "SubscriptionStatus": "OPT_OUT"}]);
        for (topics, all, of_topic) in [(out, false, true), (json!([]), true, false)] {
            let one = json!({
                "EmailAddress": "jane@example.com",
                "UnsubscribeAll": all,
                "TopicPreferences": topics,
            });
            let one = read(one).unwrap();
            assert_eq!(
                (one.is_out(None), one.is_out(Some("offers"))),
                (all, of_topic)
            );
        }
        let bare = json!({"EmailAddress": "jane@example.com", "UnsubscribeAll": false});
        assert!(!read(bare).unwrap().is_out(Some("offers")));
    }
}
