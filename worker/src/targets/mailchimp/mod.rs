//! Mailchimp: the members of its audiences.
//!
//! <https://mailchimp.com/developer/marketing/api/list-members/add-or-update-list-member/>. A list is an audience's id,
//! which is what a `mailchimp` source's events have as their scope. Who is no member becomes one that is unsubscribed, since
//! one who is imported later would be sent to. A lift subscribes only who is there and unsubscribed: Mailchimp refuses it
//! for who unsubscribed themselves, who have to fill in one of its forms, and for who was cleaned after bounces.
//!
//! One member a request: what is said of many is longer than an answer is read to. Mailchimp bears ten requests at a time
//! (<https://mailchimp.com/developer/marketing/docs/fundamentals/#api-limits>).
//!
//! A list is read by offset, a thousand members at a time: who unsubscribed, then who was cleaned, since neither is sent to
//! (<https://mailchimp.com/developer/marketing/api/list-members/list-members-info/>). Who is archived is no member any more.
//! When somebody unsubscribed it does not say, but only when anything of them was last changed.
//!
//! `url` has to be written: `https://us6.api.mailchimp.com`, where `us6` is what the token ends with.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use common::{delivery::Answer, event::Lane, outbound::Reply, settings::Section};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{
        self, Api, Call, Credential, Lists, Page, Platform, Scopes, Why, read, refused, too_large,
    },
};

pub(super) const KIND: Kind = Kind {
    name: "mailchimp",
    rate: None,
    guide: Guide::platform(
        "Mailchimp",
        &[
            Ask::text(
                "url",
                "the data centre's URL, https://us6.api.mailchimp.com where the key ends with us6",
            ),
            Ask::token("an API key"),
            Ask::list("the id of the audience for every scope, such as a6b5da1054"),
        ],
        &[
            "Profile > Extras > API keys: create one.",
            "Audience > Settings > Audience name and defaults shows the audience's id.",
        ],
    ),
    build,
};

/// One less than Mailchimp bears, since a list may be read beside.
const SLOTS: u16 = 9;

/// What Mailchimp calls its refusals to subscribe a member: neither is sent to.
const KEPT: [&str; 2] = [
    "Member In Compliance State",
    "Forgotten Email Not Subscribed",
];

const UNSUBSCRIBED: &str = "unsubscribed";
const CLEANED: &str = "cleaned";

/// The most members that an answer holds.
const PAGE: &str = "1000";

/// Of a member no more than this is answered.
const FIELDS: &str = "members.email_address,members.status,members.unsubscribe_reason,total_items";

struct Mailchimp(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    // Any name does.
    let api = Api::read(section, setup, None, |token| {
        Credential::Basic("optout".to_owned(), token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = list.bytes().all(|byte| byte.is_ascii_alphanumeric());
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but the id of an audience such as \"a6b5da1054\" is needed")
        })
    });
    Some(platform::target(Mailchimp(api?), scopes?, setup))
}

#[derive(Deserialize)]
struct Member {
    status: String,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<Left>,
    /// Of this status, on all pages.
    total_items: usize,
}

#[derive(Deserialize)]
struct Left {
    /// Who is there by a phone number alone has none.
    email_address: Option<String>,
    status: String,
    unsubscribe_reason: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
}

#[async_trait]
impl Platform for Mailchimp {
    fn slots(&self) -> u16 {
        SLOTS
    }

    /// <https://mailchimp.com/developer/marketing/api/ping/ping/>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        self.0.ask(Method::GET, &["3.0", "ping"], deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let path = ["3.0", "lists", call.list, "members", call.address()];
        if call.suppress {
            let body = json!({
                "email_address": call.address(),
                "status": "unsubscribed",
                "status_if_new": "unsubscribed",
            });
            let request = self.0.request(Method::PUT, &path);
            // An audience may have fields that its members must fill in.
            let request = request.query(&[("skip_merge_validation", "true")]);
            let reply = self.0.exchange(request.json(&body), call.deadline).await?;
            not_for_now(&reply)?;
            if kept(&reply) {
                return Ok(vec![call.done(&reply)]);
            }
            return call.settled(reply, &[]);
        }
        let reply = self.0.ask(Method::GET, &path, call.deadline).await?;
        if reply.status == 404 {
            return call.settled(reply, &[404]);
        }
        let (reply, member): (_, Member) = read(reply)?;
        match member.status.as_str() {
            UNSUBSCRIBED => {}
            CLEANED => {
                let why = "Mailchimp has cleaned this member after bounces, for good";
                return Err(refused(&reply, why));
            }
            _ => return Ok(vec![call.done(&reply)]),
        }
        let body = json!({"status": "subscribed"});
        let reply = self.0.send(Method::PATCH, &path, &body, call.deadline);
        let reply = reply.await?;
        not_for_now(&reply)?;
        if kept(&reply) {
            let why = "Mailchimp lets only the contact subscribe again, by one of its forms";
            return Err(refused(&reply, why));
        }
        call.settled(reply, &[])
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[async_trait]
impl Lists for Mailchimp {
    /// Goes on after `STATUS:OFFSET`.
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let (status, offset) = after
            .and_then(|after| after.split_once(':'))
            .unwrap_or((UNSUBSCRIBED, "0"));
        let path = ["3.0", "lists", list, "members"];
        let request = self.0.request(Method::GET, &path).query(&[
            ("status", status),
            ("fields", FIELDS),
            ("count", PAGE),
            ("offset", offset),
        ]);
        let answer: Option<Members> = self.0.page(request, deadline).await?;
        let Members {
            members,
            total_items,
        } = answer.ok_or_else(too_large)?;
        let offset = offset.parse().unwrap_or(0);
        if members.is_empty() && offset < total_items {
            return Err(Answer::retry(
                "answered with no members where it states that there are more",
            ));
        }
        let read = members.len().saturating_add(offset);
        let mut page = Page {
            next: match status {
                _ if read < total_items => Some(format!("{status}:{read}")),
                UNSUBSCRIBED => Some(format!("{CLEANED}:0")),
                _ => None,
            },
            ..Page::default()
        };
        for member in members {
            let why = match member.status.as_str() {
                UNSUBSCRIBED => member.unsubscribe_reason.into(),
                CLEANED => Why {
                    lane: Lane::Deliverability,
                    words: Some(member.status),
                },
                _ => continue,
            };
            page.email(&member.email_address.unwrap_or_default(), None, why);
        }
        Ok(page)
    }
}

/// Refuses what is refused for a time only: "… has signed up to a lot of lists very recently; we're not allowing more
/// signups for now".
fn not_for_now(reply: &Reply) -> Result<(), Answer> {
    let problem = reply.json::<Problem>();
    let for_now = problem.is_some_and(|problem| problem.detail.contains("a lot of lists"));
    if reply.status == 400 && for_now {
        return Err(Answer::retry(
            "Mailchimp allows no more signups of this contact for now",
        ));
    }
    Ok(())
}

/// Whether it is said of a member that it cannot be subscribed.
fn kept(reply: &Reply) -> bool {
    let problem = reply.json::<Problem>();
    reply.status == 400 && problem.is_some_and(|problem| KEPT.contains(&problem.title.as_str()))
}
