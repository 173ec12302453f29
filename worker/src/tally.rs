//! What was recorded, counted by source and kind.

use common::{
    clock,
    ledger::{Entry, Recorded},
};
use metrics::{counter, histogram};
use tracing::debug;

pub(crate) fn count(entries: &[Entry<'_>], recorded: &[Recorded]) {
    let now = clock::now();
    let mut recorded = recorded.iter();
    for entry in entries {
        let source = &entry.envelope.source;
        let duplicate = |count: usize| {
            counter!("optout_events_duplicate_total", "source" => source.clone())
                .increment(count as u64);
        };
        duplicate(entry.duplicates.len());
        counter!("optout_events_malformed_total", "source" => source.clone())
            .increment(entry.unreadable.len() as u64);
        for (event, _) in &entry.events {
            match recorded.next() {
                Some(Recorded::Owned) => {
                    counter!("optout_events_total", "source" => source.clone(), "kind" => event.kind.as_str()).increment(1);
                    let waited = now.duration_since(event.received_at).as_secs_f64();
                    histogram!("optout_accepted_to_applied_seconds").record(waited.max(0.0));
                    debug!(event.id = %event.id, envelope.id = %event.envelope_id, source = event.source, kind = %event.kind, "event recorded");
                }
                Some(Recorded::Echo) => {
                    counter!("optout_events_echo_total", "source" => source.clone()).increment(1);
                    debug!(event.id = %event.id, envelope.id = %event.envelope_id, source = event.source, kind = %event.kind, "echo recorded");
                }
                Some(Recorded::Duplicate { .. } | Recorded::Erased) | None => duplicate(1),
            }
        }
    }
}
