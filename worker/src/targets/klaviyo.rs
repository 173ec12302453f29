//! Klaviyo: the suppressions of its profiles, by email.
//!
//! <https://developers.klaviyo.com/en/reference/bulk_suppress_profiles>,
//! <https://developers.klaviyo.com/en/reference/bulk_unsuppress_profiles>. There is one list, `global`: a suppressed profile
//! gets no marketing by email, whatever it consented to. A profile that Klaviyo does not know is made. A lift takes back
//! only what was set so: who unsubscribed there, bounced or complained stays suppressed. SMS has no suppressions.
//!
//! Klaviyo does the work after its answer, which says nothing of single profiles.

use std::time::Duration;

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes},
};

/// Both requests bear 700 a minute, and 75 a second.
pub(super) const KIND: Kind = Kind {
    name: "klaviyo",
    rate: Some(Rate {
        calls: 10,
        per: Duration::from_secs(1),
    }),
    guide: Guide::platform(
        "Klaviyo",
        &[
            Ask::token("a private API key"),
            Ask::usual_list(
                "global",
                "Klaviyo's list for every scope: it has one, the suppressions by email",
            ),
        ],
        &[
            "Settings > API keys: create a private key with full access to Subscriptions and Profiles.",
        ],
    ),
    build,
};

/// The most profiles in one request.
const BATCH: usize = 100;

/// Which version of the api this speaks; Klaviyo keeps each for two years.
const REVISION: &str = "2026-07-15";

const GLOBAL: &str = "global";

struct Klaviyo(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://a.klaviyo.com";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Header("authorization", "Klaviyo-API-Key ", token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = (list == GLOBAL).then_some(());
        known.ok_or_else(|| {
            format!(
                "is {list:?}, but \"global\" is needed: Klaviyo's suppressions cover the account"
            )
        })
    });
    Some(platform::target(Klaviyo(api?), scopes?, setup))
}

#[async_trait]
impl Platform for Klaviyo {
    fn most(&self) -> usize {
        BATCH
    }

    /// <https://developers.klaviyo.com/en/reference/get_bulk_suppress_profiles_jobs>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["api", "profile-suppression-bulk-create-jobs"];
        let request = self.0.request(Method::GET, &path);
        let request = request.header("revision", REVISION);
        self.0.exchange(request, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let verb = if call.suppress { "create" } else { "delete" };
        let profiles: Vec<Value> = call
            .addresses()
            .iter()
            .map(|address| json!({"type": "profile", "attributes": {"email": address}}))
            .collect();
        let body = json!({"data": {
            "type": format!("profile-suppression-bulk-{verb}-job"),
            "attributes": {"profiles": {"data": profiles}},
        }});
        let path = ["api", &format!("profile-suppression-bulk-{verb}-jobs")];
        let request = self.0.request(Method::POST, &path);
        let request = request
            .header("revision", REVISION)
            .header(CONTENT_TYPE, "application/vnd.api+json")
            .body(body.to_string());
        call.settled(self.0.exchange(request, call.deadline).await?, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Vendor, json, rehearsals, set};
    use crate::targets::standin::response;

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: [GLOBAL, GLOBAL],
        limit: Limit::Seconds("ratelimit-reset"),
        answer: |request, _, listed| {
            if request.header("authorization") != "Klaviyo-API-Key s3cret" {
                return json(
                    401,
                    &json!({"errors": [{"status": 401, "code": "authentication_failed"}]}),
                );
            }
            assert_eq!(request.header("revision"), REVISION);
            if request.method == Method::GET {
                assert_eq!(request.path, "/api/profile-suppression-bulk-create-jobs");
                return json(200, &json!({"data": []}));
            }
            assert_eq!(request.header("content-type"), "application/vnd.api+json");
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let kind = body["data"]["type"].as_str().unwrap();
            assert_eq!(
                (request.method.as_str(), request.path.clone()),
                ("POST", format!("/api/{kind}s"))
            );
            let create = match kind {
                "profile-suppression-bulk-create-job" => true,
                "profile-suppression-bulk-delete-job" => false,
                other => panic!("{other}"),
            };
            let profiles = body["data"]["attributes"]["profiles"]["data"]
                .as_array()
                .unwrap();
            assert!((1..=100).contains(&profiles.len()));
            let address = |one: &Value| {
                assert_eq!(one["type"], "profile");
                one["attributes"]["email"].as_str().unwrap().to_owned()
            };
            if profiles.iter().any(|one| address(one).starts_with("bad")) {
                return json(
                    400,
                    &json!({"errors": [{"status": 400, "code": "invalid", "detail": "email"}]}),
                );
            }
            for one in profiles {
                set(listed, GLOBAL, &address(one), create);
            }
            response(202, "")
        },
    };

    rehearsals!(VENDOR);
}
