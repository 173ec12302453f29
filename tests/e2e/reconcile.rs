//! Reconciliations by the command line, over a real api. No worker runs: the test writes to the ledger what one would.

use std::process::{Output, Stdio};

use common::{
    clock,
    contact::Channel,
    event::Lane,
    ledger::{Difference, Gap, Ledger, Reconciling, Tally},
};
use tests::{Process, Receiver, Stores, binary, signal, until};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::{BOTH, configuration};

/// Starts `optout reconcile ARGUMENTS…`.
fn start(api: &Process, arguments: &[&str]) -> Child {
    Command::new(binary("optout"))
        .arg("--config")
        .arg(api.configuration())
        .arg("reconcile")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn ended(child: Child) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

async fn taken(ledger: &Ledger) -> Reconciling {
    until("one is asked for", async || {
        ledger.take_reconciliation(&["hook"]).await.unwrap()
    })
    .await
}

/// Compares one list, in which one contact is only theirs.
async fn compare(ledger: &Ledger, error: Option<&str>) {
    let held = taken(ledger).await;
    let tally = Tally {
        target: "hook".to_owned(),
        list: "global".to_owned(),
        listed: 7,
        ..Tally::default()
    };
    assert!(ledger.begin_list(&held, &tally).await.unwrap());
    if error.is_none() {
        let found = Difference {
            id: Uuid::now_v7(),
            found_at: clock::now(),
            target: tally.target.clone(),
            list: tally.list.clone(),
            difference: Gap::OnlyTheirs,
            channel: Channel::Email,
            contact: "jane@example.com".to_owned(),
            listed_since: None,
            listed_lane: Some(Lane::Consent),
            listed_reason: Some("=1+1".to_owned()),
            scope: None,
            source: None,
            lane: None,
            occurred_at: None,
            event_id: None,
            delivery: None,
            repaired: held.repair,
        };
        let noted = ledger.note_differences(&held, &tally, &[found]).await;
        assert!(noted.unwrap());
    }
    assert!(ledger.end_list(&held, &tally, error).await.unwrap());
    assert!(ledger.end_reconciliation(&held, None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_says_whether_anything_is_left_that_differs() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let api = Process::start("api", &stores, &configuration(&receiver), None).await;
        let ledger = stores.ledger().await;
        let file = stores.folder.path().join("differences.csv");
        let path = file.to_str().unwrap();

        let found = start(&api, &["--target", "hook", "--csv", path]);
        compare(&ledger, None).await;
        let (status, out, err) = ended(found).await;
        assert_eq!(status, Some(1), "on {kind:?}: {err}");
        assert!(
            out.contains("only theirs") && out.contains("\n1 differ\n"),
            "{out}"
        );
        assert!(
            out.contains(&format!("see {}/reconciliations/", api.api)),
            "{out}"
        );
        let csv = std::fs::read_to_string(&file).unwrap();
        assert!(
            csv.contains("jane@example.com") && csv.contains(",'=1+1,"),
            "{csv}"
        );

        let repaired = start(&api, &["--repair", "--csv", "-"]);
        compare(&ledger, None).await;
        let (status, out, err) = ended(repaired).await;
        assert_eq!(status, Some(0), "on {kind:?}: {err}");
        assert!(out.starts_with("id,found_at,target,"), "{out}");
        assert!(
            err.contains("1 differ, of which 1 are being repaired"),
            "{err}"
        );

        let refused = start(&api, &["--json"]);
        compare(&ledger, Some("401: the token is refused")).await;
        let (status, out, _) = ended(refused).await;
        let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (status, &shown["state"]),
            (Some(1), &"done".into()),
            "on {kind:?}"
        );

        let failed = start(&api, &[]);
        let held = taken(&ledger).await;
        let why = Some("there is nothing that could be read");
        assert!(ledger.end_reconciliation(&held, why).await.unwrap());
        let (status, out, err) = ended(failed).await;
        assert_eq!((status, out.as_str()), (Some(1), "nothing was compared\n"));
        assert!(err.contains("there is nothing that could be read"), "{err}");

        let (status, _, err) = ended(start(&api, &["--target", "nobody"])).await;
        assert_eq!(status, Some(1), "on {kind:?}");
        assert!(err.contains("the field target"), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_interrupted_goes_on_without_the_command() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let api = Process::start("api", &stores, &configuration(&receiver), None).await;
        let ledger = stores.ledger().await;
        let command = start(&api, &["--repair"]);
        let held = taken(&ledger).await;
        // It waits for what it asked for: the api was asked again.
        until("it follows the job", async || {
            let page = tests::http().get(format!("{}/metrics", api.ops));
            let page = page.send().await.ok()?.text().await.ok()?;
            page.lines()
                .any(|line| {
                    line.starts_with("optout_api_requests_total")
                        && line.contains("/api/v1/reconciliations/{id}\"")
                })
                .then_some(())
        })
        .await;
        signal("INT", &command.id().unwrap().to_string()).await;
        let (status, out, err) = ended(command).await;
        assert_eq!(status, Some(130), "on {kind:?}: {err}");
        assert!(out.contains(&format!(
            "goes on; see GET /api/v1/reconciliations/{}",
            held.id
        )));
        assert!(ledger.hold_reconciliation(&held).await.unwrap());
    }
}
