//! What the demo prints.
#![expect(clippy::print_stdout, reason = "this is what the demo is for")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use common::{
    config::Config,
    delivery::{Attempt, State},
    event::Event,
    ledger::{DeliveryFilter, DeliveryRow, EventFilter, Ledger},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{API_KEY, Ports, question::Answer};

/// One sample that was accepted.
pub(super) struct Story {
    pub(super) provider: &'static str,
    pub(super) sample: &'static str,
    pub(super) envelope: Uuid,
    /// From the request to the answer.
    pub(super) took: Duration,
}

/// What became of it.
pub(super) struct Told {
    pub(super) event: Event,
    pub(super) deliveries: Vec<(DeliveryRow, Vec<Attempt>)>,
}

impl Story {
    /// Waits until every target has been told of its events, and at least so many of each. What the api records has its
    /// deliveries only once the worker has come to it.
    pub(super) async fn until_told(
        &self,
        ledger: &Ledger,
        least: usize,
        patience: Duration,
    ) -> anyhow::Result<Vec<Told>> {
        let begun = Instant::now();
        loop {
            let told = self.told(ledger).await?;
            let finished = |told: &Told| {
                let mut rows = told.deliveries.iter().map(|(row, _)| row);
                told.deliveries.len() >= least
                    && rows.all(|row| matches!(row.state, State::Delivered | State::Dead))
            };
            if !told.is_empty() && told.iter().all(finished) {
                return Ok(told);
            }
            anyhow::ensure!(
                begun.elapsed() < patience,
                "not every target was told within {patience:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its events, and what has become of them so far.
    pub(super) async fn told(&self, ledger: &Ledger) -> anyhow::Result<Vec<Told>> {
        let events = ledger
            .events(&EventFilter::default(), 500, None)
            .await?
            .items;
        let mut told = vec![];
        for event in events
            .into_iter()
            .filter(|event| event.envelope_id == self.envelope)
        {
            let filter = DeliveryFilter {
                event: Some(event.id),
                ..DeliveryFilter::default()
            };
            let mut deliveries = vec![];
            for row in ledger.deliveries(&filter, 100, None).await?.items {
                let attempts = ledger.attempts(row.id).await?;
                deliveries.push((row, attempts));
            }
            told.push(Told { event, deliveries });
        }
        Ok(told)
    }
}

pub(super) fn title(ports: Ports) {
    println!();
    println!("  Optout demo: ingress, worker and api in this process, on embedded stores.");
    println!(
        "  One sample of each provider is posted to http://127.0.0.1:{}/webhooks/…",
        ports.ingress
    );
    println!();
}

pub(super) fn story(story: &Story, told: &[Told], config: &Config) {
    for told in told {
        event(story, told, config);
        println!();
    }
    if told.is_empty() {
        println!("  {:<17} {} had no event", story.provider, story.sample);
    }
}

/// One event, and what became of it at each target.
pub(super) fn event(story: &Story, Told { event, deliveries }: &Told, config: &Config) {
    let contact = event
        .contact
        .as_ref()
        .map_or_else(|| "nobody".to_owned(), |contact| contact.address.clone());
    let kind = match event.bounce_class {
        Some(class) => format!("{} ({class})", event.kind),
        None => event.kind.to_string(),
    };
    println!(
        "  {:<17} {kind} · {contact} · scope {} · answered 200 in {}",
        story.provider,
        event.scope,
        millis(story.took)
    );
    for target in &config.targets {
        let found = deliveries.iter().find(|(row, _)| row.target == target.name);
        let Some((row, attempts)) = found else {
            continue;
        };
        let what = if is_withheld(attempts) {
            format!("– {:<8} {:<9} {}", target.name, target.kind, said(attempts))
        } else {
            let mark = if row.state == State::Delivered {
                "✓"
            } else {
                "✗"
            };
            let after = row.delivered_at.and_then(|at| since(event, at));
            let after = after.map_or_else(|| "never".to_owned(), millis);
            format!(
                "{mark} {:<8} {:<9} {:<34} {after:>9} after acceptance",
                target.name,
                target.kind,
                what(attempts)
            )
        };
        println!("      {what}");
    }
}

/// How long after the event was accepted that was.
pub(super) fn since(event: &Event, at: Timestamp) -> Option<Duration> {
    Duration::try_from(at.duration_since(event.received_at)).ok()
}

/// Whether the target was not to be told, in the end.
fn is_withheld(attempts: &[Attempt]) -> bool {
    attempts
        .last()
        .is_some_and(|last| last.outcome == "withheld")
}

/// What was answered to the same questions before the samples and after.
pub(super) fn questions(before: &[Answer], after: &[Answer]) {
    for (before, after) in before.iter().zip(after) {
        println!(
            "  {:<17} asks before each mail · {}",
            before.provider, before.contact
        );
        for (when, answer) in [("before the samples", before), ("after them", after)] {
            println!(
                "      {when:<20} {:<34} {:>9} to answer",
                format!("unsubscribed: {}", answer.unsubscribed),
                millis(answer.took)
            );
        }
        println!();
    }
}

/// The last attempt in a few words.
fn what(attempts: &[Attempt]) -> String {
    let said = shortened(&said(attempts));
    match attempts.last().and_then(|last| last.status) {
        Some(status) => format!("{status} {said}"),
        None => said,
    }
}

/// What was said at the last attempt, on one line.
fn said(attempts: &[Attempt]) -> String {
    let last = attempts.last();
    let said = last.and_then(|last| last.error.as_deref().or(last.answer.as_deref()));
    let said: Vec<_> = said.unwrap_or_default().split_whitespace().collect();
    said.join(" ")
}

/// A text with its middle left out if it is long.
fn shortened(text: &str) -> String {
    let characters: Vec<_> = text.chars().collect();
    match characters.len() {
        0..=30 => text.to_owned(),
        long => {
            let part = |range: std::ops::Range<usize>| characters[range].iter().collect::<String>();
            format!("{}…{}", part(0..12), part(long - 16..long))
        }
    }
}

/// Waits until the second round of samples has been recorded as what it is.
pub(super) async fn until_repeats_are_known(
    ledger: &Ledger,
    repeats: usize,
    patience: Duration,
) -> anyhow::Result<i64> {
    let begun = Instant::now();
    loop {
        let (envelopes, duplicates) = ledger.receipts().await?;
        if usize::try_from(envelopes).is_ok_and(|envelopes| envelopes >= repeats * 2) {
            return Ok(duplicates);
        }
        anyhow::ensure!(
            begun.elapsed() < patience,
            "the repeats were not recorded within {patience:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn repeats(
    duplicates: i64,
    stories: &[Story],
    ledger: &Ledger,
) -> anyhow::Result<()> {
    println!(
        "  All of them were posted a second time: {duplicates} duplicates known, no target told twice."
    );
    let mut contacts = BTreeMap::new();
    for story in stories {
        for told in story.told(ledger).await? {
            let contact = told.event.contact;
            contacts.extend(contact.map(|contact| (contact.address.clone(), contact)));
        }
    }
    for (address, contact) in contacts {
        let standing = ledger.check(&contact, None).await?;
        let answer = if standing.is_empty() {
            "may be mailed"
        } else {
            "unsubscribed"
        };
        println!("      check {address:<32} {answer}");
    }
    println!();
    Ok(())
}

/// Says how to go on: with the dashboard, and with what else may be tried.
pub(super) fn invite(ports: Ports, tries: &[String]) {
    let Ports { api, ops, .. } = ports;
    println!(
        "  It keeps serving. The dashboard: http://127.0.0.1:{api}/ (sign in with the key {API_KEY})"
    );
    println!("  Try:");
    for line in tries {
        println!("      {line}");
    }
    println!("      curl http://127.0.0.1:{ops}/metrics");
    println!("  Ctrl-C ends it.");
    println!();
}

#[expect(clippy::print_stderr, reason = "logging is not set up yet")]
pub(super) fn wrong(error: &anyhow::Error) {
    eprintln!("{error:#}");
}

pub(super) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
