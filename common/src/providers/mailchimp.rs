//! Mailchimp's audiences: a form per change of a subscriber, with bracketed names, without a signature: Mailchimp advises a
//! secret in the URL.
//!
//! A subscription is told of where the subscriber, or whoever the webhook was set to watch, brought it about; it lifts in
//! its audience. That an address has become another (`upemail`) is recorded without effect: what is known of the old one
//! is the ledger's.

use super::{
    Guide, Malformed, Parsed, Provider, Refusals, Sample, Suit, form::Form, json, sample::samples,
};
use crate::{
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
    ("upemail", Kind::Other, None),
    ("profile", Kind::Other, None),
    ("campaign", Kind::Other, None),
];

const KEPT: &[&str] = &[
    "data[action]",
    "data[id]",
    "data[email_type]",
    "data[old_email]",
    "data[new_email]",
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
        if json::low(EVENTS, name) {
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
        Ok(vec![draft(&form.into_fields(), envelope)])
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Mailchimp",
            suits: &[Suit::Query],
            steps: &[
                "Start ingress with this source first: Mailchimp asks the URL before it saves it.",
                "Audience > Settings > Webhooks: create one with the URL, for each audience.",
                "Tick Subscribes, Unsubscribes and Cleaned emails, and changes by a subscriber and by an account admin.",
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
    let address = ["data[email]", "data[new_email]"];
    let address = address.into_iter().find(|key| fields.has(key));
    let contact = json::needed(kind, class, fields.email(address.unwrap_or("data[email]")))?;
    let occurred_at = json::timed(kind, fields.utc("fired_at"), "fired_at")?;
    let sent = IDENTITY.iter().map(|key| fields.text(key));
    let identity = json::derived(sent, contact.as_ref(), occurred_at, envelope);
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: fields.label("data[list_id]"),
        occurred_at,
        reason,
        origin: json::usual_origin(kind),
        campaign_id: fields.label("data[campaign_id]"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
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
    fn a_changed_address_a_profile_and_a_validator_s_empty_post_change_nothing() {
        assert_eq!(
            what(&event(&Mailchimp, body("upemail"))),
            "other api+new@mailchimp.com"
        );
        assert_eq!(told(body("profile")), "");
        assert_eq!(told(body("campaign")), "");
        assert!(parse(&Mailchimp, "").unwrap().is_empty());
        assert!(parse(&Mailchimp, "x=y").is_err());
    }
}
