//! Endpoints: registering, changing, rotating, deleting, and how they fare.

use super::*;
use crate::{
    config::Filter,
    endpoint::{Endpoint, Wanted},
    webhook::Key,
};
use secrecy::SecretString;

pub(super) fn wanted(url: &str, events: &[&str]) -> Wanted {
    let events: Vec<_> = events.iter().map(|name| (*name).to_owned()).collect();
    Wanted {
        url: url.parse().unwrap(),
        events: Filter::of(&events).unwrap(),
        description: None,
        enabled: None,
    }
}

fn secret(text: &str) -> SecretString {
    format!("whsec_{text}").into()
}

fn act() -> Act {
    Act {
        actor: "ops".to_owned(),
        action: "endpoint.test",
        ..Act::default()
    }
}

pub(super) async fn registered(ledger: &Ledger) -> Endpoint {
    let wanted = wanted("https://example.com/hook", &["unsubscribed"]);
    let secret = secret("AAAA");
    let id = Uuid::now_v7();
    let created = ledger.create_endpoint(id, &wanted, &secret, &act()).await;
    created.unwrap()
}

async fn rotate(ledger: &Ledger, id: Uuid, text: &str, overlap: Duration) {
    let (secret, act) = (secret(text), act());
    let rotated = ledger.rotate_endpoint(id, &secret, overlap, &act).await;
    assert_eq!(rotated.unwrap().unwrap().id, id);
}

// rows: SM-23
#[tokio::test]
async fn an_endpoint_is_registered_changed_listed_and_deleted_each_time_as_a_new_version() {
    for Fresh { ledger, .. } in &fresh().await {
        let mut versions = vec![ledger.endpoints_version().await.unwrap()];
        let endpoint = registered(ledger).await;
        versions.push(ledger.endpoints_version().await.unwrap());
        assert!(endpoint.enabled);
        assert_eq!(
            ledger.endpoint(endpoint.id).await.unwrap(),
            Some(endpoint.clone())
        );
        let mut other = wanted("https://example.com/other", &["*"]);
        other.enabled = Some(false);
        let changed = ledger.update_endpoint(endpoint.id, &other, &act()).await;
        let changed = changed.unwrap().unwrap();
        versions.push(ledger.endpoints_version().await.unwrap());
        assert_eq!(
            (changed.url.as_str(), changed.enabled),
            ("https://example.com/other", false)
        );
        assert_eq!(changed.events, Filter::All);
        assert_eq!(
            changed.disabled_reason.as_deref(),
            Some("disabled over the api")
        );
        assert_eq!(ledger.endpoints(10, None).await.unwrap().items, [changed]);

        assert!(ledger.delete_endpoint(endpoint.id, &act()).await.unwrap());
        versions.push(ledger.endpoints_version().await.unwrap());
        assert!(
            versions.is_sorted_by(|one, next| one < next),
            "{versions:?}"
        );
        assert!(!ledger.delete_endpoint(endpoint.id, &act()).await.unwrap());
        assert_eq!(ledger.endpoint(endpoint.id).await.unwrap(), None);
        assert_eq!(ledger.endpoints(10, None).await.unwrap().items, []);
        assert!(ledger.sendable_endpoints(None).await.unwrap().is_empty());
        let none = ledger.update_endpoint(endpoint.id, &other, &act()).await;
        assert_eq!(none.unwrap(), None);
        assert_eq!(
            ledger.verify_audit().await.unwrap().records,
            3,
            "one for each change"
        );
    }
}

