//! What never leaves: secrets are in no log, answer, metric, process list or printed configuration, addresses in no log and
//! no metric, and nobody forges a line of the log.

use std::{fmt::Write, process::Stdio};

use serde_json::json;
use tests::{API_KEY, Kind, Process, Receiver, Stores, http, until};

use crate::unsubscribed;

/// What stands in every secret.
const MARK: &str = "s3cr3tm4rk";

/// What stands in every address.
const PERSON: &str = "marked.person";

/// What would stand at the beginning of a line of the log if somebody could put it there.
const FORGED: &str = "FORGED-LINE";

/// A configuration that has a secret in every place where there can be one.
fn configuration(receiver: &Receiver, format: &str) -> String {
    let hook = receiver.url(&format!("/hook/{MARK}"));
    let mut text = format!(
        "[telemetry]\nlog = \"debug\"\nformat = \"{format}\"\n[outbound]\nallow_networks = [\"127.0.0.0/8\"]\n\
         [retry]\nschedule = [\"300ms\", \"300ms\"]\n"
    );
    let credentials = [
        (
            "bearer",
            format!("{{ kind = \"bearer\", token = \"bearer-{MARK}\" }}"),
        ),
        (
            "basic",
            format!("{{ kind = \"basic\", username = \"u\", password = \"basic-{MARK}\" }}"),
        ),
        (
            "header",
            format!("{{ kind = \"header\", name = \"x-secret\", secret = \"header-{MARK}\" }}"),
        ),
        (
            "query",
            format!("{{ kind = \"query\", name = \"token\", secret = \"query-{MARK}\" }}"),
        ),
    ];
    for (name, auth) in credentials {
        write!(
            text,
            "[[sources]]\nname = \"{name}\"\nprovider = \"notifiedby\"\nauth = {auth}\n"
        )
        .unwrap();
    }
    writeln!(text, "[[sources]]\nname = \"asks\"\nprovider = \"talkable\"\nauth = {{ kind = \"signature\", key = \"key-{MARK}\", site = \"site\" }}").unwrap();
    let system = receiver.url("");
    let statement = "UPDATE users SET x = 1 WHERE email = :email";
    let targets = [
        format!(
            "name = \"hook\"\nkind = \"http\"\nurl = \"{hook}\"\nsecret = \"whsec_{MARK}00\"\nheaders = {{ x-key = \"{MARK}\" }}"
        ),
        format!(
            "name = \"slack\"\nkind = \"slack\"\nurl = \"{}\"",
            receiver.url(&format!("/slack/{MARK}"))
        ),
        format!(
            "name = \"zendesk\"\nkind = \"zendesk\"\nurl = \"{system}\"\nusername = \"u\"\ntoken = \"{MARK}\""
        ),
        format!(
            "name = \"jira\"\nkind = \"jira\"\nurl = \"{system}\"\nusername = \"u\"\ntoken = \"{MARK}\"\nproject = \"P\""
        ),
        format!(
            "name = \"users\"\nkind = \"database\"\nurl = \"postgres://u:{MARK}@127.0.0.1:1/d\"\nstatements = {{ unsubscribed = \"{statement}\" }}"
        ),
    ];
    for target in targets {
        write!(text, "[[targets]]\nevents = [\"unsubscribed\"]\n{target}\n").unwrap();
    }
    text += &platforms(&system);
    text
}

/// Platforms that send, one for each way of showing who asks.
fn platforms(url: &str) -> String {
    let kinds = [
        ("sendgrid", "global", ""),
        ("mailgun", "mg.example.com", ""),
        ("klaviyo", "global", ""),
        (
            "ses",
            "global",
            "region = \"eu-central-1\"\naccess_key = \"k\"",
        ),
    ];
    let of_kind = |(kind, list, more): (&str, &str, &str)| {
        format!(
            "[[targets]]\nevents = [\"unsubscribed\"]\nname = \"{kind}\"\nkind = \"{kind}\"\nurl = \"{url}\"\n\
             token = \"{MARK}\"\n{more}\nscopes = {{ \"*\" = \"{list}\" }}\n"
        )
    };
    kinds.map(of_kind).concat()
}

