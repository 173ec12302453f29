//! What comes to one target: its three queues, the one that must not wait first.

use tokio::sync::mpsc::UnboundedReceiver;

use crate::stage::Item;

/// The three queues of a target, the ones that must not wait first.
pub(crate) struct Feeds {
    pub urgent: UnboundedReceiver<Item>,
    pub retried: UnboundedReceiver<Item>,
    pub bulk: UnboundedReceiver<Item>,
}

impl Feeds {
    /// The next message, urgent before retried before bulk; None when all three have ended.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        tokio::select! {
            biased;
            Some(item) = self.urgent.recv() => Some(item),
            Some(item) = self.retried.recv() => Some(item),
            Some(item) = self.bulk.recv() => Some(item),
            else => None,
        }
    }

    /// The next message that is here already.
    pub(crate) fn at_hand(&mut self) -> Option<Item> {
        self.urgent
            .try_recv()
            .or_else(|_| self.retried.try_recv())
            .or_else(|_| self.bulk.try_recv())
            .ok()
    }
}
