//! Mailgun: the unsubscribes of its domains, and the members of its mailing lists.
//!
//! <https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/unsubscribe>,
//! <https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/mailing-lists>. A list is a domain, all of
//! whose mail is then suppressed (the tag `*`), or a mailing list's address, which is what a `mailgun` source's events have
//! as their scope; what a domain's unsubscribes tell is global. Who is no member of a mailing list becomes one that is not
//! subscribed; a lift makes none. What Mailgun has found out itself, its bounces and complaints, stays as it is.
//!
//! For Mailgun in Europe: `url = "https://api.eu.mailgun.net"`. No figure is documented for these requests.

use async_trait::async_trait;
use common::{delivery::Answer, event::GLOBAL, outbound::Reply, settings::Section};
use jiff::fmt::rfc2822::DateTimePrinter;
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes, Told},
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
        let request = self.0.request(Method::DELETE, &path).query(&[("tag", "*")]);
        let reply = self.0.exchange(request, call.deadline).await?;
        call.settled(reply, &[404])
    }
}

fn unsubscribe(told: &Told<'_>) -> Value {
    let at = DateTimePrinter::new().timestamp_to_rfc9110_string(&told.at);
    let mut one = json!({"address": told.contact.address, "tags": ["*"]});
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Vendor, json, rehearsals, set};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: ["mg.example.com", "news@lists.example.com"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            // Basic authentication of `api` with `s3cret`.
            if request.header("authorization") != "Basic YXBpOnMzY3JldA==" {
                return json(401, &json!({"message": "Forbidden"}));
            }
            if parts == ["v4", "domains"] {
                return json(200, &json!({}));
            }
            let invalid = json!({"message": "Address is invalid"});
            let done = json!({"message": "done"});
            match (request.method.as_str(), parts) {
                ("POST", ["v3", domain, "unsubscribes"]) => {
                    let body = request.json();
                    let asked = body.as_array().unwrap();
                    assert!((1..=1000).contains(&asked.len()));
                    for one in asked {
                        assert_eq!(
                            (&one["tags"], one["created_at"].as_str()),
                            (&json!(["*"]), Some("Thu, 02 Apr 2026 14:30:00 GMT"))
                        );
                        if one["address"].as_str().unwrap().starts_with("bad") {
                            return json(400, &invalid);
                        }
                    }
                    for one in asked {
                        set(listed, domain, one["address"].as_str().unwrap(), true);
                    }
                    json(200, &done)
                }
                ("DELETE", ["v3", domain, "unsubscribes", address]) => {
                    assert_eq!(request.query("tag").as_deref(), Some("*"));
                    if set(listed, domain, address, false) {
                        json(200, &done)
                    } else {
                        json(
                            404,
                            &json!({"message": "Address not found in unsubscribers table"}),
                        )
                    }
                }
                ("POST", ["v3", "lists", list, "members"]) => {
                    let form: BTreeMap<_, _> =
                        form_urlencoded::parse(&request.body).into_owned().collect();
                    assert_eq!(
                        (form["subscribed"].as_str(), form["upsert"].as_str()),
                        ("no", "yes")
                    );
                    if form["address"].starts_with("bad") {
                        return json(400, &invalid);
                    }
                    set(listed, list, &form["address"], true);
                    json(200, &done)
                }
                ("PUT", ["v3", "lists", list, "members", address]) => {
                    assert_eq!(&request.body[..], b"subscribed=yes");
                    if set(listed, list, address, false) {
                        json(200, &done)
                    } else {
                        json(404, &json!({"message": "Member not found"}))
                    }
                }
                _ => json(404, &json!({"message": "not found"})),
            }
        },
    };

    const LISTS: Vendor = Vendor {
        lists: ["news@lists.example.com", "mg.example.com"],
        ..VENDOR
    };

    rehearsals!(VENDOR);

    #[tokio::test]
    async fn a_domain_is_reported_as_global_and_a_mailing_list_in_its_own_scope() {
        let scopes = "{ news = 'news@mg.example.com', '*' = 'mg.example.com' }";
        let running = VENDOR.start(scopes).await;
        for (told, reported, is_reported) in [
            ("news", "news@mg.example.com", true),
            ("news", "global", false),
            ("offers", "global", true),
        ] {
            let found = running.target.reports(told, reported);
            assert_eq!(found, is_reported, "{told} {reported}");
        }
    }

    #[tokio::test]
    async fn a_member_of_a_mailing_list_is_suppressed_there_and_lifted() {
        LISTS
            .a_contact_is_suppressed_and_lifted_however_often_that_is_told()
            .await;
        LISTS.one_contact_that_is_refused_costs_no_other().await;
    }
}
