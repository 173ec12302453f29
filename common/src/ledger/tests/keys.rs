//! Keys in the ledger: what is stored is not the key, names are unique among the live, and the trail has every change.

use secrecy::ExposeSecret;
use sqlx::Row;

use super::*;
use crate::{
    config::Role,
    key::{State, Wanted, hash},
};

fn wanted(name: &str) -> Wanted {
    Wanted {
        name: name.to_owned(),
        role: Role::Read,
        rate: Some("100/1m".parse().unwrap()),
        expires_at: None,
    }
}

/// Every column of every row, as text.
async fn stored(ledger: &Ledger, table: &str) -> String {
    let text = match table {
        "keys" => "SELECT id || name || role || hash || hint || rate || created_by FROM keys",
        _ => "SELECT actor || action || subject || details || personal FROM audit",
    };
    let rows = ledger.query(text).fetch_all(&ledger.pool).await.unwrap();
    let rows = rows.iter().map(|row| row.get::<String, _>(0));
    rows.collect()
}

#[tokio::test]
async fn the_key_itself_is_nowhere_and_is_found_by_its_hash() {
    for Fresh { ledger, .. } in &fresh().await {
        let made = ledger.create_key(&wanted("ci"), "ops").await.unwrap();
        let (made, secret) = made.unwrap();
        let secret = secret.expose_secret();
        let found = ledger.key_by_hash(&hash(secret.as_bytes())).await.unwrap();
        assert_eq!(found, Some(made.clone()));
        assert_eq!(ledger.key_by_hash(secret).await.unwrap(), None);
        assert_eq!(ledger.key_by_hash("").await.unwrap(), None);
        assert_eq!(
            (made.role, made.rate, made.state),
            (Role::Read, wanted("").rate, State::Active)
        );
        let random = &secret[11..];
        for table in ["keys", "audit"] {
            let stored = stored(ledger, table).await;
            assert!(
                stored.contains("ci") && !stored.contains(random),
                "{stored}"
            );
        }
        assert!(
            !stored(ledger, "audit")
                .await
                .contains(&hash(secret.as_bytes()))
        );
    }
}

#[tokio::test]
async fn a_name_is_one_live_keys_however_many_ask_for_it_at_once() {
    for Fresh { ledger, .. } in &fresh().await {
        let wanted = wanted("ci");
        let asks = (0..8).map(|_| ledger.create_key(&wanted, "ops"));
        let made = futures_util::future::join_all(asks).await;
        let made: Vec<_> = made.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(made.len(), 1);
        let id = made[0].0.id;
        assert_eq!(ledger.key_named("ci").await.unwrap().unwrap().id, id);
        assert_eq!(
            ledger.verify_audit().await.unwrap().records,
            1,
            "no change, no record"
        );

        let revoked = ledger.revoke_key(id, "ops").await.unwrap().unwrap();
        assert_eq!(revoked.state, State::Revoked);
        let again = ledger.revoke_key(id, "ops").await.unwrap().unwrap();
        assert_eq!(again, revoked, "revoking twice changes nothing");
        assert_eq!(
            ledger.revoke_key(Uuid::now_v7(), "ops").await.unwrap(),
            None
        );
        assert_eq!(ledger.key_named("ci").await.unwrap(), None);
        assert_eq!(ledger.key_hashes(10).await.unwrap(), [""; 0]);
        assert!(ledger.create_key(&wanted, "ops").await.unwrap().is_some());
        assert_eq!(ledger.verify_audit().await.unwrap().records, 4);
    }
}

#[tokio::test]
async fn the_name_of_a_key_that_has_expired_is_free_and_it_stays_expired() {
    for Fresh { ledger, .. } in &fresh().await {
        let expired = Wanted {
            expires_at: Some(clock::now() - LEASE),
            ..wanted("ci")
        };
        let (expired, secret) = ledger.create_key(&expired, "ops").await.unwrap().unwrap();
        let hash = hash(secret.expose_secret().as_bytes());
        assert_eq!(ledger.key_by_hash(&hash).await.unwrap(), None);
        let later = Wanted {
            expires_at: Some(clock::now() + LEASE),
            ..wanted("ci")
        };
        let (live, _) = ledger.create_key(&later, "ops").await.unwrap().unwrap();
        assert_eq!(ledger.key_hashes(10).await.unwrap().len(), 1);
        let listed = ledger.keys(10, None).await.unwrap().items;
        let states: Vec<_> = listed.iter().map(|key| (key.id, key.state)).collect();
        assert_eq!(
            states,
            [(live.id, State::Active), (expired.id, State::Expired)]
        );
    }
}
