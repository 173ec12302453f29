//! Customer.io: people's `unsubscribed`, and their choice of topics.
//!
//! <https://docs.customer.io/api/track/#operation/identify>,
//! <https://docs.customer.io/messaging/people/reserved-attributes/>. A list is `global`, which stops every message that
//! heeds it, or a topic such as `topic_1`, which is what a `customerio` source's events have as their scope. The workspace
//! has to know people by their email address. A person who is not there is made; a lift makes none.
//!
//! Its lists cannot be read: the Track API, which the key is for, tells nobody's attributes, and the search for people
//! (<https://docs.customer.io/integrations/api/app/tag/customers/getpeoplefilter/>) is of the App API, which has another
//! address and another key.
//!
//! Settings beside those of every platform: `site_id` (`token` is the API key that belongs to it). In Europe:
//! `url = "https://track-eu.customer.io"`.

use std::time::Duration;

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes},
};

/// A workspace may be told of a hundred things a second: <https://docs.customer.io/api/track/>
pub(super) const KIND: Kind = Kind {
    name: "customerio",
    rate: Some(Rate {
        calls: 100,
        per: Duration::from_secs(1),
    }),
    guide: Guide::platform(
        "Customer.io",
        &[
            Ask::text("site_id", "the workspace's site id"),
            Ask::token("the Track API key that belongs to the site id"),
            Ask::usual_list(
                "global",
                "Customer.io's list for every scope: global, or a topic such as topic_1",
            ),
        ],
        &[
            "Account settings > API credentials > Track API keys: create one, or take the workspace's. It has a site id and a key.",
            "For an account in Europe give --set url=https://track-eu.customer.io, too.",
        ],
    ),
    build,
};

const GLOBAL: &str = "global";

struct CustomerIo(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://track.customer.io";
    let site_id: Option<String> = section.required("site_id");
    let name = site_id.clone().unwrap_or_default();
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Basic(name, token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = list == GLOBAL || list.starts_with("topic_");
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but \"global\" or a topic such as \"topic_1\" is needed")
        })
    });
    site_id?;
    Some(platform::target(CustomerIo(api?), scopes?, setup))
}

#[async_trait]
impl Platform for CustomerIo {
    /// "Find your account region" of <https://docs.customer.io/api/track/>, which wants the same credential.
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["api", "v1", "accounts", "region"];
        self.0.ask(Method::GET, &path, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let mut body = match call.list {
            GLOBAL => json!({"unsubscribed": call.suppress}),
            topic => {
                json!({format!("cio_subscription_preferences.topics.{topic}"): !call.suppress})
            }
        };
        if !call.suppress {
            body["_update"] = json!(true);
        }
        let path = ["api", "v1", "customers", call.address()];
        let reply = self.0.send(Method::PUT, &path, &body, call.deadline);
        call.settled(reply.await?, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Vendor, json, rehearsals, set};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "site_id = 'site'",
        lists: [GLOBAL, "topic_1"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            // Basic authentication of `site` with `s3cret`.
            if request.header("authorization") != "Basic c2l0ZTpzM2NyZXQ=" {
                return json(401, &json!({"meta": {"error": "Unauthorized request"}}));
            }
            if parts == ["api", "v1", "accounts", "region"] {
                return json(200, &json!({}));
            }
            let ("PUT", ["api", "v1", "customers", address]) = (request.method.as_str(), parts)
            else {
                return json(404, &json!({}));
            };
            if address.starts_with("bad") {
                return json(400, &json!({"meta": {"error": "malformed identifier"}}));
            }
            let body = request.json();
            let topic = body["cio_subscription_preferences.topics.topic_1"].as_bool();
            let (list, suppress) = match (body["unsubscribed"].as_bool(), topic) {
                (Some(unsubscribed), None) => (GLOBAL, unsubscribed),
                (None, Some(wanted)) => ("topic_1", !wanted),
                other => panic!("{other:?}"),
            };
            assert_eq!(body["_update"] == true, !suppress);
            set(listed, list, address, suppress);
            json(200, &json!({}))
        },
    };

    rehearsals!(VENDOR);

    #[tokio::test]
    async fn a_topic_is_opted_out_of_and_into_again() {
        let topics = Vendor {
            lists: ["topic_1", GLOBAL],
            ..VENDOR
        };
        topics
            .a_contact_is_suppressed_and_lifted_however_often_that_is_told()
            .await;
    }
}
