//! `[links]`: the links by which recipients unsubscribe with one click, and the page behind them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use toml::Value;
use url::{Host, Url};

use super::Origin;
use crate::{
    contact::Contact,
    event::GLOBAL,
    link::{Link, ONE_CLICK, ScopeUnfit, Sealer},
    settings::{Section, Setting},
};

/// RFC 5322, 2.1.1, lets a line of a mail have 998 characters. With a longer origin the longest link had more.
const LONGEST_ORIGIN: usize = 200;

/// The law wants a way to opt out to work for 60 days after the mail at least (CASL, section 11:
/// <https://laws-lois.justice.gc.ca/eng/acts/E-1.6/section-11.html>).
const SHORTEST: Duration = Duration::from_hours(60 * 24);

/// More than people can choose from.
const MOST_SCOPES: usize = 50;

/// `[links]`.
#[derive(Debug)]
pub struct Links {
    /// Where recipients reach ingress.
    url: Origin,
    sealer: Sealer,
    expire: Expire,
    /// Who the page says that the mail is from.
    pub sender: Option<String>,
    /// What the page lets people choose from.
    pub scopes: Vec<Purpose>,
}

impl Links {
    /// Where recipients reach ingress.
    pub fn url(&self) -> &Origin {
        &self.url
    }
}

/// One of `links.scopes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// As events and checks name it.
    pub name: String,
    /// As people are told of it.
    pub title: String,
}

/// How long a link works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expire {
    Never,
    After(Duration),
}

/// A link that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub url: String,
}

impl Made {
    /// What goes into the mail, as names and values.
    pub fn headers(&self) -> [(&'static str, String); 2] {
        let (field, value) = ONE_CLICK;
        [
            ("List-Unsubscribe", format!("<{}>", self.url)),
            ("List-Unsubscribe-Post", format!("{field}={value}")),
        ]
    }
}

impl Links {
    /// A link that unsubscribes the contact from this scope, else from everything.
    pub fn make(
        &self,
        contact: &Contact,
        scope: Option<&str>,
        now: Timestamp,
    ) -> Result<Made, ScopeUnfit> {
        let token = self.sealer.seal(&Link {
            contact: contact.clone(),
            scope: scope.unwrap_or(GLOBAL).to_owned(),
            issued_at: now,
        })?;
        let url = format!("{}/u/{token}", self.url.as_str());
        Ok(Made { url })
    }

    /// What a token says. None whether it was forged, was of a key that is gone, or has expired.
    pub fn open(&self, token: &str, now: Timestamp) -> Option<Link> {
        let link = self.sealer.open(token)?;
        let holds = match self.expire {
            Expire::Never => true,
            Expire::After(time) => {
                let age = now.duration_since(link.issued_at);
                age <= SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
            }
        };
        holds.then_some(link)
    }

    /// None where there is no such section.
    pub(super) fn read(mut section: Section) -> Option<Arc<Self>> {
        if section.keys().is_empty() {
            return None;
        }
        let url = section.required("url");
        if let Some(wrong) = url.as_ref().and_then(unfit) {
            section.mistake("url", wrong);
        }
        let secrets = section.secrets("keys");
        let sealer = Sealer::new(&secrets);
        if sealer.is_none() && !secrets.is_empty() {
            let why = "has what is no key: 32 bytes in base64 are needed, as `openssl rand -base64 32` makes them";
            section.mistake("keys", why);
        }
        let expire = section.or("expire", Expire::Never);
        let sender = section.optional::<String>("sender");
        let scopes: Vec<_> = section
            .sections("scopes", false)
            .into_iter()
            .filter_map(Purpose::read)
            .collect();
        let names: BTreeSet<_> = scopes.iter().map(|scope| &scope.name).collect();
        if names.len() < scopes.len() {
            section.mistake("scopes", "has a name more than once");
        }
        if scopes.len() > MOST_SCOPES {
            section.mistake("scopes", format!("has more than {MOST_SCOPES} entries"));
        }
        section.finish();
        Some(Arc::new(Self {
            url: url?,
            sealer: sealer?,
            expire,
            sender,
            scopes,
        }))
    }
}

/// Why recipients cannot be sent there.
fn unfit(origin: &Origin) -> Option<String> {
    let url = Url::parse(origin.as_str()).ok()?;
    let local = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if url.scheme() != "https" && !local {
        return Some(format!(
            "is {:?}, but https:// is needed, which RFC 8058 wants; http:// only of this machine itself",
            origin.as_str()
        ));
    }
    (origin.as_str().len() > LONGEST_ORIGIN).then(|| {
        format!("is longer than {LONGEST_ORIGIN} characters, which no mail's line has room for")
    })
}

impl Purpose {
    fn read(mut section: Section) -> Option<Self> {
        let name: Option<String> = section.required("name");
        let title: Option<String> = section.required("title");
        if let Some(name) = &name {
            if name == GLOBAL {
                let why = "is \"global\", which the page has anyway, as everything";
                section.mistake("name", why);
            } else if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
                section.mistake("name", ScopeUnfit.to_string());
            }
        }
        if title.as_ref().is_some_and(|title| title.trim().is_empty()) {
            section.mistake("title", "is empty: people are to know what they choose");
        }
        section.finish();
        Some(Self {
            name: name?,
            title: title?,
        })
    }
}

