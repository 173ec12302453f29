//! Amazon SES: the account's suppression list, and its contact lists.
//!
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutSuppressedDestination.html>,
//! <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_UpdateContact.html>. A list is `global`, the account's
//! suppression list, or `LIST` or `LIST:TOPIC` of a contact list, which is what a `ses` source's events have as their scope.
//! The account's list knows two reasons, bounces and complaints, and SES heeds only entries of those that the account has
//! chosen, which are both unless somebody changed that
//! (<https://docs.aws.amazon.com/ses/latest/dg/sending-email-suppression-list.html>). Who unsubscribed is entered as one who
//! complained, so the account has to heed complaints; a bounce never takes the place of an entry that stands there. A contact
//! that is not there is made, with what it opted out of; a lift makes none.
//!
//! SES replaces all of a contact's topics at once, so what it has is read first; one call at a time, since of two that
//! read the same one would undo the other. With several workers that can happen still, if somebody opts out of two topics of
//! one list in the same moment.
//!
//! Settings beside those of every platform: `region`, `access_key` (the key's id; `token` is the secret access key).

mod lists;
mod sign;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use common::{
    clock,
    delivery::Answer,
    event::Lane,
    outbound::{Outbound, Reply},
    settings::Section,
};
use reqwest::{Method, RequestBuilder, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    Ask, Guide, Kind, Rate, Setup, Target,
    platform::{self, Call, Lists, Platform, Scopes, read},
    ticket,
};
use sign::Signer;

/// SES documents one request a second for many of its operations and no figure for these, and says of none when to come
/// again: <https://docs.aws.amazon.com/ses/latest/dg/quotas.html>
pub(super) const KIND: Kind = Kind {
    name: "ses",
    rate: Some(Rate {
        calls: 1,
        per: Duration::from_secs(1),
    }),
    guide: Guide::platform(
        "Amazon SES",
        &[
            Ask::text("region", "the region, such as eu-central-1"),
            Ask::text("access_key", "the id of the access key"),
            Ask::token("the secret access key"),
            Ask::usual_list(
                "global",
                "SES's list for every scope: global, which is the account's suppression list, or LIST or LIST:TOPIC of a contact list",
            ),
        ],
        &[
            "IAM: create a user with an access key that may do ses:GetAccount, ses:PutSuppressedDestination, ses:GetSuppressedDestination, ses:DeleteSuppressedDestination and ses:ListSuppressedDestinations, for contact lists also ses:GetContact, ses:CreateContact, ses:UpdateContact and ses:ListContacts.",
        ],
    ),
    build,
};

const GLOBAL: &str = "global";

/// What AWS answers 400 to, too, although it says nothing of the contact; the names may go on after this:
/// <https://docs.aws.amazon.com/ses/latest/APIReference/CommonErrors.html>
const PASSING: [&str; 5] = [
    "Throttling",
    "RequestExpired",
    "IncompleteSignature",
    "NotAuthorized",
    "AccessDenied",
];

struct Ses {
    base: Url,
    signer: Signer,
    outbound: Outbound,
}

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let region: Option<String> = section.required("region");
    let of_dns = |region: &String| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !region.is_empty() && region.bytes().all(known)
    };
    let region = match region {
        Some(region) if !of_dns(&region) => {
            let why = format!("is {region:?}, but a region such as \"eu-central-1\" is needed");
            section.mistake("region", why);
            None
        }
        region => region,
    };
    let name = region.as_deref().unwrap_or("eu-central-1");
    let url = format!("https://email.{name}.amazonaws.com");
    let base = setup.outbound.read_url_or(section, Some(&url));
    let access_key: Option<String> = section.required("access_key");
    let token = section.secret("token");
    let scopes = Scopes::read(section, |list| {
        let mut parts = list.split(':');
        let known = parts.clone().count() <= 2 && parts.all(|part| !part.is_empty());
        known.then_some(()).ok_or_else(|| {
            format!("is {list:?}, but \"global\", LIST or LIST:TOPIC of a contact list is needed")
        })
    });
    let platform = Ses {
        base: base?,
        signer: Signer {
            access_key: access_key?,
            secret_key: token?,
            region: region?,
            service: "ses",
        },
        outbound: setup.outbound.clone(),
    };
    Some(platform::target(platform, scopes?, setup))
}

#[async_trait]
impl Platform for Ses {
    fn slots(&self) -> u16 {
        1
    }

