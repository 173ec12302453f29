//! MailerSend: the unsubscribes of its domains.
//!
//! <https://developers.mailersend.com/api/v1/recipients>. A list is a domain's id; what a `mailersend` source's events tell
//! is global. An entry is taken off by its own id, which MailerSend finds by no address, so a lift is a final answer: a
//! person takes the address off there. The list is read by the same page's "Get recipients from a suppression list", whose
//! next page is the number after this one's as long as there is a link to it.
//!
//! How many requests a minute are allowed depends on the plan: <https://developers.mailersend.com/general#rate-limits>.
//! The rate is a careful one.

use std::time::Duration;

use async_trait::async_trait;
use common::{delivery::Answer, event::GLOBAL, outbound::Reply, settings::Section};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, too_large},
};

pub(super) const KIND: Kind = Kind {
    name: "mailersend",
    rate: Some(Rate {
        calls: 10,
        per: Duration::from_mins(1),
    }),
    guide: Guide::platform(
        "MailerSend",
        &[
            Ask::token("an API token"),
            Ask::list("the id of the domain for every scope, such as yv69oxl5kl785kw2"),
        ],
        &[
            "Integrations > API tokens: generate one with full access to suppressions.",
            "The domain's id stands in the address of its page.",
        ],
    ),
    build,
};

/// No limit is documented.
const BATCH: usize = 50;

/// The most entries on a page.
const PAGE: &str = "100";

struct MailerSend(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.mailersend.com";
    let api = Api::read(section, setup, Some(url), Credential::Bearer);
    let scopes = Scopes::read(section, |list| {
        let known = list.bytes().all(|byte| byte.is_ascii_alphanumeric());
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but the id of a domain such as \"yv69oxl5kl785kw2\" is needed")
        })
    });
    Some(platform::target(MailerSend(api?), scopes?, setup))
}

#[async_trait]
impl Platform for MailerSend {
    fn most(&self) -> usize {
        BATCH
    }

