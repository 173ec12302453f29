//! SendGrid: its global suppressions and those of its unsubscribe groups.
//!
//! <https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions/add-recipient-addresses-to-the-global-suppression-group>,
//! <https://www.twilio.com/docs/sendgrid/api-reference/suppressions-suppressions/add-suppressions-to-a-suppression-group>.
//! A list is `global` or a group's number, which is what a `sendgrid` source's events have as their scope. To a group that
//! does not exist SendGrid adds nobody, but suppresses them globally. What it has found out itself, its bounces and spam
//! reports, is another matter, is not read and stays as it is.
//!
//! The global list is read by offset, five hundred at a time
//! (<https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions/retrieve-all-global-suppressions>). A
//! group has no pages and says nothing but addresses
//! (<https://github.com/twilio/sendgrid-oai/blob/main/spec/json/tsg_suppressions_v3.json>, `ListSuppressionFromAsmGroup`),
//! so one that is larger than what is read at once, some hundreds of thousands of addresses, cannot be read.
//!
//! No figure is documented for these requests; each answer has its own limit
//! (<https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits>).

use async_trait::async_trait;
use common::{contact::Contact, delivery::Answer, outbound::Reply, settings::Section};
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, too_large},
};

pub(super) const KIND: Kind = Kind {
    name: "sendgrid",
    rate: None,
    guide: Guide::platform(
        "SendGrid",
        &[
            Ask::token("an API key"),
            Ask::usual_list(
                "global",
                "SendGrid's list for every scope: global, or an unsubscribe group's number",
            ),
        ],
        &[
            "Settings > API Keys: create one with full access to Suppressions and Unsubscribe Groups.",
            "For an account in the EU give --set url=https://api.eu.sendgrid.com, too.",
        ],
    ),
    build,
};

/// No limit is documented.
const BATCH: usize = 100;

/// The most entries that an answer holds.
const PAGE: usize = 500;

const GLOBAL: &str = "global";

struct SendGrid(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.sendgrid.com";
    let api = Api::read(section, setup, Some(url), Credential::Bearer);
    let scopes = Scopes::read(section, |list| {
        let known = list == GLOBAL || list.bytes().all(|byte| byte.is_ascii_digit());
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but \"global\" or the number of an unsubscribe group is needed")
        })
    });
    Some(platform::target(SendGrid(api?), scopes?, setup))
}

#[derive(Deserialize)]
struct Unsubscribed {
    email: String,
    /// Seconds since 1970.
    created: i64,
}

#[async_trait]
impl Platform for SendGrid {
    fn most(&self) -> usize {
        BATCH
    }

    fn batch(&self, _list: &str, suppress: bool) -> usize {
        if suppress { BATCH } else { 1 }
    }