#[tokio::test]
async fn endpoints_are_listed_in_pages_newest_first() {
    for Fresh { ledger, .. } in &fresh().await {
        let mut ids = vec![];
        for _ in 0..5 {
            ids.insert(0, registered(ledger).await.id);
        }
        let (mut listed, mut cursor) = (vec![], None);
        loop {
            let page = ledger.endpoints(2, cursor.as_deref()).await.unwrap();
            listed.extend(page.items.iter().map(|endpoint| endpoint.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(listed, ids);
    }
}

#[tokio::test]
async fn a_rotated_secret_is_signed_with_until_its_time_is_over_however_often_one_rotates() {
    for Fresh { ledger, .. } in &fresh().await {
        let id = registered(ledger).await.id;
        let hour = Duration::from_hours(1);
        for text in ["BBBB", "CCCC"] {
            rotate(ledger, id, text, hour).await;
        }
        let keys = ledger.sendable_endpoints(Some(id)).await.unwrap()[0]
            .keys
            .clone();
        assert_eq!(
            keys.len(),
            3,
            "whoever lost the answers knows the first still"
        );
        assert!(keys[0] == Key::of(&secret("CCCC")).unwrap());
        for text in ["DDDD", "EEEE", "FFFF", "GGGG"] {
            rotate(ledger, id, text, hour).await;
        }
        let keys = &ledger.sendable_endpoints(Some(id)).await.unwrap()[0].keys;
        assert_eq!(keys.len(), 5, "there is an end to it");
    }
}

#[tokio::test]
async fn a_secret_whose_time_is_over_is_forgotten_with_the_next_rotation() {
    for Fresh { ledger, .. } in &fresh().await {
        let id = registered(ledger).await.id;
        for text in ["BBBB", "CCCC"] {
            rotate(ledger, id, text, Duration::ZERO).await;
        }
        assert_eq!(
            ledger.sendable_endpoints(Some(id)).await.unwrap()[0]
                .keys
                .len(),
            1
        );
    }
}

fn fared(endpoint: Uuid, second: i64, error: Option<&str>) -> Fared {
    Fared {
        endpoint,
        at: Timestamp::from_second(second).unwrap(),
        error: error.map(str::to_owned),
    }
}

async fn failing_since(ledger: &Ledger, id: Uuid) -> Option<i64> {
    let endpoint = ledger.endpoint(id).await.unwrap().unwrap();
    endpoint.failing_since.map(Timestamp::as_second)
}

#[tokio::test]
async fn an_endpoint_fails_since_its_first_failure_after_its_last_success_in_any_order() {
    for Fresh { ledger, .. } in &fresh().await {
        let id = registered(ledger).await.id;
        let note = async |batch: &[Fared]| ledger.note_fared(batch).await.unwrap();
        let down = Some("answered 503");
        let failing = note(&[
            fared(id, 20, down),
            fared(id, 10, None),
            fared(id, 30, down),
        ])
        .await;
        assert_eq!(failing[0].since, Timestamp::from_second(20).unwrap());
        assert_eq!(failing_since(ledger, id).await, Some(20));
        note(&[fared(id, 40, down)]).await;
        note(&[fared(id, 15, None), fared(id, 12, down)]).await;
        assert_eq!(
            failing_since(ledger, id).await,
            Some(20),
            "what is told late changes nothing"
        );
        assert_eq!(note(&[fared(id, 50, None)]).await, []);
        note(&[fared(id, 45, down)]).await;
        assert_eq!(failing_since(ledger, id).await, None);
        let endpoint = ledger.endpoint(id).await.unwrap().unwrap();
        assert_eq!(endpoint.last_success_at.unwrap().as_second(), 50);
        assert_eq!(endpoint.last_failure_at.unwrap().as_second(), 45);
        assert_eq!(endpoint.last_error.as_deref(), down);
        assert_eq!(
            note(&[fared(Uuid::now_v7(), 1, down)]).await,
            [],
            "a deleted one"
        );
    }
}

#[tokio::test]
async fn an_endpoint_is_disabled_once_and_only_while_it_fails_since_then_still() {
    for Fresh { ledger, .. } in &fresh().await {
        let endpoint = registered(ledger).await;
        let id = endpoint.id;
        ledger
            .note_fared(&[fared(id, 20, Some("x"))])
            .await
            .unwrap();
        let disable = async |second| {
            let since = Timestamp::from_second(second).unwrap();
            ledger
                .disable_endpoint(id, since, "why", &act())
                .await
                .unwrap()
        };
        assert!(!disable(19).await);
        assert!(disable(20).await);
        assert!(!disable(20).await);
        assert_eq!(
            ledger
                .note_fared(&[fared(id, 21, Some("x"))])
                .await
                .unwrap(),
            []
        );
        let mut enabled = wanted(&endpoint.url, &["*"]);
        let described = ledger
            .update_endpoint(id, &enabled, &act())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (described.enabled, described.disabled_reason.as_deref()),
            (false, Some("why"))
        );
        enabled.enabled = Some(true);
        let enabled = ledger
            .update_endpoint(id, &enabled, &act())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (
                enabled.enabled,
                enabled.disabled_reason,
                enabled.failing_since
            ),
            (true, None, None)
        );
    }
}
