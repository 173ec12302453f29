//! What ingress tells of refused requests is found among all events, by itself.

use std::collections::BTreeMap;

use super::{plans::plan, *};
use crate::{
    config::Source,
    ledger::strangers::STRANGERS,
    refused::{REFUSED, Refused},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn refused(source: &str, requests: u64, first: i64, last: i64) -> Refused {
    Refused {
        source: source.to_owned(),
        requests,
        first_at: at(first),
        last_at: at(last),
    }
}

/// Records what an ingress tells, as the worker does.
async fn told(ledger: &Ledger, refused: Refused) {
    let envelope = refused.into_request(Uuid::now_v7()).into_envelope();
    let drafts = Source::api().provider.parse(&envelope).unwrap();
    let read = |draft: Draft| draft.into_event(&envelope, "api", Undetermined::Suppress);
    let events: Vec<_> = drafts.into_iter().map(|it| read(it.unwrap())).collect();
    let entries = [entry(&envelope, &events, &[])];
    ledger.record(&entries).await.unwrap();
}

#[tokio::test]
async fn what_several_ingress_refused_is_added_up_by_source() {
    for Fresh { ledger, .. } in &fresh().await {
        told(ledger, refused("shop", 30, 10, 20)).await;
        told(ledger, refused("crm", 1, 5, 5)).await;
        told(ledger, refused("shop", 7, 1, 15)).await;
        one_delivery(ledger).await;
        // A sender may call its events anything.
        let envelope = envelope();
        let mut posing = event(&envelope, Kind::Other, "1", 0);
        posing.provider_event = REFUSED.to_owned();
        let posing = [posing];
        let entries = [entry(&envelope, &posing, &[])];
        ledger.record(&entries).await.unwrap();
        let expected = BTreeMap::from([
            ("crm".to_owned(), refused("crm", 1, 5, 5)),
            ("shop".to_owned(), refused("shop", 37, 1, 20)),
        ]);
        let since = clock::now() - jiff::SignedDuration::from_hours(1);
        assert_eq!(ledger.strangers(since).await.unwrap(), expected);
        let later = clock::now() + jiff::SignedDuration::from_hours(1);
        assert!(ledger.strangers(later).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn they_are_found_by_an_index_of_their_own() {
    let [Fresh { ledger, .. }, _] = &fresh().await;
    let plan = plan(ledger, STRANGERS, |query| {
        query.bind(0_i64).bind("api".to_owned()).bind(1_i64)
    });
    let plan = plan.await;
    assert!(plan.contains("events_of_refusals"), "{plan}");
}
