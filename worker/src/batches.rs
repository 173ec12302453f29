//! Batches: which messages of envelopes are routed together, and which by themselves.

use crate::stage::{Item, SUSPECT};

/// Some hundred events. A batch is one transaction, which in SQLite keeps all others waiting, an opt-out's among them: for
/// a third of a millisecond per event, of which batches four times as large save a fifth.
const BATCH_BYTES: usize = 64 << 10;

/// Messages that are routed together: one round trip to each store for all of them.
pub(crate) const BATCH: usize = 64;

/// Whether more would be another batch.
pub(crate) fn is_full(items: &[Item]) -> bool {
    let bytes = items.iter().map(|item| item.body().len());
    items.len() >= BATCH || bytes.sum::<usize>() >= BATCH_BYTES
}

/// What is routed together: as much as is soon done, or one message that is larger. What keeps coming back comes last and
/// by itself, so that what was taken beside a message that kills its worker is done before it.
pub(crate) fn batches(items: impl Iterator<Item = Item>) -> Vec<Vec<Item>> {
    let (suspects, fresh): (Vec<_>, Vec<_>) = items.partition(keeps_coming_back);
    let mut batches: Vec<Vec<Item>> = vec![];
    let mut bytes = 0;
    for item in fresh {
        let size = item.body().len();
        match batches.last_mut() {
            Some(batch) if bytes + size <= BATCH_BYTES => {
                bytes += size;
                batch.push(item);
            }
            _ => {
                bytes = size;
                batches.push(vec![item]);
            }
        }
    }
    batches.extend(suspects.into_iter().map(|suspect| vec![suspect]));
    batches
}

/// Whether a batch is one that may kill its worker.
pub(crate) fn is_suspect(batch: &[Item]) -> bool {
    batch.iter().any(keeps_coming_back)
}

fn keeps_coming_back(item: &Item) -> bool {
    item.message.deliveries >= SUSPECT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_coming_back_is_routed_by_itself_and_after_the_rest() {
        let items = [1, 3, 2, 9].map(|deliveries| Item::test(10, deliveries));
        let batches = batches(items.into_iter());
        let sizes: Vec<_> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
        assert!(batches[0].iter().all(|item| item.message.deliveries < 3));
    }

    #[test]
    fn a_batch_is_no_larger_than_is_soon_done() {
        let large = BATCH_BYTES / 2;
        let items = [large, large, large, 2 * BATCH_BYTES].map(|size| Item::test(size, 1));
        let batches = batches(items.into_iter());
        let sizes: Vec<_> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }
}
