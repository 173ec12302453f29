//! The targets of the configuration, as programs see them.

use common::ledger::Level;

use super::*;

#[tokio::test]
async fn targets_are_listed_with_how_they_fare_and_where_their_breakers_stand() {
    on_each(async |door| {
        let (_, dead) = door.delivery_to("slack").await;
        door.attempt(dead, 1, State::Dead).await;
        let levels = [("slack".to_owned(), Level::Open)];
        let workers = [Uuid::now_v7(), Uuid::now_v7()];
        door.ledger
            .note_breakers(workers[0], &levels)
            .await
            .unwrap();
        let levels = [("slack".to_owned(), Level::Closed)];
        door.ledger
            .note_breakers(workers[1], &levels)
            .await
            .unwrap();
        let [off, slack] = &door.items("/api/v1/targets").await[..] else {
            panic!("there are two");
        };
        assert_eq!(
            (&off["name"], &off["enabled"]),
            (&"off".into(), &false.into())
        );
        assert_eq!(
            (&off["breaker"], &off["failed_at"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            (&slack["name"], &slack["error"]),
            (&"slack".into(), &"gone".into())
        );
        let breaker = &slack["breaker"];
        assert_eq!(
            (&breaker["level"], &breaker["at"]),
            (&"open".into(), &1.into())
        );
        assert_eq!(breaker["workers"], 2);
    })
    .await;
}
