//! SparkPost: its suppression list, which has two types of entry.
//!
//! <https://developers.sparkpost.com/api/suppression-list/>. A list is `transactional` or `non_transactional`. What a
//! `sparkpost` source's events tell is of non-transactional mail, and global. What SparkPost's compliance has entered nobody
//! takes off.
//!
//! Settings beside those of every platform: `subaccount` (a number; without, the primary account's list). In Europe:
//! `url = "https://api.eu.sparkpost.com"`. No figure is documented for these requests.

use async_trait::async_trait;
use common::{delivery::Answer, event::GLOBAL, outbound::Reply, settings::Section};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes, refused},
};

pub(super) const KIND: Kind = Kind {
    name: "sparkpost",
    rate: None,
    guide: Guide::platform(
        "SparkPost",
        &[
            Ask::token("an API key"),
            Ask::usual_list(
                "non_transactional",
                "SparkPost's list for every scope: non_transactional or transactional",
            ),
        ],
        &[
            "Configuration > API Keys: create one with Suppression Lists: Read/Write.",
            "For an account in Europe give --set url=https://api.eu.sparkpost.com, too.",
        ],
    ),
    build,
};

/// A request takes up to ten thousand.
const BATCH: usize = 100;

const NON_TRANSACTIONAL: &str = "non_transactional";

const TYPES: [&str; 2] = ["transactional", NON_TRANSACTIONAL];

struct SparkPost {
    api: Api,
    subaccount: u32,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.sparkpost.com";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Header("authorization", "", token)
    });
    let subaccount = section.or("subaccount", 0_u32);
    let scopes = Scopes::read(section, |list| {
        let known = TYPES.contains(&list).then_some(());
        known.ok_or_else(|| format!("is {list:?}, but one of {} is needed", TYPES.join(", ")))
    });
    let platform = SparkPost {
        api: api?,
        subaccount,
    };
    Some(platform::target(platform, scopes?, setup))
}

#[async_trait]
impl Platform for SparkPost {
    fn most(&self) -> usize {
        BATCH
    }

    fn batch(&self, _list: &str, suppress: bool) -> usize {
        if suppress { BATCH } else { 1 }
    }

    fn scope_of<'a>(&self, list: &'a str) -> &'a str {
        if list == NON_TRANSACTIONAL {
            GLOBAL
        } else {
            list
        }
    }

    /// <https://developers.sparkpost.com/api/suppression-list/#suppression-list-get-retrieve-summary>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["api", "v1", "suppression-list", "summary"];
        let request = self.api.request(Method::GET, &path);
        let request = request.header("x-msys-subaccount", self.subaccount);
        self.api.exchange(request, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let mut path = vec!["api", "v1", "suppression-list"];
        if call.suppress {
            let one = |told: &platform::Told<'_>| {
                let address = &told.contact.address;
                let why = format!("told by optout: {}", told.lane);
                json!({"recipient": address, "type": call.list, "description": why})
            };
            let all: Vec<_> = call.contacts.iter().map(one).collect();
            let request = self.request(Method::PUT, &path, &json!({"recipients": all}));
            return call.settled(self.api.exchange(request, call.deadline).await?, &[]);
        }
        path.push(call.address());
        let request = self.request(Method::DELETE, &path, &json!({"type": call.list}));
        // Without it the entries of single mailing lists, which others have made, would go as well.
        let request = request.query(&[("list_id", "")]);
        let reply = self.api.exchange(request, call.deadline).await?;
        if reply.status == 403 && String::from_utf8_lossy(&reply.body).contains("Compliance") {
            let why = "SparkPost's compliance has entered this address and lets nobody take it off";
            return Err(refused(&reply, why));
        }
        call.settled(reply, &[404])
    }
}

impl SparkPost {
    fn request(&self, method: Method, path: &[&str], body: &Value) -> RequestBuilder {
        let request = self.api.request(method, path).json(body);
        request.header("x-msys-subaccount", self.subaccount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Vendor, json, lift, rehearsals, set};
    use crate::targets::standin::{response, verdict};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "subaccount = 5",
        lists: ["transactional", "non_transactional"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            if request.header("authorization") != "s3cret" {
                return json(401, &json!({"errors": [{"message": "Unauthorized."}]}));
            }
            if parts == ["api", "v1", "suppression-list", "summary"] {
                return json(200, &json!({}));
            }
            assert_eq!(request.header("x-msys-subaccount"), "5");
            let body = request.json();
            match (request.method.as_str(), parts) {
                ("PUT", ["api", "v1", "suppression-list"]) => {
                    let asked = body["recipients"].as_array().unwrap();
                    assert!((1..=10_000).contains(&asked.len()));
                    let address = |one: &Value| one["recipient"].as_str().unwrap().to_owned();
                    if asked.iter().any(|one| address(one).starts_with("bad")) {
                        let why = "PUT body contains 1 invalid or malformed recipient(s)";
                        return json(400, &json!({"errors": [{"message": why}]}));
                    }
                    for one in asked {
                        let kind = one["type"].as_str().unwrap();
                        assert!(TYPES.contains(&kind));
                        set(listed, kind, &address(one), true);
                    }
                    json(
                        200,
                        &json!({"results": {"message": "Suppression List successfully updated"}}),
                    )
                }
                ("DELETE", ["api", "v1", "suppression-list", address]) => {
                    assert_eq!(request.query("list_id").as_deref(), Some(""));
                    if address.starts_with("kept") {
                        let why = "Recipient could not be removed - Compliance";
                        return json(403, &json!({"errors": [{"message": why}]}));
                    }
                    if set(listed, body["type"].as_str().unwrap(), address, false) {
                        response(204, "")
                    } else {
                        json(
                            404,
                            &json!({"errors": [{"message": "Recipient could not be found"}]}),
                        )
                    }
                }
                _ => json(404, &json!({"errors": [{"message": "not found"}]})),
            }
        },
    };

    rehearsals!(VENDOR);

    #[tokio::test]
    async fn only_what_is_not_transactional_is_reported_and_as_global() {
        let running = VENDOR.usual().await;
        assert!(running.target.reports("offers", "global"));
        assert!(!running.target.reports("news", "global"));
    }

    #[tokio::test]
    async fn what_compliance_has_entered_is_a_final_answer_to_a_lift() {
        let running = VENDOR.usual().await;
        let answer = running.tell(&lift("kept@example.com", "news")).await;
        assert!(
            verdict(&answer).starts_with("dead: SparkPost's compliance"),
            "{answer:?}"
        );
    }
}