/// Everything that happens to a process: right and wrong credentials, right and wrong bodies, targets that fail.
async fn drive(optout: &Process, receiver: &Receiver) {
    for path in [&format!("/hook/{MARK}"), &format!("/slack/{MARK}")] {
        receiver.answer(path, 500);
    }
    let body = unsubscribed(&format!("{PERSON}@example.com"));
    let broken = format!("{{\"event\":\"x\\n{FORGED}\",\"email\":\"{PERSON}\\n{FORGED}@@\"}}");
    for secret in ["bearer", "wrong"] {
        for body in [&body, &broken] {
            let request = http().post(format!("{}/webhooks/bearer", optout.door));
            let request = request
                .bearer_auth(format!("{secret}-{MARK}"))
                .body(body.clone());
            let request = request.header("user-agent", format!("x\u{1b}[31m{FORGED}"));
            drop(request.send().await);
        }
    }
    for path in [
        format!("query?token=query-{MARK}"),
        format!("query?token={MARK}"),
        format!("x%0A{FORGED}%0D%0A?{MARK}"),
    ] {
        let url = format!("{}/webhooks/{path}", optout.door);
        http().post(url).body(body.clone()).send().await.unwrap();
    }
    let form = format!("key={MARK}&site=site&type=check_unsubscribe_web_hook&payload=%7B%7D");
    let url = format!("{}/api/v1/talkable/check_unsubscribe", optout.api);
    http().post(url).body(form).send().await.unwrap();
    let wrong = http().get(format!("{}/api/v1/events?x=%0A{FORGED}", optout.api));
    wrong.header("x-api-key", MARK).send().await.unwrap();
    let note =
        json!({ "email": format!("{PERSON}@example.net"), "reason": format!("x\n{FORGED}") });
    optout.ask("POST", "/api/v1/suppressions", &note).await;
    let endpoint = json!({ "url": format!("https://127.0.0.1:1/{MARK}"), "events": ["*"] });
    optout
        .ask("POST", "/api/emails/webhook-endpoints/", &endpoint)
        .await;
    for target in ["hook", "slack", "users"] {
        let query = format!("/api/v1/deliveries?target={target}&state=dead");
        until(&format!("{target} has failed"), async || {
            let page = optout.get(&query).await;
            (!page["items"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }
}

/// What those who may ask are told, but for the configured endpoints' own URLs.
async fn answers(optout: &Process) -> String {
    let mut all = String::new();
    for path in [
        "/api/v1/events",
        "/api/v1/deliveries",
        "/api/v1/deliveries?state=dead",
        "/api/v1/quarantine",
        "/api/v1/audit",
        "/api/v1/suppressions",
        "/api/v1/keys",
        "/openapi.json",
        "/docs",
        "/api/v1/nothing",
    ] {
        let request = http()
            .get(format!("{}{path}", optout.api))
            .bearer_auth(API_KEY);
        all += &request.send().await.unwrap().text().await.unwrap();
    }
    all
}

async fn operations(optout: &Process) -> String {
    let mut all = String::new();
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = http().get(format!("{}{path}", optout.ops)).send().await;
        all += &answer.unwrap().text().await.unwrap();
    }
    all
}

async fn run(arguments: &[&str], configuration: &std::path::Path) -> String {
    let mut command = tokio::process::Command::new(tests::binary("optout"));
    command.args(arguments).arg("--config").arg(configuration);
    let ended = command.stdin(Stdio::null()).output().await.unwrap();
    [ended.stdout, ended.stderr]
        .map(|said| String::from_utf8(said).unwrap())
        .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_address_leaks_and_no_line_of_the_log_is_forged() {
    for format in ["human", "json"] {
        let (stores, receiver) = (Stores::fresh(Kind::Embedded).await, Receiver::start().await);
        let text = configuration(&receiver, format);
        let mut optout = Process::start("optout", &stores, &text, None).await;
        drive(&optout, &receiver).await;

        let told = answers(&optout).await;
        assert!(
            told.contains(PERSON),
            "the events are shown to who may see them"
        );
        let metrics = operations(&optout).await;
        let list = std::fs::read_to_string(format!("/proc/{}/cmdline", optout.id())).unwrap();
        optout.terminate().await;
        let log = std::fs::read_to_string(optout.configuration().with_extension("log")).unwrap();
        let shown = run(&["config", "show"], optout.configuration()).await;
        assert!(
            log.contains("webhook accepted") && shown.contains("hook"),
            "{shown}"
        );

        for (place, text) in [
            ("answers", &told),
            ("operations", &metrics),
            ("process list", &list),
            ("log", &log),
            ("config show", &shown),
        ] {
            let line = text.lines().find(|line| line.contains(MARK));
            assert_eq!(line, None, "a secret is in the {place}");
            assert!(!text.contains(API_KEY), "the api's key is in the {place}");
        }
        for (place, text) in [("log", &log), ("operations", &metrics)] {
            let line = text.lines().find(|line| line.contains(PERSON));
            assert_eq!(line, None, "an address is in the {place}");
        }
        for line in log.lines() {
            assert!(!line.trim_start().starts_with(FORGED), "{line}");
            assert!(format != "json" || line.starts_with('{'), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_secret_is_named_without_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optout.toml");
    let target = |name: &str, rest: &str| {
        format!("[[targets]]\nname = \"{name}\"\nevents = [\"*\"]\n{rest}\n")
    };
    let text = format!(
        "[queue]\nurl = \"gopher://u:{MARK}@x/\"\n[ledger]\nurl = \"oracle://u:{MARK}@x/\"\n"
    ) + &target(
        "a",
        &format!("kind = \"http\"\nurl = \"https://{MARK} {MARK}/\"\nsecret = \"whsec_!{MARK}\""),
    ) + &target("b", &format!("kind = \"slack\"\nurl = \"ftp://x/{MARK}\""))
        + &target(
            "c",
            &format!("kind = \"database\"\nurl = \"ldap://u:{MARK}@x/\"\nstatements = {{}}"),
        )
        + &format!("[[api.keys]]\nname = \"{MARK} \"\nkey = \"short\"\nrole = \"king\"\n")
            .replace(MARK, "a");
    std::fs::write(&path, text).unwrap();
    let said = run(&["config", "check"], &path).await;
    for key in [
        "queue.url",
        "ledger.url",
        "targets[0].url",
        "targets[0].secret",
        "targets[1].url",
        "targets[2].url",
    ] {
        assert!(said.contains(key), "{key} is not named in:\n{said}");
    }
    assert!(!said.contains(MARK), "{said}");
}
