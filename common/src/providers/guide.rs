//! What somebody has to know who connects a provider: which credential suits it, and what to do there. `optout sources add`
//! tells it.

/// A provider's own part of that, short enough to be read in a terminal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guide {
    /// What the provider calls itself.
    pub title: &'static str,
    /// The credentials that suit it, the best first.
    pub suits: &'static [Suit],
    /// What to do there, in order, with the URL and the credential at hand: where in its console, and which events to choose.
    pub steps: &'static [&'static str],
}

/// A credential, and who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suit {
    /// The provider's own scheme, by what the provider shows.
    Signature,
    /// The provider's own scheme, by a secret that we make and that is entered there.
    SignatureByOurs,
    /// User name and password, for which the provider has fields.
    Basic,
    /// User name and password, which stand in the URL.
    BasicInUrl,
    Bearer,
    /// A header of our own.
    Header,
    /// A token in the URL.
    Query,
}
