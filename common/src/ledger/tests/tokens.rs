//! A token lets in one envelope and what says the same, whoever comes first and however often.

use std::collections::HashMap;

use super::*;

/// The token of an envelope that says that somebody did this.
fn token(signed: &str, envelope: &Envelope, kind: Kind) -> Token {
    let said = event(envelope, kind, &format!("{signed} {kind}"), 0);
    Token::new("mailgun", signed, envelope.id, &[said])
}

#[tokio::test]
async fn a_token_is_the_first_envelope_s_and_of_its_repeats_for_ever_and_of_no_other() {
    for Fresh { ledger, .. } in &fresh().await {
        let (first, repeat, forged) = (envelope(), envelope(), envelope());
        let told = async |tokens: &[Token]| ledger.take_tokens(tokens).await.unwrap();
        let first_s = token("1", &first, Kind::Opened);
        assert_eq!(told(&[first_s]).await, HashMap::new());
        assert_eq!(told(&[first_s]).await, HashMap::new(), "handed out again");
        let repeated = token("1", &repeat, Kind::Opened);
        assert_eq!(told(&[repeated]).await, HashMap::new());
        // Tried again once its parser reads something else in it.
        let mended = token("1", &first, Kind::Clicked);
        assert_eq!(told(&[mended]).await, HashMap::new());
        let made_up = token("1", &forged, Kind::Complained);
        let refused = HashMap::from([(forged.id, first.id)]);
        assert_eq!(told(&[made_up]).await, refused);
        assert_eq!(told(&[made_up]).await, refused, "handed out again");
        let other = token("2", &forged, Kind::Complained);
        assert_eq!(told(&[other]).await, HashMap::new(), "a token of its own");
    }
}

#[tokio::test]
async fn of_one_batch_the_first_has_the_token_and_of_two_workers_one() {
    for Fresh { ledger, .. } in &fresh().await {
        let (first, forged, repeat) = (envelope(), envelope(), envelope());
        let tokens = [
            token("1", &first, Kind::Opened),
            token("1", &forged, Kind::Complained),
            token("1", &repeat, Kind::Opened),
        ];
        let refused = ledger.take_tokens(&tokens).await.unwrap();
        assert_eq!(refused, HashMap::from([(forged.id, first.id)]));
        let (one, other) = (envelope(), envelope());
        let both = [
            [token("2", &one, Kind::Opened)],
            [token("2", &other, Kind::Complained)],
        ];
        let (left, right) =
            tokio::join!(ledger.take_tokens(&both[0]), ledger.take_tokens(&both[1]));
        let refused = left.unwrap().len() + right.unwrap().len();
        assert_eq!(refused, 1);
    }
}

#[tokio::test]
async fn tokens_go_when_they_can_no_longer_be_used() {
    for Fresh { ledger, .. } in &fresh().await {
        let (first, later) = (envelope(), envelope());
        let opened = [token("1", &first, Kind::Opened)];
        ledger.take_tokens(&opened).await.unwrap();
        let ago = clock::now() - jiff::SignedDuration::from_mins(1);
        assert_eq!(ledger.expire_tokens(ago, 10).await.unwrap(), 0);
        let ahead = clock::now() + jiff::SignedDuration::from_mins(1);
        assert_eq!(ledger.expire_tokens(ahead, 10).await.unwrap(), 1);
        let another = [token("1", &later, Kind::Complained)];
        assert!(ledger.take_tokens(&another).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_token_that_another_envelope_came_by_is_kept_for_good() {
    for Fresh { ledger, .. } in &fresh().await {
        let (first, forged, later) = (envelope(), envelope(), envelope());
        let told = async |token: Token| ledger.take_tokens(&[token]).await.unwrap();
        told(token("1", &first, Kind::Opened)).await;
        told(token("2", &first, Kind::Opened)).await;
        let made_up = token("1", &forged, Kind::Complained);
        let refused = HashMap::from([(forged.id, first.id)]);
        assert_eq!(told(made_up).await, refused);
        let ahead = clock::now() + jiff::SignedDuration::from_mins(1);
        let gone = ledger.expire_tokens(ahead, 10).await.unwrap();
        assert_eq!(gone, 1, "that of which no other came");
        assert_eq!(told(made_up).await, refused, "tried again much later");
        let repeat = token("1", &later, Kind::Opened);
        assert_eq!(told(repeat).await, HashMap::new());
    }
}
