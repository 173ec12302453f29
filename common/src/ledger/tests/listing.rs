//! Pages, cursors and filters.

use super::*;

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repeat() {
    for Fresh { ledger, .. } in &fresh().await {
        let envelope = envelope();
        let events: Vec<_> = (0..7)
            .map(|n| event(&envelope, Kind::Opened, &n.to_string(), n))
            .collect();
        ledger
            .record(&[entry(&envelope, &events, &["slack"])])
            .await
            .unwrap();
        let (mut seen, mut cursor) = (vec![], None);
        loop {
            let page = ledger
                .events(&EventFilter::default(), 3, cursor.as_deref())
                .await
                .unwrap();
            seen.extend(page.items.into_iter().map(|event| event.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 7);
        assert!(
            seen.windows(2)
                .all(|pair| pair[0].to_string() > pair[1].to_string())
        );
        assert!(matches!(
            ledger.events(&EventFilter::default(), 3, Some("x")).await,
            Err(Error::Cursor)
        ));
        let none = EventFilter {
            to: Some(envelope.received_at),
            ..EventFilter::default()
        };
        let first = ledger.events(&EventFilter::default(), 3, None).await;
        let cursor = first.unwrap().next_cursor;
        for cursor in [None, cursor.as_deref()] {
            let before = ledger.events(&none, 3, cursor).await.unwrap();
            assert_eq!(before.items.len(), 0, "all came at that time, none before");
        }
        let jane = EventFilter {
            contact: Some(Contact::email("jane@example.com").unwrap()),
            ..EventFilter::default()
        };
        assert_eq!(ledger.events(&jane, 10, None).await.unwrap().items.len(), 7);
        let filter = DeliveryFilter {
            kind: Some(Kind::Clicked),
            ..DeliveryFilter::default()
        };
        assert_eq!(
            ledger
                .deliveries(&filter, 10, None)
                .await
                .unwrap()
                .items
                .len(),
            0
        );
    }
}
