//! Amazon SES through SNS: bounces, complaints and what else SES tells, each of any number of recipients, in a message
//! that SNS signs by RSA, with a certificate that has to be fetched.
//!
//! What SES tells twice, by notifications and by event publishing, has one feedback id.

use std::borrow::Cow;

use serde::Deserialize;
use url::Url;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Provider, Rejected, Request, Sample, Suit, json,
    sample::samples,
    sns::{self, Notice},
    subscription,
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Kind, has_effect},
    queue::Priority,
};

/// `eventType`, or `notificationType`. A bounce and a complaint have their kind beside them, a subscription its topics.
const EVENTS: &[json::Row] = &[
    ("Bounce", Kind::Bounced, Some(BounceClass::Undetermined)),
    ("Complaint", Kind::Complained, None),
    ("Subscription", Kind::Unsubscribed, None),
    ("DeliveryDelay", Kind::Bounced, Some(BounceClass::Soft)),
    ("Reject", Kind::Bounced, Some(BounceClass::Block)),
    ("Delivery", Kind::Delivered, None),
    ("Open", Kind::Opened, None),
    ("Click", Kind::Clicked, None),
    ("Send", Kind::Other, None),
    ("Rendering Failure", Kind::Other, None),
];

/// Where the recipients stand, by kind of event; of all others they are the message's.
const RECIPIENTS: &[(&str, &str)] = &[
    ("Bounce", "bounce.bouncedRecipients"),
    ("Complaint", "complaint.complainedRecipients"),
    ("DeliveryDelay", "deliveryDelay.delayedRecipients"),
];

const TIMES: &[&str] = &[
    "bounce.timestamp",
    "complaint.timestamp",
    "subscription.timestamp",
    "deliveryDelay.timestamp",
    "delivery.timestamp",
    "open.timestamp",
    "click.timestamp",
];

const KEPT: &[&str] = &[
    "bounce.bounceType",
    "bounce.bounceSubType",
    "complaint.complaintSubType",
    "subscription.source",
    "mail.tags",
    "click.link",
];

/// What SES sends where an address is on the account's own list: it echoes an older fact.
const OWN_LIST: &str = "OnAccountSuppressionList";

#[derive(Debug)]
pub(super) struct Ses;

/// What tells how urgent an event is.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow, rename = "eventType")]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "notificationType")]
    notification: Option<Cow<'a, str>>,
}

impl Provider for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Topics]
    }

    fn certificate(&self, request: &Request<'_>, keys: &Keys) -> Option<Url> {
        sns::certificate(request, keys)
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        sns::verify(request, keys)
    }

    fn confirmation(&self, body: &[u8]) -> Option<Url> {
        sns::confirmation(body)
    }

    fn command(&self, sample: &Sample, keys: &Keys) -> Option<String> {
        sns::command(sample, keys)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        match Notice::read(body) {
            Some(notice) if notice.kind == "Notification" => look(notice.message.as_bytes()),
            Some(_) => Priority::Urgent,
            None => look(body),
        }
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        let Some(notice) = Notice::read(&envelope.body) else {
            // Delivered raw, without what SNS puts around it.
            return json::read_list(&envelope.body, "", |fields| told(fields, envelope, None));
        };
        let message = notice.message.trim();
        let greeting = message.starts_with("Successfully validated SNS topic");
        if notice.kind != "Notification" || greeting {
            return Ok(vec![]);
        }
        let id = Some(notice.message_id.as_ref());
        json::read_list(message.as_bytes(), "", |fields| told(fields, envelope, id))
    }

    /// By the link or the header of a mail, or on the page of preferences:
    /// <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>.
    fn says_recipient(&self, event: &Event) -> bool {
        json::is_choice(event)
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Amazon SES",
            suits: &[Suit::Signature, Suit::BasicInUrl],
            steps: &[
                "SNS, in the region of SES: create a standard topic; its ARN is what the source takes messages of.",
                "SES > Configuration sets > yours > Event destinations: add one to that topic for Bounces, Complaints and Subscriptions.",
                "Start ingress with this source, then SNS > the topic > Create subscription: HTTPS, the URL, raw message delivery off. It is confirmed by itself.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "ses": "complaint", "complaint-not-spam", "bounce", "bounce-transient", "bounce-own-list",
            "bounce-notification", "subscription", "subscription-all", "delivery", "delivery-delay", "reject", "open",
            "click", "send", "confirmation", "greeting", "raw",
        )
    }
}

