//! SparkPost: its suppression list, which has two types of entry.
//!
//! <https://developers.sparkpost.com/api/suppression-list/>. A list is `transactional` or `non_transactional`. What a
//! `sparkpost` source's events tell is of non-transactional mail, and global. What SparkPost's compliance has entered nobody
//! takes off.
//!
//! A list is read by SparkPost's own cursor, a thousand entries at a time:
//! <https://developers.sparkpost.com/api/suppression-list/#suppression-list-get-search-suppressions>. It holds all that keep
//! mail of its type back, bounces and complaints among them, but no entries of single mailing lists.
//!
//! Settings beside those of every platform: `subaccount` (a number; without, the primary account's list). In Europe:
//! `url = "https://api.eu.sparkpost.com"`. No figure is documented for these requests.

use async_trait::async_trait;
use common::{
    delivery::Answer,
    event::{GLOBAL, Lane},
    outbound::Reply,
    settings::Section,
};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{
        self, Api, Call, Credential, Lists, Page, Platform, Scopes, Why, refused, too_large,
    },
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

/// The entries that an answer holds.
const PAGE: &str = "1000";

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

#[derive(Deserialize)]
struct Found {
    results: Vec<Suppressed>,
    links: Vec<Link>,
}

#[derive(Deserialize)]
struct Suppressed {
    recipient: String,
    #[serde(rename = "type")]
    kind: String,
    source: Option<String>,
    description: Option<String>,
    created: Option<String>,
    /// Of a single mailing list.
    list_id: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
    rel: String,
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

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[async_trait]
impl Lists for SparkPost {
    /// Goes on at a cursor of theirs.
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let path = ["api", "v1", "suppression-list"];
        let request = self.api.request(Method::GET, &path);
        let request = request
            .header("x-msys-subaccount", self.subaccount)
            .query(&[
                ("types", list),
                ("list_id", ""),
                ("per_page", PAGE),
                ("cursor", after.unwrap_or("initial")),
            ]);
        let found: Option<Found> = self.api.page(request, deadline).await?;
        let Found { results, links } = found.ok_or_else(too_large)?;
        let next = links.iter().find(|link| link.rel == "next");
        let mut page = Page {
            // After the last page there is one more, with nothing on it.
            next: next
                .filter(|_| !results.is_empty())
                .and_then(|link| cursor(&link.href)),
            ..Page::default()
        };
        let is_listed = |one: &Suppressed| one.kind == list && one.list_id.is_none();
        for one in results.into_iter().filter(is_listed) {
            let lane = match one.source.as_deref() {
                Some("Spam Complaint") => Lane::Complaint,
                Some("Bounce Rule") => Lane::Deliverability,
                Some("Manually Added") => Lane::Manual,
                _ => Lane::Consent,
            };
            let described = one.description.filter(|described| !described.is_empty());
            let words = described.or(one.source);
            page.email(&one.recipient, one.created.as_deref(), Why { lane, words });
        }
        Ok(page)
    }
}

/// The cursor in a link. Nothing else is taken of it, whose host may be any.
fn cursor(href: &str) -> Option<String> {
    let (_, query) = href.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, cursor) = pairs.find(|(name, _)| name == "cursor")?;
    Some(cursor.into_owned())
}

impl SparkPost {
    fn request(&self, method: Method, path: &[&str], body: &Value) -> RequestBuilder {
        let request = self.api.request(method, path).json(body);
        request.header("x-msys-subaccount", self.subaccount)
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Response};

    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Listed, Vendor, json, lift, rehearsals, set};
    use crate::targets::standin::{Received, response, verdict};

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
            if request.method == Method::GET && parts == ["api", "v1", "suppression-list"] {
                return search(request, listed);
            }
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

    /// A page by cursor. Of an address that begins with `list` a single mailing list has an entry.
    fn search(request: &Received, listed: &Listed) -> Response<Body> {
        let asked = |name| request.query(name).unwrap();
        let most: usize = asked("per_page").parse().unwrap();
        assert!((1..=10_000).contains(&most));
        assert_eq!(asked("list_id"), "");
        let at: usize = match asked("cursor").as_str() {
            "initial" => 0,
            cursor => cursor.strip_prefix("Zm9v+/=").unwrap().parse().unwrap(),
        };
        let kind = asked("types");
        let of_type = listed.iter().filter(|(list, _)| *list == kind);
        let results: Vec<_> = of_type
            .skip(at)
            .take(most)
            .map(|(list, address)| {
                let mut one = json!({
                    "recipient": address,
                    "type": list,
                    "source": "Manually Added",
                    "created": "2017-10-01T12:00:00+00:00",
                    "updated": "2018-10-01T12:00:00+00:00",
                });
                if address.starts_with("list") {
                    one["list_id"] = json!("weekly.example.com");
                }
                if address.starts_with("jane") {
                    one["description"] = json!("told by optout: suppression");
                }
                one
            })
            .collect();
        let next = at + results.len();
        // As if somebody could have put it there.
        let href = format!("https://other.example/x?cursor=Zm9v%2B%2F%3D{next}&per_page=9");
        let links =
            json!([{"href": "/x?cursor=initial", "rel": "first"}, {"href": href, "rel": "next"}]);
        json(
            200,
            &json!({"results": results, "links": links, "total_count": 1}),
        )
    }

    rehearsals!(VENDOR);
    rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

    #[tokio::test]
    async fn an_entry_says_since_when_and_why_and_one_of_a_mailing_list_is_none() {
        let running = VENDOR.usual().await;
        for address in ["jane@example.com", "joe@example.com", "list@example.com"] {
            set(&mut running.listed(), "transactional", address, true);
        }
        let book = running.target.book().unwrap();
        let page = book.page("transactional", None).await.unwrap();
        assert_eq!(page.next.as_deref(), Some("Zm9v+/=3"));
        let said: Vec<_> = page
            .entries
            .iter()
            .map(|entry| {
                let words = entry.why.words.as_deref();
                (entry.contact.address.as_str(), entry.why.lane, words)
            })
            .collect();
        assert_eq!(
            said,
            [
                (
                    "jane@example.com",
                    Lane::Manual,
                    Some("told by optout: suppression")
                ),
                ("joe@example.com", Lane::Manual, Some("Manually Added"))
            ]
        );
        let since = "2017-10-01T12:00:00Z".parse().ok();
        assert!(page.entries.iter().all(|entry| entry.since == since));
        let page = book.page("transactional", page.next.as_deref()).await;
        assert_eq!(page.unwrap(), Page::default());
    }

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