impl Setting for Expire {
    fn read(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("never") {
            return Ok(Self::Never);
        }
        match Duration::read(value) {
            Ok(time) if time >= SHORTEST => Ok(Self::After(time)),
            _ => Err(format!(
                "is {value}, but \"never\" or a time such as \"365d\", of 60 days at least, is needed: an opt-out has to work for so long after the mail"
            )),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Never => Value::from("never"),
            Self::After(time) => time.show(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Loaded;

    const KEY: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

    fn load(rest: &str) -> Loaded {
        let text = format!("[links]\n{rest}");
        Loaded::from_text(&text, BTreeMap::new()).unwrap()
    }

    fn links(rest: &str) -> Arc<Links> {
        let loaded = load(&format!(
            "url = 'https://optout.example.com'\nkeys = '{KEY}'\n{rest}"
        ));
        assert_eq!(loaded.mistakes(), []);
        loaded.config.links.unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn a_link_is_made_opened_and_put_into_two_headers() {
        let links = links("");
        let (jane, now) = (
            Contact::parse("Jane@Example.com").unwrap(),
            at("2026-04-02T14:30:05Z"),
        );
        let made = links.make(&jane, Some("news"), now).unwrap();
        let token = made.url.strip_prefix("https://optout.example.com/u/");
        let link = links.open(token.unwrap(), now).unwrap();
        assert_eq!((link.scope.as_str(), link.issued_at), ("news", now));
        assert_eq!(link.contact.address, "jane@example.com");
        let all = links.make(&jane, None, now).unwrap();
        let token = all.url.rsplit('/').next().unwrap();
        assert_eq!(links.open(token, now).unwrap().scope, GLOBAL);
        let headers = made.headers();
        assert_eq!(headers[0].1, format!("<{}>", made.url));
        assert_eq!(
            headers[1],
            (
                "List-Unsubscribe-Post",
                "List-Unsubscribe=One-Click".to_owned()
            )
        );
        assert!(headers[0].0.len() + headers[0].1.len() < 200, "{headers:?}");
    }

    #[test]
    fn a_link_works_for_good_unless_it_is_to_expire() {
        let jane = Contact::parse("jane@example.com").unwrap();
        let made = at("2026-04-02T00:00:00Z");
        for (expire, at_, opens) in [
            ("", "2036-04-02T00:00:00Z", true),
            ("expire = 'never'", "2036-04-02T00:00:00Z", true),
            ("expire = '60d'", "2026-06-01T00:00:00Z", true),
            ("expire = '60d'", "2026-06-01T00:00:01Z", false),
            // Whose clock is ahead makes links that work nonetheless.
            ("expire = '60d'", "2026-04-01T23:00:00Z", true),
        ] {
            let links = links(expire);
            let url = links.make(&jane, None, made).unwrap().url;
            let token = url.rsplit('/').next().unwrap();
            let opened = links.open(token, at(at_)).is_some();
            assert_eq!(opened, opens, "{expire} {at_}");
        }
    }

    /// The one mistake of a section.
    fn mistake(rest: &str) -> String {
        let mistakes = load(rest).mistakes();
        assert_eq!(mistakes.len(), 1, "{rest}: {mistakes:?}");
        mistakes[0].to_string()
    }

    #[test]
    fn a_url_and_keys_are_needed_and_what_is_wrong_with_them_is_told() {
        assert!(load("").config.links.is_none());
        let keys = format!("keys = ['{KEY}']\n");
        let long = format!("url = 'https://{}.example'", "a".repeat(200));
        for (url, why) in [
            ("", "links.url: is missing"),
            ("url = 'http://a.example'", "https:// is needed"),
            ("url = 'https://a.example/x'", "\"https://a.example\""),
            (long.as_str(), "links.url: is longer than 200"),
        ] {
            let said = mistake(&(keys.clone() + url));
            assert!(said.contains(why), "{said}");
        }
        for (keys, why) in [
            ("", "links.keys: is missing"),
            ("keys = ['c2hvcnQ=']", "openssl rand"),
        ] {
            let said = mistake(&format!("url = 'https://a.example'\n{keys}"));
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn what_is_wrong_beside_is_named_with_what_would_be_right() {
        for (rest, key, why) in [
            ("expire = '59d'", "expire", "60 days at least"),
            ("expire = 'soon'", "expire", "\"never\""),
            ("colour = 'blue'", "colour", "not a known key"),
            (
                "scopes = [{ name = 'global', title = 'x' }]",
                "scopes[0].name",
                "everything",
            ),
            (
                "scopes = [{ name = 'a', title = ' ' }]",
                "scopes[0].title",
                "is empty",
            ),
            (
                "scopes = [{ name = 'a', title = 'x' }, { name = 'a', title = 'y' }]",
                "scopes",
                "more than once",
            ),
        ] {
            let said = mistake(&format!(
                "url = 'https://a.example'\nkeys = '{KEY}'\n{rest}"
            ));
            assert!(said.starts_with(&format!("links.{key}: ")), "{said}");
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn no_configured_source_has_the_name_of_what_comes_by_links() {
        let source =
            "[[sources]]\nname = 'one-click'\nprovider = 'postmark'\nauth = { kind = 'none' }";
        let mistakes = Loaded::from_text(source, BTreeMap::new())
            .unwrap()
            .mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].why.contains("recipients"), "{mistakes:?}");
    }

    #[test]
    fn this_machine_s_own_address_needs_no_tls_and_no_key_is_shown() {
        for url in [
            "http://localhost:8080",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
        ] {
            let loaded = load(&format!("url = '{url}'\nkeys = ['{KEY}', '{KEY}']"));
            assert_eq!(loaded.mistakes(), [], "{url}");
            let shown = format!("{:?}{:?}", loaded.effective(), loaded.config);
            assert!(shown.contains(url) && !shown.contains(KEY), "{shown}");
        }
    }
}
