//! `[[sources]]`: one account at a provider each, with what its webhooks must prove.

use secrecy::SecretString;

use super::{NAME_RULE, is_name};
use crate::{
    event::Undetermined,
    names::names,
    one_click,
    providers::{self, Adapter, Keys, Need, Provider},
    request,
    settings::Section,
};

/// One configured account at a provider.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub provider: Adapter,
    /// All of them must hold. Empty only where `kind = "none"` is written out.
    pub credentials: Vec<Credential>,
    /// What a bounce of unknown class does.
    pub undetermined_bounce: Undetermined,
    /// A disabled source refuses by its provider's code for that; what it accepted before is still processed.
    pub enabled: bool,
}

names! {
    /// The kinds of `auth`.
    AuthKind { None = "none", Bearer = "bearer", Basic = "basic", Header = "header", Query = "query", Signature = "signature" }
}

/// One thing that a request must prove. Of several secrets any one will do, so that they can be rotated.
#[derive(Debug, Clone)]
pub enum Credential {
    Bearer {
        tokens: Vec<SecretString>,
    },
    Basic {
        username: String,
        passwords: Vec<SecretString>,
    },
    /// `name` is in lower case.
    Header {
        name: String,
        secrets: Vec<SecretString>,
    },
    /// A token in the URL.
    Query {
        name: String,
        secrets: Vec<SecretString>,
    },
    /// The provider's own scheme.
    Signature(Keys),
}

impl Source {
    /// What is always there, and at no webhook's URL.
    pub fn built_in() -> [Self; 2] {
        [Self::api(), Self::one_click()]
    }

    /// What comes in by the api itself.
    pub fn api() -> Self {
        Self::of(request::SOURCE, &request::Api)
    }

    /// What recipients ask for themselves, by links.
    pub fn one_click() -> Self {
        Self::of(one_click::SOURCE, &one_click::OneClick)
    }

    fn of(name: &str, provider: &'static dyn Provider) -> Self {
        Self {
            name: name.to_owned(),
            provider: Adapter::Known(provider),
            credentials: vec![],
            undetermined_bounce: Undetermined::Suppress,
            enabled: true,
        }
    }

    pub(super) fn read(mut section: Section) -> Option<Self> {
        let name: Option<String> = section.required("name");
        match name.as_deref() {
            Some(request::SOURCE) => section.mistake(
                "name",
                "is \"api\", which stands for what comes in by the api itself",
            ),
            Some(one_click::SOURCE) => section.mistake(
                "name",
                "is \"one-click\", which stands for what recipients ask for by links",
            ),
            Some(name) if !is_name(name) => section.mistake("name", NAME_RULE),
            _ => {}
        }
        let provider = section.required::<String>("provider").and_then(|name| {
            let found = providers::find(&name);
            if found.is_none() {
                let known: Vec<_> = providers::ALL
                    .iter()
                    .map(|provider| provider.name())
                    .collect();
                section.mistake(
                    "provider",
                    format!("is {name:?}; known are {}", known.join(", ")),
                );
            }
            found
        });
        let provider = provider.map(|provider| {
            let described = provider.described(&mut section);
            described.map_or(Adapter::Known(provider), Adapter::Described)
        });
        let given = section.sections("auth", true);
        if given.is_empty() {
            section.mistake(
                "auth",
                "is missing; a source that anybody may call says so: auth = { kind = \"none\" }",
            );
        }
        let credentials = given
            .into_iter()
            .filter_map(|auth| Credential::read(auth, provider.as_deref()))
            .collect();
        let undetermined_bounce = section.or("undetermined_bounce", Undetermined::Suppress);
        let enabled = section.or("enabled", true);
        section.finish();
        Some(Self {
            name: name?,
            provider: provider?,
            credentials,
            undetermined_bounce,
            enabled,
        })
    }
}

impl Credential {
    fn read(mut section: Section, provider: Option<&dyn Provider>) -> Option<Self> {
        let kind: Option<AuthKind> = section.required("kind");
        let kind = kind?;
        let asks = provider.is_some_and(|provider| provider.asks_at().is_some());
        if asks && !matches!(kind, AuthKind::None | AuthKind::Signature) {
            section.mistake(
                "kind",
                format!("is \"{kind}\", but this provider proves itself by its key and site: \"signature\" is needed"),
            );
        }
        let credential = match kind {
            AuthKind::None => None,
            AuthKind::Bearer => Some(Self::Bearer {
                tokens: section.secrets("token"),
            }),
            AuthKind::Basic => section.required("username").map(|username| Self::Basic {
                username,
                passwords: section.secrets("password"),
            }),
            AuthKind::Header => section.required::<String>("name").map(|name| Self::Header {
                name: name.to_lowercase(),
                secrets: section.secrets("secret"),
            }),
            AuthKind::Query => section.required("name").map(|name| Self::Query {
                name,
                secrets: section.secrets("secret"),
            }),
            AuthKind::Signature => Some(Self::Signature(read_keys(&mut section, provider))),
        };
        section.finish();
        credential
    }
}

fn read_topics(section: &mut Section) -> Vec<String> {
    let topics: Vec<String> = section.required("topics").unwrap_or_default();
    let arn = |topic: &String| topic.starts_with("arn:aws") && topic.split(':').count() == 6;
    if !topics.iter().all(arn) {
        let why = "has what is no topic such as arn:aws:sns:us-east-1:123456789012:ses-events";
        section.mistake("topics", why);
    }
    topics
}

/// What the provider's scheme needs. Of an unknown provider whatever is given, so that only the provider is a mistake.
fn read_keys(section: &mut Section, provider: Option<&dyn Provider>) -> Keys {
    const EVERY: &[Need] = &[Need::SecretOrPublicKey, Need::KeyAndSite];
    let needs = provider.map_or(EVERY, Provider::needs);
    if let (Some(provider), []) = (provider, needs) {
        let why = format!(
            "is \"signature\", but {} does not sign its requests",
            provider.name()
        );
        section.mistake("kind", why);
    }
    let given = section.keys();
    let has = |key: &str| given.iter().any(|given| given == key);
    let mut keys = Keys::default();
    for need in needs {
        match need {
            Need::Secret => keys.secrets = section.secrets("secret"),
            Need::PublicKey => keys.public_keys = section.secrets("public_key"),
            Need::SecretOrPublicKey => {
                if has("secret") {
                    keys.secrets = section.secrets("secret");
                }
                if has("public_key") {
                    keys.public_keys = section.secrets("public_key");
                }
                if provider.is_some() && !has("secret") && !has("public_key") {
                    let why = "is missing, and so is public_key: one of them is needed";
                    section.mistake("secret", why);
                }
            }
            Need::Url => keys.url = section.required("url"),
            Need::Topics => keys.topics = read_topics(section),
            Need::KeyAndSite if provider.is_some() || has("key") => {
                keys.secrets = section.secrets("key");
                keys.site = section.required("site");
            }
            Need::KeyAndSite => {}
        }
    }
    keys
}
