//! Postmark: the suppressions of its message streams.
//!
//! <https://postmarkapp.com/developer/api/suppressions-api>. A list is a stream's id, which is what a `postmark` source's
//! events have as their scope. Postmark lets nobody take back a spam complaint; to suppress one that complained there
//! already is answered the same way, and is then as it should be.
//!
//! No limit on requests is documented but that there is one: <https://postmarkapp.com/developer/api/overview>.

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes, read, refused},
};

pub(super) const KIND: Kind = Kind {
    name: "postmark",
    rate: None,
    guide: Guide::platform(
        "Postmark",
        &[
            Ask::token("a Server API token"),
            Ask::list(
                "the id of the message stream for every scope, such as broadcast or outbound",
            ),
        ],
        &["Your server > API Tokens shows the Server API token."],
    ),
    build,
};

/// The most addresses in one request.
const BATCH: usize = 50;

struct Postmark(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.postmarkapp.com";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Header("x-postmark-server-token", "", token)
    });
    let scopes = Scopes::read(section, |_| Ok(()));
    Some(platform::target(Postmark(api?), scopes?, setup))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    suppressions: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    email_address: String,
    status: String,
    message: Option<String>,
}

#[async_trait]
impl Platform for Postmark {
    fn most(&self) -> usize {
        BATCH
    }

    /// <https://postmarkapp.com/developer/api/server-api>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        self.0.ask(Method::GET, &["server"], deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let mut path = vec!["message-streams", call.list, "suppressions"];
        if !call.suppress {
            path.push("delete");
        }
        let addresses: Vec<Value> = call
            .addresses()
            .iter()
            .map(|address| json!({"EmailAddress": address}))
            .collect();
        let body = json!({"Suppressions": addresses});
        let reply = self.0.send(Method::POST, &path, &body, call.deadline);
        let (reply, results): (_, Results) = read(reply.await?)?;
        let of = |address: &&str| {
            let mut results = results.suppressions.iter();
            let one = results.find(|one| one.email_address.eq_ignore_ascii_case(address));
            match one {
                Some(one) if one.status != "Failed" => call.done(&reply),
                Some(one) => failed(call, one, &reply),
                None => Answer::retry("answered without a word about one of the addresses"),
            }
        };
        Ok(call.addresses().iter().map(of).collect())
    }
}

fn failed(call: &Call<'_>, one: &One, reply: &Reply) -> Answer {
    let message = one.message.as_deref().unwrap_or_default();
    let authority = message.contains("required authority");
    match (authority, call.suppress) {
        (true, true) => call.done(reply),
        (true, false) => refused(
            reply,
            "Postmark does not let this suppression be taken back, as of a spam complaint",
        ),
        _ if message.contains("invalid email address") => {
            refused(reply, "Postmark takes this for no email address")
        }
        _ => Answer::retry("Postmark could not do it, and does not say why"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::{
        platform::rehearsal::{Limit, Vendor, json, lift, rehearsals, set, suppress},
        standin::verdict,
    };

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: ["outbound", "broadcast"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            if request.header("x-postmark-server-token") != "s3cret" {
                return json(
                    401,
                    &json!({"ErrorCode": 10, "Message": "Bad or missing Server API token."}),
                );
            }
            if parts == ["server"] {
                return json(200, &json!({}));
            }
            assert_eq!(request.header("accept"), "application/json");
            let (stream, create) = match (request.method.as_str(), parts) {
                ("POST", ["message-streams", stream, "suppressions"]) => (*stream, true),
                ("POST", ["message-streams", stream, "suppressions", "delete"]) => (*stream, false),
                _ => return json(404, &json!({})),
            };
            let body = request.json();
            let asked = body["Suppressions"].as_array().unwrap();
            assert!((1..=50).contains(&asked.len()));
            let one = |asked: &Value| {
                let address = asked["EmailAddress"].as_str().unwrap();
                let complained = (stream.to_owned(), format!("complaint of {address}"));
                let (status, message) = if listed.contains(&complained) {
                    (
                        "Failed",
                        Some("You do not have the required authority to change this suppression."),
                    )
                } else if address.starts_with("bad") {
                    ("Failed", Some("An invalid email address was provided."))
                } else {
                    set(listed, stream, address, create);
                    (if create { "Suppressed" } else { "Deleted" }, None)
                };
                json!({"EmailAddress": address, "Status": status, "Message": message})
            };
            let results: Vec<_> = asked.iter().map(one).collect();
            json(200, &json!({"Suppressions": results}))
        },
    };

    rehearsals!(VENDOR);

    #[tokio::test]
    async fn a_complaint_is_not_lifted_and_needs_no_suppression() {
        let running = VENDOR.usual().await;
        let complaint = "complaint of jane@example.com".to_owned();
        running.listed().insert(("outbound".to_owned(), complaint));
        let answer = running.tell(&suppress("jane@example.com", "news")).await;
        assert_eq!(verdict(&answer), "done");
        let answer = running.tell(&lift("jane@example.com", "news")).await;
        let verdict = verdict(&answer);
        assert!(
            verdict.starts_with("dead: Postmark does not let"),
            "{answer:?}"
        );
    }

    #[tokio::test]
    async fn as_many_as_one_request_holds_are_one_request() {
        let running = VENDOR.usual().await;
        assert_eq!(running.target.batch(), 50);
        let deliveries: Vec<_> = (0..120)
            .map(|number| suppress(&format!("jane{number}@example.com"), "news"))
            .collect();
        let answers = running.target.deliver(&deliveries).await;
        assert!(answers.iter().all(|answer| verdict(answer) == "done"));
        assert_eq!((running.received().len(), running.listed().len()), (3, 120));
    }
}
