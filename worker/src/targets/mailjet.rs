//! Mailjet: its contacts' exclusion from campaigns, and its contact lists.
//!
//! <https://dev.mailjet.com/email/reference/contacts/contact/>, <https://dev.mailjet.com/email/reference/contacts/subscriptions/>.
//! A list is `global`, which excludes from every campaign, or a contact list's number, which is what a `mailjet` source's
//! events have as their scope. A contact that Mailjet does not know is made, since one that is imported later would be sent
//! to; a lift makes none, and subscribes only who is on the list and unsubscribed. Mailjet answers 304 to a change that
//! changes nothing.
//!
//! Settings beside those of every platform: `username` (the API key; `token` is the secret key). No figure is documented.

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes, read},
};

pub(super) const KIND: Kind = Kind {
    name: "mailjet",
    rate: None,
    guide: Guide::platform(
        "Mailjet",
        &[
            Ask::text("username", "the API key"),
            Ask::token("the secret key that belongs to it"),
            Ask::usual_list(
                "global",
                "Mailjet's list for every scope: global, which excludes from every campaign, or a contact list's number",
            ),
        ],
        &["Account settings > API key management shows the API key and makes a secret key."],
    ),
    build,
};

const GLOBAL: &str = "global";

const NOT_MODIFIED: u16 = 304;

struct Mailjet(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.mailjet.com";
    let username: Option<String> = section.required("username");
    let name = username.clone().unwrap_or_default();
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Basic(name, token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = list == GLOBAL || list.bytes().all(|byte| byte.is_ascii_digit());
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but \"global\" or the number of a contact list is needed")
        })
    });
    username?;
    Some(platform::target(Mailjet(api?), scopes?, setup))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Subscriptions {
    data: Vec<Subscription>,
}

/// Mailjet states numbers and booleans as themselves or as strings.
#[derive(Deserialize)]
struct Subscription {
    #[serde(rename = "ListID")]
    list: Value,
    #[serde(rename = "IsUnsub", default)]
    unsubscribed: Value,
}

impl Subscription {
    /// Whether it is one of this list that was ended.
    fn is_out(&self, list: &str) -> bool {
        let is = |value: &Value, text: &str| value.to_string().trim_matches('"') == text;
        is(&self.list, list) && is(&self.unsubscribed, "true")
    }
}

#[async_trait]
impl Platform for Mailjet {
    /// <https://dev.mailjet.com/email/reference/contacts/contact-list/>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let request = self.0.request(Method::GET, &["v3", "REST", "contactslist"]);
        let request = request.query(&[("Limit", "1")]);
        self.0.exchange(request, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        if call.list == GLOBAL {
            return self.exclusion(call).await;
        }
        if !call.suppress {
            let path = ["v3", "REST", "contact", call.address(), "getcontactslists"];
            let reply = self.0.ask(Method::GET, &path, call.deadline).await?;
            if reply.status == 404 {
                return call.settled(reply, &[404]);
            }
            let (reply, found): (_, Subscriptions) = read(reply)?;
            if !found.data.iter().any(|one| one.is_out(call.list)) {
                return Ok(vec![call.done(&reply)]);
            }
        }
        let action = if call.suppress { "unsub" } else { "addforce" };
        let path = ["v3", "REST", "contactslist", call.list, "managecontact"];
        let body = json!({"Email": call.address(), "Action": action});
        let reply = self.0.send(Method::POST, &path, &body, call.deadline);
        call.settled(reply.await?, &[NOT_MODIFIED])
    }
}

