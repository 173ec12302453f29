//! Resend: the team's suppression list, and its contacts' leave for broadcasts.
//!
//! <https://resend.com/docs/api-reference/suppressions/add-batch-suppressions>,
//! <https://resend.com/docs/api-reference/contacts/update-contact>. A list is `suppressions`, which stops every message, or
//! `broadcasts`, which stops marketing and is what a `resend` source hears of. A contact that Resend does not know is made,
//! since one that is imported later would be sent to; a lift makes none.

use std::time::Duration;

use async_trait::async_trait;
use common::{delivery::Answer, event::GLOBAL, outbound::Reply, settings::Section};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes},
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
}

impl Resend {
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
        Limit, Vendor, json, lift, rehearsals, set, suppress, told,
    };
    use crate::targets::standin::verdict;
    use common::event::Kind as EventKind;

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

    rehearsals!(VENDOR);

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
