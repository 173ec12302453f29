//! Klaviyo: the suppressions of its profiles, by email.
//!
//! <https://developers.klaviyo.com/en/reference/bulk_suppress_profiles>,
//! <https://developers.klaviyo.com/en/reference/bulk_unsuppress_profiles>. There is one list, `global`: a suppressed profile
//! gets no marketing by email, whatever it consented to. A profile that Klaviyo does not know is made. A lift takes back
//! only what was set so: who unsubscribed there, bounced or complained stays suppressed. SMS has no suppressions.
//!
//! Klaviyo does the work after its answer, which says nothing of single profiles.
//!
//! The list is read by <https://developers.klaviyo.com/en/reference/get_profiles>, filtered by the time of the suppression:
//! whoever has one is in it, for whichever reason. Of the link to the next page only its cursor is used.

use std::time::Duration;

use async_trait::async_trait;
use common::{delivery::Answer, event::Lane, outbound::Reply, settings::Section};
use reqwest::{Method, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, Why, too_large},
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

/// The most profiles on a page, of which only this is asked for.
const PAGE: [(&str, &str); 4] = [
    ("page[size]", "100"),
    ("additional-fields[profile]", "subscriptions"),
    (
        "fields[profile]",
        "email,subscriptions.email.marketing.suppression",
    ),
    (
        "filter",
        "greater-or-equal(subscriptions.email.marketing.suppression.timestamp,1970-01-01T00:00:00Z)",
    ),
];

const CURSOR: &str = "page[cursor]";

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

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[derive(Deserialize)]
struct Profiles {
    data: Vec<Profile>,
    links: Links,
}

