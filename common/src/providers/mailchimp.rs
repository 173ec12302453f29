//! Mailchimp's audiences: a form per change of a subscriber, with bracketed names, without a signature: Mailchimp advises a
//! secret in the URL.
//!
//! A subscription is told of where the subscriber, or whoever the webhook was set to watch, brought it about; it lifts in
//! its audience. That an address has become another (`upemail`) is an event of each of the two, without effect: what is known
//! of the old one is the ledger's, which carries it over. Neither event holds the other's address, so that each is erased by
//! itself.

use jiff::Timestamp;

use super::{
    Guide, Malformed, Moves, Parsed, Provider, Refusals, Sample, Suit, form::Form, json,
    sample::samples,
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{BounceClass, Draft, Kind},
    queue::Priority,
};

/// An unsubscribe and a cleaned address have their reason beside them.
const EVENTS: &[json::Row] = &[
    ("unsubscribe", Kind::Unsubscribed, None),
    ("unsub", Kind::Unsubscribed, None),
    ("subscribe", Kind::Resubscribed, None),
    ("cleaned", Kind::Bounced, Some(BounceClass::Hard)),
    (MOVES.since, Kind::Other, None),
    ("profile", Kind::Other, None),
    ("campaign", Kind::Other, None),
];

/// Mailchimp's own name, and ours of what it says of the address before.
const MOVES: Moves = Moves {
    before: "upemail:old",
    since: "upemail",
};

const KEPT: &[&str] = &[
    "data[action]",
    "data[id]",
    "data[email_type]",
    "data[new_id]",
];

/// What tells one change from another beside its address.
const IDENTITY: &[&str] = &[
    "type",
    "fired_at",
    "data[list_id]",
    "data[id]",
    "data[new_id]",
    "data[campaign_id]",
];

#[derive(Debug)]
pub(super) struct Mailchimp;

impl Provider for Mailchimp {
    fn name(&self) -> &'static str {
        "mailchimp"
    }

    fn priority(&self, body: &[u8]) -> Priority {
        let form = Form::glance(body);
        let name = form.first("type").unwrap_or_default();
        // By another address somebody may be mailed who opted out.
        if json::low(EVENTS, name) && !json::same(name, MOVES.since) {
            Priority::Bulk
        } else {
            Priority::Urgent
        }
    }

    /// 410 has Mailchimp disable the webhook, as it should be where the source is.
    fn refusals(&self) -> Refusals {
        Refusals {
            disabled: 410,
            ..Refusals::default()
        }
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        let form = Form::read(&envelope.body, envelope.content_type.as_deref())?;
        // A validator may post nothing.
        if envelope.body.trim_ascii().is_empty() {
            return Ok(vec![]);
        }
        if form.first("type").is_none() {
            return Err(Malformed("the form has no type".to_owned()));
        }
        let fields = form.into_fields();
        if is_move(&fields) {
            return Ok(moved(&fields, envelope));
        }
        Ok(vec![draft(&fields, envelope)])
    }

    fn moves(&self) -> Option<Moves> {
        Some(MOVES)
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Mailchimp",
            suits: &[Suit::Query],
            steps: &[
                "Start ingress with this source first: Mailchimp asks the URL before it saves it.",
                "Audience > Settings > Webhooks: create one with the URL, for each audience.",
                "Tick Subscribes, Unsubscribes, Email changed and Cleaned emails, and changes by a subscriber and by an account admin.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "mailchimp": "unsubscribe", "unsubscribe-abuse", "unsubscribe-delete", "subscribe", "cleaned",
            "cleaned-abuse", "upemail", "profile", "campaign",
        )
    }
}

fn draft(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("type").unwrap_or_default();
    let reason = fields.label("data[reason]");
    let (kind, class) = match (json::meaning(EVENTS, &name), reason.as_deref()) {
        (Some((Kind::Unsubscribed | Kind::Bounced, _)), Some("abuse")) => (Kind::Complained, None),
        (Some(meaning), _) => meaning,
        (None, _) => (Kind::Other, None),
    };
    let contact = json::needed(kind, class, fields.email("data[email]"))?;
    let occurred_at = json::timed(kind, fields.utc("fired_at"), "fired_at")?;
    Ok(Draft {
        bounce_class: class,
        reason,
        campaign_id: fields.label("data[campaign_id]"),
        ..of(fields, envelope, (kind, &name), contact, occurred_at, &[])
    })
}

fn is_move(fields: &json::Fields) -> bool {
    let name = fields.label("type").unwrap_or_default();
    json::same(&name, MOVES.since)
}

/// Of the address before and of the one since; of neither if one of them cannot be read, since the other says nothing.
fn moved(fields: &json::Fields, envelope: &Envelope) -> json::Told {
    let read = |key: &str| fields.email(key);
    let (before, since) = match (read("data[old_email]"), read("data[new_email]")) {
        (Ok(before), Ok(since)) => (before, since),
        (Err(why), _) | (_, Err(why)) => {
            let why =
                format!("{why}: what was opted out under the old address is not carried over");
            return vec![Err(Malformed(why))];
        }
    };
    let at = fields.utc("fired_at");
    let change = [&before, &since].map(|contact| Some(contact.address.clone()));
    let told = |name: &str, contact: Contact| {
        let what = (Kind::Other, name);
        Ok(of(fields, envelope, what, Some(contact), at, &change))
    };
    // Spelt otherwise it is the same one.
    if before.address == since.address {
        return vec![told(MOVES.since, since)];
    }
    vec![told(MOVES.since, since), told(MOVES.before, before)]
}

