//! Providers: one file each, with its settings, how it proves who calls, how its bodies are read, and at the top the
//! table from its event names to ours.
//!
//! # Adding a provider
//! One new file, its samples in `samples/NAME/EVENT.http`, each with the snapshot that the test over them makes, and its two
//! lines here: `mod name;` and `&name::Name` in [`ALL`]. Everything in it is synchronous, does no I/O and takes the time from
//! the request or the envelope, since `verify` runs in ingress and `parse` in the worker. The test over all samples does the
//! rest. Its guide is what `optout sources add` says of it. README.md and optout.toml list it.

mod adapter;
mod brevo;
mod customerio;
mod fields;
pub(crate) mod form;
mod format;
mod generic;
mod guide;
mod json;
mod klaviyo;
mod mailchimp;
mod mailersend;
mod mailgun;
mod mailgun_signature;
mod mailjet;
mod mailtrap;
mod mandrill;
mod notifiedby;
mod path;
mod postal;
mod postmark;
mod public_key;
mod resend;
pub(crate) mod sample;
mod scheme;
mod sendgrid;
mod sentinmail;
mod ses;
mod signature;
mod sns;
mod sparkpost;
mod standard;
mod standard_webhooks;
mod subscription;
pub mod talkable;
mod twilio;
mod unisender_go;
mod words;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod signed;

use std::{fmt::Debug, sync::Arc};

use jiff::Timestamp;
use secrecy::SecretString;
use url::Url;

use crate::{
    envelope::Envelope,
    event::{Draft, Event},
    queue::Priority,
    settings::Section,
};

pub use adapter::Adapter;
pub use guide::{Guide, Suit};
pub use sample::{Proof, Sample};

/// Every provider, by name in alphabetical order.
pub const ALL: &[&dyn Provider] = &[
    &brevo::Brevo,
    &customerio::CustomerIo,
    &generic::Generic,
    &klaviyo::Klaviyo,
    &mailchimp::Mailchimp,
    &mailersend::MailerSend,
    &mailgun::Mailgun,
    &mailjet::Mailjet,
    &mailtrap::Mailtrap,
    &mandrill::Mandrill,
    &notifiedby::NotifiedBy,
    &postal::Postal,
    &postmark::Postmark,
    &resend::Resend,
    &sendgrid::SendGrid,
    &sentinmail::SentinMail,
    &ses::Ses,
    &sparkpost::SparkPost,
    &standard_webhooks::StandardWebhooks,
    &talkable::Talkable,
    &twilio::Twilio,
    &unisender_go::UnisenderGo,
];

/// The provider called `name`.
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

/// A kind of sender with a format of its own.
pub trait Provider: Debug + Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// The same provider as a source describes it, where it can be described.
    fn described(&self, _source: &mut Section) -> Option<Arc<dyn Provider>> {
        None
    }

    /// The headers, in lower case, that are kept with the envelope beside the content type and the user agent.
    fn headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// What a source has to hold so that the provider's own signature can be checked, which [`Provider::verify`] does.
    /// Nothing where it does not sign.
    fn needs(&self) -> &'static [Need] {
        &[]
    }

    /// Checks the provider's own signature over the raw bytes, in constant time. Called only where it
    /// [needs](Self::needs) anything.
    fn verify(&self, _request: &Request<'_>, _keys: &Keys) -> Result<(), Rejected> {
        Err(Rejected)
    }

    /// What the provider signed, where its signature does not cover the body: whoever saw one request could have any other
    /// taken by it, so that it lets in no more than one, and the repeats of that. Asked only where signatures are checked.
    fn token(&self, _envelope: &Envelope) -> Option<String> {
        None
    }

    /// What somebody has to know who connects it. What is built in is connected to nothing.
    fn guide(&self) -> Guide {
        Guide::default()
    }

    /// Where the certificate stands by which the request is to be checked, where the provider's scheme has one to be fetched.
    /// A URL that this provider vouches for, whoever the request is of.
    fn certificate(&self, _request: &Request<'_>, _keys: &Keys) -> Option<Url> {
        None
    }

    /// The URL that a request which was found right asks to be visited, so that more are sent.
    fn confirmation(&self, _body: &[u8]) -> Option<Url> {
        None
    }

    /// Whether it asks questions, which the api answers at this path, where the others tell of events at the door.
    fn asks_at(&self) -> Option<&'static str> {
        None
    }

    /// A sample as it proves itself by the provider's own scheme, at `now`. None where it does not, or where that cannot
    /// be done here.
    fn prove(&self, _sample: &Sample, _keys: &Keys, _now: Timestamp) -> Option<Proof> {
        None
    }

    /// The command by which its user has the provider itself send a sample, where only the provider can sign and sends
    /// what it is told to.
    fn command(&self, _sample: &Sample, _keys: &Keys) -> Option<String> {
        None
    }

    /// A cheap look at the bytes: does this body only tell of deliveries, opens, clicks and other things that change
    /// nothing? In doubt, urgent.
    fn priority(&self, body: &[u8]) -> Priority;

    /// Whether the query of a GET tells of an event, which is taken by POST only: to answer it like a probe would lose it
    /// and nobody would know.
    fn tells_by_get(&self, _query: &str) -> bool {
        false
    }

    /// The status codes by which it is refused without losing its events.
    fn refusals(&self) -> Refusals {
        Refusals::default()
    }

    /// What a request that was taken is answered, as a content type and a body, where the provider passes it on. Else the
    /// id of its envelope.
    fn accepted(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Reads a body, whatever its content type says.
    fn parse(&self, envelope: &Envelope) -> Parsed;

    /// Whether the event, which this provider's request brought, says that the recipient brought it about: by a field of its
    /// own, or since it is nothing else. Then it only reports back nothing that the platform was told. Where no more than
    /// its kind suggests so, it does not say it.
    fn says_recipient(&self, _event: &Event) -> bool {
        false
    }

    /// What it calls the two events of one request by which it tells that a person has another email address now, where it
    /// tells so.
    fn moves(&self) -> Option<Moves> {
        None
    }

    /// Requests that `optout send` and `optout demo` can post, the one that shows most first.
    fn samples(&self) -> &'static [Sample];
}

