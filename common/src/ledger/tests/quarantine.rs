//! What could not be read: held, and tried again.

use super::*;

#[tokio::test]
async fn what_cannot_be_read_is_held_with_its_envelope_and_can_be_tried_again() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        for _ in 0..2 {
            ledger
                .quarantine(&envelope, "test", "not JSON\0")
                .await
                .unwrap();
        }
        let held = ledger
            .quarantined(&HeldFilter::default(), 10, None)
            .await
            .unwrap()
            .items;
        assert_eq!((held.len(), held[0].state), (1, Held::Held));
        assert_eq!(ledger.held().await.unwrap(), 1);
        let (again, asked_at) = ledger.retry_quarantined(held[0].id).await.unwrap().unwrap();
        assert_eq!(again.body, envelope.body);
        assert_eq!(ledger.held().await.unwrap(), 1, "until it is published");
        ledger.retried(held[0].id, asked_at).await.unwrap();
        assert_eq!(ledger.held().await.unwrap(), 0);
        let (_, asked_at) = ledger.retry_quarantined(held[0].id).await.unwrap().unwrap();
        ledger
            .quarantine(&envelope, "test", "still not JSON")
            .await
            .unwrap();
        ledger.retried(held[0].id, asked_at).await.unwrap();
        assert_eq!(ledger.held().await.unwrap(), 1, "it was read in between");
        assert_eq!(
            ledger.retry_quarantined(Uuid::now_v7()).await.unwrap(),
            None
        );
    }
}
