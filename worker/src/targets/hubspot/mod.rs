//! HubSpot: contacts' subscription types, and their opt-out of all email.
//!
//! <https://developers.hubspot.com/docs/api-reference/communication-preferences-subscriptions-v4/subscription-status/post-communication-preferences-v4-statuses-subscriberIdString>.
//! A list is `global`, all marketing email, or a subscription type's number. An opt-out of all is final there, for whoever
//! asks; a lift of one type subscribes only who had unsubscribed from it and not from all. One contact a request: those for
//! many are for the largest plan only.
//!
//! A list is read from the properties of all contacts (<https://developers.hubspot.com/docs/api/crm/contacts>), since only the
//! search filters, and it ends after 10,000. Of each subscription type they have one
//! (<https://knowledge.hubspot.com/articles/kcs_article/email/once-a-new-email-type-is-created-when-will-a-corresponding-contact-property-be-created>).
//! An opt-out is of the address (<https://developers.hubspot.com/docs/methods/email/update_status>), so one of an address that
//! no contact has is not seen, nor since when one stands.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use common::{delivery::Answer, outbound::Reply, settings::Section};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{
        self, Api, Call, Credential, Lists, Page, Platform, Scopes, read, refused, too_large,
    },
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
            "Settings > Integrations > Private apps: create one with the scopes communication_preferences.read_write and crm.objects.contacts.read.",
        ],
    ),
    build,
};

const GLOBAL: &str = "global";

const STATUSES: [&str; 3] = ["communication-preferences", "v4", "statuses"];

/// The most contacts on a page.
const PAGE: &str = "100";

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

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

#[derive(Deserialize)]
struct Contacts {
    results: Vec<Contact>,
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Contact {
    /// Of those that were asked for one without a value is null, and one that does not exist is not there.
    properties: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Paging {
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    after: String,
}

#[async_trait]
impl Lists for HubSpot {
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        let property = match list.parse::<u64>() {
            Ok(id) => format!("hs_email_optout_{id}"),
            Err(_) => "hs_email_optout".to_owned(),
        };
        let properties = format!("email,{property}");
        let mut query = vec![("limit", PAGE), ("properties", &properties)];
        query.extend(after.map(|after| ("after", after)));
        let path = ["crm", "v3", "objects", "contacts"];
        let request = self.0.request(Method::GET, &path).query(&query);
        let read: Option<Contacts> = self.0.page(request, deadline).await?;
        let Contacts { results, paging } = read.ok_or_else(too_large)?;
        let has = |contact: &Contact| contact.properties.contains_key(&property);
        if !results.is_empty() && !results.iter().any(has) {
            let why = format!(
                "HubSpot's contacts have no property {property}: is {list} a subscription type?"
            );
            return Err(Answer::dead(why));
        }
        let next = paging.and_then(|paging| paging.next);
        let mut page = Page {
            next: next
                .map(|next| next.after)
                .filter(|after| !after.is_empty()),
            ..Page::default()
        };
        for Contact { properties } in results {
            if properties.get(&property).is_some_and(is_true) {
                let address = properties.get("email").and_then(Value::as_str);
                page.email(address.unwrap_or_default(), None, None);
            }
        }
        Ok(page)
    }

    /// Who is no contact is suppressed all the same, and is not here.
    fn shows_all(&self) -> bool {
        false
    }
}

/// Properties are stated as text.
fn is_true(value: &Value) -> bool {
    *value == "true" || *value == true
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
