//! Mailchimp: the members of its audiences.
//!
//! <https://mailchimp.com/developer/marketing/api/list-members/add-or-update-list-member/>. A list is an audience's id,
//! which is what a `mailchimp` source's events have as their scope. Who is no member becomes one that is unsubscribed, since
//! one who is imported later would be sent to. A lift subscribes only who is there and unsubscribed: Mailchimp refuses it
//! for who unsubscribed themselves, who have to fill in one of its forms, and for who was cleaned after bounces.
//!
//! One member a request: what is said of many is longer than an answer is read to. Mailchimp bears ten requests at a time
//! (<https://mailchimp.com/developer/marketing/docs/fundamentals/#api-limits>).
//!
//! `url` has to be written: `https://us6.api.mailchimp.com`, where `us6` is what the token ends with.

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Platform, Scopes, read, refused},
};

pub(super) const KIND: Kind = Kind {
    name: "mailchimp",
    rate: None,
    guide: Guide::platform(
        "Mailchimp",
        &[
            Ask::text(
                "url",
                "the data centre's URL, https://us6.api.mailchimp.com where the key ends with us6",
            ),
            Ask::token("an API key"),
            Ask::list("the id of the audience for every scope, such as a6b5da1054"),
        ],
        &[
            "Profile > Extras > API keys: create one.",
            "Audience > Settings > Audience name and defaults shows the audience's id.",
        ],
    ),
    build,
};

const SLOTS: u16 = 10;

/// What Mailchimp calls its refusals to subscribe a member: neither is sent to.
const KEPT: [&str; 2] = [
    "Member In Compliance State",
    "Forgotten Email Not Subscribed",
];

struct Mailchimp(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    // Any name does.
    let api = Api::read(section, setup, None, |token| {
        Credential::Basic("optout".to_owned(), token)
    });
    let scopes = Scopes::read(section, |list| {
        let known = list.bytes().all(|byte| byte.is_ascii_alphanumeric());
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but the id of an audience such as \"a6b5da1054\" is needed")
        })
    });
    Some(platform::target(Mailchimp(api?), scopes?, setup))
}

#[derive(Deserialize)]
struct Member {
    status: String,
}

#[derive(Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
}

#[async_trait]
impl Platform for Mailchimp {
    fn slots(&self) -> u16 {
        SLOTS
    }

    /// <https://mailchimp.com/developer/marketing/api/ping/ping/>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        self.0.ask(Method::GET, &["3.0", "ping"], deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let path = ["3.0", "lists", call.list, "members", call.address()];
        if call.suppress {
            let body = json!({
                "email_address": call.address(),
                "status": "unsubscribed",
                "status_if_new": "unsubscribed",
            });
            let request = self.0.request(Method::PUT, &path);
            // An audience may have fields that its members must fill in.
            let request = request.query(&[("skip_merge_validation", "true")]);
            let reply = self.0.exchange(request.json(&body), call.deadline).await?;
            not_for_now(&reply)?;
            if kept(&reply) {
                return Ok(vec![call.done(&reply)]);
            }
            return call.settled(reply, &[]);
        }
        let reply = self.0.ask(Method::GET, &path, call.deadline).await?;
        if reply.status == 404 {
            return call.settled(reply, &[404]);
        }
        let (reply, member): (_, Member) = read(reply)?;
        match member.status.as_str() {
            "unsubscribed" => {}
            "cleaned" => {
                let why = "Mailchimp has cleaned this member after bounces, for good";
                return Err(refused(&reply, why));
            }
            _ => return Ok(vec![call.done(&reply)]),
        }
        let body = json!({"status": "subscribed"});
        let reply = self.0.send(Method::PATCH, &path, &body, call.deadline);
        let reply = reply.await?;
        not_for_now(&reply)?;
        if kept(&reply) {
            let why = "Mailchimp lets only the contact subscribe again, by one of its forms";
            return Err(refused(&reply, why));
        }
        call.settled(reply, &[])
    }
}

/// Refuses what is refused for a time only: "… has signed up to a lot of lists very recently; we're not allowing more
/// signups for now".
fn not_for_now(reply: &Reply) -> Result<(), Answer> {
    let problem = reply.json::<Problem>();
    let for_now = problem.is_some_and(|problem| problem.detail.contains("a lot of lists"));
    if reply.status == 400 && for_now {
        return Err(Answer::retry(
            "Mailchimp allows no more signups of this contact for now",
        ));
    }
    Ok(())
}