    /// <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        let path = ["v2", "email", "account"];
        self.ask(Method::GET, &path, None, deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        if call.list != GLOBAL {
            return self.contact(call).await;
        }
        let mut path = vec!["v2", "email", "suppression", "addresses"];
        if !call.suppress {
            path.push(call.address());
            let reply = self.ask(Method::DELETE, &path, None, call.deadline);
            return call.settled(reply.await?, &[404]);
        }
        let reason = match call.contacts[0].lane {
            Lane::Deliverability => {
                // In the place of an opt-out it would end it where the account does not heed bounces.
                let path = [&path[..], &[call.address()]].concat();
                let reply = self.ask(Method::GET, &path, None, call.deadline).await?;
                if reply.status != 404 {
                    return call.settled(reply, &[]);
                }
                "BOUNCE"
            }
            Lane::Complaint | Lane::Consent | Lane::Manual => "COMPLAINT",
        };
        let body = json!({"EmailAddress": call.address(), "Reason": reason});
        let reply = self.ask(Method::PUT, &path, Some(&body), call.deadline);
        call.settled(reply.await?, &[])
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

/// What SES keeps of a contact.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Contact {
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes_data: Option<String>,
    topic_preferences: Vec<Preference>,
    unsubscribe_all: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Preference {
    topic_name: String,
    subscription_status: String,
}

const OPT_OUT: &str = "OPT_OUT";
const OPT_IN: &str = "OPT_IN";

impl Contact {
    fn topic(&mut self, topic: &str) -> Option<&mut Preference> {
        let mut preferences = self.topic_preferences.iter_mut();
        preferences.find(|preference| preference.topic_name == topic)
    }

    /// Whether it is opted out, of all or of the topic.
    fn is_out(&mut self, topic: Option<&str>) -> bool {
        match topic {
            None => self.unsubscribe_all,
            Some(topic) => self
                .topic(topic)
                .is_some_and(|preference| preference.subscription_status == OPT_OUT),
        }
    }

    fn set(&mut self, topic: Option<&str>, out: bool) {
        let Some(topic) = topic else {
            self.unsubscribe_all = out;
            return;
        };
        let status = if out { OPT_OUT } else { OPT_IN };
        match self.topic(topic) {
            Some(preference) => status.clone_into(&mut preference.subscription_status),
            None => self.topic_preferences.push(Preference {
                topic_name: topic.to_owned(),
                subscription_status: status.to_owned(),
            }),
        }
    }
}

/// The contact list that a list is of, and which topic of it.
fn named(list: &str) -> (&str, Option<&str>) {
    match list.split_once(':') {
        Some((list, topic)) => (list, Some(topic)),
        None => (list, None),
    }
}

impl Ses {
    async fn contact(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let (list, topic) = named(call.list);
        let contacts = ["v2", "email", "contact-lists", list, "contacts"];
        let path = [&contacts[..], &[call.address()]].concat();
        let mut reply = self.ask(Method::GET, &path, None, call.deadline).await?;
        if reply.status == 404 {
            if !call.suppress {
                return call.settled(reply, &[404]);
            }
            let mut contact = Contact::default();
            contact.set(topic, true);
            let mut body = json!(contact);
            body["EmailAddress"] = json!(call.address());
            let made = self.ask(Method::POST, &contacts, Some(&body), call.deadline);
            let made = made.await?;
            if made.status != 400 {
                return call.settled(made, &[]);
            }
            // It may have been made meanwhile.
            reply = self.ask(Method::GET, &path, None, call.deadline).await?;
            if reply.status == 404 {
                return call.settled(made, &[]);
            }
        }
        let (reply, mut contact): (_, Contact) = read(reply)?;
        if contact.is_out(topic) == call.suppress {
            return Ok(vec![call.done(&reply)]);
        }
        contact.set(topic, call.suppress);
        let body = json!(contact);
        let reply = self.ask(Method::PUT, &path, Some(&body), call.deadline);
        call.settled(reply.await?, &[])
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        deadline: Instant,
    ) -> Result<Reply, Answer> {
        let url = ticket::join(&self.base, &platform::path(path));
        let request = self.signed(method, url, body)?;
        let reply = self.outbound.exchange(request, deadline).await?;
        let error = reply.error_type.as_deref().unwrap_or_default();
        if reply.status == 400 && PASSING.iter().any(|passing| error.starts_with(passing)) {
            return Err(Answer {
                status: Some(400),
                ..Answer::retry("answered 400, which says nothing of the contact")
            });
        }
        Ok(reply)
    }

    fn signed(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<RequestBuilder, Answer> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let signed = self
            .signer
            .sign(method.as_str(), &url, body.as_bytes(), clock::now())
            .map_err(|error| Answer::dead(format!("the request cannot be signed: {error}")))?;
        let mut request = self.outbound.request(method, url);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        Ok(request)
    }
}
