//! HubSpot: contacts' subscription types, and their opt-out of all email.
//!
//! <https://developers.hubspot.com/docs/api-reference/communication-preferences-subscriptions-v4/subscription-status/post-communication-preferences-v4-statuses-subscriberIdString>.
//! A list is `global`, all marketing email, or a subscription type's number. An opt-out of all is final there, for whoever
//! asks; a lift of one type subscribes only who had unsubscribed from it and not from all. One contact a request: those for
//! many are for the largest plan only.

use std::time::Duration;

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes, read, refused},
};

/// The smallest plan allows 100 requests in ten seconds, and a lift takes three:
/// <https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines>
pub(super) const KIND: Kind = Kind {
    name: "hubspot",
    rate: Some(Rate {
        calls: 3,
        per: Duration::from_secs(1),
    }),
    guide: Guide::platform(
        "HubSpot",
        &[
            Ask::token("the access token of a private app"),
            Ask::usual_list(
                "global",
                "HubSpot's list for every scope: global, or a subscription type's number",
            ),
        ],
        &[
            "Settings > Integrations > Private apps: create one with the scope communication_preferences.read_write.",
        ],
    ),
    build,
};

const GLOBAL: &str = "global";

const STATUSES: [&str; 3] = ["communication-preferences", "v4", "statuses"];

struct HubSpot(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.hubapi.com";
    let api = Api::read(section, setup, Some(url), Credential::Bearer);
    let scopes = Scopes::read(section, |list| {
        let known = list == GLOBAL || list.parse::<u64>().is_ok();
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but \"global\" or the number of a subscription type is needed")
        })
    });
    Some(platform::target(HubSpot(api?), scopes?, setup))
}

#[derive(Deserialize)]
struct Statuses {
    results: Vec<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// Of all email it has none.
    subscription_id: Option<u64>,
    status: String,
}

impl Statuses {
    /// Whether one of them is an opt-out, of the type or, without, of all.
    fn out(&self, id: Option<u64>) -> bool {
        let of_it = |one: &&Status| id.is_none() || one.subscription_id == id;
        let mut found = self.results.iter().filter(of_it);
        found.any(|one| one.status == "UNSUBSCRIBED")
    }
}

#[async_trait]
impl Platform for HubSpot {
    /// <https://developers.hubspot.com/docs/api-reference/communication-preferences-subscriptions-v4/subscription-definitions/get-communication-preferences-v4-definitions>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["communication-preferences", "v4", "definitions"];
        self.0.ask(Method::GET, &path, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let path = [&STATUSES[..], &[call.address()]].concat();
        let email = [("channel", "EMAIL")];
        let Ok(id) = call.list.parse::<u64>() else {
            if !call.suppress {
                return Err(Answer::dead(
                    "HubSpot lets nobody take back an opt-out of all email but the contact",
                ));
            }
            let path = [&path[..], &["unsubscribe-all"]].concat();
            let request = self.0.request(Method::POST, &path).query(&email);
            return call.settled(self.0.exchange(request, call.deadline).await?, &[]);
        };
        let mut body =
            json!({"channel": "EMAIL", "subscriptionId": id, "statusState": "UNSUBSCRIBED"});
        if !call.suppress {
            self.not_out_of_all(call, &path).await?;
            let request = self.0.request(Method::GET, &path).query(&email);
            let reply = self.0.exchange(request, call.deadline).await?;
            if reply.status == 404 {
                return call.settled(reply, &[404]);
            }
            let (reply, found): (_, Statuses) = read(reply)?;
            if !found.out(Some(id)) {
                return Ok(vec![call.done(&reply)]);
            }
            body["statusState"] = json!("SUBSCRIBED");
            body["legalBasis"] = json!("CONSENT_WITH_NOTICE");
            body["legalBasisExplanation"] =
                json!("The contact opted in again, as optout was told.");
        }
        let reply = self.0.send(Method::POST, &path, &body, call.deadline);
        call.settled(reply.await?, &[])
    }
}