/// What all events have. Both addresses of a `change` are in the ids of both its events, so that one envelope brings both: of
/// two addresses that become one within a second, the events of that one would else be the same.
fn of(
    fields: &json::Fields,
    envelope: &Envelope,
    (kind, name): (Kind, &str),
    contact: Option<Contact>,
    occurred_at: Option<Timestamp>,
    change: &[Option<String>],
) -> Draft {
    let sent = IDENTITY.iter().map(|key| fields.text(key));
    let sent = sent.chain(change.iter().cloned());
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Draft {
        contact,
        scope: fields.label("data[list_id]"),
        occurred_at,
        origin: json::usual_origin(kind),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{
        changed, changes, event, malformed, parse, sample, what,
    };

    fn body(name: &str) -> &'static str {
        sample(&Mailchimp, name).body()
    }

    fn told(body: &str) -> String {
        changes(&event(&Mailchimp, body))
    }

    #[test]
    fn an_unsubscribe_is_of_its_audience_and_abuse_is_a_complaint() {
        assert_eq!(told(body("unsubscribe")), "a6b5da1054 consent suppressed");
        assert_eq!(
            told(body("unsubscribe-delete")),
            "a6b5da1054 consent suppressed"
        );
        assert_eq!(
            told(body("unsubscribe-abuse")),
            "global complaint suppressed"
        );
        assert_eq!(told(body("cleaned")), "global deliverability suppressed");
        assert_eq!(told(body("cleaned-abuse")), "global complaint suppressed");
        let short = changed(body("unsubscribe"), "type=unsubscribe", "type=unsub");
        assert_eq!(told(&short), "a6b5da1054 consent suppressed");
    }

    #[test]
    fn a_time_without_a_zone_is_utc_and_one_with_a_zone_is_read_too() {
        let event = event(&Mailchimp, body("unsubscribe"));
        assert_eq!(event.occurred_at.to_string(), "2009-03-26T21:40:57Z");
        let other = changed(
            body("subscribe"),
            "2009-03-26+21%3A35%3A57",
            "2009-03-26T22:35:57%2B01:00",
        );
        let other = crate::providers::sample::reading::event(&Mailchimp, &other);
        assert_eq!(other.occurred_at.to_string(), "2009-03-26T21:35:57Z");
        let untimed = changed(body("subscribe"), "fired_at", "x");
        assert!(malformed(&Mailchimp, &untimed).starts_with("fired_at must be a time"));
    }

    #[test]
    fn a_changed_address_is_told_of_both_and_is_urgent() {
        let told = |body: &str| -> Vec<_> {
            let results = parse(&Mailchimp, body).unwrap().into_iter();
            let named = |event: crate::event::Event| {
                assert_eq!(changes(&event), "");
                format!("{} {}", event.provider_event, what(&event))
            };
            results
                .map(|it| it.map_or_else(|why| why.0, named))
                .collect()
        };
        assert_eq!(
            told(body("upemail")),
            [
                "upemail other api+new@mailchimp.com",
                "upemail:old other api+old@mailchimp.com"
            ]
        );
        let same = changed(body("upemail"), "api%2Bold%40", "API%2Bnew%40");
        assert_eq!(told(&same), ["upemail other api+new@mailchimp.com"]);
        let unread = changed(body("upemail"), "%5Bold_email", "%5Bolder_email");
        let why = told(&unread);
        assert_eq!(why.len(), 1);
        assert!(
            why[0].starts_with("data[old_email] must be a text"),
            "{why:?}"
        );
        assert_eq!(
            Mailchimp.priority(body("upemail").as_bytes()),
            Priority::Urgent
        );
        assert_eq!(
            Mailchimp.priority(body("profile").as_bytes()),
            Priority::Bulk
        );
    }

    #[test]
    fn the_two_events_of_a_change_are_of_no_other_change() {
        let ids = |body: &str| -> Vec<_> {
            let results = parse(&Mailchimp, body).unwrap().into_iter();
            results.map(|it| it.unwrap().id).collect()
        };
        let told = body("upemail");
        let other_old = changed(told, "api%2Bold%40", "api%2Bolder%40");
        let other_new = changed(told, "api%2Bnew%40", "api%2Bnewer%40");
        let back = changed(told, "new%40", "x%40");
        let back = changed(&back, "old%40", "new%40");
        let back = changed(&back, "x%40", "old%40");
        let all: Vec<_> = [told, &other_old, &other_new, &back]
            .into_iter()
            .flat_map(ids)
            .collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (8, 8));
        assert_eq!(ids(told), ids(told));
    }

    #[test]
    fn a_profile_and_a_validator_s_empty_post_change_nothing() {
        assert_eq!(told(body("profile")), "");
        assert_eq!(told(body("campaign")), "");
        assert!(parse(&Mailchimp, "").unwrap().is_empty());
        assert!(parse(&Mailchimp, "x=y").is_err());
    }
}
