//! What was recorded and never routed is found, and nothing else.

use super::*;

#[tokio::test]
async fn an_envelope_without_deliveries_is_found_by_source_kind_and_time() {
    for Fresh { ledger, .. } in &fresh().await {
        let mut envelopes: Vec<_> = (0..3).map(|_| envelope()).collect();
        envelopes.sort_by_key(|envelope| envelope.id);
        for (number, (envelope, targets)) in
            envelopes.iter().zip([&[][..], &["slack"], &[]]).enumerate()
        {
            let event = event(envelope, Kind::Unsubscribed, &number.to_string(), 0);
            let entry = entry(envelope, std::slice::from_ref(&event), targets);
            ledger.record(&[entry]).await.unwrap();
        }
        let now = clock::now();
        let (hour, kinds) = (Duration::from_hours(1), [Kind::Unsubscribed]);
        let wanted = Unrouted {
            source: "shop",
            kinds: &kinds,
            from: now - hour,
            to: now + hour,
        };
        let found = async |wanted: &Unrouted<'_>, after, limit| {
            let found = ledger.unrouted(wanted, after, limit).await.unwrap();
            found.into_iter().map(|found| found.id).collect::<Vec<_>>()
        };
        let [first, _, third] = [0, 1, 2].map(|index: usize| envelopes[index].id);
        assert_eq!(found(&wanted, Uuid::nil(), 10).await, [first, third]);
        assert_eq!(found(&wanted, Uuid::nil(), 1).await, [first]);
        assert_eq!(found(&wanted, first, 10).await, [third]);
        for other in [
            Unrouted {
                source: "api",
                ..wanted.clone()
            },
            Unrouted {
                kinds: &[Kind::Bounced],
                ..wanted.clone()
            },
            Unrouted {
                from: now + hour,
                ..wanted.clone()
            },
            Unrouted {
                to: now - hour,
                ..wanted.clone()
            },
        ] {
            assert_eq!(found(&other, Uuid::nil(), 10).await, [] as [Uuid; 0]);
        }
    }
}