/// The names of the events that tell of a change of address: each is about one of the two addresses, and the request tells of
/// no other change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moves {
    pub before: &'static str,
    pub since: &'static str,
}

/// What a signature may cover.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Headers by lower-case name.
    pub header: &'a dyn Headers,
    pub body: &'a [u8],
    pub now: Timestamp,
    /// What stands at [`Provider::certificate`].
    pub certificate: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    pub fn new(header: &'a dyn Headers, body: &'a [u8], now: Timestamp) -> Self {
        Self {
            header,
            body,
            now,
            certificate: None,
        }
    }
}

/// Looks up a header by its lower-case name.
pub trait Headers: Debug {
    fn get(&self, name: &str) -> Option<&str>;
}

/// A part of what a source's `auth = { kind = "signature", … }` has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `secret`: a shared one.
    Secret,
    /// `public_key`: of the provider.
    PublicKey,
    /// `secret` or `public_key`, or both.
    SecretOrPublicKey,
    /// `url`: the one that is registered at the provider, which is part of what is signed.
    Url,
    /// `topics`: those from which messages are taken.
    Topics,
    /// `key` and `site`, which the request states as they are.
    KeyAndSite,
}

/// What a source's `auth = { kind = "signature", … }` holds.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Shared secrets, all valid at once.
    pub secrets: Vec<SecretString>,
    /// Public keys, all valid at once.
    pub public_keys: Vec<SecretString>,
    /// The name of the account, where the provider states it beside the secret.
    pub site: Option<String>,
    /// The URL as it is configured at the provider, where it is part of what is signed.
    pub url: Option<String>,
    /// The topics from which messages are taken.
    pub topics: Vec<String>,
}

/// The request does not prove that the provider sent it. Says nothing more, so that a caller learns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the credentials are wrong or missing")]
pub struct Rejected;

/// Why a body, or an element of it, cannot be read. Goes into quarantine; never holds an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// What a body says. The outer error is for a body that is no such thing at all; the inner ones are for single elements
/// of it, so that one bad element costs no other.
pub type Parsed = Result<Vec<Result<Draft, Malformed>>, Malformed>;

/// What a provider is answered when its request is not taken. A code that makes it give up would lose events
/// (PROVIDERS: 403 ends Postmark's retries, any 5xx makes Brevo drop the event).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    /// Wrong or missing credentials.
    pub unauthorized: u16,
    /// Overloaded, or the queue is away: must make the provider try again.
    pub unavailable: u16,
    /// The source is disabled.
    pub disabled: u16,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            unauthorized: 401,
            unavailable: 503,
            disabled: 404,
        }
    }
}
