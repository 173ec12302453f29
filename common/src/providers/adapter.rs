//! What reads the webhooks of one source: a provider as it is, or as the source describes it.

use std::{ops::Deref, sync::Arc};

use super::Provider;

/// Used like the provider that it is.
#[derive(Debug, Clone)]
pub enum Adapter {
    Known(&'static dyn Provider),
    Described(Arc<dyn Provider>),
}

impl Deref for Adapter {
    type Target = dyn Provider;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Known(provider) => *provider,
            Self::Described(provider) => provider.as_ref(),
        }
    }
}