impl Mailjet {
    async fn exclusion(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let contacts = ["v3", "REST", "contact"];
        let path = [&contacts[..], &[call.address()]].concat();
        let mut body = json!({"IsExcludedFromCampaigns": call.suppress});
        let reply = self.0.send(Method::PUT, &path, &body, call.deadline);
        let reply = reply.await?;
        if reply.status != 404 || !call.suppress {
            return call.settled(reply, &[NOT_MODIFIED, 404]);
        }
        body["Email"] = json!(call.address());
        let reply = self.0.send(Method::POST, &contacts, &body, call.deadline);
        call.settled(reply.await?, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Vendor, json, lift, rehearsals, set};
    use crate::targets::standin::{response, verdict};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "username = 'key'",
        lists: [GLOBAL, "12"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            // Basic authentication of `key` with `s3cret`.
            if request.header("authorization") != "Basic a2V5OnMzY3JldA==" {
                return json(
                    401,
                    &json!({"StatusCode": 401, "ErrorMessage": "API key authentication failure"}),
                );
            }
            if parts == ["v3", "REST", "contactslist"] {
                return json(200, &json!({}));
            }
            let known = |address: &str| ("known".to_owned(), address.to_owned());
            let invalid = json(
                400,
                &json!({"StatusCode": 400, "ErrorMessage": "Invalid email address"}),
            );
            match (request.method.as_str(), parts) {
                ("PUT", ["v3", "REST", "contact", address]) => {
                    if !listed.contains(&known(address)) {
                        return json(
                            404,
                            &json!({"StatusCode": 404, "ErrorMessage": "Object not found"}),
                        );
                    }
                    let excluded = request.json()["IsExcludedFromCampaigns"].as_bool().unwrap();
                    if set(listed, GLOBAL, address, excluded) {
                        json(200, &json!({"Count": 1}))
                    } else {
                        response(304, "")
                    }
                }
                ("POST", ["v3", "REST", "contact"]) => {
                    let body = request.json();
                    let address = body["Email"].as_str().unwrap();
                    if address.starts_with("bad") {
                        return invalid;
                    }
                    assert!(listed.insert(known(address)));
                    set(
                        listed,
                        GLOBAL,
                        address,
                        body["IsExcludedFromCampaigns"].as_bool().unwrap(),
                    );
                    json(201, &json!({"Count": 1}))
                }
                ("GET", ["v3", "REST", "contact", address, "getcontactslists"]) => {
                    let unsub = listed.contains(&("12".to_owned(), (*address).to_owned()));
                    let lists =
                        json!([{"ListID": 12, "IsUnsub": unsub}, {"ListID": 13, "IsUnsub": true}]);
                    json(200, &json!({"Count": 2, "Data": lists}))
                }
                ("POST", ["v3", "REST", "contactslist", list, "managecontact"]) => {
                    let body = request.json();
                    let address = body["Email"].as_str().unwrap();
                    if address.starts_with("bad") {
                        return invalid;
                    }
                    set(listed, list, address, body["Action"] == "unsub");
                    json(201, &json!({"Count": 1}))
                }
                _ => json(
                    405,
                    &json!({"StatusCode": 405, "ErrorMessage": "Method not allowed"}),
                ),
            }
        },
    };

    rehearsals!(
        VENDOR,
        a_contact_is_suppressed_and_lifted_however_often_that_is_told,
        a_rate_limit_is_waited_for_and_nothing_more_is_asked_of_it,
        a_token_that_is_refused_is_tried_again_and_says_so
    );

    #[test]
    fn a_subscription_is_read_whether_it_is_stated_in_strings_or_not() {
        for (stated, out) in [
            (json!({"ListID": 12, "IsUnsub": true}), true),
            (json!({"ListID": "12", "IsUnsub": "true"}), true),
            (json!({"ListID": "12", "IsUnsub": "false"}), false),
            (json!({"ListID": "1", "IsUnsub": "true"}), false),
            (json!({"ListID": 12}), false),
        ] {
            let one: Subscription = serde_json::from_value(stated.clone()).unwrap();
            assert_eq!(one.is_out("12"), out, "{stated}");
        }
    }

    #[tokio::test]
    async fn a_contact_list_is_told_and_a_lift_subscribes_only_who_was_unsubscribed() {
        let lists = Vendor {
            lists: ["12", "13"],
            ..VENDOR
        };
        lists
            .a_contact_is_suppressed_and_lifted_however_often_that_is_told()
            .await;
        lists.one_contact_that_is_refused_costs_no_other().await;
        lists
            .a_scope_is_its_list_and_what_is_global_is_every_list()
            .await;
        let running = lists.usual().await;
        let answer = running.tell(&lift("jane@example.com", "news")).await;
        assert_eq!(verdict(&answer), "done");
        assert!(
            running
                .received()
                .iter()
                .all(|request| request.method == Method::GET)
        );
    }
}
