//! Samples: requests as the providers send or document them, as files. The tests read them, and so do `optout send` and `optout demo`.
//!
//! A file holds comment lines (`# where it comes from`, `# received: TIME`, of what only its provider can sign
//! `# public_key: KEY`), header lines, an empty line, and the body, byte for byte to the end of the file: there is no line
//! feed after it unless one was posted.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::Keys;
use crate::{envelope::Envelope, event::rfc3339};

/// A request as a provider sends it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// The event's name, which is the file's name without `.http`.
    pub name: &'static str,
    /// The whole file.
    pub text: &'static str,
}

/// The samples of `samples/PROVIDER`, by name.
macro_rules! samples {
    ($provider:literal: $($name:literal),+ $(,)?) => {
        &[$($crate::providers::Sample {
            name: $name,
            text: include_str!(concat!("../../samples/", $provider, "/", $name, ".http")),
        },)+]
    };
}

pub(super) use samples;

impl Sample {
    /// The body as it is posted.
    pub fn body(&self) -> &'static str {
        self.parts().1
    }

    /// The headers as they are posted, the content type among them.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let lines = self.parts().0.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
    }

    /// A header's value, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&'static str> {
        self.headers()
            .find(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn content_type(&self) -> Option<&'static str> {
        self.header("content-type")
    }

    /// When it was received, or may have been: shortly after what it tells of.
    pub fn received_at(&self) -> Option<Timestamp> {
        rfc3339(self.stated("received")?)
    }

    /// The key by which the signature among its headers is right.
    pub fn public_key(&self) -> Option<&'static str> {
        self.stated("public_key")
    }

    /// What a comment line says: `# KEY: VALUE`.
    fn stated(&self, key: &str) -> Option<&'static str> {
        let comments = self.parts().0.lines();
        let mut stated = comments.filter_map(|line| line.strip_prefix("# ")?.split_once(": "));
        let found = stated.find(|(name, _)| *name == key);
        found.map(|(_, value)| value.trim())
    }

    /// The envelope that ingress would make of it. Only headers that `kept` names (in lower case) come with it.
    pub fn envelope(&self, id: Uuid, source: &str, kept: &[&str]) -> Envelope {
        let headers = self
            .headers()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Envelope {
            id,
            source: source.to_owned(),
            received_at: self.received_at().unwrap_or_default(),
            content_type: self.content_type().map(str::to_owned),
            headers: headers
                .filter(|(name, _)| kept.contains(&name.as_str()))
                .collect(),
            body: Bytes::from_static(self.body().as_bytes()),
        }
    }

    fn parts(&self) -> (&'static str, &'static str) {
        self.text.split_once("\n\n").unwrap_or((self.text, ""))
    }
}

/// What a sample is sent with so that it proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// They take the place of the sample's own of the same name.
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: String,
}

impl Proof {
    /// A signature in a header, and the body as it is.
    pub(super) fn by_header(
        name: impl Into<Cow<'static, str>>,
        signature: String,
        sample: &Sample,
    ) -> Self {
        Self {
            headers: vec![(name.into(), signature)],
            body: sample.body().to_owned(),
        }
    }

    /// What only the provider can sign proves itself as it was recorded, to a source that holds the key of that.
    pub(super) fn recorded(sample: &Sample, keys: &Keys) -> Option<Self> {
        let key = sample.public_key()?;
        let holds = |held: &SecretString| held.expose_secret().trim() == key;
        keys.public_keys.iter().any(holds).then(|| Self {
            headers: vec![],
            body: sample.body().to_owned(),
        })
    }
}

/// What the providers' tests are written with.
#[cfg(test)]
pub(crate) mod reading {
    use super::{Sample, Uuid};
    use crate::{
        envelope::Envelope,
        event::{BounceClass, Change, Draft, Event, Undetermined},
        providers::{Headers, Malformed, Provider},
    };

    type Read = Result<Vec<Result<Event, Malformed>>, Malformed>;

