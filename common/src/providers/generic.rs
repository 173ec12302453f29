//! Any sender of JSON or forms, as its source describes it: where the event, the address, the time and the id stand, what
//! its events are called, and how it signs.
//!
//! Without a description the fields are `event`, `email` or `phone`, `timestamp`, `id`, `scope` and `reason`, and events
//! have the names that they have here.

use std::{
    cell::Cell,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit,
    form::Form,
    format::{Body, Format},
    json,
    path::Place,
    sample::samples,
    scheme::Scheme,
};
use crate::{
    contact::Contact,
    envelope::Envelope,
    event::{Draft, Kind},
    queue::Priority,
    settings::Section,
};

/// The provider without a description.
#[derive(Debug)]
pub(super) struct Generic;

static PLAIN: LazyLock<Described> = LazyLock::new(|| Described(Format::plain()));

/// The provider as a source describes it.
#[derive(Debug)]
struct Described(Format);

impl Provider for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn described(&self, source: &mut Section) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(Described(Format::read(source.section("format")))))
    }

    fn priority(&self, body: &[u8]) -> Priority {
        PLAIN.priority(body)
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        PLAIN.parse(envelope)
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "the sender",
            suits: &[Suit::Header, Suit::Bearer, Suit::BasicInUrl, Suit::Query],
            steps: &[
                "Have the sender post JSON or forms to the URL, with the credential.",
                "Say where things stand in its requests under [sources.format], in the file or by --set format.event=KEY and so on; optout.toml shows every key.",
                "If it signs its requests, use --auth signature and say how: --set format.signature.header=NAME.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "generic": "unsubscribed", "sms-unsubscribed", "resubscribed", "complained", "bounced-hard", "bounced-soft",
            "opened", "other", "batch",
        )
    }
}

impl Provider for Described {
    fn name(&self) -> &'static str {
        Generic.name()
    }

    fn headers(&self) -> &'static [&'static str] {
        self.0.scheme.as_ref().map_or(&[], Scheme::headers)
    }

    fn needs(&self) -> &'static [Need] {
        self.0.scheme.as_ref().map_or(&[], Scheme::needs)
    }

    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let scheme = self.0.scheme.as_ref().ok_or(Rejected)?;
        scheme.verify(request, keys)
    }

    fn prove(&self, sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
        self.0.scheme.as_ref()?.prove(sample, keys, now)
    }

    fn priority(&self, body: &[u8]) -> Priority {
        let (some, all) = (Cell::new(false), Cell::new(true));
        let look = |fields: &json::Fields| {
            let (kind, _) = self
                .0
                .meaning(&fields.label(&self.0.event).unwrap_or_default());
            let low = matches!(
                kind,
                Some(Kind::Delivered | Kind::Opened | Kind::Clicked | Kind::Other)
            );
            some.set(true);
            all.set(all.get() && low);
            vec![]
        };
        let read = match self.0.body {
            Body::Json => json::read_list(body, &self.0.list, look).map(|told| told.is_empty()),
            Body::Form => Ok(look(&Form::glance(body).into_fields()).is_empty()),
        };
        if read == Ok(true) && some.get() && all.get() {
            Priority::Bulk
        } else {
            Priority::Urgent
        }
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        let told = |fields: &json::Fields| vec![self.draft(fields, envelope)];
        match self.0.body {
            Body::Json => json::read_list(&envelope.body, &self.0.list, told),
            Body::Form => {
                let form = Form::read(&envelope.body, envelope.content_type.as_deref())?;
                Ok(told(&form.into_fields()))
            }
        }
    }

    fn guide(&self) -> Guide {
        Generic.guide()
    }

    fn samples(&self) -> &'static [Sample] {
        Generic.samples()
    }
}

