//! The suppression list by the command line, over real processes: lists go in and come out, whoever dies in between.

use std::{collections::HashSet, fs, process::Stdio};

use futures_util::future::join_all;
use serde_json::Value;
use tests::{Kind, Process, Receiver, Stores, binary, until};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{BOTH, configuration};

/// What a command ended with: its status, and what it wrote.
struct Ended {
    status: Option<i32>,
    out: String,
    err: String,
}

/// Runs `optout suppressions ARGUMENTS…` against `optout`, with `input`.
async fn suppressions(optout: &Process, arguments: &[&str], input: &str) -> Ended {
    let mut child = Command::new(binary("optout"))
        .arg("--config")
        .arg(optout.configuration())
        .arg("suppressions")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may well end before it has read all.
    stdin.write_all(input.as_bytes()).await.ok();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Ended {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn users(count: u32) -> String {
    let lines = (0..count).map(|number| format!("user{number}@example.com\n"));
    ["email\n".to_owned()].into_iter().chain(lines).collect()
}

/// Waits until the target has heard of so many, and of each under one id.
async fn told(receiver: &Receiver, count: usize) {
    until(&format!("the target hears of {count}"), async || {
        let heard = receiver.heard("/hook");
        let keys: HashSet<_> = heard
            .iter()
            .map(|heard| heard.header("idempotency-key").to_owned())
            .collect();
        (keys.len() == count).then_some(())
    })
    .await;
}

// rows: NB-11
#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_in_by_one_command_and_comes_out_by_another() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        let file = stores.folder.path().join("list.csv");
        fs::write(&file, users(700) + "nobody\n").unwrap();
        let file = file.to_str().unwrap();

        let dry = suppressions(&optout, &["import", file, "--dry-run"], "").await;
        assert_eq!(dry.status, Some(1), "{}", dry.err);
        assert!(dry.out.contains("700 suppressions would be new"));
        let done = suppressions(&optout, &["import", file], "").await;
        assert_eq!(done.status, Some(1), "{}", done.err);
        assert!(
            done.out.contains("700 suppressions are new") && done.out.contains("line 702, email:"),
            "{}",
            done.out
        );
        told(&receiver, 700).await;
        let again = suppressions(&optout, &["import", "-", "--json"], &users(700)).await;
        assert_eq!(again.status, Some(0), "{}", again.err);
        let again: Value = serde_json::from_str(&again.out).unwrap();
        assert_eq!(
            (&again["applied"], &again["unchanged"]),
            (&0.into(), &700.into())
        );

        let output = stores.folder.path().join("export.csv");
        let export = [
            "export",
            "--state",
            "active",
            "--output",
            output.to_str().unwrap(),
        ];
        assert_eq!(suppressions(&optout, &export, "").await.status, Some(0));
        assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 701);
        let one = suppressions(&optout, &["export", "--email", "user7@example.com"], "").await;
        assert_eq!(one.out.lines().count(), 2, "{}", one.err);
        assert_eq!(receiver.heard("/hook").len(), 700, "each once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_suppressed_and_lifted_by_hand() {
    let (stores, receiver) = (Stores::fresh(Kind::Embedded).await, Receiver::start().await);
    let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
    let add = [
        "add",
        "Jane@Example.com",
        "--scope",
        "news",
        "--reason",
        "by phone",
    ];
    assert!(
        suppressions(&optout, &add, "")
            .await
            .out
            .starts_with("suppressed\n")
    );
    assert!(
        suppressions(&optout, &add, "")
            .await
            .out
            .starts_with("was suppressed already\n")
    );
    told(&receiver, 1).await;
    let listed = suppressions(
        &optout,
        &["list", "--email", "jane@example.com", "--json"],
        "",
    )
    .await;
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    let id = listed["items"][0]["id"].as_str().unwrap();
    let done = suppressions(&optout, &["lift", id, "--reason", "by phone"], "").await;
    assert!(done.out.contains("lifted"), "{}", done.err);
    told(&receiver, 2).await;
    let listed = suppressions(&optout, &["list", "--state", "active"], "").await;
    assert_eq!(listed.out.trim(), "", "{}", listed.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_refused_is_told_why_however_long_it_is() {
    let (stores, receiver) = (Stores::fresh(Kind::Embedded).await, Receiver::start().await);
    let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
    let list = users(200_000).replacen("email", "name", 1);
    let refused = suppressions(&optout, &["import", "-"], &list).await;
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.err.contains("422") && refused.err.contains("no column"),
        "{}",
        refused.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_process_is_killed_is_done_by_importing_again() {
    join_all(BOTH.into_iter().map(killed)).await;
}

async fn killed(kind: Kind) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let rest = configuration(&receiver);
    // Between the queue and the ledger, with the second chunk.
    let mut optout = Process::start("optout", &stores, &rest, Some("api.changed:2")).await;
    let cut_off = suppressions(&optout, &["import", "-"], &users(700)).await;
    assert_eq!(cut_off.status, Some(1), "{}", cut_off.out);
    optout.died().await;
    optout.again().await;
    let again = suppressions(&optout, &["import", "-", "--json"], &users(700)).await;
    let again: Value = serde_json::from_str(&again.out).unwrap_or_else(|_| panic!("{}", again.err));
    let count = |name: &str| again[name].as_u64().unwrap();
    assert!(count("unchanged") >= 500, "{again}");
    assert_eq!(count("applied") + count("unchanged"), 700);
    told(&receiver, 700).await;
}