    /// Headers as a request may have them.
    #[derive(Debug)]
    pub(crate) struct Given(Vec<(String, String)>);

    impl Headers for Given {
        fn get(&self, name: &str) -> Option<&str> {
            let found = self.0.iter().find(|(given, _)| given == name);
            found.map(|(_, value)| value.as_str())
        }
    }

    pub(crate) fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Given {
        let pairs = pairs.into_iter();
        Given(
            pairs
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
        )
    }

    pub(crate) fn sample(provider: &dyn Provider, name: &str) -> Sample {
        *provider
            .samples()
            .iter()
            .find(|sample| sample.name == name)
            .unwrap()
    }

    pub(crate) fn envelope(body: &str) -> Envelope {
        Envelope {
            id: Uuid::nil(),
            source: "shop".to_owned(),
            received_at: "2026-04-02T14:30:05Z".parse().unwrap(),
            content_type: Some("application/json".to_owned()),
            headers: vec![],
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    pub(crate) fn parse(provider: &dyn Provider, body: &str) -> Read {
        events(provider, &envelope(body))
    }

    /// The one event of a body.
    pub(crate) fn event(provider: &dyn Provider, body: &str) -> Event {
        let mut results = parse(provider, body).unwrap();
        assert_eq!(results.len(), 1, "{body}");
        results
            .remove(0)
            .unwrap_or_else(|why| panic!("{why}: {body}"))
    }

    /// Why the one element of a body cannot be read.
    pub(crate) fn malformed(provider: &dyn Provider, body: &str) -> String {
        let mut results = parse(provider, body).unwrap();
        assert_eq!(results.len(), 1, "{body}");
        results.remove(0).unwrap_err().0
    }

    /// What happened and to whom, in short: `bounced hard a@b.example`.
    pub(crate) fn what(event: &Event) -> String {
        let class = event.bounce_class.map(BounceClass::as_str);
        let address = event
            .contact
            .as_ref()
            .map(|contact| contact.address.as_str());
        [Some(event.kind.as_str()), class, address]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The registers that an event sets, in short: `global consent suppressed`.
    pub(crate) fn changes(event: &Event) -> String {
        let short = |change: Change<'_>| {
            format!(
                "{} {} {}",
                change.scope,
                change.lane,
                if change.suppressed {
                    "suppressed"
                } else {
                    "clear"
                }
            )
        };
        event
            .changes()
            .into_iter()
            .map(short)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The body with `from` replaced by `to`.
    pub(crate) fn changed(body: &str, from: &str, to: &str) -> String {
        assert!(body.contains(from), "{from}");
        body.replace(from, to)
    }

    /// The body with another value of one field.
    pub(crate) fn with(body: &str, key: &str, value: serde_json::Value) -> String {
        let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
        body[key] = value;
        body.to_string()
    }

    pub(crate) fn events(provider: &dyn Provider, envelope: &Envelope) -> Read {
        let into_event =
            |draft: Draft| draft.into_event(envelope, provider.name(), Undetermined::Suppress);
        Ok(provider
            .parse(envelope)?
            .into_iter()
            .map(|result| result.map(into_event))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_apart_and_its_body_kept_byte_for_byte() {
        let sample = Sample {
            name: "x",
            text: "# from a page\n# received: 2026-04-02T14:30:05Z\nContent-Type: text/plain; a=b\nX-Id: 1:2\n\n{\n\n}\n",
        };
        assert_eq!(sample.body(), "{\n\n}\n");
        assert_eq!(sample.content_type(), Some("text/plain; a=b"));
        assert_eq!(sample.headers().last(), Some(("X-Id", "1:2")));
        let envelope = sample.envelope(Uuid::nil(), "shop", &["x-id"]);
        assert_eq!(envelope.received_at.to_string(), "2026-04-02T14:30:05Z");
        assert_eq!(envelope.header("x-id"), Some("1:2"));
        assert_eq!(envelope.headers.len(), 1);
        assert_eq!(envelope.body, sample.body());
    }
}
