//! What a source's requests have to prove, and what is to be entered at the provider so that they do.

use anyhow::{Context, bail};
use common::{
    config::AuthKind,
    providers::{Guide, Need, Provider, Suit},
    signature::{plain_secret, standard_secret},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use toml::Value;

use super::{
    Given,
    ask::Asker,
    file::ConfigFile,
    note, say,
    section::{Section, parsed},
    steps, with_steps,
};

/// What stands where nobody has said how ingress is reached.
pub(super) const SOMEWHERE: &str = "https://YOUR-HOST";

/// The user name that is as good as any.
const USER: &str = "optout";

/// The header that is as good as any.
const HEADER: &str = "x-optout-token";

/// The parameter that is as good as any.
const PARAMETER: &str = "token";

/// The settings that are a source's own; all others are its credential's.
const OWN: [&str; 2] = ["undetermined_bounce", "enabled"];

/// The kind of `auth` that it is.
pub(super) fn kind_of(suit: Suit) -> AuthKind {
    match suit {
        Suit::Signature | Suit::SignatureByOurs => AuthKind::Signature,
        Suit::Basic | Suit::BasicInUrl => AuthKind::Basic,
        Suit::Bearer => AuthKind::Bearer,
        Suit::Header => AuthKind::Header,
        Suit::Query => AuthKind::Query,
    }
}

/// A source on its way into the file.
pub(super) struct Adding<'a> {
    pub(super) file: &'a ConfigFile,
    pub(super) asker: Asker,
    pub(super) provider: &'static dyn Provider,
    pub(super) guide: Guide,
    pub(super) suit: Option<Suit>,
    pub(super) base: String,
    pub(super) given: Given,
    pub(super) section: Section,
    /// What is entered at the provider beside the URL.
    pub(super) entered: Vec<String>,
}

