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
                    _ => Lane::Manual,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{
        Limit, Listed, Vendor, json, lift, rehearsals, set, suppress, told,
    };
    use crate::targets::standin::{Received, verdict};
    use axum::{body::Body, http::Response};
    use common::event::Kind as EventKind;
    use serde_json::Value;

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: [SUPPRESSIONS, BROADCASTS],
        limit: Limit::Seconds("ratelimit-reset"),
        answer: |request, parts, listed| {
            if request.header("authorization") != "Bearer s3cret" {
                let error =
                    json!({"statusCode": 403, "name": "invalid_api_key", "message": "invalid"});
                return json(403, &error);
            }
            if parts == ["domains"] {
                return json(200, &json!({}));
            }
            if let ("GET", [list @ ("suppressions" | "contacts")]) =
                (request.method.as_str(), parts)
            {
                return listing(request, list, listed);
            }
            let body = request.json();
            let invalid =
                json!({"statusCode": 422, "name": "validation_error", "message": "invalid email"});
            match (request.method.as_str(), parts) {
                ("POST", ["suppressions", "batch", verb @ ("add" | "remove")]) => {
                    let asked = body["emails"].as_array().unwrap();
                    let most = if *verb == "add" { 100 } else { 1 };
                    assert!((1..=most).contains(&asked.len()));
                    let asked: Vec<_> = asked.iter().map(|one| one.as_str().unwrap()).collect();
                    if asked.iter().any(|one| one.starts_with("bad")) {
                        return json(422, &invalid);
                    }
                    for one in asked {
                        set(listed, SUPPRESSIONS, one, *verb == "add");
                    }
                    json(200, &json!({"data": []}))
                }
                ("PATCH", ["contacts", address]) => {
                    if !listed.contains(&("known".to_owned(), (*address).to_owned())) {
                        let error = json!({"statusCode": 404, "name": "not_found", "message": "no contact"});
                        return json(404, &error);
                    }
                    set(
                        listed,
                        BROADCASTS,
                        address,
                        body["unsubscribed"].as_bool().unwrap(),
                    );
                    json(200, &json!({"object": "contact", "id": "1"}))
                }
                ("POST", ["contacts"]) => {
                    let address = body["email"].as_str().unwrap();
                    if address.starts_with("bad") {
                        return json(422, &invalid);
                    }
                    set(
                        listed,
                        BROADCASTS,
                        address,
                        body["unsubscribed"].as_bool().unwrap(),
                    );
                    json(201, &json!({"object": "contact", "id": "1"}))
                }
                _ => json(
                    405,
                    &json!({"statusCode": 405, "name": "method_not_allowed", "message": "no"}),
                ),
            }
        },
    };

    /// A page of the suppressions, or of all contacts, of whom one has leave. An entry's id is its address in capitals.
    fn listing(request: &Received, path: &str, listed: &Listed) -> Response<Body> {
        let limit: usize = request.query("limit").unwrap().parse().unwrap();
        assert!((1..=100).contains(&limit));
        let list = if path == "contacts" { BROADCASTS } else { path };
        let of_list = listed.iter().filter(|(other, _)| other == list);
        let mut rows: Vec<Value> = of_list
            .map(|(_, address)| {
                let time = "2023-10-06 23:47:56.678+00";
                let id = address.to_uppercase();
                json!({"id": id, "email": address, "origin": "manual", "created_at": time, "unsubscribed": true})
            })
            .collect();
        if path == "contacts" {
            rows.push(json!({"id": "0", "email": "with@example.com", "unsubscribed": false}));
        }
        let after = request.query("after");
        let start = after.map_or(0, |id| {
            1 + rows
                .iter()
                .position(|row| row["id"] == id.as_str())
                .unwrap()
        });
        let more = rows.len() > start + limit;
        let data: Vec<_> = rows.drain(start..).take(limit).collect();
        json(
            200,
            &json!({"object": "list", "has_more": more, "data": data}),
        )
    }

    rehearsals!(VENDOR);
    rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

    #[tokio::test]
    async fn a_suppression_says_since_when_and_by_what_and_a_contact_does_not() {
        let running = VENDOR.usual().await;
        let book = running.target.book().unwrap();
        for (list, since, reason) in [
            (
                SUPPRESSIONS,
                "2023-10-06T23:47:56.678Z".parse().ok(),
                Some("manual"),
            ),
            (BROADCASTS, None, None),
        ] {
            set(&mut running.listed(), list, "jane@example.com", true);
            let page = book.page(list, None).await.unwrap();
            assert_eq!((page.entries.len(), page.next), (1, None), "{list}");
            let entry = &page.entries[0];
            assert_eq!((entry.since, entry.why.words.as_deref()), (since, reason));
        }
    }

    #[tokio::test]
    async fn only_broadcasts_are_reported_and_as_global() {
        let running = VENDOR.usual().await;
        assert!(running.target.reports("offers", "global"));
        assert!(!running.target.reports("news", "global"));
    }

    #[tokio::test]
    async fn several_are_suppressed_at_once_and_lifted_one_by_one() {
        let running = VENDOR.usual().await;
        for (kind, requests) in [(EventKind::Unsubscribed, 1), (EventKind::Resubscribed, 2)] {
            let before = running.received().len();
            let addresses = ["jane@example.com", "joe@example.com"];
            let deliveries = addresses.map(|address| told(kind, address, "news"));
            let answers = running.target.deliver(&deliveries).await;
            assert!(answers.iter().all(|answer| verdict(answer) == "done"));
            assert_eq!(running.received().len() - before, requests);
        }
    }

    #[tokio::test]
    async fn a_contact_is_kept_from_broadcasts_whether_or_not_it_is_known_and_a_lift_makes_none() {
        let running = VENDOR.usual().await;
        let known = ("known".to_owned(), "jane@example.com".to_owned());
        running.listed().insert(known);
        for (address, events) in [("jane@example.com", 1), ("joe@example.com", 2)] {
            let before = running.received().len();
            let answer = running.tell(&suppress(address, "offers")).await;
            assert_eq!(verdict(&answer), "done");
            assert!(running.lists(address).contains(BROADCASTS));
            assert_eq!(running.received().len() - before, events);
        }
        for address in ["jane@example.com", "ann@example.com"] {
            let answer = running.tell(&lift(address, "offers")).await;
            assert_eq!(verdict(&answer), "done");
            assert!(!running.lists(address).contains(BROADCASTS));
        }
    }
}
