//! How clients that are large, slow, many or rude are held off.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::{OPEN, STUCK, config, door, open, read},
    queue::{Behaviour, TestQueue},
};

const HEAD: &str = "POST /webhooks/open HTTP/1.1\r\nhost: door\r\n";

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_at_once() {
    let door = door(&format!("ingress.max_body = '16B'\n{OPEN}")).await;
    // Nothing of the body is sent.
    let answer = door
        .send(format!("{HEAD}content-length: 17\r\n\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        door.post("/webhooks/open", &[], &[b'x'; 16]).await.status,
        200
    );
}

#[tokio::test]
async fn a_body_that_does_not_say_its_length_is_refused_when_it_grows_too_large() {
    let door = door(&format!("ingress.max_body = '16B'\n{OPEN}")).await;
    // It goes on for ever: the answer comes before the last chunk, which never does.
    let chunked = |chunks: &str| {
        format!("{HEAD}transfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunks}")
    };
    let answer = door
        .send(chunked("8\r\n01234567\r\n9\r\n012345678\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 413);
    let answer = door
        .send(chunked("8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(door.queue.only().body, &b"0123456701234567"[..]);
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_after_one_deadline_for_the_whole() {
    let brevo = "[[sources]]\nname = 'brevo'\nprovider = 'brevo'\nauth = { kind = 'none' }";
    let door = door(&format!("ingress.read_timeout = '200ms'\n{OPEN}\n{brevo}")).await;
    // A 408 would make Brevo drop the event.
    for (source, status) in [("open", 408), ("brevo", 429)] {
        let (mut reader, mut writer) = door.connect().await.into_split();
        let head = HEAD.replace("open", source);
        let drip = async {
            writer
                .write_all(format!("{head}content-length: 100000\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                if writer.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut answer = [0; 12];
        tokio::select! {
            () = tokio::time::sleep(STUCK) => panic!("the body is waited for for ever"),
            answered = reader.read_exact(&mut answer) => answered.map(drop).unwrap(),
            () = drip => {}
        }
        assert_eq!(
            String::from_utf8_lossy(&answer),
            format!("HTTP/1.1 {status}")
        );
    }
    assert!(door.queue.envelopes().is_empty());
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_hung_up_on() {
    let door = door(&format!("ingress.read_timeout = '100ms'\n{OPEN}")).await;
    let mut stream = door.connect().await;
    stream
        .write_all(format!("{HEAD}x-slow: ").as_bytes())
        .await
        .unwrap();
    let mut answer = vec![];
    let ended =
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    ended.expect("the connection should end").unwrap();
    assert!(
        !String::from_utf8_lossy(&answer).contains(" 200 "),
        "{answer:?}"
    );
}

#[tokio::test]
async fn above_the_bound_of_requests_in_hand_the_answer_is_come_again_at_once() {
    let brevo = "[[sources]]\nname = 'brevo'\nprovider = 'brevo'\nauth = { kind = 'none' }";
    let config = config(&format!("ingress.max_in_flight = 1\n{OPEN}\n{brevo}"));
    let door = open(&config, TestQueue::holding()).await;
    let first = async {
        let answer = door.post("/webhooks/open", &[], b"first").await;
        assert_eq!(answer.status, 200);
    };
    let others = async {
        door.queue.begun().await;
        for (path, status) in [("/webhooks/open", 503), ("/webhooks/brevo", 429)] {
            let answer = door.post(path, &[], b"too many").await;
            assert_eq!(
                (answer.status, answer.header("retry-after")),
                (status, Some("5"))
            );
        }
        // Probes take no hand.
        assert_eq!(door.request("GET", "/webhooks/open").await.status, 200);
        door.queue.release(2);
    };
    tokio::join!(first, others);
    assert_eq!(door.post("/webhooks/open", &[], b"later").await.status, 200);
}

#[tokio::test]
async fn bodies_that_are_large_together_are_refused_like_a_request_too_many() {
    let small = "ingress.max_body = '64KiB'\ningress.max_in_flight_bytes = '96KiB'";
    let config = config(&format!("{small}\n{OPEN}"));
    let door = open(&config, TestQueue::holding()).await;
    let (large, little) = (vec![b'x'; 64 << 10], vec![b'x'; 1 << 10]);
    let first = async {
        let answer = door.post("/webhooks/open", &[], &large).await;
        assert_eq!(answer.status, 200);
    };
    let others = async {
        door.queue.begun().await;
        let answer = door.post("/webhooks/open", &[], &large).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("5"))
        );
        door.queue.release(2);
        let answer = door.post("/webhooks/open", &[], &little).await;
        assert_eq!(answer.status, 200);
    };
    tokio::join!(first, others);
    // What was taken has been given back.
    door.queue.release(3);
    for _ in 0..3 {
        assert_eq!(door.post("/webhooks/open", &[], &large).await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_its_body_leaves_nothing_behind() {
    let config = config(&format!("ingress.max_in_flight = 1\n{OPEN}"));
    let door = open(&config, TestQueue::new(Behaviour::Store)).await;
    for _ in 0..3 {
        let mut stream = door.connect().await;
        stream
            .write_all(format!("{HEAD}content-length: 10\r\n\r\nhalf").as_bytes())
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.unwrap();
    }
    assert_eq!(door.post("/webhooks/open", &[], b"whole").await.status, 200);
    assert_eq!(door.queue.only().body, &b"whole"[..]);
}

#[tokio::test]
async fn a_connection_can_be_used_again() {
    let door = door(OPEN).await;
    let mut stream = door.connect().await;
    let posts = format!(
        "{HEAD}content-length: 1\r\n\r\n1{HEAD}connection: close\r\ncontent-length: 1\r\n\r\n2"
    );
    stream.write_all(posts.as_bytes()).await.unwrap();
    assert!(read(stream).await.body.contains("HTTP/1.1 200 OK"));
    let bodies: Vec<_> = door
        .queue
        .envelopes()
        .into_iter()
        .map(|envelope| envelope.body)
        .collect();
    assert_eq!(bodies, [&b"1"[..], b"2"]);
}
