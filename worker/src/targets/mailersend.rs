//! MailerSend: the unsubscribes of its domains.
//!
//! <https://developers.mailersend.com/api/v1/recipients>. A list is a domain's id; what a `mailersend` source's events tell
//! is global. An entry is taken off by its own id, which MailerSend finds by no address, so a lift is a final answer: a
//! person takes the address off there.
//!
//! How many requests a minute are allowed depends on the plan: <https://developers.mailersend.com/general#rate-limits>.
//! The rate is a careful one.

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
            "Integrations > API tokens: generate one that may write recipients.",
            "The domain's id stands in the address of its page.",
        ],
    ),
    build,
};

/// No limit is documented.
const BATCH: usize = 50;

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{
        Limit, Vendor, json, lift, rehearsals, set, suppress,
    };
    use crate::targets::standin::verdict;

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: ["yv69oxl5kl785kw2", "jpzkmgqqmg1v059v"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, _, listed| {
            if request.header("authorization") != "Bearer s3cret" {
                return json(401, &json!({"message": "Unauthenticated."}));
            }
            if request.path == "/v1/api-quota" {
                return json(200, &json!({"quota": 1000, "remaining": 752}));
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

    rehearsals!(
        VENDOR,
        a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it,
        a_token_that_is_refused_is_tried_again_and_says_so,
        a_credential_is_asked_about_by_a_read_and_a_refusal_is_told,
        one_contact_that_is_refused_costs_no_other,
        a_scope_is_its_list_and_what_is_global_is_every_list
    );

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