    /// <https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions/retrieve-a-list-of-scopes-for-which-this-user-has-access>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        self.0.ask(Method::GET, &["v3", "scopes"], deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let mut path = match call.list {
            GLOBAL => vec!["v3", "asm", "suppressions", "global"],
            group => vec!["v3", "asm", "groups", group, "suppressions"],
        };
        let reply = if call.suppress {
            let body = json!({"recipient_emails": call.addresses()});
            self.0.send(Method::POST, &path, &body, call.deadline).await
        } else {
            path.push(call.address());
            self.0.ask(Method::DELETE, &path, call.deadline).await
        };
        let already: &[u16] = if call.suppress { &[] } else { &[404] };
        call.settled(reply?, already)
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[async_trait]
impl Lists for SendGrid {
    /// Goes on after so many; of a group there is one page.
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let mut page = Page::default();
        if list != GLOBAL {
            let path = ["v3", "asm", "groups", list, "suppressions"];
            let request = self.0.request(Method::GET, &path);
            let all: Option<Vec<String>> = self.0.page(request, deadline).await?;
            for address in all.ok_or_else(too_large)? {
                page.email(&address, None, None);
            }
            return Ok(page);
        }
        let path = ["v3", "suppression", "unsubscribes"];
        let offset = after
            .and_then(|after| after.parse().ok())
            .unwrap_or(0_usize);
        let request = self.0.request(Method::GET, &path);
        let request = request.query(&[("limit", PAGE), ("offset", offset)]);
        let some: Option<Vec<Unsubscribed>> = self.0.page(request, deadline).await?;
        let some = some.ok_or_else(too_large)?;
        // An offset has to be a multiple of the limit.
        page.next = (some.len() >= PAGE).then(|| offset.saturating_add(PAGE).to_string());
        for one in some {
            let since = Timestamp::from_second(one.created).ok();
            page.add(Contact::email(&one.email).ok(), since, None);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use common::delivery::Outcome;

    use super::*;
    use crate::targets::platform::rehearsal::{Limit, Vendor, json, rehearsals, set};
    use crate::targets::standin::{mistakes, response};

    const VENDOR: Vendor = Vendor {
        kind: KIND,
        settings: "",
        lists: ["global", "7"],
        limit: Limit::Unix("x-ratelimit-reset"),
        answer: |request, parts, listed| {
            if request.header("authorization") != "Bearer s3cret" {
                let error = json!({"errors": [{"message": "authorization grant is invalid"}]});
                return json(401, &error);
            }
            if parts == ["v3", "scopes"] {
                return json(200, &json!({}));
            }
            if parts == ["v3", "suppression", "unsubscribes"] {
                let number = |name| request.query(name).unwrap().parse::<usize>().unwrap();
                assert!((1..=500).contains(&number("limit")));
                assert_eq!(number("offset") % number("limit"), 0);
                let globally = listed.iter().filter(|(list, _)| list == GLOBAL);
                let page = globally.skip(number("offset")).take(number("limit"));
                let one = |(_, address): &(_, String)| json!({"created": 1_443_651_141, "email": address});
                return json(200, &page.map(one).collect());
            }
            let (list, address) = match parts[..] {
                ["v3", "asm", "suppressions", "global"] => (GLOBAL, None),
                ["v3", "asm", "suppressions", "global", address] => (GLOBAL, Some(address)),
                ["v3", "asm", "groups", group, "suppressions"] => (group, None),
                ["v3", "asm", "groups", group, "suppressions", address] => (group, Some(address)),
                _ => return json(404, &json!({"errors": [{"message": "not found"}]})),
            };
            match (request.method.as_str(), address) {
                ("POST", None) => {
                    let body = request.json();
                    let asked = body["recipient_emails"].as_array().unwrap();
                    let asked: Vec<_> = asked.iter().map(|one| one.as_str().unwrap()).collect();
                    assert!(!asked.is_empty());
                    if asked.iter().any(|address| address.starts_with("bad")) {
                        let error = json!({"errors": [{"message": "email is invalid"}]});
                        return json(400, &error);
                    }
                    for address in &asked {
                        set(listed, list, address, true);
                    }
                    json(201, &json!({"recipient_emails": asked}))
                }
                ("GET", None) if list == "8" => response(200, vec![b' '; (16 << 20) + 1]),
                ("GET", None) if list != GLOBAL => {
                    let of_group = listed.iter().filter(|(other, _)| other == list);
                    json(200, &of_group.map(|(_, address)| json!(address)).collect())
                }
                ("DELETE", Some(address)) => {
                    if set(listed, list, address, false) {
                        response(204, "")
                    } else {
                        json(404, &json!({"errors": [{"message": "resource not found"}]}))
                    }
                }
                _ => json(405, &json!({"errors": [{"message": "method not allowed"}]})),
            }
        },
    };

    rehearsals!(VENDOR);
    rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

    #[tokio::test]
    async fn the_global_list_says_since_when_and_a_group_comes_whole_or_not_at_all() {
        let running = VENDOR
            .start("{ news = 'global', offers = '7', more = '8' }")
            .await;
        let book = running.target.book().unwrap();
        for list in VENDOR.lists {
            set(&mut running.listed(), list, "jane@example.com", true);
        }
        let page = book.page("global", None).await.unwrap();
        assert_eq!(page.entries[0].since, "2015-09-30T22:12:21Z".parse().ok());
        let page = book.page("7", None).await.unwrap();
        assert_eq!((page.entries[0].since, page.next), (None, None));
        let Outcome::Dead { why } = book.page("8", None).await.unwrap_err().outcome else {
            panic!("it is final");
        };
        assert!(why.contains("more than the 16 MiB"), "{why}");
    }

    #[test]
    fn a_list_is_global_or_a_group_s_number() {
        let settings = "token = 't'\nscopes = { news = 'newsletter' }";
        let mistakes = mistakes(KIND, settings);
        assert_eq!(mistakes.len(), 1);
        assert!(
            mistakes[0].starts_with("scopes.news: is \"newsletter\""),
            "{mistakes:?}"
        );
    }
}
