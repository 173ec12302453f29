//! Brevo: the blocklists of its contacts, by email and by SMS.
//!
//! <https://developers.brevo.com/reference/create-contact>, <https://developers.brevo.com/reference/update-contact>. There is
//! one list, `global`: a contact's blocklisting covers the account, as a `brevo` source's unsubscribes do. A contact that
//! Brevo does not know is made, since one that is imported later would be sent to; a lift makes none. One contact a
//! request: the request for many takes only those that are there, and does not say which were not.
//!
//! The blocklists are read with the account's contacts (<https://developers.brevo.com/reference/get-contacts>), a thousand at
//! a time from the oldest on, or fewer where those are more than is read at once. Who is blocked is seen here, by the flags of
//! the contact. Since when it does not say, but only when anything of a contact was last changed. Whom Brevo keeps from
//! transactional mail is another list, which is not read.

use std::time::Duration;

use async_trait::async_trait;
use common::{
    contact::{Channel, Contact},
    delivery::Answer,
    outbound::Reply,
    settings::Section,
};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Api, Call, Credential, Lists, Page, Platform, Scopes, too_large},
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

/// The most contacts that an answer holds.
const PAGE: usize = 1000;

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

#[derive(Deserialize)]
struct Contacts {
    contacts: Vec<Listed>,
    /// On all pages.
    count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    email: Option<String>,
    email_blacklisted: bool,
    sms_blacklisted: bool,
    #[serde(default)]
    attributes: Value,
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

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[async_trait]
impl Lists for Brevo {
    /// Goes on with `OFFSET:LIMIT`.
    async fn page(
        &self,
        _list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let (offset, limit) = after.and_then(place).unwrap_or((0, PAGE));
        let next = |offset: usize, limit: usize| Page {
            next: Some(format!("{offset}:{limit}")),
            ..Page::default()
        };
        let request = self.0.request(Method::GET, &["v3", "contacts"]);
        let request = request
            .query(&[("limit", limit), ("offset", offset)])
            .query(&[("sort", "asc")]);
        let answer: Option<Contacts> = self.0.page(request, deadline).await?;
        let Some(Contacts { contacts, count }) = answer else {
            let fewer = (limit > 1).then(|| next(offset, limit / 2));
            return fewer.ok_or_else(too_large);
        };
        if contacts.is_empty() && count.is_some_and(|count| offset < count) {
            return Err(Answer::retry(
                "answered with no contacts where it states that there are more",
            ));
        }
        let read = offset.saturating_add(contacts.len());
        let is_last = contacts.is_empty() || count.is_some_and(|count| read >= count);
        let mut page = if is_last {
            Page::default()
        } else {
            next(read, limit)
        };
        for contact in contacts {
            if let (Some(email), true) = (&contact.email, contact.email_blacklisted) {
                page.email(email, None, None);
            }
            if let (Some(number), true) = (number(&contact.attributes), contact.sms_blacklisted) {
                page.add(Contact::phone(&number).ok(), None, None);
            }
        }
        Ok(page)
    }
}

fn place(after: &str) -> Option<(usize, usize)> {
    let (offset, limit) = after.split_once(':')?;
    Some((offset.parse().ok()?, limit.parse().ok()?))
}

/// The number that a contact is sent SMS to, which Brevo writes without its plus: `33058407250`.
fn number(attributes: &Value) -> Option<String> {
    let number = match attributes.get("SMS")? {
        Value::String(number) => number.clone(),
        Value::Number(number) => number.as_u64()?.to_string(),
        _ => return None,
    };
    let is_bare = number.starts_with(|first| matches!(first, '1'..='9'));
    match number.as_str() {
        "" => None,
        bare if is_bare => Some(format!("+{bare}")),
        _ => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Response};

    use super::*;
    use crate::targets::platform::rehearsal::{
        Limit, Listed as Set, Vendor, json, lift, rehearsals, set, suppress,
    };
    use crate::targets::standin::{Received, response, verdict};

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
            if request.method == Method::GET && parts == ["v3", "contacts"] {
                return contacts(request, listed);
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

    /// A page of the contacts. Some of an address that begins with `large` are more than is read, and who begins with `open`
    /// is on neither blocklist.
    fn contacts(request: &Received, listed: &Set) -> Response<Body> {
        let number = |name| request.query(name).unwrap().parse::<usize>().unwrap();
        let (limit, offset) = (number("limit"), number("offset"));
        assert!((1..=1000).contains(&limit));
        assert_eq!(request.query("sort").as_deref(), Some("asc"));
        let page = listed.iter().map(|(_, contact)| contact);
        let page: Vec<_> = page.skip(offset).take(limit).collect();
        if limit > 2 && page.iter().any(|contact| contact.starts_with("large")) {
            return response(200, vec![b' '; (16 << 20) + 1]);
        }
        let one = |contact: &&String| match contact.strip_prefix('+') {
            Some(number) => json!({
                "emailBlacklisted": false,
                "smsBlacklisted": true,
                "attributes": {"SMS": number, "CITY": "Lyon"},
            }),
            None => json!({
                "email": contact,
                "emailBlacklisted": !contact.starts_with("open"),
                "smsBlacklisted": false,
                "attributes": {"SMS": "33058407250"},
            }),
        };
        let page: Vec<_> = page.iter().map(one).collect();
        json(200, &json!({"contacts": page, "count": listed.len()}))
    }

    rehearsals!(VENDOR);
    rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

    #[tokio::test]
    async fn each_blocklist_is_read_by_its_flag_and_a_large_page_in_smaller_ones() {
        let running = VENDOR.usual().await;
        let all = ["+15551234567", "jane@example.com", "large@example.com"];
        for contact in [&all[..], &["open@example.com"]].concat() {
            set(&mut running.listed(), GLOBAL, contact, true);
        }
        let read = running.read(GLOBAL).await;
        assert_eq!(read, all.map(str::to_owned).into());
        let last = running.received().pop().unwrap();
        assert_eq!(last.query("offset").as_deref(), Some("3"));
        for (sms, expected) in [
            (json!("33058407250"), Some("+33058407250")),
            (json!(33_058_407_250_u64), Some("+33058407250")),
            (json!(33_058_407_250.5), None),
            (json!(-33_058_407_250_i64), None),
            (json!("0033058407250"), Some("0033058407250")),
            (json!("+33058407250"), Some("+33058407250")),
            (json!(""), None),
            (json!(null), None),
        ] {
            assert_eq!(number(&json!({"SMS": sms})).as_deref(), expected);
        }
        assert_eq!(number(&json!([])), None);
    }

    #[tokio::test]
    async fn an_empty_page_before_the_stated_end_is_not_the_last() {
        let short = Vendor {
            answer: |_, _, _| json(200, &json!({"contacts": [], "count": 3})),
            ..VENDOR
        };
        let running = short.usual().await;
        let book = running.target.book().unwrap();
        let answer = book.page(GLOBAL, Some("2:1000")).await.unwrap_err();
        assert!(verdict(&answer).starts_with("retry: "), "{answer:?}");
        let page = book.page(GLOBAL, Some("3:1000")).await.unwrap();
        assert_eq!(page, Page::default());
    }

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