    fn scope_of<'a>(&self, _list: &'a str) -> &'a str {
        GLOBAL
    }

    /// <https://developers.mailersend.com/api/v1/other-endpoints>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["v1", "api-quota"];
        self.0.ask(Method::GET, &path, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        if !call.suppress {
            return Err(Answer::dead(
                "MailerSend takes nobody off by address: a person has to, there",
            ));
        }
        let body = json!({"domain_id": call.list, "recipients": call.addresses()});
        let path = ["v1", "suppressions", "unsubscribes"];
        let reply = self.0.send(Method::POST, &path, &body, call.deadline);
        call.settled(reply.await?, &[])
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[derive(Deserialize)]
struct Unsubscribes {
    data: Vec<Unsubscribe>,
    links: Links,
}

#[derive(Deserialize)]
struct Unsubscribe {
    recipient: Recipient,
    reason: Option<String>,
    readable_reason: Option<String>,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct Recipient {
    email: String,
}

#[derive(Deserialize)]
struct Links {
    next: Option<String>,
}

#[async_trait]
impl Lists for MailerSend {
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let number: u64 = match after.unwrap_or("1").parse() {
            Ok(number) => number,
            Err(_) => return Err(Answer::dead("asked for a page that has no number")),
        };
        let text = number.to_string();
        let query = [("domain_id", list), ("limit", PAGE), ("page", &text)];
        let path = ["v1", "suppressions", "unsubscribes"];
        let request = self.0.request(Method::GET, &path).query(&query);
        let read: Option<Unsubscribes> = self.0.page(request, deadline).await?;
        let read = read.ok_or_else(too_large)?;
        let mut page = Page::default();
        // The link is not followed: it would be with the token.
        if read.links.next.is_some() {
            page.next = number.checked_add(1).map(|next| next.to_string());
        }
        for one in read.data {
            let reason = one.readable_reason.or(one.reason);
            page.email(&one.recipient.email, one.created_at.as_deref(), reason);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{
        Limit, Listed, Vendor, json, lift, rehearsals, set, suppress,
    };
    use crate::targets::standin::{Received, verdict};
    use axum::{body::Body, http::Response};
    use serde_json::Value;

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: ["yv69oxl5kl785kw2", "jpzkmgqqmg1v059v"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            if request.header("authorization") != "Bearer s3cret" {
                return json(401, &json!({"message": "Unauthenticated."}));
            }
            if request.path == "/v1/api-quota" {
                return json(200, &json!({"quota": 1000, "remaining": 752}));
            }
            if let ("GET", ["v1", "suppressions", "unsubscribes"]) =
                (request.method.as_str(), parts)
            {
                return unsubscribes(request, listed);
            }
            let right = ("POST", "/v1/suppressions/unsubscribes");
            assert_eq!((request.method.as_str(), request.path.as_str()), right);
            let body = request.json();
            let asked = body["recipients"].as_array().unwrap();
            let asked: Vec<_> = asked.iter().map(|one| one.as_str().unwrap()).collect();
            assert!(!asked.is_empty());
            if asked.iter().any(|address| address.starts_with("bad")) {
                return json(422, &json!({"message": "The given data was invalid."}));
            }
            for address in asked {
                set(listed, body["domain_id"].as_str().unwrap(), address, true);
            }
            json(201, &json!({"data": []}))
        },
    };

    /// A page, with a link to the next one that leads elsewhere.
    fn unsubscribes(request: &Received, listed: &Listed) -> Response<Body> {
        let number = |name| request.query(name).unwrap().parse::<usize>().unwrap();
        let (limit, page) = (number("limit"), number("page"));
        assert!((10..=100).contains(&limit));
        let domain = request.query("domain_id").unwrap();
        let of_domain: Vec<_> = listed.iter().filter(|(list, _)| *list == domain).collect();
        let data: Vec<Value> = of_domain
            .iter()
            .skip((page - 1) * limit)
            .take(limit)
            .map(|(_, address)| {
                json!({
                    "id": "62fb66bef54a112e920b5493",
                    "reason": "NO_LONGER_WANT",
                    "readable_reason": "I no longer want to receive these emails",
                    "recipient": {"id": "62c69be104270ee9c6074d32", "email": address},
                    "created_at": "2022-07-07T08:40:01.000000Z",
                })
            })
            .collect();
        let more = of_domain.len() > page * limit;
        let next = more.then_some("https://elsewhere.example/v1/suppressions/unsubscribes?page=77");
        let links = json!({"first": "x", "last": null, "prev": null, "next": next});
        json(200, &json!({"data": data, "links": links, "meta": {}}))
    }

    rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);
    rehearsals!(
        VENDOR,
        a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it,
        a_token_that_is_refused_is_tried_again_and_says_so,
        a_credential_is_asked_about_by_a_read_and_a_refusal_is_told,
        one_contact_that_is_refused_costs_no_other,
        a_scope_is_its_list_and_what_is_global_is_every_list
    );

    #[tokio::test]
    async fn an_entry_says_since_when_and_why_and_a_cursor_that_is_no_number_is_refused() {
        let running = VENDOR.usual().await;
        let list = VENDOR.lists[0];
        set(&mut running.listed(), list, "jane@example.com", true);
        let book = running.target.book().unwrap();
        let page = book.page(list, None).await.unwrap();
        let entry = &page.entries[0];
        assert_eq!(entry.since, "2022-07-07T08:40:01Z".parse().ok());
        let why = "I no longer want to receive these emails";
        assert_eq!(entry.why.words.as_deref(), Some(why));
        let answer = book.page(list, Some("https://x")).await.unwrap_err();
        assert!(verdict(&answer).starts_with("dead: "), "{answer:?}");
        assert_eq!(running.received().len(), 1);
    }

    #[tokio::test]
    async fn a_lift_is_a_final_answer_without_a_call() {
        let running = VENDOR.usual().await;
        for _ in 0..2 {
            let answer = running.tell(&suppress("jane@example.com", "news")).await;
            assert_eq!(verdict(&answer), "done");
        }
        let before = running.received().len();
        let answer = running.tell(&lift("jane@example.com", "news")).await;
        assert!(
            verdict(&answer).starts_with("dead: MailerSend takes"),
            "{answer:?}"
        );
        assert_eq!(running.received().len(), before);
    }
}
