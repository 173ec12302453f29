//! What is stored of a request.

use common::queue::{Priority, QueueName};

use crate::harness::{OPEN, door};

#[tokio::test]
async fn a_body_is_stored_byte_for_byte() {
    let door = door(OPEN).await;
    let all: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    for body in [&b"{ \"a\" :\t1.0e1, \"a\": 2 }\r\n"[..], b"", &all] {
        assert_eq!(door.post("/webhooks/open", &[], body).await.status, 200);
        assert_eq!(door.queue.envelopes().last().unwrap().body, body);
    }
}

#[tokio::test]
async fn a_chunked_body_is_stored_as_one() {
    let door = door(OPEN).await;
    let head = "POST /webhooks/open HTTP/1.1\r\nhost: door\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = door
        .send(format!("{head}3\r\nabc\r\n2;x=y\r\nde\r\n0\r\ntrailer: x\r\n\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(door.queue.only().body, &b"abcde"[..]);
}

#[tokio::test]
async fn an_envelope_holds_who_when_and_of_what_type() {
    let door = door(OPEN).await;
    let before = common::clock::now();
    let headers = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("User-Agent", "Postmark"),
        ("X-Other", "x"),
    ];
    let answer = door.post("/webhooks/open", &headers, b"{}").await;
    let envelope = door.queue.only();
    assert_eq!(answer.json()["id"], envelope.id.to_string());
    assert_eq!(envelope.id.get_version_num(), 7);
    assert_eq!(envelope.source, "open");
    assert!((before..=common::clock::now()).contains(&envelope.received_at));
    assert_eq!(
        envelope.content_type.as_deref(),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(envelope.header("user-agent"), Some("Postmark"));
    assert_eq!(envelope.header("x-other"), None);
}

#[tokio::test]
async fn credentials_are_not_stored() {
    let source = "[[sources]]\nname = 'a'\nprovider = 'postmark'\nauth = [
        { kind = 'basic', username = 'u', password = 's3cret-basic' },
        { kind = 'header', name = 'User-Agent', secret = 's3cret-header' },
        { kind = 'query', name = 't', secret = 's3cret-query' },
    ]";
    let door = door(source).await;
    let headers = [
        ("authorization", "Basic dTpzM2NyZXQtYmFzaWM="),
        ("user-agent", "s3cret-header"),
        ("cookie", "s3cret-cookie"),
    ];
    assert_eq!(
        door.post("/webhooks/a?t=s3cret-query", &headers, b"{}")
            .await
            .status,
        200
    );
    let envelope = format!("{:?}", door.queue.only());
    assert!(
        !envelope.contains("s3cret") && !envelope.contains("dTpz"),
        "{envelope}"
    );
}

// rows: SM-11
#[tokio::test]
async fn what_only_tells_of_deliveries_does_not_queue_before_an_opt_out() {
    let door =
        door("[[sources]]\nname = 'a'\nprovider = 'sentinmail'\nauth = { kind = 'none' }").await;
    for (kind, priority) in [
        ("delivered", Priority::Bulk),
        ("unsubscribed", Priority::Urgent),
        ("vanished", Priority::Urgent),
    ] {
        let body = format!(
            r#"{{"id":"evt-{kind}","type":"{kind}","recipient":"user@example.com","timestamp":"2026-04-02T14:30:00Z"}}"#
        );
        assert_eq!(
            door.post("/webhooks/a", &[], body.as_bytes()).await.status,
            200
        );
        assert_eq!(
            door.queue.stored().last().unwrap().0,
            QueueName::Inbound(priority),
            "{kind}"
        );
    }
}
