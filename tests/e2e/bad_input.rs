//! Bad input: a clear error or a quarantine entry, never a panic, and nothing lost.

use std::process::Stdio;

use tests::{Process, Receiver, Stores, http, until};

use crate::{BOTH, configuration, unsubscribed};

// rows: NB-9, NB-16, PM-33
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_answered_200_kept_and_tried_again_on_request() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let mut optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
        let bodies = [
            ("notifiedby", "{not json"),
            (
                "notifiedby",
                r#"{"event":"unsubscribed","timestamp":"2024-07-02T18:04:00Z"}"#,
            ),
            (
                "notifiedby",
                r#"{"event":"unsubscribed","email":{"a":"b@c.example"}}"#,
            ),
            ("sentinmail", r#"{"type":"bounced","recipient":42}"#),
            (
                "postmark",
                r#"{"RecordType":"Bounce","Type":"Unsubscribe"}"#,
            ),
            ("brevo", "\u{0}\u{1}"),
            ("brevo", "[]]"),
        ];
        for (source, body) in bodies {
            optout.accepted(source, body).await;
        }
        let held = until("all are held", async || {
            let page = optout.get("/api/v1/quarantine?state=held").await;
            let items = page["items"].as_array()?.clone();
            (items.len() == bodies.len()).then_some(items)
        })
        .await;
        assert!(
            held.iter().all(|item| item["reason"]
                .as_str()
                .is_some_and(|reason| reason.len() > 10)),
            "{held:?}"
        );
        let id = held[0]["id"].as_str().unwrap();
        assert_eq!(
            optout
                .do_it(&format!("/api/v1/quarantine/{id}/retry"))
                .await,
            202
        );
        until("it is held again", async || {
            let page = optout.get("/api/v1/quarantine?state=held").await;
            (page["items"].as_array()?.len() == bodies.len()).then_some(())
        })
        .await;
        assert!(optout.is_running());
        optout
            .accepted("notifiedby", &unsubscribed("user@example.com"))
            .await;
        until("the good one is told", async || {
            (receiver.heard("/hook").len() == 1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_element_of_a_batch_costs_no_other() {
    let (stores, receiver) = (
        Stores::fresh(tests::Kind::Embedded).await,
        Receiver::start().await,
    );
    let optout = Process::start("optout", &stores, &configuration(&receiver), None).await;
    let good = |id: &str| {
        format!(
            r#"{{"id":"{id}","type":"unsubscribed","recipient":"{id}@example.com","timestamp":"2026-04-02T14:30:00Z"}}"#
        )
    };
    let body = format!(r#"[{},{{"type":"unsubscribed"}},{}]"#, good("a"), good("b"));
    optout.accepted("sentinmail", &body).await;
    until("both good ones are told", async || {
        (receiver.heard("/hook").len() == 2).then_some(())
    })
    .await;
    let page = optout.get("/api/v1/quarantine").await;
    assert_eq!(
        (
            page["items"].as_array().unwrap().len(),
            page["items"][0]["element"].as_i64()
        ),
        (1, Some(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_refuses_strangers_giants_and_unknown_paths() {
    let (stores, receiver) = (
        Stores::fresh(tests::Kind::Embedded).await,
        Receiver::start().await,
    );
    let guarded = "[[sources]]\nname = \"guarded\"\nprovider = \"postmark\"\nauth = { kind = \"basic\", username = \"u\", password = [\"old-secret\", \"new-secret\"] }\n";
    let optout = Process::start(
        "optout",
        &stores,
        &(configuration(&receiver) + guarded),
        None,
    )
    .await;
    let post = |source: &str| http().post(format!("{}/webhooks/{source}", optout.door));
    assert_eq!(
        post("guarded").body("{}").send().await.unwrap().status(),
        401
    );
    assert_eq!(
        post("guarded")
            .basic_auth("u", Some("wrong"))
            .body("{}")
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    for secret in ["old-secret", "new-secret"] {
        assert_eq!(
            post("guarded")
                .basic_auth("u", Some(secret))
                .body("{}")
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
    assert_eq!(
        post("nobody").body("{}").send().await.unwrap().status(),
        404
    );
    let giant = post("notifiedby").body(vec![b' '; 2 << 20]).send().await;
    // The door may close the connection while the rest is on its way.
    assert!(giant.is_err() || giant.is_ok_and(|answer| answer.status() == 413));
    let ledger = stores.ledger().await;
    until("what was accepted is recorded", async || {
        ledger
            .receipts()
            .await
            .ok()
            .filter(|(envelopes, _)| *envelopes == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_name_resolves_to_a_private_address_is_not_called() {
    let (stores, receiver) = (
        Stores::fresh(tests::Kind::Embedded).await,
        Receiver::start().await,
    );
    // Where nothing is listed, `localhost` is refused before it is looked up.
    let text = configuration(&receiver).replace("\"127.0.0.0/8\"", "\"10.0.0.0/8\"");
    let hidden = format!("http://localhost:{}/", receiver.address.port());
    let text = text
        .replace(&format!("http://{}/", receiver.address), &hidden)
        .replace("kind = \"http\"", "kind = \"http\"\nallow_http = true");
    let optout = Process::start("optout", &stores, &text, None).await;
    optout
        .accepted("notifiedby", &unsubscribed("user@example.com"))
        .await;
    let error = until("the attempt is recorded", async || {
        let page = optout.get("/api/v1/deliveries").await;
        page["items"][0]["last_error"].as_str().map(str::to_owned)
    })
    .await;
    assert!(error.contains("allow_networks"), "{error}");
    assert!(receiver.heard("/hook").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_mistakes_are_all_named_with_exit_status_64_before_a_port_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optout.toml");
    let text = "[ingress]\nbind = 'everywhere'\n[retry]\nschedule = ['soon']\n[[sources]]\nname = 'a'\nprovider = 'pigeon'\nauth = { kind = 'none' }\n\
        [[targets]]\nname = 'slack'\nkind = 'slack'\nevents = ['unsubscribed']\nurl = 'env:NOT_SET'\n[surprise]\nkey = 1\n";
    std::fs::write(&path, text).unwrap();
    let mut command = tokio::process::Command::new(tests::binary("optout"));
    let ended = command
        .arg("--config")
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(64), "{said}");
    for key in [
        "ingress.bind",
        "retry.schedule",
        "sources[0].provider",
        "targets[0].url",
        "surprise",
    ] {
        assert!(
            said.lines().any(|line| line.starts_with(key)),
            "{key} is not named in:\n{said}"
        );
    }
    assert_eq!(said.lines().count(), 5, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_hold_ids_and_never_an_address_or_a_secret() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let text = configuration(&receiver) + "[telemetry]\nlog = \"debug\"\n";
        let mut optout = Process::start("optout", &stores, &text, None).await;
        receiver.answer("/hook", 500);
        let body = unsubscribed("secret.person@example.com");
        let envelope = optout.accepted("notifiedby", &body).await;
        let broken = r#"{"event":"unsubscribed","email":"broken.person@@"}"#;
        optout.accepted("notifiedby", broken).await;
        until("it is tried twice", async || {
            (receiver.heard("/hook").len() >= 2).then_some(())
        })
        .await;
        optout.terminate().await;
        let logs = logs(&stores);
        assert!(logs.contains(&envelope), "an id follows the event");
        for never in [
            "secret.person",
            "broken.person",
            "C2FVsBQIhrsc",
            "end-to-end-key",
        ] {
            assert!(!logs.contains(never), "the logs on {kind:?} hold {never:?}");
        }
    }
}

/// What the processes of a test have logged.
fn logs(stores: &Stores) -> String {
    let entries = std::fs::read_dir(stores.folder.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}
