//! Targets: the systems that are told, one file each, with its settings, what it sends and its tests.
//!
//! # Adding a target
//! One new file and its two lines here: `mod name;` and `name::KIND` in [`KINDS`]. The file reads its own settings from
//! the [`Section`], so no central list of options grows. A target knows no queue and no ledger: it is given deliveries
//! and says what came of them; slots, rate, breaker, schedule and recording are the deliver stage's. Its guide is what
//! `optout targets add` asks and says, and its probe what that asks the system.
//!
//! A platform that sends, and is told whom it must not send to, is a `Platform` of `platform`: its settings, its
//! requests, and which of its answers mean what. All else such platforms have in common.
//!
//! What an answer says as its `why` may be logged, so it holds no address, no body and no secret. Its excerpt goes to
//! the ledger only, and may quote what the system answered.

mod brevo;
mod customerio;
mod database;
mod file;
mod guide;
#[cfg(test)]
mod hostile;
mod http;
mod hubspot;
mod jira;
mod klaviyo;
mod mailchimp;
mod mailersend;
mod mailgun;
mod mailjet;
mod platform;
mod postmark;
mod probe;
mod resend;
mod sendgrid;
mod ses;
mod slack;
mod sparkpost;
#[cfg(test)]
pub(crate) mod standin;
mod template;
mod ticket;
mod zendesk;

use async_trait::async_trait;
use common::{
    config::Rate,
    delivery::{Answer, Delivery},
    event::{self, GLOBAL},
    ledger::Accounted,
    outbound::Outbound,
    settings::Section,
};

pub use guide::{Ask, Guide, Wanted};
pub use platform::Book;
pub(crate) use platform::Page;
pub use probe::Probe;

/// Every kind of target, by name in alphabetical order.
pub const KINDS: &[Kind] = &[
    brevo::KIND,
    customerio::KIND,
    database::KIND,
    file::KIND,
    http::KIND,
    hubspot::KIND,
    jira::KIND,
    klaviyo::KIND,
    mailchimp::KIND,
    mailersend::KIND,
    mailgun::KIND,
    mailjet::KIND,
    postmark::KIND,
    resend::KIND,
    sendgrid::KIND,
    ses::KIND,
    slack::KIND,
    sparkpost::KIND,
    zendesk::KIND,
];

/// A system that is told of events.
#[async_trait]
pub trait Target: Send + Sync {
    /// How many deliveries it takes in one call. More than one only where that is cheaper or kinder to who reads them.
    fn batch(&self) -> usize {
        1
    }

    /// The most calls that it bears at a time, however many `slots` are set.
    fn slots(&self) -> u16 {
        u16::MAX
    }

    /// Whether it decides by what it is told who is sent to. Then it is not told of a lift while anything suppresses
    /// the contact all the same.
    fn decides(&self) -> bool {
        false
    }

    /// Whether a suppression in the scope `standing` keeps a lift in the scope `lifted` from it. More do where it has one
    /// list for several scopes.
    fn keeps(&self, lifted: &str, standing: &str) -> bool {
        standing == lifted || standing == GLOBAL
    }

    /// Whether it is a platform with lists of its own, into which others opt out, too: what they have set there is not ours
    /// to lift, and a lift that has come too late is made good by a suppression.
    fn has_lists(&self) -> bool {
        false
    }

    /// Whether all that a lift in the scope `lifted` takes off its lists is accounted for here.
    fn accounts(&self, _lifted: &str, _by: &Accounted) -> bool {
        true
    }

    /// Whether its platform, told of a change in the scope `told`, reports that as one in its own scope `reported`: for
    /// targets that mirror a source. What concerns everything is reported in any.
    fn reports(&self, told: &str, reported: &str) -> bool {
        told == GLOBAL || told == reported
    }

    /// Whether its platform, which has reported a change in its own scope `reported`, has by that made all that it would be
    /// told of it: for targets that mirror a source.
    fn knows(&self, _reported: &str) -> bool {
        true
    }

