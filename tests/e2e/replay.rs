//! Replays by the command line, over real processes: what was refused is told again once the target is mended, whoever
//! dies in between.

use std::{
    collections::HashSet,
    process::{Output, Stdio},
};

use common::{
    delivery::State,
    ledger::{DeliveryFilter, Ledger},
};
use futures_util::future::join_all;
use serde_json::Value;
use tests::{Kind, Process, Receiver, Stores, binary, until};
use tokio::process::Command;

use crate::{BOTH, configuration, unsubscribed};

/// Runs `optout COMMAND… --json` against `optout`.
async fn command(optout: &Process, arguments: &[&str]) -> Output {
    Command::new(binary("optout"))
        .arg("--config")
        .arg(optout.configuration())
        .args(arguments)
        .arg("--json")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn in_state(ledger: &Ledger, state: State, count: usize) {
    let filter = DeliveryFilter {
        state: Some(state),
        ..DeliveryFilter::default()
    };
    until(&format!("{count} are {state}"), async || {
        let page = ledger.deliveries(&filter, 500, None).await.ok()?;
        (page.items.len() == count).then_some(())
    })
    .await;
}

/// Posts so many opt-outs, which the target refuses for good, and mends the target.
async fn refused(optout: &Process, receiver: &Receiver, ledger: &Ledger, count: usize) {
    receiver.answer("/hook", 410);
    for number in 0..count {
        let email = format!("user{number}@example.com");
        optout.accepted("notifiedby", &unsubscribed(&email)).await;
    }
    in_state(ledger, State::Dead, count).await;
    receiver.answer("/hook", 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_refused_is_told_again_once_it_is_mended() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        let ledger = stores.ledger().await;
        refused(&optout, &receiver, &ledger, 50).await;

        let dry = ["replay", "--since", "1h", "--state", "dead", "--dry-run"];
        assert_eq!(json(&command(&optout, &dry).await)["matched"], 50);
        let replay = [
            "replay", "--since", "1h", "--state", "dead", "--target", "hook",
        ];
        let unasked = command(&optout, &replay).await;
        assert!(!unasked.status.success(), "nobody said yes");
        assert!(String::from_utf8_lossy(&unasked.stderr).contains("--yes"));
        in_state(&ledger, State::Dead, 50).await;

        let report = json(&command(&optout, &[&replay[..], &["--yes"]].concat()).await);
        assert_eq!(
            (&report["state"], &report["sent"], &report["matched"]),
            (&"done".into(), &50.into(), &50.into())
        );
        in_state(&ledger, State::Delivered, 50).await;
        let keys: HashSet<_> = receiver
            .heard("/hook")
            .iter()
            .map(|heard| heard.header("idempotency-key").to_owned())
            .collect();
        assert_eq!(receiver.heard("/hook").len(), 100);
        assert_eq!(keys.len(), 50, "each under its own id both times");
        let compliance = json(&command(&optout, &["compliance", "--from", "1h"]).await);
        assert_eq!(compliance["opt_outs"], 50);
        assert_eq!(compliance["targets"][0]["delivered"], 50);
        assert_eq!(compliance["over_48_hours"]["count"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_whose_process_is_killed_between_any_two_steps_is_gone_on_with() {
    let killed = BOTH.into_iter().flat_map(|kind| {
        ["replay.restarted", "replay.published"].map(|point| killed_at(kind, point))
    });
    join_all(killed).await;
}

async fn killed_at(kind: Kind, point: &'static str) {
    let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
    let rest = configuration(&receiver);
    let mut optout = Process::start("optout", &stores, &rest, Some(point)).await;
    let ledger = stores.ledger().await;
    refused(&optout, &receiver, &ledger, 5).await;
    let replay = ["replay", "--since", "1h", "--yes"];
    let cut_off = command(&optout, &replay).await;
    assert!(!cut_off.status.success(), "{point} on {kind:?}");
    optout.died().await;
    optout.again().await;
    until(
        &format!("{point} on {kind:?}: the job is done"),
        async || {
            let jobs = optout.get("/api/v1/replays?limit=1").await;
            let job = &jobs["items"][0];
            assert!(job["sent"].as_i64() <= job["matched"].as_i64());
            (job["state"] == "done" && job["sent"] == 5).then_some(())
        },
    )
    .await;
    in_state(&ledger, State::Delivered, 5).await;
    let heard = receiver.heard("/hook").len();
    assert!((10..=15).contains(&heard), "{point} on {kind:?}: {heard}");
}
