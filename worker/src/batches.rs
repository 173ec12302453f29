//! Batches: which messages of envelopes are routed together, and which by themselves.

use rand::seq::SliceRandom;

use crate::stage::Item;

/// Bodies are written as text of twice their length, and a parameter of PostgreSQL ends at 255 MiB.
const BATCH_BYTES: usize = 32 << 20;

/// A message that was handed out this often may be killing its worker: it is routed by itself, and split if it has
/// several envelopes, so that one envelope takes no other along.
pub(crate) const SUSPECT_AFTER: u32 = 3;

/// What is routed together: as much as one statement bears. What keeps coming back comes last, each by itself and in no
/// order, so that one message which kills its worker lets others pass from time to time, and is parked alone.
pub(crate) fn batches(items: impl Iterator<Item = Item>) -> Vec<Vec<Item>> {
    let (mut suspects, fresh): (Vec<_>, Vec<_>) =
        items.partition(|item| item.message.deliveries >= SUSPECT_AFTER);
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
    suspects.shuffle(&mut rand::rng());
    batches.extend(suspects.into_iter().map(|suspect| vec![suspect]));
    batches
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
    fn a_batch_is_no_larger_than_a_statement_bears() {
        let large = BATCH_BYTES / 2;
        let items = [large, large, large, 2 * BATCH_BYTES].map(|size| Item::test(size, 1));
        let batches = batches(items.into_iter());
        let sizes: Vec<_> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }
}