impl Described {
    fn draft(&self, fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
        let name = fields.label(&self.0.event).unwrap_or_default();
        let (kind, class) = self.0.meaning(&name);
        let kind = kind.unwrap_or(Kind::Other);
        let contact = json::needed(kind, class, self.contact(fields))?;
        let stated = if self.0.utc {
            fields.utc(&self.0.time)
        } else {
            fields.time(&self.0.time)
        };
        let occurred_at = json::timed(kind, stated, Place::from(&self.0.time))?;
        let sent = [&self.0.event, &self.0.time, &self.0.scope, &self.0.message];
        let identity = json::identity(
            fields.label(&self.0.id),
            sent.map(|key| fields.text(key)),
            contact.as_ref(),
            occurred_at,
            envelope,
        );
        Ok(Draft {
            bounce_class: class,
            contact,
            scope: fields.label(&self.0.scope),
            occurred_at,
            reason: fields.label(&self.0.reason),
            origin: json::usual_origin(kind),
            message_id: fields.label(&self.0.message),
            ..Draft::new(kind, name, identity)
        })
    }

    fn contact(&self, fields: &json::Fields) -> Result<Contact, Malformed> {
        if fields.has(&self.0.phone) && !fields.has(&self.0.email) {
            fields.phone(&self.0.phone)
        } else {
            fields.email(&self.0.email)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        config::{Config, Loaded},
        providers::sample::reading::{changes, event, headers, parse, sample, what},
    };

    fn config(format: &str) -> Config {
        let text = format!(
            "[[sources]]\nname = 'crm'\nprovider = 'generic'\nauth = {{ kind = 'signature', secret = 's3cret' }}\n{format}"
        );
        let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
        assert_eq!(loaded.mistakes(), []);
        loaded.config
    }

    fn mistakes(format: &str) -> Vec<String> {
        let text = format!(
            "[[sources]]\nname = 'crm'\nprovider = 'generic'\nauth = {{ kind = 'none' }}\n{format}"
        );
        let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
        loaded
            .mistakes()
            .into_iter()
            .map(|mistake| mistake.key)
            .collect()
    }

    const NESTED: &str = r#"
        [sources.format]
        list = "payload.events"
        event = "kind"
        email = "who.mail"
        time = "at"
        utc = true
        id = "uid"
        scope = "who.list"
        [sources.format.events]
        "Opted Out" = "unsubscribed"
        "mail.failed" = "bounced hard"
        "seen" = "opened"
        [sources.format.signature]
        header = "X-Crm-Signature"
        prefix = "sha256="
        timestamp_header = "X-Crm-Time"
        signed = "{timestamp}:{body}"
        tolerance = "5m"
    "#;

    const BODY: &str = r#"{"payload":{"events":[
        {"kind":"opted-out","who":{"mail":"a@b.example","list":"news"},"at":"2026-04-02 14:30:00","uid":"1"},
        {"kind":"mail.failed","who":{},"uid":"2"},
        {"kind":"moon","uid":"3"}
    ]}}"#;

    #[test]
    fn a_description_tells_where_everything_stands_and_what_it_means() {
        let config = config(NESTED);
        let provider = &*config.sources[0].provider;
        let results = parse(provider, BODY).unwrap();
        let first = results[0].as_ref().unwrap();
        assert_eq!(what(first), "unsubscribed a@b.example");
        assert_eq!(changes(first), "news consent suppressed");
        assert_eq!(first.occurred_at.to_string(), "2026-04-02T14:30:00Z");
        assert_eq!(first.provider_event_id.as_deref(), Some("1"));
        let why = &results[1].as_ref().unwrap_err().0;
        assert_eq!(
            why,
            "who.mail must be a text with one email address, and is missing"
        );
        assert_eq!(what(results[2].as_ref().unwrap()), "other");
        let priority = |names: &[&str]| {
            let events: Vec<_> = names
                .iter()
                .map(|name| serde_json::json!({ "kind": name }))
                .collect();
            let body = serde_json::json!({ "payload": { "events": events } });
            provider.priority(body.to_string().as_bytes())
        };
        assert_eq!(priority(&["seen", "SEEN"]), Priority::Bulk);
        assert_eq!(priority(&["seen", "opted out"]), Priority::Urgent);
        assert_eq!(priority(&["moon"]), Priority::Urgent);
        assert_eq!(priority(&[]), Priority::Urgent);
    }

    #[test]
    fn a_described_signature_is_checked_to_the_byte_and_the_minute() {
        let config = config(NESTED);
        let provider = &*config.sources[0].provider;
        assert_eq!(provider.needs(), [Need::Secret]);
        let keys = |secret: &str| Keys {
            secrets: vec![secret.into()],
            ..Keys::default()
        };
        let now: Timestamp = "2026-04-02T14:30:05Z".parse().unwrap();
        let sample = sample(&Generic, "unsubscribed");
        let proof = provider.prove(&sample, &keys("s3cret"), now).unwrap();
        let verifies = |body: &str, secret: &str, minutes: i64| {
            let given = proof.headers.iter();
            let header = headers(given.map(|(name, value)| (name.as_ref(), value.as_str())));
            let now = now
                .saturating_add(jiff::SignedDuration::from_mins(minutes))
                .unwrap();
            let (header, body) = (&header, body.as_bytes());
            let request = Request {
                header,
                body,
                now,
                certificate: None,
            };
            provider.verify(&request, &keys(secret)).is_ok()
        };
        assert!(verifies(sample.body(), "s3cret", 4));
        assert!(!verifies(sample.body(), "other", 0));
        assert!(!verifies(sample.body(), "s3cret", 6));
        assert!(!verifies(
            &sample.body().replace("jane", "jone"),
            "s3cret",
            0
        ));
    }

    #[test]
    fn a_form_is_described_like_json() {
        let config = config(
            r#"
            [sources.format]
            body = "form"
            event = "status"
            phone = "msisdn"
            [sources.format.events]
            STOP = "unsubscribed"
            [sources.format.signature]
            header = "x-signature"
            algorithm = "hmac-sha1"
            encoding = "base64"
            "#,
        );
        let provider = &*config.sources[0].provider;
        let stop = event(provider, "status=stop&msisdn=15551234567");
        assert_eq!(what(&stop), "unsubscribed +15551234567");
    }

    #[test]
    fn names_that_have_a_dot_are_found_by_a_list_of_keys_and_in_a_form_as_they_are() {
        let json = config(
            r#"
            [sources.format]
            list = ["payload.v1", "events"]
            event = ["event.name"]
            email = ["who", "user.email", 0]
            [sources.format.signature]
            header = "x"
            "#,
        );
        let body = r#"{"payload.v1":{"events":[
            {"event.name":"unsubscribed","who":{"user.email":["a@b.example"]}},{"event.name":"unsubscribed"}]}}"#;
        let results = parse(&*json.sources[0].provider, body).unwrap();
        assert_eq!(
            what(results[0].as_ref().unwrap()),
            "unsubscribed a@b.example"
        );
        let why = &results[1].as_ref().unwrap_err().0;
        assert_eq!(
            why,
            r#"["who", "user.email", "0"] must be a text with one email address, and is missing"#
        );
        let form = config(
            "[sources.format]\nbody = 'form'\nevent = 'event.name'\nemail = ['user.email']\n[sources.format.signature]\nheader = 'x'",
        );
        let told = event(
            &*form.sources[0].provider,
            "event.name=unsubscribed&user.email=a@b.example",
        );
        assert_eq!(what(&told), "unsubscribed a@b.example");
    }

    #[test]
    fn mistakes_in_a_description_are_named() {
        let format = "[sources.format]\nbody = 'form'\nlist = 'x'\ncolour = 'blue'\n[sources.format.events]\nx = 'vanished'\ny = 'bounced away'\n[sources.format.signature]\nsigned = '{timestamp}{moon}'\n";
        let expected = [
            "format.events.x",
            "format.events.y",
            "format.signature.header",
            "format.signature.signed",
            "format.signature.timestamp_header",
            "format.list",
            "format.colour",
        ];
        let mut found = mistakes(format);
        found.sort();
        let mut expected: Vec<_> = expected
            .iter()
            .map(|key| format!("sources[0].{key}"))
            .collect();
        expected.sort();
        assert_eq!(found, expected);
        // A time that is not signed can be made anew.
        let unsigned =
            "[sources.format.signature]\nheader = 'x'\ntimestamp_header = 't'\ntolerance = '5m'";
        assert_eq!(
            mistakes(unsigned),
            ["sources[0].format.signature.tolerance"]
        );
    }
}