fn look(message: &[u8]) -> Priority {
    json::priority(message, |look: &Look<'_>| {
        match (&look.event, &look.notification) {
            (Some(name), None) | (None, Some(name)) => json::low(EVENTS, name),
            _ => false,
        }
    })
}

/// One thing of each recipient.
fn told(fields: &json::Fields, envelope: &Envelope, id: Option<&str>) -> json::Told {
    let name = fields
        .label("eventType")
        .or_else(|| fields.label("notificationType"));
    let Some(name) = name else {
        let why = "the message has neither an eventType nor a notificationType";
        return vec![Err(Malformed(why.to_owned()))];
    };
    if name == "Subscription" {
        return subscription::told(fields, envelope, id);
    }
    let (kind, class) = meaning(&name, fields);
    let recipients = recipients(&name, fields);
    if recipients.is_empty() {
        let contact = json::needed(kind, class, fields.email("mail.destination"));
        return vec![
            contact.map(|contact| draft(fields, envelope, id, &name, (kind, class), contact)),
        ];
    }
    let one = |contact: Result<Contact, Malformed>| {
        let contact = json::needed(kind, class, contact)?;
        Ok(draft(fields, envelope, id, &name, (kind, class), contact))
    };
    recipients.into_iter().map(one).collect()
}

fn meaning(name: &str, fields: &json::Fields) -> (Kind, Option<BounceClass>) {
    let is = |key: &str, value: &str| fields.text(key).as_deref() == Some(value);
    match json::meaning(EVENTS, name) {
        Some((Kind::Bounced, Some(BounceClass::Undetermined))) => {
            let class = match fields.text("bounce.bounceType").as_deref() {
                _ if is("bounce.bounceSubType", OWN_LIST) => BounceClass::Block,
                Some("Permanent") => BounceClass::Hard,
                Some("Transient") => BounceClass::Soft,
                _ => BounceClass::Undetermined,
            };
            (Kind::Bounced, Some(class))
        }
        Some((Kind::Complained, _)) if is("complaint.complaintFeedbackType", "not-spam") => {
            (Kind::Other, None)
        }
        Some((Kind::Complained, _)) if is("complaint.complaintSubType", OWN_LIST) => {
            (Kind::Bounced, Some(BounceClass::Block))
        }
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    }
}

/// Those that the event names, else those of the message.
fn recipients(name: &str, fields: &json::Fields) -> Vec<Result<Contact, Malformed>> {
    let named = RECIPIENTS.iter().find(|row| row.0 == name);
    let named = named.map(|row| fields.list(row.1)).unwrap_or_default();
    if !named.is_empty() {
        return named.iter().map(|one| one.email("emailAddress")).collect();
    }
    // Who had only opened it is not known of several; each is recorded, and none of it has an effect.
    let (kind, class) = meaning(name, fields);
    let listed = (0..50).map(|index| format!("mail.destination.{index}"));
    let listed = listed
        .take_while(|path| fields.has(path))
        .filter(|_| !has_effect(kind, class));
    listed.map(|path| fields.email(&path)).collect()
}

