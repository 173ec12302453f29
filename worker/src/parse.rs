//! An envelope, read by its source's provider.

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{envelope::Envelope, event::Event, ledger::Unreadable};
use tracing::error;

use crate::App;

/// One envelope, read.
pub(crate) struct Parsed<'a> {
    pub envelope: &'a Envelope,
    pub provider: &'static str,
    pub events: Vec<Event>,
    pub unreadable: Vec<Unreadable>,
}

/// Reads one envelope. What cannot be read is kept with the reason.
pub(crate) fn parse<'a>(app: &App, envelope: &'a Envelope) -> Parsed<'a> {
    let mut parsed = Parsed {
        envelope,
        provider: "",
        events: vec![],
        unreadable: vec![],
    };
    let mut unreadable = |element, reason| parsed.unreadable.push(Unreadable { element, reason });
    let Some(source) = app.sources.get(&envelope.source) else {
        let why = format!("the source {:?} is not configured here", envelope.source);
        unreadable(None, why);
        return parsed;
    };
    parsed.provider = source.provider.name();
    // A parser is plain code over these bytes: caught here, a bug in it costs one envelope and not the worker, which
    // would take it up again and again.
    let elements = match catch_unwind(AssertUnwindSafe(|| source.provider.parse(envelope))) {
        Ok(Ok(elements)) => elements,
        Ok(Err(malformed)) => {
            unreadable(None, malformed.to_string());
            return parsed;
        }
        Err(_) => {
            error!(envelope.id = %envelope.id, source = envelope.source, "a parser panicked; the envelope goes to quarantine");
            unreadable(None, "the parser panicked".to_owned());
            return parsed;
        }
    };
    for (index, element) in elements.into_iter().enumerate() {
        match element {
            Ok(draft) => {
                let undetermined = source.undetermined_bounce;
                parsed
                    .events
                    .push(draft.into_event(envelope, parsed.provider, undetermined));
            }
            Err(malformed) => unreadable(Some(index), malformed.to_string()),
        }
    }
    parsed
}
