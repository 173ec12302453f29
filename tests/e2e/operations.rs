//! What an operator sees.

use std::process::Stdio;

use common::providers;
use serde_json::Value;
use tests::{Kind, Process, Receiver, Stores, http, until};
use tokio::net::TcpListener;

use crate::{BOTH, configuration, unsubscribed};

/// What is to be measured, by name.
const METRICS: [&str; 14] = [
    "optout_ingress_accepted_total",
    "optout_ingress_refused_total",
    "optout_ingress_publish_seconds",
    "optout_queue_oldest_age_seconds",
    "optout_queue_ready",
    "optout_events_total",
    "optout_events_duplicate_total",
    "optout_events_malformed_total",
    "optout_attempts_total",
    "optout_accepted_to_applied_seconds",
    "optout_accepted_to_delivered_seconds",
    "optout_breaker_state",
    "optout_quarantine_held",
    "optout_deliveries_dead",
];

async fn json(url: &str) -> Value {
    http().get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_loop_and_dependency_is_named_and_every_promise_has_a_metric() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        optout
            .accepted("notifiedby", &unsubscribed("user@example.com"))
            .await;
        optout
            .accepted("notifiedby", &unsubscribed("user@example.com"))
            .await;
        optout.accepted("notifiedby", "{").await;
        optout.post("nobody", "{}").await.unwrap();
        until("it is told", async || {
            (!receiver.heard("/hook").is_empty()).then_some(())
        })
        .await;

        let health = json(&format!("{}/healthz", optout.ops)).await;
        for name in [
            "ingress",
            "api",
            "route urgent",
            "deliver hook",
            "record",
            "sweep",
            "poison",
        ] {
            assert_eq!(health["loops"][name], "running", "{name}: {health}");
        }
        let ready = json(&format!("{}/readyz", optout.ops)).await;
        for name in ["queue", "claims", "ledger"] {
            assert_eq!(ready["dependencies"][name], "ok", "{ready}");
        }
        let metrics = until("every metric is there", async || {
            let text = http()
                .get(format!("{}/metrics", optout.ops))
                .send()
                .await
                .ok()?
                .text()
                .await
                .ok()?;
            METRICS
                .iter()
                .all(|name| text.contains(name))
                .then_some(text)
        })
        .await;
        assert!(!metrics.contains("user@example.com"));
        assert!(
            metrics.contains(r#"optout_attempts_total{target="hook",outcome="done"} 1"#),
            "{metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effective_configuration_is_shown_with_secrets_masked() {
    let (stores, receiver) = (
        Stores::fresh(tests::Kind::Embedded).await,
        Receiver::start().await,
    );
    let path = stores.folder.path().join("show.toml");
    std::fs::write(
        &path,
        configuration(&receiver)
            + "[api]\nkeys = [{ name = 'ops', key = 'a-secret-key', role = 'read' }]\n",
    )
    .unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(tests::binary("optout"));
        let ended = command
            .args(arguments)
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        assert!(
            ended.status.success(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        String::from_utf8(ended.stdout).unwrap()
    };
    let shown = run(&["config", "show"]).await;
    assert!(
        shown.contains("max_body = \"1MiB\"") && shown.contains("name = \"hook\""),
        "{shown}"
    );
    assert!(
        !shown.contains("a-secret-key") && !shown.contains("whsec_"),
        "{shown}"
    );
    assert!(
        run(&["config", "check"])
            .await
            .contains("sources: 4, targets: 1")
    );
}

/// What the demo says, which ends well.
async fn demo(arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(tests::binary("optout"));
    let ended = command
        .args(["demo", "--once"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(
        ended.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    said
}

/// What each sender of the company is answered: at first, after an opt-out by email, after one by SMS, after a lift of the first.
const CHECKS: [&str; 4] = [
    "newsletter may be sent · receipt may be sent · SMS may be sent",
    "newsletter unsubscribed (news) · receipt unsubscribed (news) · SMS unsubscribed (news)",
    "newsletter unsubscribed (news) · receipt unsubscribed (news) · SMS unsubscribed (news, sms)",
    "newsletter may be sent · receipt may be sent · SMS unsubscribed (sms)",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_of_a_company_follows_one_opt_out_through_all_its_senders() {
    let said = demo(&["--stack"]).await;
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    let told = |mark: &str| -> Vec<_> {
        let marked = lines.iter().filter_map(|line| line.strip_prefix(mark));
        marked
            .map(|line| {
                line.split_whitespace()
                    .take(4)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    };
    assert_eq!(
        told("✓ "),
        [
            "receipts postmark 200 suppressed",
            "news brevo 201 suppressed",
            "news brevo 204 not",
            "receipts postmark 200 not",
        ],
        "each platform hears of what it does not know:\n{said}"
    );
    assert_eq!(
        told("– "),
        ["news brevo not told:", "receipts postmark not told:"],
        "and of nothing else:\n{said}"
    );
    assert_eq!(
        told("← "),
        [
            "receipts postmark suppressed, an",
            "news brevo contact_updated, of",
            "receipts postmark resubscribed, an",
        ],
        "what comes back is told nobody:\n{said}"
    );
    let checks = lines.iter().filter_map(|line| line.strip_prefix("? check"));
    let checks: Vec<_> = checks
        .map(|line| line.split_once(", answered in ").unwrap().0.trim())
        .collect();
    assert_eq!(checks, CHECKS, "{said}");
    assert!(
        said.contains(" 1 duplicate, of which nothing came"),
        "{said}"
    );
    let held: Vec<_> = lines.iter().filter(|line| line.starts_with("= ")).collect();
    assert_eq!(
        held,
        [
            &"= news     brevo     suppresses +15558675310 (smsBlacklisted)",
            &"= receipts postmark  suppresses nobody",
        ],
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_every_provider_reaching_every_target() {
    let said = demo(&[]).await;
    for provider in providers::ALL {
        assert!(said.contains(&format!("  {} ", provider.name())), "{said}");
    }
    let telling = providers::ALL
        .iter()
        .filter(|provider| provider.asks_at().is_none());
    let telling = telling.count();
    for target in ["users", "slack", "tickets", "webhook", "log"] {
        assert_eq!(
            said.matches(&format!("✓ {target}")).count(),
            telling,
            "{target}:\n{said}"
        );
    }
    let answers: Vec<_> = said
        .lines()
        .filter_map(|line| Some(line.split_once("unsubscribed: ")?.1.starts_with("true")))
        .collect();
    assert_eq!(
        answers,
        [false, true],
        "talkable is answered before and after:\n{said}"
    );
    assert!(
        said.contains(&format!("{telling} duplicates known, no target told twice"))
            && !said.contains('✗'),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_sent_with_the_sources_credentials_and_a_contact_is_checked() {
    let (stores, receiver) = (
        Stores::fresh(tests::Kind::Embedded).await,
        Receiver::start().await,
    );
    let guarded = "[[sources]]\nname = \"guarded\"\nprovider = \"notifiedby\"\nauth = [{ kind = \"bearer\", token = \"a-token\" }, { kind = \"query\", name = \"t\", secret = \"b c&d\" }]\n\
        [[sources]]\nname = \"shop\"\nprovider = \"talkable\"\nauth = { kind = \"signature\", key = \"k&y\", site = \"a site\" }\n";
    let optout = Process::start(
        "optout",
        &stores,
        &(configuration(&receiver) + guarded),
        None,
    )
    .await;
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(tests::binary("optout"));
        let ended = command
            .args(arguments)
            .arg("--config")
            .arg(optout.configuration())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stdout).unwrap() + &String::from_utf8(ended.stderr).unwrap(),
        )
    };
    let (code, said) = run(&["send", "notifiedby", "--source", "guarded"]).await;
    assert_eq!(code, Some(0), "{said}");
    until("it is told", async || {
        (!receiver.heard("/hook").is_empty()).then_some(())
    })
    .await;
    let named = ["send", "talkable", "--sample", "check-unsubscribe-encoded"];
    for (question, answer) in [(&named[..2], true), (&named, false)] {
        let (code, said) = run(question).await;
        let expected = format!("{{\"result\":{{\"unsubscribed\":{answer}}}}}");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&expected), "{question:?}: {said}");
    }
    assert_eq!(
        run(&["send", "talkable", "--source", "guarded"]).await.0,
        Some(1)
    );
    let (code, said) = run(&["check", "User@Example.com"]).await;
    assert_eq!(
        (code, said.starts_with("unsubscribed")),
        (Some(2), true),
        "{said}"
    );
    let (code, said) = run(&["check", "nobody@example.com"]).await;
    assert_eq!(
        (code, said.starts_with("may be mailed")),
        (Some(0), true),
        "{said}"
    );
    assert_eq!(run(&["check", "not an address"]).await.0, Some(1));
    assert_eq!(run(&["healthcheck"]).await.0, Some(0));
    assert_eq!(run(&["migrate"]).await.0, Some(0));
}

/// It starts with the claims away: on a server that takes the connection, and then says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_stop_while_it_starts_ends_as_it_should() {
    let (stores, receiver) = (Stores::fresh(Kind::Embedded).await, Receiver::start().await);
    let mut optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
    assert!(optout.terminate().await.success());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = optout.configuration().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    let away = format!("redis://{}", silent.local_addr().unwrap());
    let claims = format!("[claims]\nurl = \"{}\"", stores.claims);
    assert!(text.contains(&claims));
    let text = text.replace(&claims, &format!("[claims]\nurl = \"{away}\""));
    std::fs::write(&file, text).unwrap();
    optout.launch(&[]);
    let _held = silent.accept().await.unwrap();
    assert!(optout.terminate().await.success());
}
