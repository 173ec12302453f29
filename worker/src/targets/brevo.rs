//! Brevo: the blocklists of its contacts, by email and by SMS.
//!
//! <https://developers.brevo.com/reference/create-contact>, <https://developers.brevo.com/reference/update-contact>. There is
//! one list, `global`: a contact's blocklisting covers the account, as a `brevo` source's unsubscribes do. A contact that
//! Brevo does not know is made, since one that is imported later would be sent to; a lift makes none. One contact a
//! request: the request for many takes only those that are there, and does not say which were not.

use std::time::Duration;

use async_trait::async_trait;
use common::{contact::Channel, delivery::Answer, outbound::Reply, settings::Section};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes},
};

/// All accounts may make ten requests a second of contacts: <https://developers.brevo.com/docs/api-limits>
pub(super) const KIND: Kind = Kind {
    name: "brevo",
    rate: Some(Rate {
        calls: 10,
        per: Duration::from_secs(1),
    }),
    guide: Guide::platform(
        "Brevo",
        &[
            Ask::token("an API key"),
            Ask::usual_list(
                "global",
                "Brevo's list for every scope: it has one, the account's blocklists",
            ),
        ],
        &["SMTP & API > API keys: generate one."],
    ),
    build,
};

const GLOBAL: &str = "global";

struct Brevo(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.brevo.com";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Header("api-key", "", token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = (list == GLOBAL).then_some(());
        known.ok_or_else(|| {
            format!("is {list:?}, but \"global\" is needed: Brevo's blocklists cover the account")
        })
    });
    Some(platform::target(Brevo(api?), scopes?, setup))
}

#[async_trait]
impl Platform for Brevo {
    fn channels(&self) -> &[Channel] {
        &[Channel::Email, Channel::Sms]
    }

    /// <https://developers.brevo.com/reference/get-account>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["v3", "account"];
        self.0.ask(Method::GET, &path, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let address = call.address();
        let (field, identifier) = match call.contacts[0].contact.channel {
            Channel::Email => ("emailBlacklisted", "email_id"),
            Channel::Sms => ("smsBlacklisted", "phone_id"),
        };
        if call.suppress {
            let mut body = json!({field: true, "updateEnabled": true});
            match call.contacts[0].contact.channel {
                Channel::Email => body["email"] = json!(address),
                Channel::Sms => body["attributes"] = json!({"SMS": address}),
            }
            let path = ["v3", "contacts"];
            let reply = self.0.send(Method::POST, &path, &body, call.deadline);
            return call.settled(reply.await?, &[]);
        }
        let path = ["v3", "contacts", address];
        let request = self.0.request(Method::PUT, &path);
        let request = request
            .query(&[("identifierType", identifier)])
            .json(&json!({field: false}));
        call.settled(self.0.exchange(request, call.deadline).await?, &[404])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{
        Limit, Vendor, json, lift, rehearsals, set, suppress,
    };
    use crate::targets::standin::{response, verdict};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: [GLOBAL, GLOBAL],
        limit: Limit::Seconds("x-sib-ratelimit-reset"),
        answer: |request, parts, listed| {
            if request.header("api-key") != "s3cret" {
                return json(
                    401,
                    &json!({"code": "unauthorized", "message": "Key not found"}),
                );
            }
            if parts == ["v3", "account"] {
                return json(200, &json!({}));
            }
            let body = request.json();
            match (request.method.as_str(), parts) {
                ("POST", ["v3", "contacts"]) => {
                    assert_eq!(body["updateEnabled"], true);
                    let email = body["email"]
                        .as_str()
                        .map(|email| (email, "emailBlacklisted"));
                    let sms = body["attributes"]["SMS"]
                        .as_str()
                        .map(|sms| (sms, "smsBlacklisted"));
                    let Some((contact, field)) = email.or(sms) else {
                        let error =
                            json!({"code": "missing_parameter", "message": "email is missing"});
                        return json(400, &error);
                    };
                    if contact.starts_with("bad") {
                        let error =
                            json!({"code": "invalid_parameter", "message": "email is not valid"});
                        return json(400, &error);
                    }
                    set(listed, GLOBAL, contact, body[field].as_bool().unwrap());
                    json(201, &json!({"id": 21}))
                }
                ("PUT", ["v3", "contacts", contact]) => {
                    let field = match request.query("identifierType").as_deref() {
                        Some("email_id") => "emailBlacklisted",
                        Some("phone_id") => "smsBlacklisted",
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(body, json!({field: false}));
                    if set(listed, GLOBAL, contact, false) {
                        response(204, "")
                    } else {
                        let error =
                            json!({"code": "document_not_found", "message": "No such contact"});
                        json(404, &error)
                    }
                }
                _ => json(
                    405,
                    &json!({"code": "method_not_allowed", "message": "not allowed"}),
                ),
            }
        },
    };

    rehearsals!(VENDOR);

    #[tokio::test]
    async fn a_number_is_suppressed_for_sms_and_lifted() {
        let running = VENDOR.usual().await;
        let number = "+15551234567";
        let answer = running.tell(&suppress(number, "news")).await;
        assert_eq!(verdict(&answer), "done");
        assert_eq!(running.lists(number).len(), 1);
        let sent = running.received()[0].json();
        assert_eq!(sent["smsBlacklisted"], true);
        assert!(sent.get("emailBlacklisted").is_none());
        let answer = running.tell(&lift(number, "news")).await;
        assert_eq!(verdict(&answer), "done");
        assert!(running.lists(number).is_empty());
    }
}
