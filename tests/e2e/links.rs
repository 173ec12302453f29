//! A recipient unsubscribes by the link of a mail, from the making of the link to the check before the next mail.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Kind, Process, Receiver, Stores, binary, http, until};

use crate::{BOTH, configuration};

const LINKS: &str = "[links]\nurl = \"https://optout.example.com\"\nkeys = \"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\"\n";

const JANE: &str = "jane.of.the.links@example.com";

/// What is sent to a link, at the door under test: the status and the answer.
async fn send(door: &Process, method: Method, url: &str, body: &'static str) -> (u16, String) {
    let url = url.replace("https://optout.example.com", &door.door);
    let request = http().request(method, url).body(body);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn press(door: &Process, url: &str) {
    let (status, said) = send(door, Method::POST, url, "List-Unsubscribe=One-Click").await;
    assert_eq!(status, 200, "{said}");
}

async fn make(api: &Process, scope: &str) -> String {
    let wanted = json!({ "scope": scope, "contacts": [JANE] });
    let (status, made) = api.ask("POST", "/api/v1/links", &wanted).await;
    assert_eq!(status, 200, "{made}");
    made["items"][0]["url"].as_str().unwrap().to_owned()
}

async fn is_unsubscribed(api: &Process, scope: &str) -> bool {
    let path = format!("/api/v1/check?email={JANE}&scope={scope}");
    let answer = api.get(&path).await;
    answer["unsubscribed"].as_bool().unwrap()
}

async fn becomes_unsubscribed(api: &Process, scope: &str) {
    until("the check says unsubscribed", async || {
        is_unsubscribed(api, scope).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_pressed_holds_in_the_next_check_and_again_after_a_lift() {
    join_all(BOTH.into_iter().map(pressed)).await;
}

async fn pressed(kind: Kind) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let rest = configuration(&receiver) + LINKS + "[telemetry]\nlog = \"debug\"\n";
    let mut optout = Process::start("optout", &stores, &rest, None).await;
    let link = make(&optout, "news").await;

    // Scanners of mail look.
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        send(&optout, method, &link, "").await;
    }
    send(&optout, Method::POST, &link, "").await;
    press(&optout, &link).await;
    becomes_unsubscribed(&optout, "news").await;
    assert!(!is_unsubscribed(&optout, "offers").await, "on {kind:?}");
    let events = optout.get("/api/v1/events").await;
    let [event] = &events["items"].as_array().unwrap()[..] else {
        panic!("the press alone is an event: {events}");
    };
    for (field, value) in [
        ("kind", "unsubscribed"),
        ("source", "one-click"),
        ("provider", "one-click"),
        ("origin", "recipient"),
        ("provider_event", "One-Click"),
        ("contact", JANE),
        ("scope", "news"),
    ] {
        assert_eq!(event[field], value, "{field} on {kind:?}");
    }
    let event = optout
        .get(&format!("/api/v1/events/{}", event["id"].as_str().unwrap()))
        .await;
    let evidence = event.to_string();
    assert!(
        evidence.contains("List-Unsubscribe=One-Click"),
        "{evidence}"
    );

    // Twice does no harm; what somebody lifts is lifted, and a later opt-out counts.
    press(&optout, &link).await;
    until("both presses are told", async || {
        (receiver.heard("/hook").len() == 2).then_some(())
    })
    .await;
    let page = optout
        .get(&format!("/api/v1/suppressions?email={JANE}"))
        .await;
    let [suppression] = &page["items"].as_array().unwrap()[..] else {
        panic!("one suppression: {page}");
    };
    let lift = format!(
        "/api/v1/suppressions/{}?reason=asked",
        suppression["id"].as_str().unwrap()
    );
    let (status, said) = optout.ask("DELETE", &lift, &json!({})).await;
    assert!((200..300).contains(&status), "{said}");
    assert!(!is_unsubscribed(&optout, "news").await, "on {kind:?}");
    press(&optout, &link).await;
    becomes_unsubscribed(&optout, "news").await;
    tells_nobody(&mut optout, &link).await;
}

/// Whoever has a token can unsubscribe.
async fn tells_nobody(optout: &mut Process, link: &str) {
    let metrics = http().get(format!("{}/metrics", optout.ops)).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    optout.terminate().await;
    let log = std::fs::read_to_string(optout.configuration().with_extension("log")).unwrap();
    assert!(log.contains("opt-out accepted"), "{log}");
    assert!(metrics.contains(r#"optout_ingress_accepted_total{source="one-click""#));
    for text in [&log, &metrics] {
        assert!(!text.contains(link.rsplit('/').next().unwrap()));
        assert!(!text.contains(JANE));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_press_needs_neither_the_ledger_nor_a_worker_and_the_worker_no_key() {
    let (stores, receiver) = (Stores::fresh(Kind::Scaled).await, Receiver::start().await);
    let ingress = Process::start("ingress", &stores, LINKS, None).await;
    let folder = tempfile::tempdir().unwrap();
    let made = links(&folder, &["--urls", "--scope", "news", JANE], "");
    let link = String::from_utf8(made.stdout).unwrap();
    press(&ingress, link.trim()).await;
    let worker = Process::start("worker", &stores, &configuration(&receiver), None).await;
    let api = Process::start("api", &stores, "", None).await;
    becomes_unsubscribed(&api, "news").await;
    assert_eq!(api.get("/api/v1/quarantine").await["items"], json!([]));
    drop(worker);
}

/// `optout links` with a configuration, over nothing else.
fn links(folder: &tempfile::TempDir, arguments: &[&str], input: &str) -> Output {
    std::fs::write(folder.path().join("optout.toml"), LINKS).unwrap();
    let mut command = Command::new(binary("optout"));
    command
        .arg("links")
        .args(arguments)
        .current_dir(folder.path());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn links_are_made_offline_of_arguments_lines_and_csv() {
    let folder = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str], input: &str| {
        let made = links(&folder, arguments, input);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (made.status.code(), text(made.stdout), text(made.stderr))
    };
    let (status, out, _) = said(&["a@b.example", "+15551234567"], "");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((status, lines.len()), (Some(0), 5), "{out}");
    for block in [&lines[..2], &lines[3..]] {
        assert!(
            block[0].starts_with("List-Unsubscribe: <https://optout.example.com/u/")
                && block[0].ends_with('>')
        );
        assert_eq!(
            block[1],
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
        );
    }
    let (_, out, _) = said(&["--file", "-", "--urls"], "a@b.example\n\nc@d.example\n");
    assert_eq!(out.lines().count(), 2, "{out}");

    let csv = "id,email,scope\n1,a@b.example,news\n2,nobody,news\n3,c@d.example,\n";
    std::fs::write(folder.path().join("people.csv"), csv).unwrap();
    let (status, out, wrong) = said(&["--file", "people.csv", "--json", "--scope", "offers"], "");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let scopes: Vec<_> = lines.iter().map(|line| &line["scope"]).collect();
    assert_eq!(scopes, [&json!("news"), &Value::Null, &json!("offers")]);
    assert!(lines[0]["headers"]["List-Unsubscribe"].is_string() && lines[1]["error"].is_string());
    assert_eq!(status, Some(1), "one of them could not be made");
    assert!(
        wrong.starts_with("line 3: ") && !wrong.contains("nobody"),
        "{wrong}"
    );

    let (status, _, wrong) = said(&["--file", "-"], "a@b.example,news\n");
    assert!(
        status == Some(1) && wrong.contains("names none of them"),
        "{wrong}"
    );
}

#[test]
fn without_links_in_the_configuration_it_is_said_what_to_configure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("optout"));
    let made = command
        .args(["links", "a@b.example"])
        .current_dir(folder.path())
        .output();
    let made = made.unwrap();
    assert_eq!(made.status.code(), Some(1));
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(said.contains("[links]") && said.contains("keys"), "{said}");
}
