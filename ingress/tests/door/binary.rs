//! The binary as a process: what it says of its configuration, and how it lives without a queue.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use common::{
    envelope,
    queue::{Priority, QueueName},
};

fn start(configuration: &str) -> (tempfile::TempDir, Child) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optout.toml");
    std::fs::write(&path, configuration).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_ingress"))
        .arg("--config")
        .arg(path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (folder, process)
}

#[test]
fn all_mistakes_of_a_configuration_are_printed_by_key_and_the_exit_status_is_64() {
    let (_folder, process) =
        start("[ingress]\nbind = 'everywhere'\ncolour = 'blue'\n[[sources]]\nname = 'a'");
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let lines = String::from_utf8(output.stderr).unwrap();
    let keys: Vec<_> = lines
        .lines()
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    for key in [
        "ingress.bind",
        "ingress.colour",
        "sources[0].provider",
        "sources[0].auth",
    ] {
        assert!(keys.contains(&key), "{lines}");
    }
    assert_eq!(keys.len(), 4, "{lines}");
}

fn request(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: door\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The addresses of the next two listeners in the log, of the operations and of the door.
fn listeners(log: &mut impl BufRead) -> (String, String) {
    let mut addresses = log.lines().map_while(Result::ok).filter_map(|line| {
        let (_, rest) = line.split_once("\"address\":\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    });
    (addresses.next().unwrap(), addresses.next().unwrap())
}

#[test]
fn without_its_queue_it_is_alive_not_ready_and_has_webhooks_sent_again() {
    let (_folder, mut process) = start(
        "[ingress]\nbind = '127.0.0.1:0'\nops_bind = '127.0.0.1:0'
         [telemetry]\nformat = 'json'
         [queue]\nurl = 'amqp://127.0.0.1:1'
         [[sources]]\nname = 'a'\nprovider = 'postmark'\nauth = { kind = 'none' }",
    );
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let (operations, door) = listeners(&mut log);
    assert!(request(&operations, "GET /healthz").starts_with("HTTP/1.1 200 "));
    let ready = request(&operations, "GET /readyz");
    assert!(
        ready.starts_with("HTTP/1.1 503 ") && ready.contains("\"queue\""),
        "{ready}"
    );
    let answer = request(&door, "POST /webhooks/a");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5"),
        "{answer}"
    );
    assert!(request(&operations, "GET /metrics").contains("optout_ingress_refused_total"));

    let terminated = Command::new("kill")
        .arg("-TERM")
        .arg(process.id().to_string())
        .status()
        .unwrap();
    assert!(terminated.success());
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_was_answered_200_is_in_the_queue_after_kill_9() {
    let stores = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", stores.path().join("queue.db").display());
    let (_folder, mut process) = start(&format!(
        "[ingress]\nbind = '127.0.0.1:0'\nops_bind = '127.0.0.1:0'
         [telemetry]\nformat = 'json'
         [queue]\nurl = '{url}'
         [[sources]]\nname = 'a'\nprovider = 'postmark'\nauth = {{ kind = 'none' }}"
    ));
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let (operations, door) = listeners(&mut log);
    assert!(request(&operations, "GET /readyz").starts_with("HTTP/1.1 200 "));
    let answer = request(&door, "POST /webhooks/a");
    process.kill().unwrap();
    assert!(!process.wait().unwrap().success());

    let queue = common::queue::connect(&url, "optout", &[]).await.unwrap();
    queue.declare(&ingress::queues()).await.unwrap();
    let inbound = QueueName::Inbound(Priority::Urgent);
    let received = queue
        .consume(&inbound, 10)
        .await
        .unwrap()
        .receive(10)
        .await
        .unwrap();
    let [message] = &received[..] else {
        panic!("{received:?}")
    };
    let envelopes = envelope::decode(message.body.clone()).unwrap();
    let [envelope] = &envelopes[..] else {
        panic!("{envelopes:?}")
    };
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains(&envelope.id.to_string()),
        "{answer}"
    );
}
