//! What a platform says of whom it suppresses: its lists, read page by page, and what they are to us.

use std::collections::BTreeSet;

use async_trait::async_trait;
use common::{
    contact::{Channel, Contact},
    delivery::Answer,
    event::{GLOBAL, Lane},
    outbound::{Outbound, excerpt},
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Platform, Scopes};

/// A platform whose API says whom its lists suppress.
#[async_trait]
pub(crate) trait Lists: Send + Sync {
    /// One page of those whom this list suppresses, as this platform's `tell` would suppress them: the first, or what
    /// follows the one that said `after`. Of what an answer says only `after` is remembered.
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer>;

    /// Whether everybody whom `tell` suppresses is listed then: else of who is not listed nothing is known.
    fn shows_all(&self) -> bool {
        true
    }
}

/// One page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// How many of the page's entries name nobody who can be told of: no address, or one that reads as none.
    pub(crate) unread: u64,
    /// How to ask for the next page; None on the last.
    pub(crate) next: Option<String>,
}

/// Somebody whom a list suppresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) contact: Contact,
    /// Since when, where the platform says.
    pub(crate) since: Option<Timestamp>,
    pub(crate) why: Why,
}

/// Why somebody is suppressed, as far as the platform says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Why {
    /// Where it says nothing the recipient's own will is assumed, which a later one takes back.
    pub(crate) lane: Lane,
    /// In the platform's words.
    pub(crate) words: Option<String>,
}

impl From<Option<String>> for Why {
    fn from(words: Option<String>) -> Self {
        Self {
            lane: Lane::Consent,
            words,
        }
    }
}

impl Page {
    /// Puts an entry on the page.
    pub(crate) fn add(
        &mut self,
        contact: Option<Contact>,
        since: Option<Timestamp>,
        why: impl Into<Why>,
    ) {
        match contact {
            Some(contact) => {
                let Why { lane, words } = why.into();
                // As the ledger keeps it.
                let words = words.map(|words| excerpt(words.as_bytes()));
                let words = words.filter(|words| !words.is_empty());
                let why = Why { lane, words };
                self.entries.push(Entry {
                    contact,
                    since,
                    why,
                });
            }
            None => self.unread += 1,
        }
    }

    /// The same for an email address and a time as the platform writes them; a time that reads as none is none.
    pub(crate) fn email(&mut self, address: &str, since: Option<&str>, why: impl Into<Why>) {
        let since = since.and_then(common::event::rfc3339);
        self.add(Contact::email(address).ok(), since, why);
    }
}

/// The lists of a target's platform, as the configuration names them.
#[derive(Clone, Copy)]
pub struct Book<'a> {
    pub(super) platform: &'a dyn Platform,
    pub(super) lists: &'a dyn Lists,
    pub(super) scopes: &'a Scopes,
    pub(super) outbound: &'a Outbound,
}

impl<'a> Book<'a> {
    /// Every list.
    pub(crate) fn lists(&self) -> BTreeSet<&'a str> {
        self.scopes.all().collect()
    }

    /// Which contacts they hold.
    pub(crate) fn channels(&self) -> &'a [Channel] {
        self.platform.channels()
    }

    /// The lists that are to suppress whom a suppression in `scope` is of.
    pub(crate) fn lists_of(&self, scope: &str) -> BTreeSet<&'a str> {
        self.scopes.lists(scope)
    }

    /// Whether of who is suppressed in `scope` it is known that they are not sent what this list is about: they are in it by
    /// that, told of it or reported from there, or they are sent nothing.
    pub(crate) fn covers(&self, list: &str, scope: &str) -> bool {
        let is_told = self.scopes.lists(scope).contains(list);
        is_told || scope == GLOBAL || self.platform.scope_of(list) == scope
    }

    /// In which of our scopes somebody is suppressed whom this list suppresses: those that are just this list by the
    /// configuration, or else, and where its own source is to be able to lift it, what that would say. But not in everything,
    /// where the list is a part of the platform's lists only: then in the scope of its name.
    pub(crate) fn scopes_of(&self, list: &str, is_mirrored: bool) -> Vec<String> {
        let written = self.scopes.just(list);
        if !(written.is_empty() || is_mirrored) {
            return written;
        }
        let reported = self.platform.scope_of(list);
        let is_part = reported == GLOBAL && self.lists().len() > 1;
        vec![if is_part { list } else { reported }.to_owned()]
    }

    /// Whether who is not listed is not suppressed there ([`Lists::shows_all`]).
    pub(crate) fn shows_all(&self) -> bool {
        self.lists.shows_all()
    }

    /// Reads one page ([`Lists::page`]), within the target's own time limit.
    pub(crate) async fn page(&self, list: &str, after: Option<&str>) -> Result<Page, Answer> {
        self.lists.page(list, after, self.outbound.deadline()).await
    }
}
