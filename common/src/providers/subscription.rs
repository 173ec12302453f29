//! SES's list management: what a recipient chose of a contact list's topics, before and after.
//!
//! Each topic whose choice is another than before is an event of its own, in the scope `LIST:TOPIC`; unsubscribing from
//! all of the list is one in the scope `LIST`, and one of each topic that is named.

use super::{Malformed, json};
use crate::{
    envelope::Envelope,
    event::{Draft, Kind, Origin},
};

const NEW: &str = "subscription.newTopicPreferences";
const OLD: &str = "subscription.oldTopicPreferences";

pub(super) fn told(fields: &json::Fields, envelope: &Envelope, id: Option<&str>) -> json::Told {
    let list = fields.label("subscription.contactList");
    let Some(list) = list else {
        let why = "subscription.contactList must say which list it is, and is missing";
        return vec![Err(Malformed(why.to_owned()))];
    };
    let changes = changes(fields, &list);
    if changes.is_empty() {
        return vec![draft(fields, envelope, id, Kind::Other, &list)];
    }
    let one = |(scope, kind): (String, Kind)| draft(fields, envelope, id, kind, &scope);
    changes.into_iter().map(one).collect()
}

/// Which scope is opted out of, or into again.
fn changes(fields: &json::Fields, list: &str) -> Vec<(String, Kind)> {
    let all = |when: &str| {
        fields
            .flag(&format!("{when}.unsubscribeAll"))
            .unwrap_or(false)
    };
    let topics = |when: &str| {
        let topics = fields.list(&format!("{when}.topicSubscriptionStatus"));
        let chosen = |topic: &json::Fields| {
            Some((
                topic.label("topicName")?,
                topic.label("subscriptionStatus")?,
            ))
        };
        topics.iter().filter_map(chosen).collect::<Vec<_>>()
    };
    let (was, is) = (all(OLD), all(NEW));
    let mut changes = match (was, is) {
        // Said again: it holds, whatever was known before.
        (_, true) => vec![(list.to_owned(), Kind::Unsubscribed)],
        (true, false) => vec![(list.to_owned(), Kind::Resubscribed)],
        (false, false) => vec![],
    };
    let before = topics(OLD);
    // Who leaves the list, or comes back, does so to each of its topics.
    let concerns = |chosen: &(String, String)| was || is || !before.contains(chosen);
    for chosen in topics(NEW).into_iter().filter(concerns) {
        let kind = match chosen.1.as_str() {
            _ if is => Kind::Unsubscribed,
            "OptOut" => Kind::Unsubscribed,
            "OptIn" => Kind::Resubscribed,
            _ => continue,
        };
        changes.push((format!("{list}:{}", chosen.0), kind));
    }
    changes
}

fn draft(
    fields: &json::Fields,
    envelope: &Envelope,
    id: Option<&str>,
    kind: Kind,
    scope: &str,
) -> Result<Draft, Malformed> {
    // An array of one address is taken for that address: of several nobody knows who chose.
    let contact = json::needed(kind, None, fields.email("mail.destination"))?;
    let occurred_at = fields.time("subscription.timestamp");
    let occurred_at = json::timed(kind, occurred_at, "subscription.timestamp")?;
    let message = id
        .map(str::to_owned)
        .or_else(|| fields.text("mail.messageId"));
    let time = fields.text("subscription.timestamp");
    let sent = [
        message,
        Some(scope.to_owned()),
        Some(kind.to_string()),
        time,
    ];
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        contact,
        scope: Some(scope.to_owned()),
        occurred_at,
        reason: fields.label("subscription.source"),
        origin: if kind == Kind::Other {
            Origin::Unknown
        } else {
            Origin::Recipient
        },
        message_id: fields.label("mail.messageId"),
        metadata: fields.keep(&["mail.tags", NEW, OLD]),
        ..Draft::new(kind, "Subscription", identity)
    })
}
