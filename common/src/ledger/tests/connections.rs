use sqlx::Row;

use super::*;

#[tokio::test]
async fn a_connection_that_died_while_it_was_idle_is_found_out_before_it_is_used() {
    let ledger = Ledger::connect(&postgres().await, 2).await.unwrap();
    let mut connection = ledger.pool.acquire().await.unwrap();
    assert!(is_fit(&mut connection, 2 * TRUSTED).await.unwrap());
    let ask = sqlx::query("SELECT pg_backend_pid()");
    let server: i32 = ask.fetch_one(&mut *connection).await.unwrap().get(0);
    // Answers once it has ended.
    let kill = sqlx::query("SELECT pg_terminate_backend($1, 10000)").bind(server);
    kill.execute(&ledger.pool).await.unwrap();
    assert!(is_fit(&mut connection, 2 * TRUSTED).await.is_err());
}

#[tokio::test]
async fn a_connection_in_a_transaction_that_nobody_ended_is_not_given_out_again() {
    for Fresh { ledger, _folder } in fresh().await {
        let mut connection = ledger.pool.acquire().await.unwrap();
        assert!(is_fit(&mut connection, Duration::ZERO).await.unwrap());
        let transaction = connection.begin().await.unwrap();
        std::mem::forget(transaction);
        assert!(!is_fit(&mut connection, Duration::ZERO).await.unwrap());
    }
}
