//! What somebody who adds a target of a kind is asked and told. `optout targets add` does it.

/// A kind's own part of that, short enough to be read in a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Guide {
    /// What the system calls itself.
    pub title: &'static str,
    /// The settings that it needs, in the order in which they are asked for.
    pub asks: &'static [Ask],
    /// What it is told of, unless somebody wants it otherwise; `*` is everything.
    pub events: &'static [&'static str],
    /// What to do there first, in order: where the credential is made, and what it has to be allowed.
    pub steps: &'static [&'static str],
}

/// A setting that is asked for. Of one in a table the key has dots: `scopes.*`.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub key: &'static str,
    pub what: &'static str,
    pub answer: Wanted,
}

/// What is wanted for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Something that has to be said.
    Text,
    /// Something that is this unless somebody says otherwise.
    Usually(&'static str),
    /// What nobody else is to read.
    Secret,
    /// A secret by which what is sent is signed: made, unless somebody has one.
    Signing,
}

impl Guide {
    /// Of a platform that sends, which is told whatever suppresses or lifts.
    pub(super) const fn platform(
        title: &'static str,
        asks: &'static [Ask],
        steps: &'static [&'static str],
    ) -> Self {
        Self {
            title,
            asks,
            events: &[
                "unsubscribed",
                "complained",
                "bounced",
                "suppressed",
                "resubscribed",
            ],
            steps,
        }
    }
}

impl Ask {
    pub(super) const fn text(key: &'static str, what: &'static str) -> Self {
        Self {
            key,
            what,
            answer: Wanted::Text,
        }
    }

    pub(super) const fn usually(
        key: &'static str,
        answer: &'static str,
        what: &'static str,
    ) -> Self {
        Self {
            key,
            what,
            answer: Wanted::Usually(answer),
        }
    }

    pub(super) const fn secret(key: &'static str, what: &'static str) -> Self {
        Self {
            key,
            what,
            answer: Wanted::Secret,
        }
    }

    pub(super) const fn token(what: &'static str) -> Self {
        Self::secret("token", what)
    }

    /// Which list of the platform's every scope is that is not written out.
    pub(super) const fn list(what: &'static str) -> Self {
        Self::text("scopes.*", what)
    }

    /// The same, where one list suits most.
    pub(super) const fn usual_list(list: &'static str, what: &'static str) -> Self {
        Self::usually("scopes.*", list, what)
    }
}