/// Whether it is said of a member that it cannot be subscribed.
fn kept(reply: &Reply) -> bool {
    let problem = reply.json::<Problem>();
    reply.status == 400 && problem.is_some_and(|problem| KEPT.contains(&problem.title.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{
        Limit, Vendor, json, lift, rehearsals, set, suppress,
    };
    use crate::targets::standin::{mistakes, verdict};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: ["a6b5da1054", "b7c6eb2165"],
        limit: Limit::Seconds("retry-after"),
        answer: |request, parts, listed| {
            // Basic authentication of `optout` with `s3cret`.
            if request.header("authorization") != "Basic b3B0b3V0OnMzY3JldA==" {
                return json(401, &json!({"title": "API Key Invalid", "status": 401}));
            }
            if parts == ["3.0", "ping"] {
                return json(200, &json!({}));
            }
            let ["3.0", "lists", audience, "members", address] = parts[..] else {
                return json(404, &json!({"title": "Resource Not Found", "status": 404}));
            };
            let title = |title: &str| {
                json(
                    400,
                    &json!({"title": title, "status": 400, "detail": address}),
                )
            };
            let often = || {
                let detail = "has signed up to a lot of lists very recently";
                json(400, &json!({"title": "Invalid Resource", "detail": detail}))
            };
            let entry = (audience.to_owned(), address.to_owned());
            match request.method.as_str() {
                "PUT" => {
                    let body = request.json();
                    assert_eq!(
                        request.query("skip_merge_validation").as_deref(),
                        Some("true")
                    );
                    assert_eq!(body["email_address"], address);
                    assert_eq!(
                        (&body["status"], &body["status_if_new"]),
                        (&json!("unsubscribed"), &json!("unsubscribed"))
                    );
                    match address {
                        bad if bad.starts_with("bad") => return title("Invalid Resource"),
                        eager if eager.starts_with("eager") => return often(),
                        gone if gone.starts_with("gone") => {
                            return title("Forgotten Email Not Subscribed");
                        }
                        _ => set(listed, audience, address, true),
                    };
                    json(200, &json!({"status": "unsubscribed"}))
                }
                "GET" if address.starts_with("clean") => json(200, &json!({"status": "cleaned"})),
                "GET" if listed.contains(&entry) => json(200, &json!({"status": "unsubscribed"})),
                "GET" if address.starts_with("jane") => json(200, &json!({"status": "pending"})),
                "GET" => json(404, &json!({"title": "Resource Not Found", "status": 404})),
                "PATCH" if address.starts_with("often") => often(),
                "PATCH" if address.starts_with("self") => title("Member In Compliance State"),
                "PATCH" => {
                    assert_eq!(request.json(), json!({"status": "subscribed"}));
                    assert!(listed.remove(&entry));
                    json(200, &json!({"status": "subscribed"}))
                }
                _ => json(405, &json!({"title": "Method Not Allowed", "status": 405})),
            }
        },
    };

    rehearsals!(VENDOR);

    #[tokio::test]
    async fn whom_mailchimp_lets_nobody_subscribe_is_a_final_answer_to_a_lift() {
        let running = VENDOR.usual().await;
        for (address, why) in [
            ("self@example.com", "only the contact"),
            ("clean@example.com", "has cleaned"),
        ] {
            running.tell(&suppress(address, "news")).await;
            let answer = running.tell(&lift(address, "news")).await;
            let verdict = verdict(&answer);
            assert!(
                verdict.starts_with("dead: Mailchimp") && verdict.contains(why),
                "{verdict}"
            );
        }
        running.tell(&suppress("often@example.com", "news")).await;
        let answer = running.tell(&lift("often@example.com", "news")).await;
        assert!(verdict(&answer).starts_with("retry: Mailchimp allows"));
        let answer = running.tell(&suppress("gone@example.com", "news")).await;
        assert_eq!(verdict(&answer), "done");
    }

    #[tokio::test]
    async fn a_suppression_that_is_refused_for_now_is_tried_again() {
        let running = VENDOR.usual().await;
        let answer = running.tell(&suppress("eager@example.com", "news")).await;
        assert!(verdict(&answer).starts_with("retry: Mailchimp allows"));
    }

    #[tokio::test]
    async fn a_lift_subscribes_nobody_who_was_not_unsubscribed() {
        let running = VENDOR.usual().await;
        for address in ["jane@example.com", "joe@example.com"] {
            let answer = running.tell(&lift(address, "news")).await;
            assert_eq!(verdict(&answer), "done");
        }
        assert!(
            running
                .received()
                .iter()
                .all(|request| request.method == Method::GET)
        );
    }

    #[test]
    fn the_url_is_the_data_centre_s_and_has_to_be_written() {
        let mistakes = mistakes(KIND, "token = 't'\nscopes = { news = 'a' }");
        assert_eq!(mistakes, ["url: is missing"]);
    }
}