#[derive(Deserialize)]
struct Links {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Profile {
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    email: Option<String>,
    subscriptions: Subscriptions,
}

#[derive(Deserialize)]
struct Subscriptions {
    email: Channel,
}

#[derive(Deserialize)]
struct Channel {
    marketing: Marketing,
}

#[derive(Deserialize)]
struct Marketing {
    suppression: Option<Vec<Suppression>>,
}

#[derive(Deserialize)]
struct Suppression {
    reason: String,
    timestamp: String,
}

#[async_trait]
impl Lists for Klaviyo {
    async fn page(
        &self,
        _list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let request = self.0.request(Method::GET, &["api", "profiles"]);
        let mut request = request.header("revision", REVISION).query(&PAGE);
        if let Some(cursor) = after {
            request = request.query(&[(CURSOR, cursor)]);
        }
        let read: Option<Profiles> = self.0.page(request, deadline).await?;
        let read = read.ok_or_else(too_large)?;
        let mut page = Page::default();
        if let Some(link) = &read.links.next {
            let none = || Answer::retry("answered with a link to the next page without a cursor");
            page.next = Some(cursor(link).ok_or_else(none)?);
        }
        for Profile { attributes } in read.data {
            // Of several it is the first that began it.
            let all = attributes.subscriptions.email.marketing.suppression;
            let first = all.into_iter().flatten();
            let Some(first) = first.min_by(|a, b| a.timestamp.cmp(&b.timestamp)) else {
                continue;
            };
            // A profile that is known by its number only names nobody by email.
            let address = attributes.email.unwrap_or_default();
            let lane = match first.reason.as_str() {
                "SPAM_COMPLAINT" => Lane::Complaint,
                "HARD_BOUNCE" | "INVALID_EMAIL" => Lane::Deliverability,
                _ => Lane::Consent,
            };
            let words = Some(first.reason);
            page.email(&address, Some(&first.timestamp), Why { lane, words });
        }
        Ok(page)
    }
}

/// What a link to another page says of where it begins. The rest of it is not used.
fn cursor(link: &str) -> Option<String> {
    let link = Url::parse(link).ok()?;
    let mut pairs = link.query_pairs();
    let (_, cursor) = pairs.find(|(name, _)| name == CURSOR)?;
    (!cursor.is_empty()).then(|| cursor.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Listed, Vendor, json, rehearsals, set};
    use crate::targets::standin::{Received, response};
    use axum::{body::Body, http::Response};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: [GLOBAL, GLOBAL],
        limit: Limit::Seconds("ratelimit-reset"),
        answer: |request, parts, listed| {
            if request.header("authorization") != "Klaviyo-API-Key s3cret" {
                return json(
                    401,
                    &json!({"errors": [{"status": 401, "code": "authentication_failed"}]}),
                );
            }
            assert_eq!(request.header("revision"), REVISION);
            if parts == ["api", "profiles"] {
                return profiles(request, listed);
            }
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

    /// A page of the suppressed, with a link to the next one that leads elsewhere. A cursor is an address, encoded.
    fn profiles(request: &Received, listed: &Listed) -> Response<Body> {
        assert_eq!(request.method, Method::GET);
        let query = |name: &str| {
            let encoded = name.replace('[', "%5B").replace(']', "%5D");
            request.query(&encoded)
        };
        let size: usize = query("page[size]").unwrap().parse().unwrap();
        assert!((1..=100).contains(&size));
        for (name, value) in PAGE {
            assert_eq!(query(name).as_deref(), Some(value));
        }
        let after = query(CURSOR).unwrap_or_default();
        let of_list = listed.iter().filter(|(list, _)| list == GLOBAL);
        let mut rest = of_list
            .map(|(_, address)| address)
            .filter(|address| format!("=+{address}") > after);
        let data: Vec<Value> = rest
            .by_ref()
            .take(size)
            .map(|address| {
                profile(
                    Some(address),
                    &json!([{"reason": "UNSUBSCRIBE", "timestamp": "2023-02-21T20:07:38+00:00"}]),
                )
            })
            .collect();
        let last = data.last().map(|one| &one["attributes"]["email"]);
        let last = last.and_then(Value::as_str).unwrap_or_default();
        let next = rest.next().map(|_| {
            let cursor = last.replace('@', "%40");
            format!("https://elsewhere.example/?page%5Bsize%5D=1&page%5Bcursor%5D=%3D%2B{cursor}")
        });
        json(
            200,
            &json!({"data": data, "links": {"self": "x", "next": next}}),
        )
    }

    fn profile(address: Option<&str>, suppression: &Value) -> Value {
        let marketing = json!({"suppression": suppression});
        let subscriptions = json!({"email": {"marketing": marketing}});
        json!({"type": "profile", "id": "1", "attributes": {"email": address, "subscriptions": subscriptions}})
    }

    const ODD: Vendor = Vendor {
        answer: |_, _, _| {
            let data = [
                profile(
                    Some("jane@example.com"),
                    &json!([
                        {"reason": "USER_SUPPRESSED", "timestamp": "2024-01-01T00:00:00+00:00"},
                        {"reason": "HARD_BOUNCE", "timestamp": "2023-02-21T20:07:38+00:00"},
                    ]),
                ),
                profile(Some("joe@example.com"), &json!([])),
                profile(Some("ann@example.com"), &Value::Null),
                profile(
                    None,
                    &json!([{"reason": "UNSUBSCRIBE", "timestamp": "yesterday"}]),
                ),
            ];
            json(200, &json!({"data": data, "links": {"self": "x"}}))
        },
        ..VENDOR
    };

    rehearsals!(VENDOR);
    rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

    #[tokio::test]
    async fn who_has_no_suppression_is_left_out_and_of_several_the_first_counts() {
        let running = ODD.usual().await;
        let book = running.target.book().unwrap();
        let page = book.page(GLOBAL, None).await.unwrap();
        assert_eq!((page.entries.len(), page.unread, page.next), (1, 1, None));
        let entry = &page.entries[0];
        assert_eq!(entry.contact.address, "jane@example.com");
        assert_eq!(entry.since, "2023-02-21T20:07:38Z".parse().ok());
        let why = (entry.why.lane, entry.why.words.as_deref());
        assert_eq!(why, (Lane::Deliverability, Some("HARD_BOUNCE")));
    }

    #[test]
    fn of_a_link_only_the_cursor_is_read() {
        for (link, expected) in [
            (
                "https://a.klaviyo.com/api/profiles?page%5Bcursor%5D=bmV4%3D",
                Some("bmV4="),
            ),
            ("https://elsewhere.example/?x=1&page[cursor]=a", Some("a")),
            ("https://a.klaviyo.com/api/profiles?page%5Bcursor%5D=", None),
            ("https://a.klaviyo.com/api/profiles", None),
            ("bmV4", None),
        ] {
            assert_eq!(cursor(link).as_deref(), expected, "{link}");
        }
    }
}
