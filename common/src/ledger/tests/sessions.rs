//! Sessions of the dashboard: what is kept of them, and what ends them.

use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;

use super::*;
use crate::{config::Role, key::Wanted};

/// A little less than [`IDLE`].
const ALMOST: Duration = Duration::from_mins(29);

async fn age(ledger: &Ledger, column: &str, by: Duration) {
    let text = format!("UPDATE sessions SET {column} = {column} - $1");
    let query = ledger.query(&text).bind(period(by));
    query.execute(&ledger.pool).await.unwrap();
}

async fn is_open(ledger: &Ledger, token: &SecretString) -> bool {
    let token = token.expose_secret().as_bytes();
    ledger.session(token).await.unwrap().is_some()
}

#[tokio::test]
async fn a_session_is_of_the_key_that_opened_it_and_of_no_other() {
    for Fresh { ledger, .. } in &fresh().await {
        let key = "a configured key".into();
        let token = ledger.open_session("ops", None, &key).await.unwrap();
        let held = token.expose_secret().as_bytes();
        let session = ledger.session(held).await.unwrap().unwrap();
        assert_eq!((session.key.as_str(), session.role), ("ops", None));
        assert!(session.is_of(held, b"a configured key"));
        assert!(!session.is_of(held, b"another key") && !session.is_of(b"x", b"a configured key"));
        assert_eq!(ledger.session(b"another token").await.unwrap(), None);
        ledger.close_session(held).await.unwrap();
        ledger.close_session(held).await.unwrap();
        assert!(!is_open(ledger, &token).await);
    }
}

#[tokio::test]
async fn a_session_ends_with_its_key_of_the_ledger() {
    for Fresh { ledger, .. } in &fresh().await {
        let wanted = |name: &str| Wanted {
            name: name.to_owned(),
            role: Role::Write,
            rate: None,
            expires_at: None,
        };
        let (key, secret) = ledger
            .create_key(&wanted("one"), "ops")
            .await
            .unwrap()
            .unwrap();
        let token = ledger
            .open_session("one", Some(key.id), &secret)
            .await
            .unwrap();
        let session = ledger
            .session(token.expose_secret().as_bytes())
            .await
            .unwrap();
        assert_eq!(session.unwrap().role, Some(Role::Write));
        // One that took its name later is another key.
        ledger.revoke_key(key.id, "ops").await.unwrap();
        ledger
            .create_key(&wanted("one"), "ops")
            .await
            .unwrap()
            .unwrap();
        assert!(!is_open(ledger, &token).await);
    }
}

#[tokio::test]
async fn of_more_sessions_of_a_key_than_there_may_be_those_end_that_were_used_least_recently() {
    for Fresh { ledger, .. } in &fresh().await {
        let key = "a configured key".into();
        let open = async |name: &str| ledger.open_session(name, None, &key).await.unwrap();
        let (first, of_another) = (open("ops").await, open("other").await);
        age(ledger, "seen_at", Duration::from_mins(10)).await;
        let mut later = vec![];
        for _ in 1..MOST_SESSIONS {
            later.push(open("ops").await);
        }
        assert!(
            is_open(ledger, &first).await,
            "so many there may be, and it is used by that"
        );
        age(ledger, "seen_at", Duration::from_mins(10)).await;
        assert!(is_open(ledger, &first).await);
        let newest = open("ops").await;
        for open in [&first, &newest, &of_another] {
            assert!(is_open(ledger, open).await);
        }
        let mut left = 0;
        for token in &later {
            left += i64::from(is_open(ledger, token).await);
        }
        assert_eq!(left, MOST_SESSIONS - 2);
    }
}

#[tokio::test]
async fn what_was_not_used_for_long_has_ended_and_is_forgotten_when_another_begins() {
    for Fresh { ledger, .. } in &fresh().await {
        let key = "a configured key".into();
        let token = ledger.open_session("ops", None, &key).await.unwrap();
        age(ledger, "seen_at", ALMOST).await;
        assert!(is_open(ledger, &token).await, "and used by that");
        age(ledger, "seen_at", ALMOST).await;
        assert!(is_open(ledger, &token).await);
        age(ledger, "created_at", LONGEST).await;
        assert!(!is_open(ledger, &token).await, "however much it is used");
        age(ledger, "seen_at", IDLE).await;
        ledger.open_session("ops", None, &key).await.unwrap();
        let count = ledger
            .query("SELECT COUNT(*) FROM sessions")
            .fetch_one(&ledger.pool)
            .await;
        assert_eq!(count.unwrap().try_get::<i64, _>(0).unwrap(), 1);
    }
}