    /// The lists of a platform that says whom it suppresses.
    fn book(&self) -> Option<Book<'_>> {
        None
    }

    /// Whether its system takes the credential, asked by a read that changes nothing there.
    async fn probe(&self) -> Probe {
        Probe::Unasked("there is none")
    }

    /// Tells it of these deliveries (1 to [`Target::batch`]); the answers are in their order, one each.
    ///
    /// May be called again for a delivery whose outcome was lost, with the same id: what it sends carries that id, so
    /// that the system can recognise the repeat. It ends by itself at the deadline of its [`Outbound`]; the caller's
    /// own deadline is a little later, so that what was already told in the same call is not told again.
    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer>;
}

/// A kind of target: its name in the configuration and how one is built from its settings.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    /// Pauses that suit the system, where `rate` is not set: Slack allows about one message a second.
    pub rate: Option<Rate>,
    /// What somebody who adds one is asked and told.
    pub guide: Guide,
    /// Reads the settings that are this kind's own; mistakes are noted in the section, and then there is no target.
    /// Connects to nothing: a target that is away must not keep the others from starting.
    pub build: fn(&mut Section, &Setup<'_>) -> Option<Box<dyn Target>>,
}

/// What was read of a target before its kind reads the rest.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The kinds of event that it is told of, `*` spelt out.
    pub events: &'a [event::Kind],
    /// Its rate: what is set, or else the kind's own.
    pub rate: Option<Rate>,
    /// The way out, with the target's own time limit.
    pub outbound: &'a Outbound,
}

pub(crate) use http::endpoint;

/// The kind called `name`.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_by_name_and_found_by_it() {
        assert!(KINDS.is_sorted_by(|a, b| a.name < b.name));
        for kind in KINDS {
            assert_eq!(find(kind.name).unwrap().name, kind.name);
        }
        assert!(find("fax").is_none());
    }

    /// Settings as somebody may answer what a kind asks for.
    fn answered(kind: &Kind) -> toml::Table {
        let mut settings = toml::Table::new();
        for ask in kind.guide.asks {
            let value = match (ask.answer, ask.key) {
                (Wanted::Usually(usual), _) => usual,
                (Wanted::Signing, _) => "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                (_, "url") if kind.name == "database" => "sqlite::memory:",
                (_, "url") => "https://example.com",
                (_, "scopes.*") if kind.name == "mailgun" => "mg.example.com",
                (_, "statements.unsubscribed" | "statements.resubscribed") => "SELECT :email",
                _ => "a1",
            };
            match ask.key.split_once('.') {
                None => drop(settings.insert(ask.key.to_owned(), value.into())),
                Some((table, key)) => {
                    let empty = || toml::Table::new().into();
                    let table = settings.entry(table).or_insert_with(empty);
                    table
                        .as_table_mut()
                        .unwrap()
                        .insert(key.to_owned(), value.into());
                }
            }
        }
        settings
    }

    #[test]
    fn every_kind_is_made_of_what_its_guide_asks_for_and_says_what_to_do_there() {
        for kind in KINDS {
            let (guide, name) = (kind.guide, kind.name);
            assert!(!guide.title.is_empty(), "{name}");
            assert!(name == "file" || !guide.steps.is_empty(), "{name}");
            let events: Vec<_> = guide
                .events
                .iter()
                .map(|event| (*event).to_owned())
                .collect();
            let events = common::config::Filter::of(&events).unwrap().kinds();
            let settings = answered(kind).to_string();
            let (target, mistakes) = standin::build(*kind, &settings, &events);
            assert!(
                target.is_some() && mistakes.is_empty(),
                "{name}: {mistakes:?}"
            );
        }
    }

    #[test]
    fn every_kind_without_settings_is_a_mistake_and_no_target() {
        for kind in KINDS {
            assert!(!standin::mistakes(*kind, "").is_empty(), "{}", kind.name);
        }
    }
}
