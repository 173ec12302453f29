//! Keys by the command line, over real processes: made without a key, used at once, revoked, and told nowhere.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tests::{Kind, Process, Receiver, Stores, binary, http};
use tokio::process::Command;

use crate::{BOTH, configuration};

/// Runs `optout` with the arguments: its status, what it wrote, and what it complained of.
async fn optout(configuration: &Path, arguments: &str) -> (Option<i32>, String, String) {
    let output = Command::new(binary("optout"))
        .arg("--config")
        .arg(configuration)
        .args(arguments.split(' '))
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What a key is answered.
async fn asked(optout: &Process, key: &str, path: &str) -> u16 {
    let request = http().get(format!("{}{path}", optout.api));
    let answer = request.header("x-api-key", key).send().await.unwrap();
    answer.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_command_makes_opens_the_running_api_until_a_command_revokes_it() {
    for kind in BOTH {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let process = Process::start("optout", &stores, &configuration(&receiver), None).await;
        let run = async |arguments: &str| optout(process.configuration(), arguments).await;
        let create = "keys create --name ci --role read --expires 90d";
        let (status, out, err) = run(create).await;
        assert_eq!(status, Some(0), "{err}");
        let key = out.trim();
        assert!(key.starts_with("optout_") && !err.contains(key), "{err}");
        assert_eq!(asked(&process, key, "/api/v1/events").await, 200);
        assert_eq!(asked(&process, key, "/api/v1/keys").await, 403);

        let (status, _, err) = run(create).await;
        assert_eq!(status, Some(1));
        assert!(err.contains("called ci"), "{err}");
        let (_, listed, _) = run("keys list").await;
        assert!(listed.contains("active  read  ci"), "{listed}");
        let (_, listed, _) = run("keys list --json").await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["items"][0]["created_by"], "command line");
        assert!(!listed.to_string().contains(key));

        let (status, revoked, err) = run("keys revoke ci").await;
        assert_eq!(status, Some(0), "{err}");
        assert!(revoked.contains("revoked read  ci"), "{revoked}");
        assert_eq!(asked(&process, key, "/api/v1/events").await, 401);
        let id = listed["items"][0]["id"].as_str().unwrap();
        let again = run(&format!("keys revoke {id}")).await;
        assert_eq!(again.0, Some(0), "{}", again.2);

        let trail = process.get("/api/v1/audit").await;
        let acts = trail["items"].as_array().unwrap().iter().rev();
        let done: Vec<_> = acts
            .map(|act| json!([act["actor"], act["action"]]))
            .collect();
        let by_hand = |action: &str| json!(["command line", action]);
        let [create, revoke] = [by_hand("key.create"), by_hand("key.revoke")];
        assert_eq!(done, [create, revoke.clone(), revoke]);
        let log = fs::read_to_string(process.configuration().with_extension("log")).unwrap();
        assert!(!log.contains(key) && !trail.to_string().contains(key));
    }
}

/// Commands that do nothing, the status that each ends with, and what it says is wrong.
const WRONG: &[(&str, i32, &str)] = &[
    ("keys create --name ops --role read", 1, "api.keys"),
    ("keys create --name a/b --role read", 1, "name"),
    (
        "keys create --name a --role owner",
        2,
        "check, read, write, admin",
    ),
    ("keys create --name a --role read --rate often", 2, "100/1m"),
    ("keys create --name a --role read --expires soon", 2, "3d"),
    (
        "keys create --name a --role read --expires 2020-01-01T00:00:00Z",
        1,
        "has passed",
    ),
    ("keys revoke ops", 1, "configuration"),
    ("keys revoke nobody", 1, "no key nobody"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_made_before_anything_runs_and_what_is_wrong_is_told() {
    let stores = Stores::fresh(Kind::Embedded).await;
    let keys = "[api]\nkeys = [{ name = 'ops', key = 'configured-key', role = 'read' }]";
    let file = stores.folder.path().join("optout.toml");
    fs::write(&file, stores.configuration() + keys).unwrap();
    for (arguments, status, said) in WRONG {
        let (ended, _, err) = optout(&file, arguments).await;
        assert_eq!(ended, Some(*status), "{arguments}: {err}");
        assert!(err.contains(said), "{arguments}: {err}");
    }
    let create = "keys create --name first --role admin --rate 9/1m --json";
    let (_, made, err) = optout(&file, create).await;
    let made: Value = serde_json::from_str(&made).unwrap_or_else(|_| panic!("{err}"));
    assert_eq!(
        (&made["rate"], &made["state"]),
        (&json!("9/1m"), &json!("active"))
    );
    let kept = stores.ledger().await.key_named("first").await.unwrap();
    assert_eq!(json!(kept.unwrap().id), made["id"]);
}

#[tokio::test]
async fn a_shell_is_told_how_to_complete_the_commands() {
    let (status, script, _) = optout(Path::new("optout.toml"), "completions bash").await;
    assert_eq!(status, Some(0));
    assert!(script.contains("_optout") && script.contains("suppressions"));
}
