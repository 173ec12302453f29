//! End to end: webhooks go in at the HTTP door of real processes, over real stores, and come out at targets.
#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod bad_input;
mod brevo;
mod by_hand;
mod cluster;
mod containers;
mod endpoints;
mod faults;
mod hostile;
mod keys;
mod links;
mod onboarding;
mod onboarding_secrets;
mod openapi;
mod operations;
mod pipeline;
mod proxy;
mod reconcile;
mod repaired;
mod replay;
mod secrets;
mod spool;
mod suppressions;
mod terminal;
mod verify;

use tests::{Kind, Receiver};

/// Both sets of stores.
const BOTH: [Kind; 2] = [Kind::Embedded, Kind::Scaled];

/// Sources of four providers that anybody may call, and one target that hears of everything.
fn configuration(receiver: &Receiver) -> String {
    sources() + &http_target("hook", receiver, "")
}

/// Sources of four providers that anybody may call.
fn sources() -> String {
    let text =
        "[retry]\nschedule = [\"300ms\", \"300ms\", \"300ms\", \"1s\", \"1s\", \"1s\", \"5s\"]\n\
        [outbound]\nallow_networks = [\"127.0.0.0/8\"]\n"
            .to_owned();
    let source = |provider: &&str| {
        format!(
            "[[sources]]\nname = \"{provider}\"\nprovider = \"{provider}\"\nauth = {{ kind = \"none\" }}\n"
        )
    };
    let sources: String = ["notifiedby", "sentinmail", "postmark", "brevo"]
        .iter()
        .map(source)
        .collect();
    text + &sources
}

/// One `http` target that is told of everything at `/NAME`.
fn http_target(name: &str, receiver: &Receiver, more: &str) -> String {
    let url = receiver.url(&format!("/{name}"));
    format!(
        "[[targets]]\nname = \"{name}\"\nkind = \"http\"\nevents = [\"*\"]\nurl = \"{url}\"\ntimeout = \"2s\"\n\
         secret = \"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"\n{more}\n"
    )
}

/// NotifiedBy's body for one address.
fn unsubscribed(email: &str) -> String {
    format!(r#"{{"event":"unsubscribed","email":"{email}","timestamp":"2024-07-02T18:04:00Z"}}"#)
}
