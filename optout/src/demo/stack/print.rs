//! What is printed of the company beside what becomes of its events.
#![expect(clippy::print_stdout, reason = "this is what the demo is for")]

use std::time::Duration;

use common::{event::Event, ledger::StoredEnvelope};

use super::{
    super::report::{Story, millis, since},
    JANE, PHONE,
};

pub(super) fn title() {
    println!();
    println!(
        "  Optout demo: a company that sends newsletters by Brevo, receipts by Postmark, SMS by Twilio. Stand-ins of"
    );
    println!(
        "  Brevo and Postmark keep what they are told, and report it back. Jane is {JANE} and {PHONE}."
    );
    println!();
}

pub(super) fn act(number: u8, what: &str) {
    println!();
    println!("  {number}. {what}");
}

/// What each sender was answered, and by whose word.
pub(super) fn check(answers: &[(&str, Vec<String>)], took: Duration) {
    let answers = answers.iter().map(|(what, by)| {
        let answer = if by.is_empty() {
            "may be sent".to_owned()
        } else {
            format!("unsubscribed ({})", by.join(", "))
        };
        format!("{what} {answer}")
    });
    let answers: Vec<_> = answers.collect();
    println!(
        "      ? check    {}, answered in {}",
        answers.join(" · "),
        millis(took)
    );
}

/// What a platform reported of what it was told because of `cause`.
pub(super) fn report(source: &str, report: &Event, cause: &Event) {
    let what = match report.echo_of {
        Some(_) => format!("{}, an echo: told nobody", report.kind),
        None => format!("{}, of no effect", report.provider_event),
    };
    let after = since(cause, report.received_at).map_or_else(|| "before".to_owned(), millis);
    println!(
        "      ← {source:<8} {:<9} {what:<34} {after:>9} after acceptance",
        report.provider
    );
}

pub(super) fn repeat(story: &Story, stored: &StoredEnvelope) {
    println!(
        "  {:<17} answered 200 in {} · {} duplicate, of which nothing came",
        story.provider,
        millis(story.took),
        stored.duplicates
    );
}

/// What a platform suppresses in the end.
pub(super) fn holds(source: &str, provider: &str, held: &[String]) {
    let held = if held.is_empty() {
        "nobody".to_owned()
    } else {
        held.join(", ")
    };
    println!("      = {source:<8} {provider:<9} suppresses {held}");
}

pub(super) fn end() {
    println!();
}
