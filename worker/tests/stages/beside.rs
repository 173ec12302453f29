//! Batches beside each other: one that waits for a store holds up no other.

use std::sync::Arc;

use common::{
    claims::{Claim, Claims, Result, Wish},
    delivery::State,
    envelope::{self, Envelope},
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bench::{Bench, envelope_of, inbound, until};

/// Claims that keep who asks for one envelope waiting, until they are let go.
struct Stuck {
    claims: Arc<dyn Claims>,
    envelope: Uuid,
    state: watch::Sender<Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Unasked,
    Asked,
    LetGo,
}

#[async_trait::async_trait]
impl Claims for Stuck {
    async fn claim(&self, wishes: &[Wish]) -> Result<Vec<Claim>> {
        if wishes.iter().any(|wish| wish.envelope == self.envelope) {
            self.state.send_if_modified(|state| {
                let first = *state == Hold::Unasked;
                if first {
                    *state = Hold::Asked;
                }
                first
            });
            let mut state = self.state.subscribe();
            state.wait_for(|state| *state == Hold::LetGo).await.unwrap();
        }
        self.claims.claim(wishes).await
    }

    async fn settle(&self, wishes: &[Wish]) -> Result<()> {
        self.claims.settle(wishes).await
    }

    async fn ping(&self) -> Result<()> {
        self.claims.ping().await
    }
}

async fn publish(bench: &Bench, envelope: &Envelope) {
    bench.publish(inbound(), envelope::encode([envelope])).await;
}

#[tokio::test]
async fn a_full_batch_that_comes_while_another_waits_for_a_store_is_routed_meanwhile() {
    let bench = Bench::new().await;
    let first = envelope_of("shop", "first@example.com");
    let stuck = Arc::new(Stuck {
        claims: Arc::clone(&bench.claims),
        envelope: first.id,
        state: watch::Sender::new(Hold::Unasked),
    });
    let claims = Arc::clone(&stuck);
    bench.work_with(|app| app.claims = claims);
    publish(&bench, &first).await;
    until(async || (*stuck.state.borrow() == Hold::Asked).then_some(())).await;
    let second = envelope_of("shop", "second@example.com");
    let full = [&second.body[..], &vec![b' '; 64 << 10]].concat();
    let second = Envelope {
        body: full.into(),
        ..second
    };
    publish(&bench, &second).await;
    bench.delivery(State::Delivered, 1).await;
    assert!(bench.ledger.envelope(first.id).await.unwrap().is_none());
    stuck.state.send_replace(Hold::LetGo);
    bench.delivery(State::Delivered, 2).await;
}
