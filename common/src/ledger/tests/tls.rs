//! PostgreSQL over TLS.

use super::*;

/// A new database, by the URL that wants TLS and looks at the certificate.
async fn secured() -> String {
    let url = crate::test_store("OPTOUT_TEST_POSTGRES_TLS_URL");
    let (_, query) = url.split_once('?').unwrap();
    format!("{}?{query}", postgres().await)
}

#[tokio::test]
async fn a_ledger_over_tls_records_and_finds() {
    let ledger = Ledger::connect(&secured().await, 2).await.unwrap();
    let secured: bool =
        sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_one(&ledger.pool)
            .await
            .unwrap();
    assert!(secured);
    one_delivery(&ledger).await;
    let contact = Contact::email("jane@example.com").unwrap();
    assert_eq!(ledger.check(&contact, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_postgresql_whose_certificate_another_ca_signed_is_refused_and_told_why() {
    let url = secured().await.replace("/ca.pem", "/other.pem");
    let error = Ledger::connect(&url, 2).await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}