fn draft(
    fields: &json::Fields,
    envelope: &Envelope,
    id: Option<&str>,
    name: &str,
    (kind, class): (Kind, Option<BounceClass>),
    contact: Option<Contact>,
) -> Draft {
    let occurred_at = TIMES.iter().find_map(|key| fields.time(key));
    let feedback = ["bounce.feedbackId", "complaint.feedbackId"];
    let feedback = feedback.iter().find_map(|key| fields.text(key));
    let sent = match feedback {
        Some(feedback) => vec![Some(feedback)],
        None => vec![
            id.map(str::to_owned)
                .or_else(|| fields.text("mail.messageId")),
            Some(name.to_owned()),
            TIMES.iter().find_map(|key| fields.text(key)),
        ],
    };
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    let address = contact.as_ref().map(|contact| contact.raw.clone());
    let bounced = fields.list("bounce.bouncedRecipients");
    let own = bounced
        .iter()
        .find(|one| one.text("emailAddress") == address);
    let reason = own.and_then(|one| one.label("diagnosticCode"));
    let other = [
        "complaint.complaintFeedbackType",
        "bounce.bounceSubType",
        "reject.reason",
    ];
    Draft {
        bounce_class: class,
        contact,
        occurred_at,
        reason: reason.or_else(|| other.iter().find_map(|key| fields.label(key))),
        origin: json::usual_origin(kind),
        message_id: fields.label("mail.messageId"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changes, event, parse, sample, what};

    fn body(name: &str) -> &'static str {
        sample(&Ses, name).body()
    }

    #[test]
    fn each_recipient_is_an_event_and_what_is_told_twice_is_one() {
        let results = parse(&Ses, body("bounce")).unwrap();
        let told: Vec<_> = results
            .iter()
            .map(|result| what(result.as_ref().unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                "bounced hard jane@example.com",
                "bounced hard richard@example.com"
            ]
        );
        let again = parse(&Ses, body("bounce-notification")).unwrap();
        let id =
            |results: &[Result<crate::event::Event, Malformed>]| results[0].as_ref().unwrap().id;
        assert_eq!(id(&again), id(&results), "by its feedback id");
    }

    #[test]
    fn the_kind_of_a_bounce_and_of_a_complaint_tells_whether_it_suppresses() {
        let told = |name: &str| changes(&event(&Ses, body(name)));
        assert_eq!(told("complaint"), "global complaint suppressed");
        for name in [
            "bounce-transient",
            "bounce-own-list",
            "complaint-not-spam",
            "delivery",
            "delivery-delay",
            "reject",
        ] {
            assert_eq!(told(name), "", "{name}");
        }
        assert_eq!(
            changes(&event(&Ses, body("raw"))),
            "global deliverability suppressed"
        );
        for name in ["confirmation", "greeting"] {
            assert!(parse(&Ses, body(name)).unwrap().is_empty(), "{name}");
        }
    }

    #[test]
    fn a_choice_of_topics_tells_of_those_that_changed() {
        let results = parse(&Ses, body("subscription")).unwrap();
        let told: Vec<_> = results
            .iter()
            .map(|result| changes(result.as_ref().unwrap()))
            .collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "Customers:Offers consent suppressed");
        assert!(
            told[1].starts_with("Customers:News consent clear"),
            "{told:?}"
        );
        let all = parse(&Ses, body("subscription-all")).unwrap();
        assert_eq!(
            changes(all[0].as_ref().unwrap()),
            "Customers consent suppressed"
        );
        assert_eq!(
            changes(all[1].as_ref().unwrap()),
            "Customers:Offers consent suppressed",
            "of all is of each topic"
        );
    }

    #[test]
    fn who_opts_out_again_by_the_same_mail_is_no_repeat() {
        // As SNS sends it raw, so that there is no id but the mail's.
        let chosen = |at: &str| {
            let subscription = format!(
                r#"{{"eventType":"Subscription","mail":{{"messageId":"m1","destination":["jane@example.com"]}},
                "subscription":{{"contactList":"L","timestamp":"{at}","newTopicPreferences":{{"unsubscribeAll":true}},
                "oldTopicPreferences":{{"unsubscribeAll":false}}}}}}"#
            );
            event(&Ses, &subscription)
        };
        let (first, again) = (
            chosen("2026-01-01T00:00:00Z"),
            chosen("2026-03-01T00:00:00Z"),
        );
        assert_eq!(changes(&first), "L consent suppressed");
        assert_ne!(first.id, again.id);
    }
}