impl Adding<'_> {
    /// The section, once everything that it needs is there, and what is to be done at the provider. Whoever is asked is told
    /// that before they are asked for what the provider shows only then.
    pub(super) fn fill(mut self, name: &str) -> anyhow::Result<(Section, String)> {
        self.section.set(&["provider"], self.provider.name());
        let kind = self.suit.map_or(AuthKind::None, kind_of);
        self.section.set(&["auth", "kind"], kind.as_str());
        let plain = match self.provider.asks_at() {
            Some(path) => format!("{}{path}", self.base),
            None => format!("{}/webhooks/{name}", self.base),
        };
        let mut url = plain.clone();
        match self.suit {
            Some(suit @ (Suit::Basic | Suit::BasicInUrl)) => {
                let user = self.text("username", USER);
                let password = self.ours("password", plain_secret())?;
                if suit == Suit::Basic {
                    self.entered
                        .push(format!("User name {user}, password {password}"));
                } else {
                    url = with_user(&url, &user, &password)?;
                }
            }
            Some(Suit::Bearer) => {
                let token = self.ours("token", plain_secret())?;
                self.entered.push(format!("Bearer token {token}"));
            }
            Some(Suit::Header) => {
                let name = self.text("name", HEADER);
                let secret = self.ours("secret", plain_secret())?;
                self.entered.push(format!("Header {name}: {secret}"));
            }
            Some(Suit::Query) => {
                let name = self.text("name", PARAMETER);
                let secret = self.ours("secret", plain_secret())?;
                url = format!("{url}?{}={}", encoded(&name), encoded(&secret));
            }
            Some(Suit::SignatureByOurs) if !self.given.0.contains_key("public_key") => {
                let secret = self.ours("secret", standard_secret())?;
                self.entered.push(format!("Secret {secret}"));
            }
            Some(Suit::Signature | Suit::SignatureByOurs) | None => {}
        }
        let told = self.told(&url);
        if self.asker.can_ask() {
            say(&told)?;
        }
        if self.suit == Some(Suit::Signature) {
            for need in self.provider.needs() {
                let found = self.need(*need, &plain);
                found.map_err(|missing| with_steps(self.asker, missing, &told))?;
            }
        }
        self.rest()?;
        Ok((self.section, told))
    }

    /// What is to be done at the provider.
    fn told(&self, url: &str) -> String {
        let title = self.guide.title;
        let entered = self.entered.iter();
        let entered: Vec<_> = entered.map(|one| format!("    {one}\n")).collect();
        let mut lines = format!("The URL for {title}:\n\n    {url}\n{}", entered.concat());
        if self.base == SOMEWHERE {
            lines += "\nYOUR-HOST is where the provider reaches it: say it by --url, or as [ingress] public_origin.\n";
        }
        format!(
            "{lines}\n{}",
            steps(&format!("At {title}:"), self.guide.steps)
        )
    }

    /// A setting of the credential that is no secret.
    fn text(&mut self, key: &str, usual: &str) -> String {
        let text = self.given.take(key).unwrap_or_else(|| usual.to_owned());
        self.section.set(&["auth", key], text.as_str());
        text
    }

    /// A secret that we may choose: what was given, else one that is made. As it is told: a given one is not.
    fn ours(&mut self, key: &str, made: SecretString) -> anyhow::Result<String> {
        let told = made.expose_secret().to_owned();
        Ok(match self.given.take(key) {
            None => {
                self.section.make(&["auth", key], made);
                told
            }
            Some(text) if self.file.is_unset(&text) => {
                self.section.secret(&["auth", key], &text, Some(made))?;
                told
            }
            Some(text) => {
                self.section.secret(&["auth", key], &text, None)?;
                key.to_uppercase()
            }
        })
    }

    /// What the provider's own scheme needs.
    fn need(&mut self, need: Need, url: &str) -> anyhow::Result<()> {
        match need {
            Need::Secret => self.theirs("secret", "The secret that it signs with"),
            Need::PublicKey => self.shown("public_key", "Its public key"),
            Need::SecretOrPublicKey => match self.given.take("public_key") {
                Some(key) => self.section.secret(&["auth", "public_key"], &key, None),
                None => self.theirs("secret", "The secret that it signs with"),
            },
            Need::Url => {
                if self.base == SOMEWHERE && !self.given.0.contains_key("url") {
                    bail!(
                        "the URL is missing, which is part of what {} signs: say where it reaches ingress by --url https://HOST",
                        self.guide.title
                    );
                }
                self.text("url", url);
                Ok(())
            }
            Need::Topics => self.topics(),
            Need::KeyAndSite => {
                self.theirs("key", "The key that it sends")?;
                self.shown("site", "The site that it sends")
            }
        }
    }

    /// A secret that the provider shows. It may be known only later: then another one keeps its place.
    fn theirs(&mut self, key: &str, what: &str) -> anyhow::Result<()> {
        let text = match self.given.take(key) {
            Some(text) => Some(text),
            None if self.asker.can_ask() => {
                let question = format!("{what}; nothing, if it is not known yet");
                self.asker.secret(&question, true)?
            }
            None => bail!(
                "{key} is missing, which {} shows: --set {key}=env:NAME, or file:PATH",
                self.guide.title
            ),
        };
        if let Some(text) = text {
            self.section.secret(&["auth", key], &text, None)?;
        } else {
            note(
                "Another secret keeps its place: put the right one into the file that is named below, and start ingress again.",
            );
            self.section.make(&["auth", key], plain_secret());
        }
        Ok(())
    }

    /// Something that the provider shows and that is no secret.
    fn shown(&mut self, key: &str, what: &str) -> anyhow::Result<()> {
        let text = match self.given.take(key) {
            Some(text) => text,
            None if self.asker.can_ask() => self.asker.text(what, None, |_| Ok(()))?,
            None => bail!(
                "{key} is missing, which {} shows: --set {key}=..",
                self.guide.title
            ),
        };
        self.section.text(&["auth", key], &text);
        Ok(())
    }

    fn topics(&mut self) -> anyhow::Result<()> {
        let text = match self.given.take("topics") {
            Some(text) => text,
            None if self.asker.can_ask() => self.asker.text(
                "The topic's ARN, or several with commas between",
                None,
                |_| Ok(()),
            )?,
            None => bail!(
                "topics is missing, whose messages are taken: --set topics=arn:aws:sns:..., several with commas between"
            ),
        };
        let split = || {
            text.split(',')
                .map(|topic| Value::from(topic.trim()))
                .collect()
        };
        self.section.set(
            &["auth", "topics"],
            parsed(&text).unwrap_or_else(|| Value::Array(split())),
        );
        Ok(())
    }

    /// What else was given: the source's own settings, and the credential's.
    fn rest(&mut self) -> anyhow::Result<()> {
        for (key, text) in std::mem::take(&mut self.given.0) {
            let parts: Vec<_> = key.split('.').collect();
            match parts[..] {
                [key] if OWN.contains(&key) => self.section.read(&[key], &text),
                ["secret" | "token" | "password" | "key"] => {
                    self.section.secret(&["auth", &key], &text, None)?;
                }
                [_] => self.section.read(&["auth", &key], &text),
                _ => self.section.read(&parts, &text),
            }
        }
        Ok(())
    }
}

/// The URL with user name and password before its host.
fn with_user(url: &str, user: &str, password: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url.split_once("://").context("the URL has no scheme")?;
    Ok(format!(
        "{scheme}://{}:{}@{rest}",
        encoded(user),
        encoded(password)
    ))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