impl HubSpot {
    /// Refuses who has opted out of all email: subscribed to one type they would be sent to again.
    /// <https://developers.hubspot.com/docs/api-reference/communication-preferences-subscriptions-v4/subscription-status/get-communication-preferences-v4-statuses-subscriberIdString-unsubscribe-all>
    async fn not_out_of_all(&self, call: &Call<'_>, path: &[&str]) -> Result<(), Answer> {
        let path = [path, &["unsubscribe-all"]].concat();
        let request = self.0.request(Method::GET, &path);
        // Without `verbose` the answer names nobody, opted out or not.
        let request = request.query(&[("channel", "EMAIL"), ("verbose", "true")]);
        let reply = self.0.exchange(request, call.deadline).await?;
        // A contact that is not there has opted out of nothing.
        if reply.status == 404 {
            return Ok(());
        }
        let (reply, found): (_, Statuses) = read(reply)?;
        if found.out(None) {
            let why = "the contact has opted out of all email at HubSpot";
            return Err(refused(&reply, why));
        }
        Ok(())
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
        lists: ["7", GLOBAL],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            if request.header("authorization") != "Bearer s3cret" {
                return json(
                    401,
                    &json!({"status": "error", "category": "INVALID_AUTHENTICATION"}),
                );
            }
            if parts == ["communication-preferences", "v4", "definitions"] {
                return json(200, &json!({}));
            }
            let [
                "communication-preferences",
                "v4",
                "statuses",
                address,
                rest @ ..,
            ] = parts
            else {
                return json(404, &json!({"status": "error"}));
            };
            if address.starts_with("bad") {
                return json(
                    400,
                    &json!({"status": "error", "category": "VALIDATION_ERROR"}),
                );
            }
            let entry = ("7".to_owned(), (*address).to_owned());
            match (request.method.as_str(), rest) {
                ("POST", ["unsubscribe-all"]) => {
                    assert_eq!(request.query("channel").as_deref(), Some("EMAIL"));
                    set(listed, GLOBAL, address, true);
                    json(200, &json!({"status": "COMPLETE", "results": []}))
                }
                ("GET", ["unsubscribe-all"]) => {
                    let query = |name| request.query(name).unwrap();
                    assert_eq!(
                        (query("channel"), query("verbose")),
                        ("EMAIL".to_owned(), "true".to_owned())
                    );
                    let one = json!({"channel": "EMAIL", "wideStatusType": "PORTAL_WIDE", "status": "UNSUBSCRIBED"});
                    let out = listed.contains(&(GLOBAL.to_owned(), (*address).to_owned()));
                    let results = if out { vec![one] } else { vec![] };
                    json(200, &json!({"status": "COMPLETE", "results": results}))
                }
                ("GET", []) => {
                    assert_eq!(request.query("channel").as_deref(), Some("EMAIL"));
                    let status = if listed.contains(&entry) {
                        "UNSUBSCRIBED"
                    } else {
                        "NOT_SPECIFIED"
                    };
                    let one = json!({"channel": "EMAIL", "subscriptionId": 7, "status": status});
                    json(200, &json!({"status": "COMPLETE", "results": [one]}))
                }
                ("POST", []) => {
                    let body = request.json();
                    assert_eq!(
                        (&body["channel"], &body["subscriptionId"]),
                        (&json!("EMAIL"), &json!(7))
                    );
                    let suppress = body["statusState"] == "UNSUBSCRIBED";
                    assert_eq!(body.get("legalBasis").is_some(), !suppress);
                    set(listed, "7", address, suppress);
                    json(200, &json!({"status": "COMPLETE", "results": []}))
                }
                other => panic!("{other:?}"),
            }
        },
    };

    const TYPE: Vendor = Vendor {
        lists: ["7", "7"],
        ..VENDOR
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
    async fn a_subscription_type_is_opted_out_of_and_into_again() {
        TYPE.a_contact_is_suppressed_and_lifted_however_often_that_is_told()
            .await;
    }

    #[tokio::test]
    async fn who_opted_out_of_all_is_not_subscribed_to_one_type() {
        let running = VENDOR.usual().await;
        for scope in ["news", "offers"] {
            running.tell(&suppress("jane@example.com", scope)).await;
        }
        let answer = running.tell(&lift("jane@example.com", "news")).await;
        let verdict = verdict(&answer);
        assert!(
            verdict.starts_with("dead: the contact has opted out of all"),
            "{answer:?}"
        );
        assert_eq!(running.lists("jane@example.com").len(), 2);
    }

    #[tokio::test]
    async fn an_opt_out_of_all_is_final_and_a_lift_subscribes_nobody_who_was_not_out() {
        let running = VENDOR.usual().await;
        let answer = running.tell(&lift("jane@example.com", "offers")).await;
        assert!(
            verdict(&answer).starts_with("dead: HubSpot lets nobody"),
            "{answer:?}"
        );
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
